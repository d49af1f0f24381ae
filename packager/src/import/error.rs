//! Why an archive cannot be read.

use std::fmt;
use std::io;

use placet_model::visible;
use placet_package::PackageError;
use placet_package::registry::{AccessError, RegistryError};

use super::limits::Exceeded;

/// An archive that is refused: which, where in it, what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("failed to import `{}`{}", visible(archive), In(entry.as_deref()))]
pub struct ImportError {
    archive: String,
    entry: Option<String>,
    #[source]
    fault: Box<Fault>,
}

/// What was read until then, and what is wrong with an entry of that name.
pub(super) type Refused = (Option<String>, Fault);
pub(super) type Outcome<T> = Result<T, Refused>;

impl ImportError {
    pub(super) fn new(archive: &str, entry: Option<String>, fault: Fault) -> Self {
        Self {
            archive: archive.to_owned(),
            entry,
            fault: Box::new(fault),
        }
    }

    /// True if nothing is wrong but that whoever follows it wanted it to end.
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(*self.fault, Fault::Cancelled)
    }
}

struct In<'a>(Option<&'a str>);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(entry) => write!(f, ", at its entry `{}`", visible(entry)),
            None => Ok(()),
        }
    }
}

const AGAIN: &str = "fetch the archive again";

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(
        "it is neither a .deb nor an .rpm file; an OCI image is named oci-layout:DIR:TAG or oci://HOST/REPOSITORY:TAG"
    )]
    Unknown,
    #[error("it was cancelled")]
    Cancelled,
    #[error("failed to make files in the temporary folder; `TMPDIR` says where it is")]
    Workspace(#[source] io::Error),
    #[error("failed to prepare for requests to a registry")]
    Runtime(#[source] io::Error),
    #[error("it cannot be read; {AGAIN} if it is there and permissions allow it")]
    Read(#[source] io::Error),
    #[error("{0} ends before it is complete; {AGAIN}")]
    Truncated(&'static str),
    #[error("its data are damaged; {AGAIN}")]
    Damaged(#[source] io::Error),
    #[error("{0}; {AGAIN}, or have whoever made it repair it")]
    Malformed(String),
    #[error("it is compressed by {0}, which is not supported; compress it by gzip, xz or zstd")]
    Compression(&'static str),
    #[error("it has {0}, which is not supported; pack it anew without")]
    Unsupported(&'static str),
    #[error(
        "it unpacks to more than {0} bytes; if that is right, allow more by `--limit-bytes` (`limits.bytes`)"
    )]
    Bytes(u64),
    #[error(
        "it unpacks to more than {0} times its size, as decompression bombs do; if that is right, allow more by `--limit-ratio` (`limits.ratio`)"
    )]
    Ratio(u64),
    #[error(
        "it has more than {0} entries; if that is right, allow more by `--limit-entries` (`limits.entries`)"
    )]
    Entries(usize),
    #[error("its name {0}; nothing of this archive can be trusted, have whoever made it repair it")]
    Name(&'static str),
    #[error(
        "it occurs twice, and which of both is meant cannot be told; have whoever made it repair it"
    )]
    Duplicate,
    #[error(
        "it would be written through `{}`, which the archive itself makes a link; have whoever made it repair it",
        visible(.0)
    )]
    Through(String),
    #[error("it lies in `{}`, which is a file; have whoever made it repair it", visible(.0))]
    Inside(String),
    #[error(
        "it is a hard link to `{}`, which is not there before it; have whoever made it repair it",
        visible(.0)
    )]
    HardLink(String),
    #[error("it removes what no layer below has; have whoever made the image repair it")]
    Whiteout,
    #[error("its bytes are not those that the archive lists for it (MD5); {AGAIN}")]
    Checksum,
    #[error("its bytes are not those of digest {}; {AGAIN}", visible(.0))]
    Digest(String),
    #[error("it has no image for {wanted}, but for {found}; choose one by `--platform`")]
    Platform { wanted: String, found: String },
    #[error(transparent)]
    Layout(#[from] PackageError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        (None, fault)
    }
}

impl Fault {
    /// That a stream of the archive cannot be read on: by damage, or by a limit.
    pub(super) fn of_stream(error: io::Error) -> Self {
        let exceeded = error.get_ref().and_then(|error| error.downcast_ref());
        match (exceeded, error.kind()) {
            (Some(Exceeded::Bytes(most)), _) => Self::Bytes(*most),
            (Some(Exceeded::Ratio(most)), _) => Self::Ratio(*most),
            (None, io::ErrorKind::UnexpectedEof) => Self::Truncated("it"),
            (None, _) => Self::Damaged(error),
        }
    }

    pub(super) fn at(self, entry: &str) -> Refused {
        (Some(entry.to_owned()), self)
    }
}
