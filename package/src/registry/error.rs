//! Why a registry does not give or take what it should.

use std::{fmt, io};

use placet_model::{Digest, visible};

use crate::error::Problem;

/// What went wrong with a registry: where, what, and what to do.
#[derive(Debug)]
pub struct RegistryError {
    place: String,
    fault: Box<Fault>,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No connection, or one that broke.
    #[error("failed to reach the registry")]
    Unreachable(#[source] reqwest::Error),
    /// No answer, or a body that comes too slowly.
    #[error("the registry took more than {seconds} s for {what}")]
    Slow {
        /// What was asked for.
        what: String,
        /// The time that it had.
        seconds: u64,
    },
    /// The registry has too much to do, or is broken.
    #[error("the registry answers {status} to {what}{}", said(text))]
    Failing {
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
        /// What it says.
        text: String,
    },
    /// Credentials are wrong, missing or not enough.
    #[error("the registry refuses {what} ({status}){}; {advice}", said(text))]
    Denied {
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
        /// What it says.
        text: String,
        /// What to do.
        advice: &'static str,
    },
    /// It is not there.
    #[error("the registry does not have {0}; check the reference, or push it")]
    NotFound(String),
    /// It says no for another reason.
    #[error("the registry answers {status} to {what}{}", said(text))]
    Refused {
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
        /// What it says.
        text: String,
    },
    /// A body that is larger than it may be.
    #[error("{what} has more than {most} bytes, which no registry should send; nothing was kept")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The limit.
        most: u64,
    },
    /// Bytes that are not those that were asked for.
    #[error(
        "{what} came with the digest {found}, not {wanted}: it was damaged or replaced; nothing was kept"
    )]
    WrongDigest {
        /// What was asked for.
        what: String,
        /// The digest by which it was asked for.
        wanted: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// A body that ends before it is whole, again and again.
    #[error("{what} ended after {found} of {wanted} bytes, {attempts} times; what came is kept")]
    CutOff {
        /// What was asked for.
        what: String,
        /// The size announced.
        wanted: u64,
        /// What came.
        found: u64,
        /// How often it was tried.
        attempts: u32,
    },
    /// An answer that the protocol does not have.
    #[error("the registry's answer to {what} makes no sense: {why}")]
    Answer {
        /// What was asked for.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// Nothing to check certificates by.
    #[error(
        "there are no CA certificates on this machine or in this image, so no registry can be trusted; install the package `ca-certificates`, name a PEM file with SSL_CERT_FILE, or give the registry's own authority as `ca.crt`"
    )]
    NoRoots,
    /// Certificates that cannot be read.
    #[error("the certificate authorities in {0} cannot be read; they are PEM")]
    Roots(String, #[source] reqwest::Error),
    /// A client that cannot be made.
    #[error("failed to prepare for requests")]
    Client(#[source] reqwest::Error),
    /// What came is no package, or it cannot be stored.
    #[error(transparent)]
    Package(Problem),
    /// It keeps everything.
    #[error(
        "the registry does not delete (405); whoever runs it can turn that on: CNCF Distribution wants `delete: {{enabled: true}}` below `storage`"
    )]
    KeepsAll,
    /// The disk refused.
    #[error("failed to keep {what}")]
    Keep {
        /// What.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn said(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {}", visible(text))
    }
}

pub(crate) type Outcome<T> = Result<T, Fault>;

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Package(problem)
    }
}

impl Fault {
    /// True if the same may succeed later, with nobody doing anything about it.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(error) => !error.is_builder() && !error.is_redirect(),
            Self::Slow { .. } | Self::Failing { .. } | Self::CutOff { .. } => true,
            _ => false,
        }
    }

    /// True if the disk has no room.
    pub fn is_disk_full(&self) -> bool {
        let of = |source: &io::Error| source.kind() == io::ErrorKind::StorageFull;
        match self {
            Self::Keep { source, .. } | Self::Package(Problem::Io { source, .. }) => of(source),
            _ => false,
        }
    }

    pub(crate) fn answer(what: &str, why: impl Into<String>) -> Self {
        Self::Answer {
            what: what.to_owned(),
            why: visible(&why.into()).to_string(),
        }
    }

    pub(crate) fn keep(what: &str) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_owned();
        move |source| Self::Keep { what, source }
    }
}

impl RegistryError {
    pub(crate) fn new(place: impl fmt::Display, fault: Fault) -> Self {
        Self {
            place: place.to_string(),
            fault: Box::new(fault),
        }
    }

    /// What went wrong.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.fault)
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.fault)
    }
}
