//! The parts of a file that count, in order, and who takes them.

use std::ops::Range;

use md5::{Digest as _, Md5};

use super::ranges::merge;
use crate::source::Source;

/// Takes the parts of a file that count.
///
/// Numbers have eight bytes, and bytes come after their count, so that no two different sequences
/// are the same stream.
pub(super) trait Parts {
    /// A number that stands in the file at `from`; an empty range if it was worked out.
    fn number_at(&mut self, value: u64, from: Range<u64>);

    /// Bytes worked out of those that stand in the file at `from`.
    fn derived(&mut self, bytes: &[u8], from: Range<u64>);

    /// Bytes of the file, without their count.
    fn raw<S: Source>(&mut self, source: &mut S, range: Range<u64>) -> Result<(), S::Error>;

    /// A number that was worked out.
    fn number(&mut self, value: u64) {
        self.number_at(value, 0..0);
    }

    /// Bytes of the file.
    fn bytes<S: Source>(&mut self, source: &mut S, range: Range<u64>) -> Result<(), S::Error> {
        self.number(range.end.saturating_sub(range.start));
        if range.is_empty() {
            return Ok(());
        }
        self.raw(source, range)
    }

    /// The bytes of `range` in the file, those of `zeroed` (ascending) as zeros and told apart.
    fn masked<S: Source>(
        &mut self,
        source: &mut S,
        range: &Range<u64>,
        zeroed: &[Range<u64>],
    ) -> Result<(), S::Error> {
        let mut position = range.start;
        for zero in zeroed {
            let start = zero.start.max(range.start);
            let end = zero.end.min(range.end);
            if start < end {
                self.bytes(source, position..start)?;
                self.number(end - start);
                position = end;
            }
        }
        self.bytes(source, position..range.end)?;
        self.number(0);
        Ok(())
    }
}

/// Takes the MD5 of the parts.
#[derive(Debug, Default)]
pub(super) struct Stream(Md5);

impl Stream {
    pub(super) fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

impl Parts for Stream {
    fn number_at(&mut self, value: u64, _from: Range<u64>) {
        self.0.update(value.to_le_bytes());
    }

    fn derived(&mut self, bytes: &[u8], _from: Range<u64>) {
        self.0.update(bytes);
    }

    fn raw<S: Source>(&mut self, source: &mut S, range: Range<u64>) -> Result<(), S::Error> {
        source.pieces(range, &mut |piece| self.0.update(piece))
    }
}

/// Notes which bytes of the file count.
#[derive(Debug, Default)]
pub(super) struct Coverage(Vec<Range<u64>>);

impl Coverage {
    /// What counts, ascending.
    pub(super) fn finish(self) -> Vec<Range<u64>> {
        merge(self.0)
    }

    fn add(&mut self, range: Range<u64>) {
        match self.0.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => {}
            _ => self.0.push(range),
        }
    }
}

impl Parts for Coverage {
    fn number_at(&mut self, _value: u64, from: Range<u64>) {
        self.add(from);
    }

    fn derived(&mut self, _bytes: &[u8], from: Range<u64>) {
        self.add(from);
    }

    fn raw<S: Source>(&mut self, source: &mut S, range: Range<u64>) -> Result<(), S::Error> {
        let origin = source.origin();
        self.add(origin + range.start..origin + range.end);
        Ok(())
    }
}
