//! Header, segments and sections of an ELF file in one form for both word sizes and byte orders.

use std::ops::Range;

use object::elf::{self, FileHeader32, FileHeader64, FileType, Machine, ProgramType, SectionType};
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader};
use object::{Endianness, ReadRef as _};

use super::ElfError;
use crate::source::Source;

/// The headers of an ELF file, checked against its size.
#[derive(Debug, Clone)]
pub(crate) struct Headers {
    /// How many bytes the file has.
    pub(crate) size: u64,
    pub(crate) endian: Endianness,
    pub(crate) is_64: bool,
    pub(crate) object_type: FileType,
    pub(crate) machine: Machine,
    pub(crate) entry: u64,
    pub(crate) flags: u32,
    /// Where the program headers stand in the file.
    pub(crate) segment_table: Range<u64>,
    pub(crate) segments: Vec<Segment>,
    /// Where the section headers stand in the file; empty if there are none.
    pub(crate) section_table: Range<u64>,
    /// All of them, so that their place is their index.
    pub(crate) sections: Vec<Section>,
    /// Which section holds the names of sections; 0 if none does.
    pub(crate) names_index: u32,
    names: Vec<u8>,
    names_are_whole: bool,
}

/// A program header.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) kind: ProgramType,
    pub(crate) flags: u32,
    pub(crate) file: Range<u64>,
    pub(crate) address: u64,
    pub(crate) physical: u64,
    pub(crate) memory_size: u64,
    pub(crate) align: u64,
}

/// A section header. A hint, no more, but in an object for the linker.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// Where its name stands in the table of names.
    name: u32,
    /// How many bytes its name has; 0 if it cannot be read.
    name_length: usize,
    pub(crate) kind: SectionType,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    /// Its bytes in the file; empty if it only takes up memory.
    pub(crate) range: Range<u64>,
    pub(crate) size: u64,
    pub(crate) link: u32,
    pub(crate) info: u32,
    pub(crate) align: u64,
    pub(crate) entry_size: u64,
}

impl Section {
    /// True if the section is meant to be in memory.
    pub(crate) fn is_loaded(&self) -> bool {
        self.flags & elf::SHF_ALLOC.0 != 0
    }

    /// True if the section has a place in the file.
    pub(crate) fn is_in_file(&self) -> bool {
        self.kind != elf::SHT_NOBITS
    }
}

/// The kernel refuses more bytes of program headers.
const SEGMENT_TABLE_MAX: u64 = 65_536;
/// Objects with a section for each of a hundred thousand functions exist.
const SECTIONS_MAX: u64 = 1 << 20;
/// Names beyond are read as if they were empty.
const NAMES_MAX: u64 = 32 << 20;
/// What all names together may come to: that of a section also ends that of its relocations.
const NAMES_LENGTH_MAX: usize = 64 << 20;

impl Headers {
    /// Reads the headers of a file; `None` if it does not begin as an ELF file does.
    pub(crate) fn read<S: Source>(source: &S) -> Result<Option<Self>, S::Error> {
        let mut start = [0; 64];
        let there = usize::try_from(source.size()).map_or(64, |size| size.min(64));
        source.read_at(0, &mut start[..there])?;
        let start = &start[..there];
        if !start.starts_with(&elf::ELFMAG) {
            return Ok(None);
        }
        let ident = |index: usize| start.get(index).copied().map_or(0, u64::from);
        need(source.size(), "the ELF identification", 0, 16)?;
        if ident(6) != 1 {
            return Err(absurd("the ELF version", ident(6), "it is always 1").into());
        }
        if !(1..=2).contains(&ident(5)) {
            return Err(absurd("the byte order", ident(5), "it is 1 or 2").into());
        }
        match ident(4) {
            1 => Self::read_as::<FileHeader32<Endianness>, S>(start, source).map(Some),
            2 => Self::read_as::<FileHeader64<Endianness>, S>(start, source).map(Some),
            class => Err(absurd("the ELF class", class, "it is 1 or 2").into()),
        }
    }

