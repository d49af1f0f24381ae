//! Relocations: through which symbols the loader binds a file to others.

use std::collections::BTreeSet;
use std::ops::Range;

use object::Endianness;
use object::elf::{self, Machine, RelocationType};
use object::pod::Pod;
use object::read::elf::{FileHeader, Rel as _, Rela as _};

use super::dynamic::Dynamic;
use super::headers::slice;
use super::{ElfError, Image};

const WHAT: &str = "the relocations (DT_RELA, DT_REL, DT_JMPREL)";

/// One of the tables of relocations.
pub(super) struct Table {
    /// Where it is loaded.
    address: u64,
    /// Its bytes.
    size: u64,
    /// Of those, the first that are relocations by the address of the file alone: the loader does
    /// not look for their symbols, nor at their types. Source: the GNU C library,
    /// `elf/do-rel.h`, `DT_RELACOUNT`.
    relative: u64,
    has_addends: bool,
}

impl Table {
    /// The tables that the dynamic section names.
    pub(super) fn all(dynamic: &Dynamic<'_>, is_64: bool) -> impl Iterator<Item = Self> {
        let plt_has_addends = dynamic.value(elf::DT_PLTREL) == u64::try_from(elf::DT_RELA.0).ok();
        let word = if is_64 { 8 } else { 4 };
        let tables = [
            (elf::DT_RELA, elf::DT_RELASZ, Some(elf::DT_RELACOUNT), true),
            (elf::DT_REL, elf::DT_RELSZ, Some(elf::DT_RELCOUNT), false),
            (elf::DT_JMPREL, elf::DT_PLTRELSZ, None, plt_has_addends),
        ];
        tables
            .into_iter()
            .filter_map(move |(address, size, count, has_addends)| {
                let size = dynamic.value(size)?;
                let count = count.and_then(|tag| dynamic.value(tag)).unwrap_or(0);
                let entry = if has_addends { 3 * word } else { 2 * word };
                Some(Self {
                    address: dynamic.value(address)?,
                    size,
                    relative: count.saturating_mul(entry).min(size),
                    has_addends,
                })
            })
    }

    /// The addresses of the relocations that name no symbol, if there are any.
    pub(super) fn without_symbols(&self) -> Option<Range<u64>> {
        let range = self.address..self.address.checked_add(self.relative)?;
        (!range.is_empty()).then_some(range)
    }

    /// The address of the relocations that may name symbols, if there are any.
    pub(super) fn with_symbols(&self) -> Option<u64> {
        let address = self.address.checked_add(self.relative)?;
        (self.relative < self.size).then_some(address)
    }

    /// The relocations that may name symbols.
    fn bytes<'data>(&self, image: &Image<'data>) -> Result<&'data [u8], ElfError> {
        let (address, size) = (self.address, self.size);
        if size > 0 && image.loaded_from(address) < size {
            return Err(ElfError::Unmapped {
                what: WHAT,
                address,
                size,
            });
        }
        let size = size - self.relative;
        let bytes = image.at(address.saturating_add(self.relative), size, WHAT)?;
        Ok(&bytes[..usize::try_from(size).unwrap_or(bytes.len())])
    }
}

/// Hands the symbol and the type of every relocation that may name a symbol to `take`.
pub(super) fn visit<Elf>(
    image: &Image<'_>,
    dynamic: &Dynamic<'_>,
    mut take: impl FnMut(u32, RelocationType),
) -> Result<(), ElfError>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let (endian, is_64) = (image.endian, image.is_64);
    let mips64el = image.machine == elf::EM_MIPS && is_64 && endian == Endianness::Little;
    for table in Table::all(dynamic, is_64) {
        let bytes = table.bytes(image)?;
        if table.has_addends {
            for entry in entries::<Elf::Rela>(bytes)? {
                take(
                    entry.r_sym(endian, mips64el),
                    entry.r_type(endian, mips64el),
                );
            }
        } else {
            for entry in entries::<Elf::Rel>(bytes)? {
                take(entry.r_sym(endian), entry.r_type(endian));
            }
        }
    }
    Ok(())
}

fn entries<Entry: Pod>(bytes: &[u8]) -> Result<&[Entry], ElfError> {
    slice(bytes, 0, (bytes.len() / size_of::<Entry>()) as u64, WHAT)
}

/// The symbols of objects of which a program has a copy of its own. It defines them, and the loader
/// has to find them in a library all the same.
pub(super) fn copied<Elf>(
    image: &Image<'_>,
    dynamic: &Dynamic<'_>,
) -> Result<BTreeSet<u32>, ElfError>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let mut copied = BTreeSet::new();
    if let Some(copies) = copy_type(image.machine) {
        visit::<Elf>(image, dynamic, |symbol, kind| {
            if kind == copies {
                copied.insert(symbol);
            }
        })?;
    }
    Ok(copied)
}

/// The type of relocation that copies an object.
fn copy_type(machine: Machine) -> Option<RelocationType> {
    Some(match machine {
        elf::EM_X86_64 => elf::R_X86_64_COPY,
        elf::EM_386 => elf::R_386_COPY,
        elf::EM_AARCH64 => elf::R_AARCH64_COPY,
        elf::EM_ARM => elf::R_ARM_COPY,
        elf::EM_RISCV => elf::R_RISCV_COPY,
        elf::EM_PPC64 => elf::R_PPC64_COPY,
        elf::EM_PPC => elf::R_PPC_COPY,
        elf::EM_S390 => elf::R_390_COPY,
        elf::EM_MIPS => elf::R_MIPS_COPY,
        elf::EM_LOONGARCH => elf::R_LARCH_COPY,
        elf::EM_SPARC | elf::EM_SPARC32PLUS | elf::EM_SPARCV9 => elf::R_SPARC_COPY,
        elf::EM_68K => elf::R_68K_COPY,
        elf::EM_PARISC => elf::R_PARISC_COPY,
        _ => return None,
    })
}
