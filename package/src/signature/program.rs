//! `elfsig1`: what counts of a program or a shared library.
//!
//! In this order:
//!
//! 1. the ELF identification, type, processor, flags and entry point;
//! 2. every program header without its file offset, followed by the bytes that it names; of a
//!    loaded segment also those that share its first and last page and so come to lie beside it;
//! 3. every byte of the file that no loaded segment holds, except the headers, alignment padding
//!    and sections that no program uses: symbols, debug data, comments.
//!
//! Read as zeros: the fields of the ELF header that describe section headers, and the descriptors
//! of build-id and package notes. Where they were is part of the stream.
//!
//! Section headers serve to leave out bytes outside loaded segments and for nothing else.

use std::ops::Range;

use object::elf;

use super::clip;
use super::parts::Parts;
use super::ranges::{gaps, merge};
use crate::elf::{ElfError, Headers, Section, Segment, ignored_descriptors};
use crate::source::Source;

pub(super) fn walk<S: Source, P: Parts>(
    headers: &Headers,
    source: &mut S,
    parts: &mut P,
) -> Result<(), S::Error> {
    check_amount(headers)?;
    let mut zeroed = Vec::from(section_fields(headers));
    zeroed.extend(ignored_descriptors(headers, source)?);
    let zeroed = merge(zeroed);
    walk_header(headers, source, parts)?;
    parts.number(headers.segments.len() as u64);
    for (index, segment) in headers.segments.iter().enumerate() {
        walk_fields(headers, index, parts);
        let range = if segment.kind == elf::PT_LOAD {
            let mapped = mapped(headers, segment);
            parts.number(segment.file.start - mapped.start);
            mapped
        } else {
            clip(&segment.file, headers.size)
        };
        parts.masked(source, &range, &zeroed)?;
    }
    let loads = headers.loads().map(|load| mapped(headers, load)).collect();
    let runs = outside(headers, loads, is_ignorable, source)?;
    parts.number(runs.len() as u64);
    for run in runs {
        parts.masked(source, &run, &zeroed)?;
    }
    Ok(())
}

/// Program headers may name the same bytes again and again; real ones do so twice or thrice.
fn check_amount(headers: &Headers) -> Result<(), ElfError> {
    let mut total = 0_u64;
    for segment in &headers.segments {
        let range = clip(&segment.file, headers.size);
        let size = range.end - range.start;
        total += size;
        if total > 4 * headers.size {
            return Err(ElfError::Absurd {
                what: "p_filesz",
                value: size,
                why: "all segments together are larger than four times the file",
            });
        }
    }
    Ok(())
}

/// The fields of the ELF header that describe section headers: `e_shoff`; `e_shentsize`, `e_shnum`
/// and `e_shstrndx`.
pub(super) fn section_fields(headers: &Headers) -> [Range<u64>; 2] {
    if headers.is_64 {
        [40..48, 58..64]
    } else {
        [32..36, 46..52]
    }
}

fn walk_header<S: Source, P: Parts>(
    headers: &Headers,
    source: &mut S,
    parts: &mut P,
) -> Result<(), S::Error> {
    let (entry, flags) = if headers.is_64 {
        (24..32, 48..52)
    } else {
        (24..28, 36..40)
    };
    parts.bytes(source, 0..16)?;
    parts.number_at(u64::from(headers.object_type.0), 16..18);
    parts.number_at(u64::from(headers.machine.0), 18..20);
    parts.number_at(u64::from(headers.flags), flags);
    parts.number_at(headers.entry, entry);
    Ok(())
}

/// The fields of a program header but for its file offset.
fn walk_fields<P: Parts>(headers: &Headers, index: usize, parts: &mut P) {
    let segment = &headers.segments[index];
    let values = [
        u64::from(segment.kind.0),
        u64::from(segment.flags),
        segment.address,
        segment.physical,
        segment.file.end - segment.file.start,
        segment.memory_size,
        segment.align,
    ];
    let (size, places) = if headers.is_64 {
        (56, [0..4, 4..8, 16..24, 24..32, 32..40, 40..48, 48..56])
    } else {
        (32, [0..4, 24..28, 8..12, 12..16, 16..20, 20..24, 28..32])
    };
    let start = headers.segment_table.start + size * index as u64;
    for (value, place) in values.into_iter().zip(places) {
        parts.number_at(value, start + place.start..start + place.end);
    }
}

