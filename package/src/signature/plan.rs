//! What the sections of an object for the linker are to its signature.

use std::ops::Range;

use object::Endianness;
use object::elf;
use object::{endian::U32, pod};

use super::program::is_for_people;
use super::ranges::overlap;
use crate::elf::{Headers, Section};
use crate::source::Source;

/// What the sections of an object are.
#[derive(Debug)]
pub(super) struct Plan<'headers> {
    pub(super) headers: &'headers Headers,
    /// By index: what each section is to the signature.
    pub(super) roles: Vec<Role>,
    /// The index of the symbol table; 0 if there is none.
    pub(super) symbol_table: usize,
    /// Where the symbols stand.
    pub(super) symbols: Range<u64>,
    /// Where their names stand.
    pub(super) strings: Range<u64>,
    /// Where the sections of symbols stand whose index does not fit into a symbol.
    extended: Range<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It counts, and this is its place among those that do.
    Counted(u32),
    /// It is for people alone.
    Ignored,
    /// Symbols and names, of which the meaning counts.
    Table,
}

/// Larger tables count byte by byte.
const SYMBOLS_MAX: u64 = 1 << 22;
/// Longer tables of names too.
const STRINGS_MAX: u64 = 32 << 20;
/// Larger groups too.
pub(super) const GROUP_MAX: u64 = 1 << 20;

impl<'headers> Plan<'headers> {
    /// `None` where the file is not laid out as compilers and linkers do it.
    pub(super) fn read<S: Source>(
        headers: &'headers Headers,
        source: &S,
    ) -> Result<Option<Self>, S::Error> {
        let sections = &headers.sections;
        let mut ranges: Vec<_> = sections.iter().skip(1).map(|it| it.range.clone()).collect();
        ranges.extend([0..64.min(headers.size), headers.section_table.clone()]);
        if !headers.segments.is_empty() || overlap(ranges) || !headers.names_are_whole() {
            return Ok(None);
        }
        let mut plan = Self {
            headers,
            roles: vec![Role::Counted(0); sections.len()],
            symbol_table: 0,
            symbols: 0..0,
            strings: 0..0,
            extended: 0..0,
        };
        if !plan.find_tables() {
            return Ok(None);
        }
        plan.find_ignored(source)?;
        let mut place = 0;
        for role in plan.roles.iter_mut().skip(1) {
            if let Role::Counted(_) = role {
                place += 1;
                *role = Role::Counted(place);
            }
        }
        Ok(Some(plan))
    }

    /// Finds symbols and names; false if they are not where they always are.
    fn find_tables(&mut self) -> bool {
        let headers = self.headers;
        let of_kind = |kind| {
            let sections = headers.sections.iter().enumerate();
            sections.filter(move |(_, section)| section.kind == kind)
        };
        let mut tables = vec![
            (0, None),
            (headers.names_index as usize, Some(elf::SHT_STRTAB)),
        ];
        if let Some((index, table)) = of_kind(elf::SHT_SYMTAB).next() {
            self.symbol_table = index;
            self.symbols = table.range.clone();
            tables.push((index, Some(elf::SHT_SYMTAB)));
            tables.push((table.link as usize, Some(elf::SHT_STRTAB)));
            let strings = headers.sections.get(table.link as usize);
            self.strings = strings.map_or(0..0, |strings| strings.range.clone());
        }
        let mut extended = of_kind(elf::SHT_SYMTAB_SHNDX);
        if let Some((index, table)) = extended.next() {
            self.extended = table.range.clone();
            tables.push((index, Some(elf::SHT_SYMTAB_SHNDX)));
        }
        for (index, kind) in &tables {
            let Some(section) = headers.sections.get(*index) else {
                return *index == 0;
            };
            if *index > 0 && (Some(section.kind) != *kind || section.is_loaded()) {
                return false;
            }
            self.roles[*index] = Role::Table;
        }
        let size = self.symbols.end - self.symbols.start;
        of_kind(elf::SHT_SYMTAB).count() <= 1
            && extended.next().is_none()
            && size.is_multiple_of(self.symbol_size())
            && size / self.symbol_size() <= SYMBOLS_MAX
            && self.strings.end - self.strings.start <= STRINGS_MAX
    }

