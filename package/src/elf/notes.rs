//! Notes: the build id, and which descriptors change from build to build without meaning.

use std::ops::Range;

use object::elf::{self, NoteHeader32};
use object::{Endianness, pod};

use super::Image;

/// One note of a `PT_NOTE` segment.
#[derive(Debug)]
struct Note<'data> {
    kind: u32,
    name: &'data [u8],
    /// Where its descriptor stands in the file.
    descriptor: Range<u64>,
    bytes: &'data [u8],
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
pub(super) fn build_id(image: &Image<'_>) -> Option<String> {
    let notes = notes(image);
    let note = notes.iter().find(|note| note.is_build_id())?;
    let digits = note.bytes.iter().map(|byte| format!("{byte:02x}"));
    Some(digits.collect())
}

/// The file ranges of the descriptors that the signature leaves out: the first note of each kind
/// whose content can only be what it claims to be.
///
/// A descriptor in an executable segment counts as a note only if a section header says so too,
/// and never if the loader takes something else from the same bytes.
pub(crate) fn ignored_descriptors(image: &Image<'_>) -> Vec<Range<u64>> {
    let notes = notes(image);
    let kinds = [Note::is_build_id, Note::is_go_build_id, Note::is_package];
    let first = kinds.iter().filter_map(|is| notes.iter().find(|n| is(n)));
    let mut ranges: Vec<_> = first.map(|note| note.descriptor.clone()).collect();
    ranges.retain(|range| !means_something_else(image, range));
    ranges.sort_by_key(|range| range.start);
    ranges
}

fn means_something_else(image: &Image<'_>, range: &Range<u64>) -> bool {
    let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
    let loader = [elf::PT_DYNAMIC, elf::PT_INTERP, elf::PT_TLS];
    let taken = image
        .segments
        .iter()
        .any(|segment| loader.contains(&segment.kind) && overlaps(&segment.file));
    let executable = image
        .loads()
        .any(|segment| segment.flags & elf::PF_X.0 != 0 && overlaps(&segment.file));
    let confirmed = image.sections.iter().any(|section| {
        section.kind == elf::SHT_NOTE
            && section.range.start <= range.start
            && range.end <= section.range.end
    });
    let entry = image.offset_of(image.entry);
    taken
        || overlaps(&image.segment_table)
        || entry.is_some_and(|entry| range.contains(&entry.start))
        || (executable && !confirmed)
}

impl Note<'_> {
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
fn notes<'data>(image: &Image<'data>) -> Vec<Note<'data>> {
    let mut notes = Vec::new();
    let segments = image.segments.iter();
    for segment in segments.filter(|segment| image.is_program() && segment.kind == elf::PT_NOTE) {
        let align = if segment.align == 8 { 8 } else { 4 };
        let (bytes, mut offset) = (image.file(&segment.file), 0);
        while let Some((mut note, next)) = note_at(bytes, offset, align, image.endian) {
            note.descriptor.start += segment.file.start;
            note.descriptor.end += segment.file.start;
            notes.push(note);
            offset = next;
            if notes.len() == NOTES_MAX {
                return notes;
            }
        }
    }
    notes
}

/// Real files have fewer than ten.
const NOTES_MAX: usize = 1_000;

/// The note at `offset`, with its descriptor's range in `bytes`, and where the next one begins.
fn note_at(
    bytes: &[u8],
    offset: usize,
    align: usize,
    endian: Endianness,
) -> Option<(Note<'_>, usize)> {
    // Notes have the same header in files of either class.
    let (header, rest) = pod::from_bytes::<NoteHeader32<Endianness>>(bytes.get(offset..)?).ok()?;
    let name = rest.get(..usize::try_from(header.n_namesz.get(endian)).ok()?)?;
    let start = (offset + size_of::<NoteHeader32<Endianness>>())
        .checked_add(name.len())?
        .checked_next_multiple_of(align)?;
    let end = start.checked_add(usize::try_from(header.n_descsz.get(endian)).ok()?)?;
    let note = Note {
        kind: header.n_type.get(endian).0,
        name,
        descriptor: start as u64..end as u64,
        bytes: bytes.get(start..end)?,
    };
    Some((note, end.checked_next_multiple_of(align)?))
}
