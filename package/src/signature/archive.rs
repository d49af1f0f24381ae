//! `arsig1`: what counts of a static archive (`ar`).
//!
//! Of each member, in order: its name, its permissions, and its content, of an object for the linker as
//! `objsig1` does. Times and owners do not count. The index of symbols counts by which member it
//! says that defines each, not by where that member begins.
//!
//! An archive that is not laid out as it should be is a plain file.

use std::ops::Range;

use ::object::elf;

use super::object;
use super::parts::Parts;
use crate::elf::{Headers, need};
use crate::source::Source;

/// A member of an archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Where its header begins.
    pub(super) start: u64,
    pub(super) content: Range<u64>,
    name: [u8; 16],
}

const MAGIC: &[u8] = b"!<arch>\n";
/// Bytes of a member's header.
const HEADER: u64 = 60;
/// Archives with more are plain files.
const MEMBERS_MAX: usize = 1 << 20;

impl Member {
    /// How wide the offsets of the index of symbols are that this member is.
    fn index_width(&self) -> Option<u64> {
        match &self.name {
            b"/               " => Some(4),
            b"/SYM64/         " => Some(8),
            _ => None,
        }
    }

    /// The name as its header gives it.
    pub(super) fn name(&self) -> &[u8] {
        self.name.trim_ascii_end()
    }
}

/// The members of an archive; `None` if the file is none, or not one that is well made.
pub(super) fn members<S: Source>(source: &S) -> Result<Option<Vec<Member>>, S::Error> {
    let size = source.size();
    if size < MAGIC.len() as u64 || source.bytes(0..MAGIC.len() as u64)? != MAGIC {
        return Ok(None);
    }
    let mut members = Vec::new();
    let mut start = MAGIC.len() as u64;
    while start < size {
        let mut header = [0; 60];
        if size - start < HEADER || members.len() == MEMBERS_MAX {
            return Ok(None);
        }
        source.read_at(start, &mut header)?;
        let content = start + HEADER;
        let end = decimal(&header[48..58]).and_then(|it| content.checked_add(it));
        let Some(end) = end.filter(|end| *end <= size && header.ends_with(b"`\n")) else {
            return Ok(None);
        };
        members.push(Member {
            start,
            content: content..end,
            name: header[..16].try_into().expect("16 bytes"),
        });
        start = end.next_multiple_of(2);
        if start > end && end < size && source.bytes(end..start)? != b"\n" {
            return Ok(None);
        }
    }
    Ok(Some(members))
}

