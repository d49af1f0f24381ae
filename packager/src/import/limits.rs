//! How much of an archive is read, and a digest of what was.

use std::io::{self, BufRead, Read};

use placet_model::{Digest, Hasher};
use schemars::JsonSchema;
use serde::Deserialize;

/// What an archive may come to before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ImportLimits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Number of entries, folders included.
    pub entries: usize,
    /// Times its size that a compressed part may unpack to, beyond 64 MiB.
    pub ratio: u64,
}

/// Text compresses ten times, and few honest archives a hundred times.
impl Default for ImportLimits {
    fn default() -> Self {
        Self {
            bytes: 16 << 30,
            entries: 200_000,
            ratio: 200,
        }
    }
}

/// What unpacks to less is no bomb, whatever its ratio.
const ALWAYS_ALLOWED: u64 = 64 << 20;

/// A limit that was reached.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Exceeded {
    #[error("more than {0} bytes")]
    Bytes(u64),
    #[error("more than {0} times its size")]
    Ratio(u64),
}

/// Ends with [`Exceeded`] where more comes out than `compressed` bytes may hold.
pub(super) struct Bounded<R> {
    inner: R,
    left: u64,
    exceeded: Exceeded,
}

impl<R: Read> Bounded<R> {
    pub(super) fn new(inner: R, compressed: u64, limits: ImportLimits) -> Self {
        let by_ratio = compressed.saturating_mul(limits.ratio).max(ALWAYS_ALLOWED);
        let in_all = most(limits);
        Self {
            inner,
            left: by_ratio.min(in_all),
            exceeded: if by_ratio < in_all {
                Exceeded::Ratio(limits.ratio)
            } else {
                Exceeded::Bytes(limits.bytes)
            },
        }
    }
}

/// Headers and padding come on top of the files.
fn most(limits: ImportLimits) -> u64 {
    let headers = limits.entries as u64 * 4_096;
    limits.bytes.saturating_add(headers)
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(left) = self.left.checked_sub(count as u64) {
            self.left = left;
            return Ok(count);
        }
        Err(io::Error::other(self.exceeded))
    }
}

/// Takes the SHA-256 of what is read through it.
pub(super) struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: BufRead> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: Hasher::default(),
        }
    }

    /// Reads what is left, and gives the digest of all.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher.finish())
    }
}

impl<R: BufRead> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        if let Ok(bytes) = self.inner.fill_buf() {
            self.hasher.update(&bytes[..count.min(bytes.len())]);
        }
        self.inner.consume(count);
    }
}
