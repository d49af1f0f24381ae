//! The module signature (B4): MD5 over what the loader and the program can observe.
//!
//! For an ELF program `elfsig1` covers, in this order:
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
//! **Invariant:** equal signatures imply the same loaded program. Section headers serve to leave
//! out bytes outside loaded segments and for nothing else; whatever is doubtful counts.

use std::ops::Range;

use md5::{Digest as _, Md5};
use object::elf;
use placet_model::{Signature, SignatureKind};

use crate::elf::{ElfError, Image, Section, Segment, ignored_descriptors};

/// The signature of a module: `elfsig1` for ELF files, MD5 of the bytes for all others.
///
/// # Errors
///
/// An ELF file that is truncated or whose headers make no sense.
pub fn signature(bytes: &[u8]) -> Result<Signature, ElfError> {
    let Some(image) = Image::parse(bytes)? else {
        let md5 = Md5::digest(bytes).into();
        return Ok(Signature::new(SignatureKind::Plain, md5));
    };
    let mut stream = Stream::default();
    // What is linked again, or loaded by its section headers as kernel modules are, counts whole.
    if image.is_program() {
        sign(&image, &mut stream)?;
    } else {
        stream.bytes(bytes);
    }
    let md5 = stream.0.finalize().into();
    Ok(Signature::new(SignatureKind::Elf1, md5))
}

fn sign(image: &Image<'_>, stream: &mut Stream) -> Result<(), ElfError> {
    check_amount(image)?;
    let zeroed = zeroed(image);
    stream.bytes(&image.bytes[..16]);
    stream.number(u64::from(image.object_type.0));
    stream.number(u64::from(image.machine.0));
    stream.number(u64::from(image.flags));
    stream.number(image.entry);
    stream.number(image.segments.len() as u64);
    for segment in &image.segments {
        stream.number(u64::from(segment.kind.0));
        stream.number(u64::from(segment.flags));
        stream.number(segment.address);
        stream.number(segment.physical);
        stream.number(segment.file.end - segment.file.start);
        stream.number(segment.memory_size);
        stream.number(segment.align);
        let range = if segment.kind == elf::PT_LOAD {
            let mapped = mapped(image, segment);
            stream.number(segment.file.start - mapped.start);
            mapped
        } else {
            segment.file.clone()
        };
        stream.masked(image, &range, &zeroed);
    }
    let runs = outside(image);
    stream.number(runs.len() as u64);
    for run in runs {
        stream.masked(image, &run, &zeroed);
    }
    Ok(())
}

/// Program headers may name the same bytes again and again; real ones do so twice or thrice.
fn check_amount(image: &Image<'_>) -> Result<(), ElfError> {
    let mut total = 0_u64;
    for segment in &image.segments {
        let size = image.file(&segment.file).len() as u64;
        total += size;
        if total > 4 * image.bytes.len() as u64 {
            return Err(ElfError::Absurd {
                what: "p_filesz",
                value: size,
                why: "all segments together are larger than four times the file",
            });
        }
    }
    Ok(())
}

/// What reads as zeros, ascending.
fn zeroed(image: &Image<'_>) -> Vec<Range<u64>> {
    // e_shoff; e_shentsize, e_shnum, e_shstrndx.
    let fields = if image.is_64 {
        [40..48, 58..64]
    } else {
        [32..36, 46..52]
    };
    let mut ranges = Vec::from(fields);
    ranges.extend(ignored_descriptors(image));
    merge(ranges)
}

/// The file bytes that come into memory with a loaded segment: its own, and what lies beside them
/// in its first and last page. The loader clears the rest of the last page where memory that is
/// not in the file follows.
fn mapped(image: &Image<'_>, segment: &Segment) -> Range<u64> {
    if segment.file.is_empty() {
        return segment.file.clone();
    }
    let page = page_size(image, segment);
    let end = image.bytes.len() as u64;
    let size = segment.file.end - segment.file.start;
    let clears = segment.memory_size > size && segment.flags & elf::PF_W.0 != 0;
    let last = if clears {
        segment.file.end
    } else {
        segment.file.end.next_multiple_of(page).min(end)
    };
    segment.file.start / page * page..last
}

