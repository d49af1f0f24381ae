//! The module signature (B4): MD5 over what the loader, the linker and the program can observe.
//!
//! Programs and shared libraries have an `elfsig1` ([`program`]), objects for the linker and
//! kernel modules an `objsig1` ([`object`]), static archives an `arsig1` ([`archive`]); of every
//! other file it is the MD5 of the bytes. What each kind covers is fixed: a signature of today
//! compares equal to one of the same content taken at any time. What would cover something else
//! has to be another kind.
//!
//! **Invariant:** equal signatures imply the same loaded program. Whatever is doubtful counts.
//!
//! A file is read piece by piece, so that the memory needed does not depend on its size.

mod archive;
mod explain;
mod object;
mod parts;
mod plan;
mod program;
mod ranges;
mod regions;
mod symbols;

use std::fs::File;
use std::ops::Range;

use ::object::elf;
use placet_model::{Digest, Signature, SignatureKind};

use crate::elf::{ElfError, Headers};
use crate::source::{FileSource, ReadError, Source};
use parts::{Parts, Stream};

pub use explain::{Comparison, Difference, compare, ignored};

/// What identifies the content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// The signature: finds change.
    pub signature: Signature,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// How many bytes there are.
    pub size: u64,
}

/// The signature of a module whose bytes are in memory.
///
/// # Errors
///
/// An ELF file that is truncated or whose headers make no sense.
pub fn signature(bytes: &[u8]) -> Result<Signature, ElfError> {
    sign(&mut &*bytes)
}

/// The signature of a module in a file of any size.
///
/// # Errors
///
/// The file cannot be read, or it is an ELF file that is truncated or whose headers make no sense.
pub fn file_signature(file: &File) -> Result<Signature, ReadError> {
    sign(&mut FileSource::new(file)?)
}

/// Signature, digest and size of a module in a file of any size, which is read about once.
///
/// # Errors
///
/// As [`file_signature`].
pub fn fingerprint(file: &File) -> Result<Fingerprint, ReadError> {
    let mut source = FileSource::new(file)?.with_digest();
    let signature = sign(&mut source)?;
    Ok(Fingerprint {
        signature,
        size: source.size(),
        digest: source.finish()?,
    })
}

fn sign<S: Source>(source: &mut S) -> Result<Signature, S::Error> {
    let mut stream = Stream::default();
    let kind = walk(source, &mut stream)?;
    Ok(Signature::new(kind, stream.finish()))
}

/// Hands over the parts of a module that count, in order.
fn walk<S: Source, P: Parts>(source: &mut S, parts: &mut P) -> Result<SignatureKind, S::Error> {
    let whole = 0..source.size();
    if let Some(headers) = Headers::read(source)? {
        return match headers.object_type {
            elf::ET_EXEC | elf::ET_DYN => {
                program::walk(&headers, source, parts)?;
                Ok(SignatureKind::Elf1)
            }
            elf::ET_REL => {
                object::walk(&headers, source, parts)?;
                Ok(SignatureKind::Object1)
            }
            _ => {
                parts.bytes(source, whole)?;
                Ok(SignatureKind::Elf1)
            }
        };
    }
    if let Some(members) = archive::members(source)? {
        archive::walk(&members, source, parts)?;
        return Ok(SignatureKind::Archive1);
    }
    parts.raw(source, whole)?;
    Ok(SignatureKind::Plain)
}

/// The part of `range` that lies in a file of `size` bytes.
fn clip(range: &Range<u64>, size: u64) -> Range<u64> {
    let start = range.start.min(size);
    start..range.end.clamp(start, size)
}
