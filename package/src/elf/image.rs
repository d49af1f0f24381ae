//! Header, segments and sections of an ELF file in one form for both word sizes and byte orders.

use std::ops::Range;

use object::elf::{self, FileHeader32, FileHeader64, FileType, Machine, ProgramType, SectionType};
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, ReadRef as _};

use super::ElfError;

/// An ELF file whose headers have been checked against its size.
#[derive(Debug)]
pub(crate) struct Image<'data> {
    pub(crate) bytes: &'data [u8],
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
    pub(crate) sections: Vec<Section<'data>>,
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

/// A section header of a section that has bytes in the file. A hint, no more.
#[derive(Debug, Clone)]
pub(crate) struct Section<'data> {
    pub(crate) name: &'data [u8],
    pub(crate) kind: SectionType,
    pub(crate) is_loaded: bool,
    pub(crate) range: Range<u64>,
    pub(crate) align: u64,
}

/// The kernel refuses more bytes of program headers.
const SEGMENT_TABLE_MAX: u64 = 65_536;

impl<'data> Image<'data> {
    /// Reads the headers of `bytes`; `None` if it does not begin as an ELF file does.
    pub(crate) fn parse(bytes: &'data [u8]) -> Result<Option<Self>, ElfError> {
        if !bytes.starts_with(&elf::ELFMAG) {
            return Ok(None);
        }
        let ident = |index: usize| bytes.get(index).copied().map_or(0, u64::from);
        need(bytes, "the ELF identification", 0, 16)?;
        if ident(6) != 1 {
            return Err(absurd("the ELF version", ident(6), "it is always 1"));
        }
        if !(1..=2).contains(&ident(5)) {
            return Err(absurd("the byte order", ident(5), "it is 1 or 2"));
        }
        match ident(4) {
            1 => Self::read::<FileHeader32<Endianness>>(bytes).map(Some),
            2 => Self::read::<FileHeader64<Endianness>>(bytes).map(Some),
            class => Err(absurd("the ELF class", class, "it is 1 or 2")),
        }
    }