    /// Finds what is for people, the relocations of it, and groups of nothing else.
    fn find_ignored<S: Source>(&mut self, source: &S) -> Result<(), S::Error> {
        let sections = &self.headers.sections;
        for (index, section) in sections.iter().enumerate().skip(1) {
            let kinds = [
                elf::SHT_PROGBITS,
                elf::SHT_NOTE,
                elf::SHT_STRTAB,
                elf::SHT_MIPS_DWARF,
            ];
            let for_people = kinds.contains(&section.kind)
                && is_passive(section)
                && is_for_people(self.headers.name(section));
            if for_people && self.roles[index] != Role::Table {
                self.roles[index] = Role::Ignored;
            }
        }
        for (index, section) in sections.iter().enumerate() {
            if is_relocations(section) && is_passive(section) && self.is_ignored(section.info) {
                self.roles[index] = Role::Ignored;
            }
        }
        for (index, section) in sections.iter().enumerate() {
            if section.kind == elf::SHT_GROUP
                && section.range.end - section.range.start <= GROUP_MAX
            {
                let words = source.bytes(section.range.clone())?;
                let mut members = (1..words.len() / 4).filter_map(|at| self.word(&words, at));
                if words.len() > 4 && members.all(|member| self.is_ignored(member)) {
                    self.roles[index] = Role::Ignored;
                }
            }
        }
        Ok(())
    }

    pub(super) fn symbol_size(&self) -> u64 {
        if self.headers.is_64 { 24 } else { 16 }
    }

    /// Where the sections of `count` symbols from `first` on stand that do not fit into them.
    pub(super) fn extended_sections(&self, first: u64, count: u64) -> Range<u64> {
        let end = self.extended.end;
        let at = |index: u64| end.min(self.extended.start + 4 * index);
        at(first)..at(first + count)
    }

    /// The word of four bytes at this place of a table.
    pub(super) fn word(&self, table: &[u8], index: usize) -> Option<u32> {
        let bytes = table.get(4 * index..)?;
        let (word, _) = pod::from_bytes::<U32<Endianness>>(bytes).ok()?;
        Some(word.get(self.headers.endian))
    }

    pub(super) fn is_ignored(&self, section: u32) -> bool {
        section > 0 && self.roles.get(section as usize) == Some(&Role::Ignored)
    }

    /// The place of a section among those that count.
    pub(super) fn place(&self, section: u32) -> Option<u32> {
        match self.roles.get(section as usize) {
            Some(Role::Counted(place)) => Some(*place),
            _ => None,
        }
    }

    /// How the signature knows the section `index`, as two numbers.
    pub(super) fn refer(&self, index: u32) -> (u64, u64) {
        match self.roles.get(index as usize) {
            Some(Role::Counted(place)) => (1, u64::from(*place)),
            Some(Role::Table) if index > 0 => {
                (2, u64::from(self.headers.sections[index as usize].kind.0))
            }
            Some(Role::Ignored) => (3, 0),
            Some(Role::Table) | None => (4, u64::from(index)),
        }
    }
}

/// True of a section that is not loaded and has no flag by which a linker would place it or keep
/// others.
fn is_passive(section: &Section) -> bool {
    const WITHOUT_EFFECT: [elf::SectionFlags; 6] = [
        elf::SHF_MERGE,
        elf::SHF_STRINGS,
        elf::SHF_INFO_LINK,
        elf::SHF_GROUP,
        elf::SHF_COMPRESSED,
        elf::SHF_EXCLUDE,
    ];
    let without_effect = WITHOUT_EFFECT.iter().fold(0, |all, flag| all | flag.0);
    section.flags & !without_effect == 0
}

/// True for relocations, which serve another section.
pub(super) fn is_relocations(section: &Section) -> bool {
    matches!(section.kind, elf::SHT_REL | elf::SHT_RELA)
}
