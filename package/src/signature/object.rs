//! `objsig1`: what counts of an object for the linker or a kernel module.
//!
//! In this order:
//!
//! 1. the ELF header without the place and number of section headers;
//! 2. every symbol: name, binding, type, visibility, section, value and size;
//! 3. every section but those for people (debug data, comments), and the relocations and groups
//!    that serve only those: its header without file offset, and its content. Of a build-id note
//!    the descriptor reads as zeros. Relocations refer to symbols, and all refer to sections, by
//!    their place among those that count;
//! 4. every byte between sections that is not alignment padding.
//!
//! What names a source file or only the beginning of a section is no symbol of its own; the tables
//! of names are not content, what they name is. So debug data may come, go and change its size.
//!
//! Where it is not certain what something means, all bytes of the file count as well.

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod;
use object::read::elf::{FileHeader, Rela as _};

use super::parts::Parts;
use super::plan::{GROUP_MAX, Plan, Role, is_relocations};
use super::program::{outside, section_fields};
use super::symbols::{self, Kind, Symbols};
use crate::elf::{Headers, Section, build_id_descriptor};
use crate::source::Source;

pub(super) fn walk<S: Source, P: Parts>(
    headers: &Headers,
    source: &mut S,
    parts: &mut P,
) -> Result<(), S::Error> {
    let whole = 0..headers.size;
    let Some(plan) = Plan::read(headers, source)? else {
        parts.number(0);
        return parts.bytes(source, whole);
    };
    parts.number(1);
    let header = 0..if headers.is_64 { 64 } else { 52 };
    parts.masked(source, &header, &section_fields(headers))?;
    let mut symbols = symbols::walk(&plan, source, parts)?;
    for (index, section) in headers.sections.iter().enumerate() {
        if let Role::Counted(_) = plan.roles[index] {
            plan.walk_header(section, index, &mut symbols, parts);
            plan.walk_content(section, &mut symbols, source, parts)?;
        }
    }
    let inside = headers.sections.iter().skip(1);
    let inside = inside.map(|section| section.range.clone()).collect();
    let runs = outside(headers, inside, |_, _| false, source)?;
    parts.number(runs.len() as u64);
    for run in runs {
        parts.bytes(source, run)?;
    }
    parts.number(u64::from(symbols.is_doubtful));
    if symbols.is_doubtful {
        parts.bytes(source, whole)?;
    }
    Ok(())
}