    fn read_as<Elf, S>(start: &[u8], source: &S) -> Result<Self, S::Error>
    where
        Elf: FileHeader<Endian = Endianness>,
        S: Source,
    {
        need(source.size(), "the ELF header", 0, size_of::<Elf>() as u64)?;
        let header = Elf::parse(start)
            .map_err(|_| absurd("the ELF identification", 0, "it contradicts itself"))?;
        let endian = if header.is_big_endian() {
            Endianness::Big
        } else {
            Endianness::Little
        };
        let mut headers = Self {
            size: source.size(),
            endian,
            is_64: header.is_type_64(),
            object_type: header.e_type(endian),
            machine: header.e_machine(endian),
            entry: header.e_entry(endian).into(),
            flags: header.e_flags(endian).0,
            segment_table: 0..0,
            segments: Vec::new(),
            section_table: 0..0,
            sections: Vec::new(),
            names_index: 0,
            names: Vec::new(),
            names_are_whole: true,
        };
        headers.read_segments(header, source)?;
        headers.read_sections(header, source)?;
        if headers.is_program() {
            check_segments(&headers)?;
        }
        Ok(headers)
    }

    fn read_segments<Elf, S>(&mut self, header: &Elf, source: &S) -> Result<(), S::Error>
    where
        Elf: FileHeader<Endian = Endianness>,
        S: Source,
    {
        let (endian, count) = (self.endian, u64::from(header.e_phnum(self.endian)));
        if count == 0 {
            return Ok(());
        }
        let size = u64::from(header.e_phentsize(endian));
        if size != size_of::<Elf::ProgramHeader>() as u64 {
            let why = "it is not the size of one program header";
            return Err(absurd("e_phentsize", size, why).into());
        }
        if count * size > SEGMENT_TABLE_MAX {
            let why = "the kernel takes at most 64 KiB of program headers";
            return Err(absurd("e_phnum", count, why).into());
        }
        let offset = header.e_phoff(endian).into();
        let what = "the table of program headers (e_phoff, e_phnum)";
        need(self.size, what, offset, count * size)?;
        self.segment_table = offset..offset + count * size;
        let table = source.bytes(self.segment_table.clone())?;
        let table: &[Elf::ProgramHeader] = slice(&table, 0, count, what)?;
        for entry in table {
            let start: u64 = entry.p_offset(endian).into();
            let size: u64 = entry.p_filesz(endian).into();
            let end = start
                .checked_add(size)
                .ok_or_else(|| absurd("p_filesz", size, "the segment would end past any file"))?;
            self.segments.push(Segment {
                kind: entry.p_type(endian),
                flags: entry.p_flags(endian).0,
                file: start..end,
                address: entry.p_vaddr(endian).into(),
                physical: entry.p_paddr(endian).into(),
                memory_size: entry.p_memsz(endian).into(),
                align: entry.p_align(endian).into(),
            });
        }
        Ok(())
    }

    fn read_sections<Elf, S>(&mut self, header: &Elf, source: &S) -> Result<(), S::Error>
    where
        Elf: FileHeader<Endian = Endianness>,
        S: Source,
    {
        let endian = self.endian;
        let offset: u64 = header.e_shoff(endian).into();
        if offset == 0 {
            return Ok(());
        }
        let size = u64::from(header.e_shentsize(endian));
        if size != size_of::<Elf::SectionHeader>() as u64 {
            let why = "it is not the size of one section header";
            return Err(absurd("e_shentsize", size, why).into());
        }
        let what = "the table of section headers (e_shoff, e_shnum)";
        need(self.size, what, offset, size)?;
        let first = source.bytes(offset..offset + size)?;
        let first: &[Elf::SectionHeader] = slice(&first, 0, 1, what)?;
        // The first header tells what does not fit into the ELF header.
        let count = match header.e_shnum(endian) {
            0 => first[0].sh_size(endian).into(),
            count => u64::from(count),
        };
        if count > SECTIONS_MAX {
            let why = "no real file has more than a million sections";
            return Err(absurd("e_shnum", count, why).into());
        }
        need(self.size, what, offset, count * size)?;
        self.section_table = offset..offset + count * size;
        let table = source.bytes(self.section_table.clone())?;
        let table: &[Elf::SectionHeader] = slice(&table, 0, count, what)?;
        for entry in table {
            let section = section_of(entry, endian, self.size)?;
            self.sections.push(section);
        }
        self.names_index = match header.e_shstrndx(endian) {
            elf::SHN_XINDEX => first[0].sh_link(endian),
            index => index.index().map_or(0, u32::from),
        };
        self.read_names(source)
    }