/// The largest page with which the segment could be mapped.
fn page_size(image: &Image<'_>, segment: &Segment) -> u64 {
    match image.machine {
        elf::EM_X86_64 | elf::EM_386 => 4_096,
        _ => segment.align.clamp(4_096, 65_536),
    }
}

/// What no loaded segment holds and nothing allows to leave out, ascending.
fn outside(image: &Image<'_>) -> Vec<Range<u64>> {
    let header = if image.is_64 { 0..64 } else { 0..52 };
    let mut left_out: Vec<_> = image.loads().map(|load| mapped(image, load)).collect();
    left_out.extend([
        header,
        image.segment_table.clone(),
        image.section_table.clone(),
    ]);
    let ignorable = image
        .sections
        .iter()
        .filter(|section| is_ignorable(section));
    left_out.extend(ignorable.map(|section| section.range.clone()));
    left_out.extend(padding(image, &left_out));
    gaps(merge(left_out), image.bytes.len() as u64)
}

/// Zeros between sections that are there only so that what follows is aligned.
fn padding(image: &Image<'_>, left_out: &[Range<u64>]) -> Vec<Range<u64>> {
    let table_align = if image.is_64 { 8 } else { 4 };
    let mut aligned = vec![(image.section_table.start, table_align)];
    let sections = image.sections.iter();
    aligned.extend(sections.map(|section| (section.range.start, section.align.min(PADDING_MAX))));
    aligned.sort_unstable();
    let mut known = left_out.to_vec();
    known.extend(image.sections.iter().map(|section| section.range.clone()));
    let mut gaps = gaps(merge(known), image.bytes.len() as u64);
    gaps.retain(|gap| {
        let next = aligned.partition_point(|(start, _)| *start <= gap.end);
        let next = aligned[..next].last();
        let fits =
            next.is_some_and(|(start, align)| *start == gap.end && gap.end - gap.start < *align);
        fits && image.file(gap).iter().all(|byte| *byte == 0)
    });
    gaps
}

/// Sections outside of memory are aligned to a word, or to a cache line at most.
const PADDING_MAX: u64 = 64;

/// Sections that are not loaded and that no program looks up in its own file.
fn is_ignorable(section: &Section<'_>) -> bool {
    const NAMES: [&[u8]; 16] = [
        b".symtab",
        b".symtab_shndx",
        b".strtab",
        b".shstrtab",
        b".comment",
        b".gnu_debuglink",
        b".gnu_debugaltlink",
        b".gnu_debugdata",
        b".gdb_index",
        b".GCC.command.line",
        b".gnu.build.attributes",
        b".note.gnu.gold-version",
        b".stab",
        b".stabstr",
        b".llvm_addrsig",
        b".debug_gdb_scripts",
    ];
    let named = NAMES.contains(&section.name)
        || section.name.starts_with(b".debug_")
        || section.name.starts_with(b".zdebug_");
    named && !section.is_loaded
}

/// Sorted, with overlapping and adjacent ranges joined and empty ones left out.
fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What `0..end` holds beside the merged ranges.
fn gaps(merged: Vec<Range<u64>>, end: u64) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut start = 0;
    for range in merged {
        if start < range.start.min(end) {
            gaps.push(start..range.start.min(end));
        }
        start = range.end;
    }
    if start < end {
        gaps.push(start..end);
    }
    gaps
}

/// What the MD5 is taken over: numbers of eight bytes, and bytes after their count, so that no two
/// different sequences give the same stream.
#[derive(Debug, Default)]
struct Stream(Md5);

impl Stream {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// The bytes of `range` in the file, those of `zeroed` as zeros and told apart.
    fn masked(&mut self, image: &Image<'_>, range: &Range<u64>, zeroed: &[Range<u64>]) {
        let mut position = range.start;
        for zero in zeroed {
            let start = zero.start.max(range.start);
            let end = zero.end.min(range.end);
            if start < end {
                self.bytes(image.file(&(position..start)));
                self.number(end - start);
                position = end;
            }
        }
        self.bytes(image.file(&(position..range.end)));
        self.number(0);
    }
}
