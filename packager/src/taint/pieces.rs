//! A file in pieces that overlap, so that a text is found wherever it stands.

use std::io::{self, Read};
use std::ops::Range;

/// One piece of a file.
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    /// Where in the file they begin.
    pub(super) offset: u64,
    /// Where in `bytes` the texts begin that this piece is searched for; no other piece is for them.
    pub(super) starts: Range<usize>,
}

/// How much is in memory at once.
pub(super) const SIZE: usize = 64 << 10;

/// Hands what `reader` gives to `take` in pieces. A text of up to `longest` bytes that begins where
/// a piece is searched is whole in it, with the byte before and the one after.
pub(super) fn pieces(
    mut reader: impl Read,
    longest: usize,
    mut take: impl FnMut(&Piece<'_>),
) -> io::Result<()> {
    let margin = longest + 1;
    let size = SIZE.max(2 * margin);
    let mut bytes = Vec::with_capacity(size);
    let (mut offset, mut first) = (0, 0);
    loop {
        let free = size - bytes.len();
        reader.by_ref().take(free as u64).read_to_end(&mut bytes)?;
        let is_last = bytes.len() < size;
        let end = bytes.len() - if is_last { 0 } else { margin };
        take(&Piece {
            bytes: &bytes,
            offset,
            starts: first..end,
        });
        if is_last {
            return Ok(());
        }
        // The byte before the next text is looked at too.
        let done = end - 1;
        bytes.drain(..done);
        offset += done as u64;
        first = 1;
    }
}