impl Plan<'_> {
    fn walk_header<P: Parts>(
        &self,
        section: &Section,
        index: usize,
        symbols: &mut Symbols,
        parts: &mut P,
    ) {
        let name = self.headers.name(section);
        let memory = if section.is_in_file() {
            0
        } else {
            section.size
        };
        let link = self.refer(section.link);
        let info = match section.kind {
            elf::SHT_REL | elf::SHT_RELA => {
                symbols.is_doubtful |= self.is_ignored(section.info);
                self.refer(section.info)
            }
            elf::SHT_GROUP => symbols.refer(section.info),
            _ => (0, u64::from(section.info)),
        };
        symbols.is_doubtful |= self.is_ignored(section.link);
        let mut encoded = (name.len() as u64).to_le_bytes().to_vec();
        encoded.extend(name);
        for number in [
            u64::from(section.kind.0),
            section.flags,
            section.address,
            memory,
            link.0,
            link.1,
            info.0,
            info.1,
            section.align,
            section.entry_size,
        ] {
            encoded.extend(number.to_le_bytes());
        }
        let (size, place) = if self.headers.is_64 {
            (64, 24..32)
        } else {
            (40, 16..20)
        };
        let start = self.headers.section_table.start + size * index as u64;
        parts.derived(&encoded, start..start + place.start);
        parts.derived(&[], start + place.end..start + size);
        parts.derived(&[], self.headers.name_range(section));
    }

    fn walk_content<S: Source, P: Parts>(
        &self,
        section: &Section,
        symbols: &mut Symbols,
        source: &mut S,
        parts: &mut P,
    ) -> Result<(), S::Error> {
        let knows_symbols = self.symbol_table > 0 && section.link as usize == self.symbol_table;
        match section.kind {
            elf::SHT_REL | elf::SHT_RELA if knows_symbols => {
                self.walk_relocations(section, symbols, source, parts)
            }
            elf::SHT_GROUP if knows_symbols => self.walk_group(section, symbols, source, parts),
            elf::SHT_NOTE if self.headers.name(section) == b".note.gnu.build-id" => {
                let range = section.range.clone();
                let head = source.bytes(range.start..range.end.min(range.start + NOTE_MAX))?;
                let zeroed = build_id_descriptor(&head, self.headers.endian);
                let zeroed = zeroed.map(|it| range.start + it.start..range.start + it.end);
                parts.masked(source, &range, zeroed.as_slice())
            }
            _ => {
                symbols.is_doubtful |= is_relocations(section);
                if knows_symbols {
                    walk_numbering(symbols, parts);
                }
                parts.bytes(source, section.range.clone())
            }
        }
    }

    fn walk_group<S: Source, P: Parts>(
        &self,
        section: &Section,
        symbols: &mut Symbols,
        source: &mut S,
        parts: &mut P,
    ) -> Result<(), S::Error> {
        let size = section.range.end - section.range.start;
        if size > GROUP_MAX || !size.is_multiple_of(4) || size == 0 {
            symbols.is_doubtful = true;
            return Ok(());
        }
        let words = source.bytes(section.range.clone())?;
        let words = (0..words.len() / 4).filter_map(|at| self.word(&words, at));
        let mut encoded = Vec::new();
        for (index, word) in words.enumerate() {
            let member = if index == 0 {
                (0, u64::from(word))
            } else {
                self.refer(word)
            };
            if index == 0 || !self.is_ignored(word) {
                encoded.extend(member.0.to_le_bytes());
                encoded.extend(member.1.to_le_bytes());
            }
        }
        parts.number(encoded.len() as u64);
        parts.derived(&encoded, section.range.clone());
        Ok(())
    }

    fn walk_relocations<S: Source, P: Parts>(
        &self,
        section: &Section,
        symbols: &mut Symbols,
        source: &mut S,
        parts: &mut P,
    ) -> Result<(), S::Error> {
        let entry = match (self.headers.is_64, section.kind == elf::SHT_RELA) {
            (true, true) => 24,
            (true, false) => 16,
            (false, true) => 12,
            (false, false) => 8,
        };
        let size = section.range.end - section.range.start;
        // Relocations of this machine without addends are written in an order of their own.
        let unknown = self.headers.machine == elf::EM_MIPS && entry == 16;
        symbols.is_doubtful |=
            !size.is_multiple_of(entry) || section.entry_size != entry || unknown;
        parts.number(size / entry);
        let mut start = section.range.start;
        let mut encoded = Vec::new();
        while start < section.range.end {
            let end = section.range.end.min(start + CHUNK * entry);
            let bytes = source.bytes(start..end)?;
            encoded.clear();
            if self.headers.is_64 {
                self.encode::<FileHeader64<Endianness>>(section, &bytes, symbols, &mut encoded);
            } else {
                self.encode::<FileHeader32<Endianness>>(section, &bytes, symbols, &mut encoded);
            }
            parts.derived(&encoded, start..end);
            start = end;
        }
        Ok(())
    }

    fn encode<Elf>(
        &self,
        section: &Section,
        bytes: &[u8],
        symbols: &mut Symbols,
        encoded: &mut Vec<u8>,
    ) where
        Elf: FileHeader<Endian = Endianness>,
    {
        let endian = self.headers.endian;
        let has_addends = section.kind == elf::SHT_RELA;
        let is_mips = self.headers.machine == elf::EM_MIPS;
        let swapped = has_addends && is_mips && self.headers.is_64 && endian == Endianness::Little;
        let add = |relocation: Elf::Rela| {
            let info: u64 = relocation.r_info(endian, swapped).into();
            let (symbol, kind) = if self.headers.is_64 {
                (info >> 32, info & 0xffff_ffff)
            } else {
                (info >> 8, info & 0xff)
            };
            let symbol = symbols.refer(u32::try_from(symbol).expect("it has 32 bits"));
            let offset: u64 = relocation.r_offset(endian).into();
            for number in [offset, symbol.0 << 32 | kind, symbol.1] {
                encoded.extend(number.to_le_bytes());
            }
            let addend: i64 = relocation.r_addend(endian).into();
            encoded.extend(addend.to_le_bytes());
        };
        if has_addends {
            entries::<Elf::Rela>(bytes).iter().copied().for_each(add);
        } else {
            let without = entries::<Elf::Rel>(bytes).iter();
            without.map(|it| Elf::Rela::from(*it)).for_each(add);
        }
    }
}

/// Relocations that are read at once.
const CHUNK: u64 = 4_096;
/// A build-id note has less than a hundred bytes.
const NOTE_MAX: u64 = 128;

/// For content that refers to symbols by their index in the file: how those are numbered. Said once,
/// it holds for all such sections.
fn walk_numbering<P: Parts>(symbols: &mut Symbols, parts: &mut P) {
    if std::mem::replace(&mut symbols.numbering_is_told, true) {
        return;
    }
    for (index, kind) in symbols.renumbered() {
        parts.number(index);
        parts.number(match kind {
            Kind::Counted(place) | Kind::Section(place) => u64::from(place),
            Kind::Skipped => u64::MAX,
        });
    }
    parts.number(u64::MAX);
}

/// As many records as fit into `bytes`.
fn entries<T: pod::Pod>(bytes: &[u8]) -> &[T] {
    let records = pod::slice_from_bytes::<T>(bytes, bytes.len() / size_of::<T>());
    records.expect("as many as fit").0
}
