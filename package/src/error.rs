//! Why a package cannot be read or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use placet_model::{Digest, visible};

use crate::check::ConfigFault;
use crate::reference::Selector;

/// A package or layout that cannot be read or written: where, what is wrong, and what to do.
#[derive(Debug)]
pub struct PackageError {
    layout: PathBuf,
    selector: Option<Selector>,
    problem: Box<Problem>,
}

/// What is wrong with a package or layout.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The system refused.
    #[error("failed to {action} `{}`", visible(&path.to_string_lossy()))]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The folder is not an OCI layout.
    #[error("this is not an OCI image layout: {0}")]
    NotALayout(&'static str),
    /// A file of the layout is missing.
    #[error("`{file}` is missing; copy the layout again, or build the package again")]
    Missing {
        /// Its path in the layout.
        file: String,
    },
    /// A file of the layout is a link, device, pipe or folder.
    #[error("`{file}` is not a regular file; a layout holds nothing else: copy it again")]
    NotAFile {
        /// Its path in the layout.
        file: String,
    },
    /// A file of the layout is larger than may be read.
    #[error("{what} has {size} bytes, and at most {most} are read; split the package")]
    TooLarge {
        /// Which file.
        what: String,
        /// Its size.
        size: u64,
        /// The limit.
        most: u64,
    },
    /// A blob is not what its name says.
    #[error(
        "the bytes of {what} have the digest {found}, not {wanted}: they were damaged or replaced; copy the layout again, or build the package again"
    )]
    WrongDigest {
        /// Which blob.
        what: String,
        /// The digest by which it was asked for.
        wanted: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// A blob is not as long as announced.
    #[error(
        "{what} has {found} bytes, not {wanted}: it was cut off or replaced; copy the layout again, or build the package again"
    )]
    WrongSize {
        /// Which blob.
        what: String,
        /// The size announced.
        wanted: u64,
        /// The size found.
        found: u64,
    },
    /// JSON that cannot be read.
    #[error("{what} cannot be read as what it should be; build the package again")]
    Json {
        /// Which file.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A text with a control character.
    #[error(
        "{what} has a control character in `{field}`; nothing in a package may have one: build it again from clean sources"
    )]
    ControlCharacter {
        /// Which file.
        what: &'static str,
        /// Where in it.
        field: String,
    },
    /// A manifest or index that says something that a package does not say.
    #[error("{what}: {why}; build the package again with `placet package build`")]
    Malformed {
        /// Which file.
        what: &'static str,
        /// What it says.
        why: String,
    },
    /// The package's metadata break a rule.
    #[error("{0}; correct it in the package file and build the package again")]
    Config(ConfigFault),
    /// The package is in a registry, and only layouts are opened.
    #[error("`{0}` is in a registry; fetch it first: placet package pull {0} DIR")]
    Elsewhere(String),
    /// No package of that name is there.
    #[error("no package has this tag; {0}")]
    NoSuchTag(String),
    /// No package with that digest is listed.
    #[error(
        "no package with this digest is listed; name one of `placet package list`, or free what nothing lists with `placet package prune`"
    )]
    NoSuchDigest,
    /// It is a part of something that would not be whole without it.
    #[error("it is a part of the composite {0}; remove that first")]
    InUse(Digest),
    /// A tag that cannot be one.
    #[error("`{}` cannot be used as a tag: {why}", visible(tag))]
    BadTag {
        /// The tag.
        tag: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A package to be written refers to a blob that was not handed over.
    #[error("no bytes were given for {what} ({digest})")]
    NoBytes {
        /// Which blob.
        what: String,
        /// Its digest.
        digest: Digest,
    },
}

/// Results of reading and writing one layout, whose place is added at the end.
pub(crate) type Outcome<T> = Result<T, Problem>;

impl PackageError {
    pub(crate) fn new(layout: &Path, selector: Option<&Selector>, problem: Problem) -> Self {
        Self {
            layout: layout.to_owned(),
            selector: selector.cloned(),
            problem: Box::new(problem),
        }
    }

    /// What is wrong.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for PackageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Problem::Elsewhere(_) = *self.problem {
            return self.problem.fmt(f);
        }
        write!(f, "oci-layout:{}", visible(&self.layout.to_string_lossy()))?;
        if let Some(selector) = &self.selector {
            write!(f, "{selector}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for PackageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.problem)
    }
}

impl From<ConfigFault> for Problem {
    fn from(fault: ConfigFault) -> Self {
        Self::Config(fault)
    }
}

impl Problem {
    /// An error of the system on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
