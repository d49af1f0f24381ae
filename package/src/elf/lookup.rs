//! Which symbol the bytes at a place of an ELF file belong to.

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, Sym as _};
use object::{Endianness, pod};

use super::{Headers, Section};
use crate::source::Source;

/// Symbols that are read at once.
const CHUNK: u64 = 4_096;
/// Longer names are cut off.
const NAME_MAX: u64 = 4_096;

/// The function or object that covers the byte at `offset`, where a symbol table names it.
pub(crate) fn symbol_in<S: Source>(
    headers: &Headers,
    source: &S,
    offset: u64,
) -> Result<Option<String>, S::Error> {
    let sections = headers.sections.iter().enumerate();
    let mut holding = sections.filter(|(_, section)| section.range.contains(&offset));
    let Some((index, section)) = holding.next() else {
        return Ok(None);
    };
    if headers.is_program() && !section.is_loaded() {
        // It has no address, and what it holds is of no function or object.
        return Ok(None);
    }
    let into = offset - section.range.start;
    let wanted = if headers.is_program() {
        section.address.saturating_add(into)
    } else {
        into
    };
    for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
        if let Some(table) = headers.sections.iter().find(|it| it.kind == kind) {
            let lookup = Lookup {
                headers,
                wanted,
                section: u32::try_from(index).unwrap_or(0),
            };
            if let Some(name) = lookup.name(source, table)? {
                return Ok(Some(name));
            }
        }
    }
    Ok(None)
}

struct Lookup<'headers> {
    headers: &'headers Headers,
    /// Address; in an object for the linker, offset into the section.
    wanted: u64,
    section: u32,
}

impl Lookup<'_> {
    fn name<S: Source>(&self, source: &S, table: &Section) -> Result<Option<String>, S::Error> {
        let Some(strings) = self.headers.sections.get(table.link as usize) else {
            return Ok(None);
        };
        let entry = if self.headers.is_64 { 24 } else { 16 };
        let mut start = table.range.start;
        while start + entry <= table.range.end {
            let end = table.range.end.min(start + CHUNK * entry);
            let bytes = source.bytes(start..end)?;
            let found = if self.headers.is_64 {
                self.find::<FileHeader64<Endianness>>(&bytes)
            } else {
                self.find::<FileHeader32<Endianness>>(&bytes)
            };
            if let Some(name) = found {
                let from = strings.range.end.min(strings.range.start + u64::from(name));
                let name = source.bytes(from..strings.range.end.min(from + NAME_MAX))?;
                let end = name
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap_or(name.len());
                return Ok(Some(String::from_utf8_lossy(&name[..end]).into_owned()));
            }
            start = end;
        }
        Ok(None)
    }

    /// Where the name of the symbol stands that covers what is wanted.
    fn find<Elf>(&self, bytes: &[u8]) -> Option<u32>
    where
        Elf: FileHeader<Endian = Endianness>,
    {
        let endian = self.headers.endian;
        let count = bytes.len() / size_of::<Elf::Sym>();
        let (symbols, _) = pod::slice_from_bytes::<Elf::Sym>(bytes, count).ok()?;
        let covers = |symbol: &&Elf::Sym| {
            let (value, size) = (
                symbol.st_value(endian).into(),
                symbol.st_size(endian).into(),
            );
            let into = self.wanted.checked_sub(value);
            let here = u32::from(symbol.st_shndx(endian).0) == self.section;
            matches!(
                symbol.st_type(),
                elf::STT_FUNC | elf::STT_OBJECT | elf::STT_GNU_IFUNC
            ) && into.is_some_and(|into| into < size)
                && (here || self.headers.is_program())
        };
        symbols
            .iter()
            .find(covers)
            .map(|symbol| symbol.st_name(endian))
    }
}
