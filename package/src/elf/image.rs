//! An ELF file whose bytes are in memory.

use std::ops::{Deref, Range};

use super::ElfError;
use super::headers::Headers;

/// An ELF file whose headers have been checked against its size.
#[derive(Debug)]
pub(crate) struct Image<'data> {
    pub(crate) bytes: &'data [u8],
    headers: Headers,
    reach: Reach,
}

/// How much is there of what is loaded at an address. Whoever needs more gets an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// So many bytes.
    pub(super) window: u64,
    /// Of what begins before this offset in the file, nothing from there on.
    pub(super) stop: Option<u64>,
}

impl Reach {
    /// Everything.
    pub(super) const ALL: Self = Self {
        window: u64::MAX,
        stop: None,
    };
}

impl Deref for Image<'_> {
    type Target = Headers;

    fn deref(&self) -> &Headers {
        &self.headers
    }
}

impl<'data> Image<'data> {
    /// Reads the headers of `bytes`; `None` if it does not begin as an ELF file does.
    pub(crate) fn parse(bytes: &'data [u8]) -> Result<Option<Self>, ElfError> {
        let headers = Headers::read(&bytes)?;
        Ok(headers.map(|headers| Self::new(bytes, headers, Reach::ALL)))
    }

    /// A file whose headers have been read.
    pub(super) fn new(bytes: &'data [u8], headers: Headers, reach: Reach) -> Self {
        Self {
            bytes,
            headers,
            reach,
        }
    }

    /// The bytes of a file range that was checked; what lies outside the file is left out.
    pub(crate) fn file(&self, range: &Range<u64>) -> &'data [u8] {
        let end = self.bytes.len() as u64;
        let index = |offset: u64| usize::try_from(offset.min(end)).unwrap_or(self.bytes.len());
        &self.bytes[index(range.start)..index(range.end.max(range.start))]
    }

    /// The bytes loaded from `address` on, up to the end of their segment or of the window, at least
    /// `size`.
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
        match self.window_at(address) {
            Some(range) if range.end - range.start >= size => Ok(self.file(&range)),
            None if size == 0 => Ok(&[]),
            _ => Err(unmapped),
        }
    }

    /// Where the bytes loaded from `address` on are in the file, as far as they are there.
    pub(super) fn window_at(&self, address: u64) -> Option<Range<u64>> {
        let range = self.offset_of(address)?;
        let end = range.end.min(range.start.saturating_add(self.reach.window));
        let stop = self.reach.stop.filter(|stop| range.start < *stop);
        Some(range.start..stop.map_or(end, |stop| end.min(stop)))
    }
}