    fn read_names<S: Source>(&mut self, source: &S) -> Result<(), S::Error> {
        let table = self.sections.get(self.names_index as usize);
        let Some(table) = table.filter(|_| self.names_index > 0) else {
            return Ok(());
        };
        let end = table.range.end.min(table.range.start + NAMES_MAX);
        self.names_are_whole = end == table.range.end;
        self.names = source.bytes(table.range.start..end)?;
        self.measure_names();
        Ok(())
    }

    /// Finds where each name ends. Names may overlap, so that few bytes could give many long ones.
    fn measure_names(&mut self) {
        let mut left = NAMES_LENGTH_MAX;
        for section in &mut self.sections {
            let from = self.names.get(section.name as usize..).unwrap_or(&[]);
            let bounded = &from[..from.len().min(left)];
            let length = bounded.iter().position(|byte| *byte == 0);
            left -= length.unwrap_or(bounded.len());
            self.names_are_whole &= length.is_some() || bounded.len() == from.len();
            section.name_length = length.unwrap_or(0);
        }
    }

    /// The name of a section; empty if it has none that can be read.
    pub(crate) fn name(&self, section: &Section) -> &[u8] {
        let start = section.name as usize;
        let name = self.names.get(start..start + section.name_length);
        name.unwrap_or(&[])
    }

    /// Where that name stands in the file, with its end.
    pub(crate) fn name_range(&self, section: &Section) -> Range<u64> {
        let table = self.sections.get(self.names_index as usize);
        let length = self.name(section).len() as u64 + 1;
        table.map_or(0..0, |table| {
            let start = table.range.start + u64::from(section.name);
            start..start + length
        })
    }

    /// False if there are more names than are read.
    pub(crate) fn names_are_whole(&self) -> bool {
        self.names_are_whole
    }

    /// True for what a loader loads; objects for the linker and core dumps are not.
    pub(crate) fn is_program(&self) -> bool {
        matches!(self.object_type, elf::ET_EXEC | elf::ET_DYN)
    }

    /// The segments that are loaded, by ascending address.
    pub(crate) fn loads(&self) -> impl Iterator<Item = &Segment> {
        let loads = self.segments.iter();
        loads.filter(|segment| segment.kind == elf::PT_LOAD)
    }

    /// The segment of a kind that occurs at most once; of an object for the linker, none.
    pub(crate) fn only(&self, kind: ProgramType) -> Option<&Segment> {
        let mut segments = self.segments.iter();
        segments.find(|segment| self.is_program() && segment.kind == kind)
    }

    /// Where the byte that is loaded at `address` stands in the file, and where its segment ends.
    pub(crate) fn offset_of(&self, address: u64) -> Option<Range<u64>> {
        self.loads().find_map(|segment| {
            let into = address.checked_sub(segment.address)?;
            let size = segment.file.end - segment.file.start;
            (into < size).then(|| segment.file.start + into..segment.file.end)
        })
    }

    /// How many bytes are loaded from `address` on, up to the end of the segment.
    pub(super) fn loaded_from(&self, address: u64) -> u64 {
        self.offset_of(address)
            .map_or(0, |range| range.end - range.start)
    }
}

fn section_of<Header>(entry: &Header, endian: Endianness, end: u64) -> Result<Section, ElfError>
where
    Header: SectionHeader<Endian = Endianness>,
{
    let (start, size) = (entry.sh_offset(endian).into(), entry.sh_size(endian).into());
    let kind = entry.sh_type(endian);
    let in_file = if kind == elf::SHT_NOBITS { 0 } else { size };
    if kind != elf::SHT_NOBITS {
        need(end, "a section", start, size)?;
    }
    // A section that only takes up memory may claim any place.
    let start: u64 = start.min(end);
    Ok(Section {
        name: entry.sh_name(endian),
        name_length: 0,
        kind,
        flags: entry.sh_flags(endian).0,
        address: entry.sh_addr(endian).into(),
        range: start..start + in_file,
        size,
        link: entry.sh_link(endian),
        info: entry.sh_info(endian),
        align: entry.sh_addralign(endian).into(),
        entry_size: entry.sh_entsize(endian).into(),
    })
}

