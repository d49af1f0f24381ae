//! Relocations: through which symbols the loader binds a file to others.

use std::collections::BTreeSet;

use object::Endianness;
use object::elf::{self, Machine, RelocationType};
use object::read::elf::{FileHeader, Rel as _, Rela as _};

use super::dynamic::Dynamic;
use super::headers::slice;
use super::{ElfError, Image};

/// Hands the symbol and the type of every relocation to `take`.
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
    let plt_has_addends = dynamic.value(elf::DT_PLTREL) == u64::try_from(elf::DT_RELA.0).ok();
    let tables = [
        (elf::DT_RELA, elf::DT_RELASZ, true),
        (elf::DT_REL, elf::DT_RELSZ, false),
        (elf::DT_JMPREL, elf::DT_PLTRELSZ, plt_has_addends),
    ];
    for (address, size, has_addends) in tables {
        let (Some(address), Some(size)) = (dynamic.value(address), dynamic.value(size)) else {
            continue;
        };
        let what = "the relocations (DT_RELA, DT_REL, DT_JMPREL)";
        let bytes = image.at(address, size, what)?;
        if has_addends {
            let table: &[Elf::Rela] = slice(bytes, 0, size / size_of::<Elf::Rela>() as u64, what)?;
            for entry in table {
                take(
                    entry.r_sym(endian, mips64el),
                    entry.r_type(endian, mips64el),
                );
            }
        } else {
            let table: &[Elf::Rel] = slice(bytes, 0, size / size_of::<Elf::Rel>() as u64, what)?;
            for entry in table {
                take(entry.r_sym(endian), entry.r_type(endian));
            }
        }
    }
    Ok(())
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
