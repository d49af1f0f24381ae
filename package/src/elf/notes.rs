//! Notes: the build id, and which descriptors change from build to build without meaning.

use std::ops::Range;

use object::elf::{self, NoteHeader32};
use object::{Endianness, pod};

use super::Headers;
use crate::source::Source;

/// One note of a `PT_NOTE` segment.
#[derive(Debug)]
struct Note {
    kind: u32,
    name: Vec<u8>,
    /// Where its descriptor stands in the file.
    descriptor: Range<u64>,
    bytes: Vec<u8>,
}

/// `NT_FDO_PACKAGING_METADATA`: distribution, package and version as JSON.
const PACKAGE_NOTE: u32 = 0xcafe_1a7e;
/// `ELF_NOTE_GOBUILDID_TAG`.
const GO_BUILD_ID: u32 = 4;
/// A build id is a hash: 8 bytes (fast) to 64 bytes (SHA-512).
const BUILD_ID_SIZES: Range<usize> = 8..65;
/// Longer descriptors of the other two do not occur.
const TEXT_MAX: usize = 4_096;

/// GNU build id in lower-case hexadecimal.
pub(super) fn build_id<S: Source>(
    headers: &Headers,
    source: &S,
) -> Result<Option<String>, S::Error> {
    let notes = notes(headers, source)?;
    let note = notes.iter().find(|note| note.is_build_id());
    Ok(note.map(|note| {
        let digits = note.bytes.iter().map(|byte| format!("{byte:02x}"));
        digits.collect()
    }))
}

/// The file ranges of the descriptors that the signature leaves out: the first note of each kind
/// whose content can only be what it claims to be.
///
/// A descriptor in an executable segment counts as a note only if a section header says so too,
/// and never if the loader takes something else from the same bytes.
pub(crate) fn ignored_descriptors<S: Source>(
    headers: &Headers,
    source: &S,
) -> Result<Vec<Range<u64>>, S::Error> {
    let notes = notes(headers, source)?;
    let kinds = [Note::is_build_id, Note::is_go_build_id, Note::is_package];
    let first = kinds.iter().filter_map(|is| notes.iter().find(|n| is(n)));
    let mut ranges: Vec<_> = first.map(|note| note.descriptor.clone()).collect();
    ranges.retain(|range| !means_something_else(headers, range));
    ranges.sort_by_key(|range| range.start);
    Ok(ranges)
}

/// Where the build id stands in a section that holds nothing else.
pub(crate) fn build_id_descriptor(section: &[u8], endian: Endianness) -> Option<Range<u64>> {
    let (note, end) = note_at(section, 0, 4, endian)?;
    (note.is_build_id() && section.len() <= end).then_some(note.descriptor)
}

fn means_something_else(headers: &Headers, range: &Range<u64>) -> bool {
    let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
    let loader = [elf::PT_DYNAMIC, elf::PT_INTERP, elf::PT_TLS];
    let taken = headers
        .segments
        .iter()
        .any(|segment| loader.contains(&segment.kind) && overlaps(&segment.file));
    let executable = headers
        .loads()
        .any(|segment| segment.flags & elf::PF_X.0 != 0 && overlaps(&segment.file));
    let confirmed = headers.sections.iter().any(|section| {
        section.kind == elf::SHT_NOTE
            && section.range.start <= range.start
            && range.end <= section.range.end
    });
    let entry = headers.offset_of(headers.entry);
    taken
        || overlaps(&headers.segment_table)
        || entry.is_some_and(|entry| range.contains(&entry.start))
        || (executable && !confirmed)
}

impl Note {
    fn is_build_id(&self) -> bool {
        self.kind == elf::NT_GNU_BUILD_ID.0
            && self.name == b"GNU\0"
            && BUILD_ID_SIZES.contains(&self.bytes.len())
    }

    fn is_go_build_id(&self) -> bool {
        self.kind == GO_BUILD_ID && self.name == b"Go\0\0" && self.is_printable()
    }

    fn is_package(&self) -> bool {
        self.kind == PACKAGE_NOTE
            && self.name == b"FDO\0"
            && self.bytes.starts_with(b"{")
            && self.is_printable()
    }

    fn is_printable(&self) -> bool {
        let text = self.bytes.trim_ascii_end();
        let end = text.iter().rposition(|byte| *byte != 0);
        let text = &text[..end.map_or(0, |end| end + 1)];
        self.bytes.len() <= TEXT_MAX && text.iter().all(|byte| (b' '..=b'~').contains(byte))
    }
}

/// All notes; a segment that does not hold notes to its end is read as far as it does.
fn notes<S: Source>(headers: &Headers, source: &S) -> Result<Vec<Note>, S::Error> {
    let mut notes = Vec::new();
    let mut left = SIZE_MAX;
    let segments = headers.segments.iter();
    for segment in segments.filter(|segment| headers.is_program() && segment.kind == elf::PT_NOTE) {
        let end = segment.file.end.min(segment.file.start + left);
        left -= end - segment.file.start;
        let bytes = source.bytes(segment.file.start..end)?;
        let align = if segment.align == 8 { 8 } else { 4 };
        add_notes(
            &bytes,
            segment.file.start,
            (align, headers.endian),
            &mut notes,
        );
    }
    Ok(notes)
}

/// The notes of `bytes`, which stand at `start` of the file.
fn add_notes(
    bytes: &[u8],
    start: u64,
    (align, endian): (usize, Endianness),
    notes: &mut Vec<Note>,
) {
    let mut offset = 0;
    while let Some((mut note, next)) = note_at(bytes, offset, align, endian)
        && notes.len() < NOTES_MAX
    {
        note.descriptor.start += start;
        note.descriptor.end += start;
        notes.push(note);
        offset = next;
    }
}

/// Real files have fewer than ten.
const NOTES_MAX: usize = 1_000;
/// Real files have less than a kilobyte of notes that are loaded.
const SIZE_MAX: u64 = 1 << 20;

/// The note at `offset`, with its descriptor's range in `bytes`, and where the next one begins.
fn note_at(bytes: &[u8], offset: usize, align: usize, endian: Endianness) -> Option<(Note, usize)> {
    // Notes have the same header in files of either class.
    let (header, rest) = pod::from_bytes::<NoteHeader32<Endianness>>(bytes.get(offset..)?).ok()?;
    let name = rest.get(..usize::try_from(header.n_namesz.get(endian)).ok()?)?;
    let start = (offset + size_of::<NoteHeader32<Endianness>>())
        .checked_add(name.len())?
        .checked_next_multiple_of(align)?;
    let end = start.checked_add(usize::try_from(header.n_descsz.get(endian)).ok()?)?;
    let note = Note {
        kind: header.n_type.get(endian).0,
        name: name.to_vec(),
        descriptor: start as u64..end as u64,
        bytes: bytes.get(start..end)?.to_vec(),
    };
    Some((note, end.checked_next_multiple_of(align)?))
}
