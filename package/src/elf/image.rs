//! An ELF file whose bytes are in memory.

use std::ops::{Deref, Range};

use super::ElfError;
use super::headers::Headers;

/// An ELF file whose headers have been checked against its size.
#[derive(Debug)]
pub(crate) struct Image<'data> {
    pub(crate) bytes: &'data [u8],
    headers: Headers,
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
        Ok(headers.map(|headers| Self { bytes, headers }))
    }

    /// A file whose headers have been read, with at least those bytes of it that are asked for.
    pub(crate) fn new(bytes: &'data [u8], headers: Headers) -> Self {
        Self { bytes, headers }
    }

    /// The bytes of a file range that was checked; what lies outside the file is left out.
    pub(crate) fn file(&self, range: &Range<u64>) -> &'data [u8] {
        let end = self.bytes.len() as u64;
        let index = |offset: u64| usize::try_from(offset.min(end)).unwrap_or(self.bytes.len());
        &self.bytes[index(range.start)..index(range.end.max(range.start))]
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