/// A number as headers have it: digits, then blanks.
fn decimal(field: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(field.trim_ascii_end()).ok()?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

pub(super) fn walk<S: Source, P: Parts>(
    members: &[Member],
    source: &mut S,
    parts: &mut P,
) -> Result<(), S::Error> {
    parts.bytes(source, 0..MAGIC.len() as u64)?;
    parts.number(members.len() as u64);
    for (index, member) in members.iter().enumerate() {
        parts.bytes(source, member.start..member.start + 16)?;
        let mode = member.start + 40..member.start + 48;
        walk_mode(mode, source, parts)?;
        match member.index_width().filter(|_| index == 0) {
            Some(width) => walk_index(member, width, members, source, parts)?,
            None => walk_member(member, source, parts)?,
        }
    }
    // The last member may be followed by padding or not.
    parts.number(source.size() % 2);
    Ok(())
}

/// The permissions: deterministic archives write the mode without the type of the file.
fn walk_mode<S: Source, P: Parts>(
    range: Range<u64>,
    source: &mut S,
    parts: &mut P,
) -> Result<(), S::Error> {
    let field = source.bytes(range.clone())?;
    let digits = str::from_utf8(field.trim_ascii_end()).ok();
    if let Some(mode) = digits.and_then(|digits| u64::from_str_radix(digits, 8).ok()) {
        parts.number_at(mode & 0o7777, range);
        return Ok(());
    }
    parts.number(u64::MAX);
    parts.bytes(source, range)
}

fn walk_member<S: Source, P: Parts>(
    member: &Member,
    source: &mut S,
    parts: &mut P,
) -> Result<(), S::Error> {
    // A long name may stand before the content; it counts with it.
    let length = member.name().strip_prefix(b"#1/").and_then(decimal);
    let start = length.and_then(|it| member.content.start.checked_add(it));
    let start = start.filter(|start| *start <= member.content.end);
    let start = start.unwrap_or(member.content.start);
    parts.bytes(source, member.content.start..start)?;
    let range = start..member.content.end;
    let mut content = Inner {
        source: &mut *source,
        range: range.clone(),
    };
    match Headers::read(&content) {
        Ok(Some(headers)) if headers.object_type == elf::ET_REL => {
            parts.number(1);
            let mut parts = Shifted {
                parts,
                by: range.start,
            };
            object::walk(&headers, &mut content, &mut parts)
        }
        Err(error) if !S::is_about_content(&error) => Err(error),
        // What no linker reads is a file like any other.
        _ => {
            parts.number(0);
            parts.bytes(source, range)
        }
    }
}

/// The index of symbols: their number, an offset for each, their names.
fn walk_index<S: Source, P: Parts>(
    index: &Member,
    width: u64,
    members: &[Member],
    source: &mut S,
    parts: &mut P,
) -> Result<(), S::Error> {
    let Range { start, end } = index.content;
    let size = end - start;
    let count = if size < width {
        None
    } else {
        Some(number(&source.bytes(start..start + width)?))
    };
    let names = count.and_then(|count| count.checked_add(1)?.checked_mul(width));
    let Some(names) = names.filter(|names| *names <= size) else {
        parts.number(0);
        return parts.bytes(source, start..end);
    };
    parts.number(1);
    let mut position = start + width;
    let mut encoded = Vec::new();
    while position < start + names {
        let next = (start + names).min(position + CHUNK * width);
        encoded.clear();
        for offset in source
            .bytes(position..next)?
            .chunks(usize::try_from(width).unwrap_or(8))
        {
            let offset = number(offset);
            let found = members.binary_search_by_key(&offset, |member| member.start);
            let (known, value) = found.map_or((0, offset), |place| (1_u64, place as u64));
            encoded.extend(known.to_le_bytes());
            encoded.extend(value.to_le_bytes());
        }
        parts.derived(&encoded, position..next);
        position = next;
    }
    parts.number(u64::MAX);
    parts.bytes(source, position..end)
}

/// Offsets that are read at once.
const CHUNK: u64 = 8_192;

/// A number with the highest byte first.
fn number(bytes: &[u8]) -> u64 {
    let add = |number, byte: &u8| number << 8 | u64::from(*byte);
    bytes.iter().fold(0, add)
}

/// The content of a member as a file of its own.
#[derive(Debug)]
pub(super) struct Inner<'source, S> {
    pub(super) source: &'source mut S,
    pub(super) range: Range<u64>,
}

impl<S: Source> Source for Inner<'_, S> {
    type Error = S::Error;

    fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), S::Error> {
        let end = offset + buffer.len() as u64;
        need(self.size(), "a part of the member", offset, end - offset)?;
        self.source.read_at(self.range.start + offset, buffer)
    }

    fn pieces(&mut self, range: Range<u64>, take: &mut dyn FnMut(&[u8])) -> Result<(), S::Error> {
        let start = self.range.start;
        self.source
            .pieces(start + range.start..start + range.end, take)
    }

    fn origin(&self) -> u64 {
        self.source.origin() + self.range.start
    }

    fn is_about_content(error: &S::Error) -> bool {
        S::is_about_content(error)
    }
}

/// Tells where the parts of a member stand in the archive.
struct Shifted<'parts, P> {
    parts: &'parts mut P,
    by: u64,
}

impl<P: Parts> Parts for Shifted<'_, P> {
    fn number_at(&mut self, value: u64, from: Range<u64>) {
        self.parts
            .number_at(value, from.start + self.by..from.end + self.by);
    }

    fn derived(&mut self, bytes: &[u8], from: Range<u64>) {
        self.parts
            .derived(bytes, from.start + self.by..from.end + self.by);
    }

    fn raw<S: Source>(&mut self, source: &mut S, range: Range<u64>) -> Result<(), S::Error> {
        self.parts.raw(source, range)
    }
}