/// The file bytes that come into memory with a loaded segment: its own, and what lies beside them
/// in its first and last page. The loader clears the rest of the last page where memory that is
/// not in the file follows.
fn mapped(headers: &Headers, segment: &Segment) -> Range<u64> {
    if segment.file.is_empty() {
        return segment.file.clone();
    }
    let page = page_size(headers, segment);
    let size = segment.file.end - segment.file.start;
    let clears = segment.memory_size > size && segment.flags & elf::PF_W.0 != 0;
    let last = if clears {
        segment.file.end
    } else {
        segment.file.end.next_multiple_of(page).min(headers.size)
    };
    segment.file.start / page * page..last
}

/// The largest page with which the segment could be mapped.
fn page_size(headers: &Headers, segment: &Segment) -> u64 {
    match headers.machine {
        elf::EM_X86_64 | elf::EM_386 => 4_096,
        _ => segment.align.clamp(4_096, 65_536),
    }
}

/// What lies neither in `inside` nor in headers, tables, ignorable sections and padding, ascending.
pub(super) fn outside<S: Source>(
    headers: &Headers,
    inside: Vec<Range<u64>>,
    is_ignorable: impl Fn(&Headers, &Section) -> bool,
    source: &S,
) -> Result<Vec<Range<u64>>, S::Error> {
    let mut left_out = inside;
    left_out.extend([
        if headers.is_64 { 0..64 } else { 0..52 },
        headers.segment_table.clone(),
        headers.section_table.clone(),
    ]);
    let ignorable = headers.sections.iter();
    let ignorable = ignorable.filter(|section| is_ignorable(headers, section));
    left_out.extend(ignorable.map(|section| section.range.clone()));
    left_out.extend(padding(headers, &left_out, source)?);
    Ok(gaps(merge(left_out), headers.size))
}

/// Zeros between sections that are there only so that what follows is aligned.
fn padding<S: Source>(
    headers: &Headers,
    left_out: &[Range<u64>],
    source: &S,
) -> Result<Vec<Range<u64>>, S::Error> {
    let table_align = if headers.is_64 { 8 } else { 4 };
    let mut aligned = vec![(headers.section_table.start, table_align)];
    let mut known = left_out.to_vec();
    for section in headers.sections.iter().filter(|it| it.is_in_file()) {
        aligned.push((section.range.start, section.align.min(PADDING_MAX)));
        known.push(section.range.clone());
    }
    aligned.sort_unstable();
    let mut padding = Vec::new();
    for gap in gaps(merge(known), headers.size) {
        let next = aligned.partition_point(|(start, _)| *start <= gap.end);
        let next = aligned[..next].last();
        let fits =
            next.is_some_and(|(start, align)| *start == gap.end && gap.end - gap.start < *align);
        if fits && source.bytes(gap.clone())?.iter().all(|byte| *byte == 0) {
            padding.push(gap);
        }
    }
    Ok(padding)
}

/// Sections outside of memory are aligned to a word, or to a cache line at most.
const PADDING_MAX: u64 = 64;

/// Sections that are not loaded and that no program looks up in its own file.
fn is_ignorable(headers: &Headers, section: &Section) -> bool {
    const NAMES: [&[u8]; 6] = [
        b".symtab",
        b".symtab_shndx",
        b".strtab",
        b".shstrtab",
        b".llvm_addrsig",
        b".note.gnu.gold-version",
    ];
    let name = headers.name(section);
    (NAMES.contains(&name) || is_for_people(name)) && !section.is_loaded()
}

/// Sections that debuggers and curious people look at.
pub(super) fn is_for_people(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 10] = [
        b".comment",
        b".gnu_debuglink",
        b".gnu_debugaltlink",
        b".gnu_debugdata",
        b".gdb_index",
        b".GCC.command.line",
        b".gnu.build.attributes",
        b".stab",
        b".stabstr",
        b".debug_gdb_scripts",
    ];
    NAMES.contains(&name) || name.starts_with(b".debug_") || name.starts_with(b".zdebug_")
}