    fn read<Elf>(bytes: &'data [u8]) -> Result<Self, ElfError>
    where
        Elf: FileHeader<Endian = Endianness>,
    {
        need(bytes, "the ELF header", 0, size_of::<Elf>() as u64)?;
        let header = Elf::parse(bytes)
            .map_err(|_| absurd("the ELF identification", 0, "it contradicts itself"))?;
        let endian = if header.is_big_endian() {
            Endianness::Big
        } else {
            Endianness::Little
        };
        let mut image = Self {
            bytes,
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
        };
        image.read_segments(header)?;
        image.read_sections(header)?;
        if image.is_program() {
            check_segments(&image)?;
        }
        Ok(image)
    }

    fn read_segments<Elf>(&mut self, header: &Elf) -> Result<(), ElfError>
    where
        Elf: FileHeader<Endian = Endianness>,
    {
        let (endian, count) = (self.endian, u64::from(header.e_phnum(self.endian)));
        if count == 0 {
            return Ok(());
        }
        let size = u64::from(header.e_phentsize(endian));
        if size != size_of::<Elf::ProgramHeader>() as u64 {
            let why = "it is not the size of one program header";
            return Err(absurd("e_phentsize", size, why));
        }
        if count * size > SEGMENT_TABLE_MAX {
            let why = "the kernel takes at most 64 KiB of program headers";
            return Err(absurd("e_phnum", count, why));
        }
        let offset = header.e_phoff(endian).into();
        let what = "the table of program headers (e_phoff, e_phnum)";
        need(self.bytes, what, offset, count * size)?;
        self.segment_table = offset..offset + count * size;
        let table: &[Elf::ProgramHeader] = slice(self.bytes, offset, count, what)?;
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

    fn read_sections<Elf>(&mut self, header: &Elf) -> Result<(), ElfError>
    where
        Elf: FileHeader<Endian = Endianness>,
    {
        let (bytes, endian) = (self.bytes, self.endian);
        let offset: u64 = header.e_shoff(endian).into();
        if offset == 0 {
            return Ok(());
        }
        let size = u64::from(header.e_shentsize(endian));
        if size != size_of::<Elf::SectionHeader>() as u64 {
            let why = "it is not the size of one section header";
            return Err(absurd("e_shentsize", size, why));
        }
        let what = "the table of section headers (e_shoff, e_shnum)";
        need(bytes, what, offset, size)?;
        let count = header.shnum(endian, bytes).map(u64::from);
        let count = count.map_err(|_| absurd("e_shnum", 0, "the real count is unreadable"))?;
        need(bytes, what, offset, count.saturating_mul(size))?;
        self.section_table = offset..offset + count * size;
        let table: &[Elf::SectionHeader] = slice(bytes, offset, count, what)?;
        let names = section_names(header, endian, bytes, table);
        for entry in table {
            let Some((start, size)) = entry.file_range(endian) else {
                continue;
            };
            need(bytes, "a section", start, size)?;
            let name = names.get(entry.sh_name(endian) as usize..).unwrap_or(&[]);
            let length = name.iter().take(256).position(|byte| *byte == 0);
            self.sections.push(Section {
                name: &name[..length.unwrap_or(0)],
                kind: entry.sh_type(endian),
                is_loaded: entry.sh_flags(endian).contains(elf::SHF_ALLOC),
                range: start..start + size,
                align: entry.sh_addralign(endian).into(),
            });
        }
        Ok(())
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

    /// The bytes of a file range that was checked; what lies outside the file is left out.
    pub(crate) fn file(&self, range: &Range<u64>) -> &'data [u8] {
        let end = self.bytes.len() as u64;
        let index = |offset: u64| usize::try_from(offset.min(end)).unwrap_or(self.bytes.len());
        &self.bytes[index(range.start)..index(range.end.max(range.start))]
    }

    /// Where the byte that is loaded at `address` stands in the file, and where its segment ends.
    pub(crate) fn offset_of(&self, address: u64) -> Option<Range<u64>> {
        self.loads().find_map(|segment| {
            let into = address.checked_sub(segment.address)?;
            let size = segment.file.end - segment.file.start;
            (into < size).then(|| segment.file.start + into..segment.file.end)
        })
    }

    /// The bytes loaded from `address` on, up to the end of their segment, at least `size`.
    pub(crate) fn at(
        &self,
        address: u64,
        size: u64,
        what: &'static str,
    ) -> Result<&'data [u8], ElfError> {
        let unmapped = ElfError::Unmapped {
            what,
            address,
            size,
        };
        match self.offset_of(address) {
            Some(range) if range.end - range.start >= size => Ok(self.file(&range)),
            None if size == 0 => Ok(&[]),
            _ => Err(unmapped),
        }
    }
}

/// What the loader checks, and what has to hold so that file offsets and addresses agree.
fn check_segments(image: &Image<'_>) -> Result<(), ElfError> {
    for kind in [elf::PT_DYNAMIC, elf::PT_INTERP] {
        let count = image.segments.iter().filter(|segment| segment.kind == kind);
        if count.count() > 1 {
            let why = "more than one program header of this type";
            return Err(absurd("p_type", u64::from(kind.0), why));
        }
    }
    let mut end = 0;
    for segment in &image.segments {
        check_file_range(image, segment)?;
        if segment.kind == elf::PT_LOAD {
            check_load(image, segment, &mut end)?;
        }
    }
    if let Some(dynamic) = image.only(elf::PT_DYNAMIC) {
        let found = image.offset_of(dynamic.address).map(|range| range.start);
        if found != Some(dynamic.file.start) {
            let why = "PT_DYNAMIC's offset in the file is not where its address is loaded from";
            return Err(absurd("p_offset", dynamic.file.start, why));
        }
    }
    Ok(())
}

fn check_file_range(image: &Image<'_>, segment: &Segment) -> Result<(), ElfError> {
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
    need(image.bytes, what, segment.file.start, size)
}

fn check_load(image: &Image<'_>, segment: &Segment, end: &mut u64) -> Result<(), ElfError> {
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
    let limit = if image.is_64 { u64::MAX } else { 1 << 32 };
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

/// The string table of section names; empty if there is none that can be used.
fn section_names<'data, Elf>(
    header: &Elf,
    endian: Endianness,
    bytes: &'data [u8],
    table: &[Elf::SectionHeader],
) -> &'data [u8]
where
    Elf: FileHeader<Endian = Endianness>,
{
    let index = header.shstrndx(endian, bytes).ok();
    index
        .and_then(|index| table.get(index as usize))
        .and_then(|section| section.data(endian, bytes).ok())
        .unwrap_or(&[])
}

/// Refuses a file that does not hold `size` bytes at `offset`.
pub(super) fn need(
    bytes: &[u8],
    what: &'static str,
    offset: u64,
    size: u64,
) -> Result<(), ElfError> {
    let end = bytes.len() as u64;
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