/// What the loader checks, and what has to hold so that file offsets and addresses agree.
fn check_segments(headers: &Headers) -> Result<(), ElfError> {
    for kind in [elf::PT_DYNAMIC, elf::PT_INTERP] {
        let count = headers
            .segments
            .iter()
            .filter(|segment| segment.kind == kind);
        if count.count() > 1 {
            let why = "more than one program header of this type";
            return Err(absurd("p_type", u64::from(kind.0), why));
        }
    }
    let mut end = 0;
    for segment in &headers.segments {
        check_file_range(headers, segment)?;
        if segment.kind == elf::PT_LOAD {
            check_load(headers, segment, &mut end)?;
        }
    }
    if let Some(dynamic) = headers.only(elf::PT_DYNAMIC) {
        let found = headers.offset_of(dynamic.address).map(|range| range.start);
        if found != Some(dynamic.file.start) {
            let why = "PT_DYNAMIC's offset in the file is not where its address is loaded from";
            return Err(absurd("p_offset", dynamic.file.start, why));
        }
    }
    Ok(())
}

fn check_file_range(headers: &Headers, segment: &Segment) -> Result<(), ElfError> {
    let what = match segment.kind {
        elf::PT_LOAD => "a loaded segment (PT_LOAD)",
        elf::PT_DYNAMIC => "the dynamic section (PT_DYNAMIC)",
        elf::PT_INTERP => "the interpreter (PT_INTERP)",
        elf::PT_NOTE => "the notes (PT_NOTE)",
        elf::PT_TLS => "the thread-local data (PT_TLS)",
        elf::PT_GNU_PROPERTY => "the properties (PT_GNU_PROPERTY)",
        _ => return Ok(()),
    };
    let size = segment.file.end - segment.file.start;
    need(headers.size, what, segment.file.start, size)
}

fn check_load(headers: &Headers, segment: &Segment, end: &mut u64) -> Result<(), ElfError> {
    let file_size = segment.file.end - segment.file.start;
    if file_size > segment.memory_size {
        let why = "a loaded segment is larger in the file than in memory (p_memsz)";
        return Err(absurd("p_filesz", file_size, why));
    }
    if segment.align > 1 && !segment.align.is_power_of_two() {
        return Err(absurd("p_align", segment.align, "it is no power of two"));
    }
    if segment.address < *end {
        let why = "loaded segments overlap or do not ascend";
        return Err(absurd("p_vaddr", segment.address, why));
    }
    let limit = if headers.is_64 { u64::MAX } else { 1 << 32 };
    let last = segment.address.checked_add(segment.memory_size);
    *end = last.filter(|last| *last <= limit).ok_or_else(|| {
        let why = "the segment would end past the address space";
        absurd("p_memsz", segment.memory_size, why)
    })?;
    let page_mask = if segment.align > 1 { 4_095 } else { 0 };
    if (segment.file.start ^ segment.address) & page_mask.min(segment.align.wrapping_sub(1)) != 0 {
        let why = "it does not agree with p_vaddr within a page, so that nothing can map it";
        return Err(absurd("p_offset", segment.file.start, why));
    }
    Ok(())
}

/// Refuses a file that does not hold `size` bytes at `offset`.
pub(crate) fn need(end: u64, what: &'static str, offset: u64, size: u64) -> Result<(), ElfError> {
    match offset.checked_add(size) {
        Some(last) if last <= end => Ok(()),
        _ => Err(ElfError::Truncated {
            what,
            offset,
            size,
            end,
        }),
    }
}

/// `count` records of the file at `offset`.
pub(super) fn slice<'data, T: object::pod::Pod>(
    bytes: &'data [u8],
    offset: u64,
    count: u64,
    what: &'static str,
) -> Result<&'data [T], ElfError> {
    let truncated = || ElfError::Truncated {
        what,
        offset,
        size: count.saturating_mul(size_of::<T>() as u64),
        end: bytes.len() as u64,
    };
    let count = usize::try_from(count).map_err(|_| truncated())?;
    bytes.read_slice_at(offset, count).map_err(|()| truncated())
}

pub(super) fn absurd(what: &'static str, value: u64, why: &'static str) -> ElfError {
    ElfError::Absurd { what, value, why }
}
