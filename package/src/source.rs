//! Where the bytes of a module are read from: memory, or a file of any size.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use placet_model::{Digest, Hasher};

use crate::elf::ElfError;

/// Bytes that can be read at any place.
pub(crate) trait Source {
    /// Why bytes are not read or make no sense.
    type Error: From<ElfError>;

    /// How many bytes there are.
    fn size(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Self::Error>;

    /// Hands the bytes of `range` to `take`, in as many pieces as it likes.
    fn pieces(&mut self, range: Range<u64>, take: &mut dyn FnMut(&[u8]))
    -> Result<(), Self::Error>;

    /// Where the bytes begin in the file that holds them.
    fn origin(&self) -> u64 {
        0
    }

    /// True if the bytes were read and make no sense.
    fn is_about_content(error: &Self::Error) -> bool;

    /// The bytes of `range`, which the caller has bounded.
    fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>, Self::Error> {
        let size = range.end.saturating_sub(range.start);
        let mut bytes = vec![0; usize::try_from(size).expect("bounded by the caller")];
        self.read_at(range.start, &mut bytes)?;
        Ok(bytes)
    }
}

/// Bytes in memory.
impl Source for &[u8] {
    type Error = ElfError;

    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ElfError> {
        buffer.copy_from_slice(slice(self, offset..offset + buffer.len() as u64)?);
        Ok(())
    }

    fn pieces(&mut self, range: Range<u64>, take: &mut dyn FnMut(&[u8])) -> Result<(), ElfError> {
        take(slice(self, range)?);
        Ok(())
    }

    fn is_about_content(_error: &ElfError) -> bool {
        true
    }
}

fn slice(bytes: &[u8], range: Range<u64>) -> Result<&[u8], ElfError> {
    let index = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
    let found = bytes.get(index(range.start)..index(range.end));
    found.ok_or_else(|| ElfError::Truncated {
        what: "a part of the file",
        offset: range.start,
        size: range.end - range.start,
        end: bytes.len() as u64,
    })
}

/// Why no signature can be taken of a file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("failed to read the file")]
    Read(#[source] io::Error),
    /// The file was cut short by somebody in the meantime.
    #[error("the file became shorter while it was read; try again when nothing writes to it")]
    Shrunk,
    /// An ELF file that is truncated or whose headers make no sense.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Shrunk,
            _ => Self::Read(error),
        }
    }
}

/// A file of which only one piece is in memory at a time.
///
/// Its digest is taken of the pieces that pass by, so that most of the file is read only once.
#[derive(Debug)]
pub(crate) struct FileSource<'file> {
    file: &'file File,
    size: u64,
    piece: Vec<u8>,
    digest: Option<Follower>,
}

/// Takes the digest of a file whose pieces come in nearly the right order.
#[derive(Debug, Default)]
struct Follower {
    hasher: Hasher,
    /// Up to where the file has been hashed.
    position: u64,
}

/// Small enough to stay in the processor's cache until it has been hashed.
const PIECE: usize = 128 << 10;

impl<'file> FileSource<'file> {
    pub(crate) fn new(file: &'file File) -> Result<Self, ReadError> {
        Ok(Self {
            file,
            size: file.metadata()?.len(),
            piece: Vec::new(),
            digest: None,
        })
    }

    /// Takes the digest of the whole file too.
    pub(crate) fn with_digest(mut self) -> Self {
        self.digest = Some(Follower::default());
        self
    }

    /// The digest of the whole file, once what has not passed by has been read as well.
    pub(crate) fn finish(mut self) -> Result<Digest, ReadError> {
        self.digest.get_or_insert_default();
        self.catch_up(self.size)?;
        Ok(self.digest.unwrap_or_default().hasher.finish())
    }

    /// Hashes what lies before `position` and has not been hashed.
    fn catch_up(&mut self, position: u64) -> Result<(), ReadError> {
        match &self.digest {
            Some(follower) if follower.position < position => {
                self.pieces(follower.position..position, &mut |_| ())
            }
            _ => Ok(()),
        }
    }
}

impl Follower {
    /// Hashes what is new of the bytes that stand at `offset`.
    fn take(&mut self, offset: u64, bytes: &[u8]) {
        let known = self.position.saturating_sub(offset);
        let new = usize::try_from(known).ok().and_then(|it| bytes.get(it..));
        if let Some(new) = new.filter(|_| offset <= self.position) {
            self.hasher.update(new);
            self.position += new.len() as u64;
        }
    }
}

impl Source for FileSource<'_> {
    type Error = ReadError;

    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        Ok(self.file.read_exact_at(buffer, offset)?)
    }

    fn pieces(&mut self, range: Range<u64>, take: &mut dyn FnMut(&[u8])) -> Result<(), ReadError> {
        self.catch_up(range.start)?;
        self.piece.resize(PIECE, 0);
        let mut offset = range.start;
        while offset < range.end {
            let left = usize::try_from(range.end - offset).unwrap_or(PIECE);
            let piece = &mut self.piece[..left.min(PIECE)];
            self.file.read_exact_at(piece, offset)?;
            take(piece);
            if let Some(follower) = &mut self.digest {
                follower.take(offset, piece);
            }
            offset += piece.len() as u64;
        }
        Ok(())
    }

    fn is_about_content(error: &ReadError) -> bool {
        matches!(error, ReadError::Elf(_))
    }
}
