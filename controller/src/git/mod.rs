//! Declarations from git repositories.
//!
//! A repository on this machine (a path or a `file://` URL) is read where it is. One behind `ssh`
//! is fetched into a bare mirror, `<state>/git/<source>`, with the system's own `ssh` program. What
//! is wrong with an answer, a tree or a file is an error that says so; nothing is ever guessed,
//! cut short or left out, since what is missing from a revision would be pruned from the fleet.
//!
//! **Invariant:** neither a name nor an address from a repository becomes part of a command line
//! unquoted, a path on disk, or text that is shown unescaped. Memory and time that a hostile
//! repository can cost are bounded by [`Limits`].

mod address;
mod error;
mod files;
mod followed;
mod mirror;
mod ssh;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use git2::{ErrorCode, Oid, Repository, RepositoryOpenFlags};
use jiff::Timestamp;
use placet_crds::{GitSource, SourceFile};
use placet_model::visible;

use address::Address;
use followed::{Followed, Revision};
use mirror::Mirror;
use ssh::{Secret, Session};

pub use error::FetchError;

/// How much a repository may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that one fetch may bring.
    pub fetch_bytes: u64,
    /// Declaration files in one revision.
    pub files: usize,
    /// Bytes of one declaration file.
    pub file_bytes: usize,
    /// Bytes of all declaration files of one revision.
    pub total_bytes: usize,
    /// How long a server may stay silent.
    pub silence: Duration,
    /// How long a fetch may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fetch_bytes: 512 << 20,
            files: 10_000,
            file_bytes: placet_crds::FILE_MAX,
            total_bytes: 64 << 20,
            silence: Duration::from_secs(30),
            time: Duration::from_mins(10),
        }
    }
}

/// One revision of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What was followed and where it stood: `main@sha1:…`.
    pub revision: String,
    /// The first line of the commit's message, escaped and cut to what a status holds.
    pub subject: String,
    /// The commit's author, `Name <address>`, escaped and cut likewise.
    pub author: String,
    /// When the commit was made, as its author's machine says.
    pub committed: Timestamp,
    /// The declaration files, by name.
    pub files: Vec<SourceFile>,
}

/// The repositories that sources follow. All methods block.
#[derive(Debug)]
pub struct Repositories {
    state: PathBuf,
    limits: Limits,
    /// Two fetches of one source take turns.
    busy: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

impl Repositories {
    /// Keeps mirrors below the state folder `state`, and finds secrets there. One process at a time
    /// does so, which [`crate::home::Home`] sees to.
    pub fn new(state: &Path) -> Self {
        Self::with_limits(state, Limits::default())
    }

    /// As [`Repositories::new`], with other limits.
    pub fn with_limits(state: &Path, limits: Limits) -> Self {
        Self {
            state: state.to_owned(),
            limits,
            busy: Mutex::default(),
        }
    }

    /// Fetches what `source` follows and reads its declarations. `last_good` is the revision that
    /// is in force.
    ///
    /// # Guarantees
    ///
    /// It changes nothing but the mirror, which is usable (or made anew) after whatever
    /// interruption.
    ///
    /// # Errors
    ///
    /// Among others [`FetchError::Rewound`] where the commit does not descend from `last_good`
    /// and `spec.allowRewind` does not name it. A source that follows another branch or tag than
    /// before has been told so by a person and is not rewound.
    pub fn fetch(
        &self,
        source: &GitSource,
        last_good: Option<&str>,
    ) -> Result<Fetched, FetchError> {
        let spec = &source.spec;
        if spec.verify.is_some() {
            let field = "spec.verify";
            return Err(FetchError::NotCarriedOut { field });
        }
        let followed = Followed::of(&spec.reference)?;
        let read = |repository: &Repository, commit: Oid| {
            let revision = Revision {
                followed: followed.clone(),
                commit,
            };
            revision.require_descent(repository, last_good, spec.allow_rewind.as_deref())?;
            files::read(repository, &revision, &spec.path, &self.limits)
        };
        match Address::parse(&spec.url)? {
            Address::Local(path) => {
                let repository = open_local(&path)?;
                let commit = followed.find(&repository, &spec.url)?;
                read(&repository, commit)
            }
            Address::Ssh(address) => {
                let name = source_name(source)?;
                let turn = self.turn(name);
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                let session = || -> Result<_, FetchError> {
                    let secret = self.secret(source)?;
                    let limits = self.limits.clone();
                    Ok(Session::new(
                        address.clone(),
                        secret,
                        limits,
                        followed.clone(),
                    ))
                };
                let mirror = Mirror::new(self.state.join("git").join(name));
                mirror.with(&followed, session, read)
            }
        }
    }

    /// Whether what `source` follows stands elsewhere than at revision `last`: cheap for a
    /// repository on this machine, one connection for another. `last` is the revision that was
    /// looked at last, good or not, lest a bad one be fetched again and again.
    pub fn changed_since(
        &self,
        source: &GitSource,
        last: Option<&str>,
    ) -> Result<bool, FetchError> {
        let spec = &source.spec;
        let followed = Followed::of(&spec.reference)?;
        let commit = match (Address::parse(&spec.url)?, &followed) {
            (_, Followed::Commit(commit)) => *commit,
            (Address::Local(path), _) => followed.find(&open_local(&path)?, &spec.url)?,
            (Address::Ssh(address), _) => {
                let limits = self.limits.clone();
                let secret = self.secret(source)?;
                Session::new(address, secret, limits, followed.clone()).look()?
            }
        };
        let now = Revision { followed, commit };
        Ok(last != Some(now.to_string().as_str()))
    }

    /// The folder of the repository itself where `source` is on this machine: what relative
    /// references of its declarations are relative to.
    pub fn local_folder(source: &GitSource) -> Option<PathBuf> {
        match Address::parse(&source.spec.url) {
            Ok(Address::Local(path)) => Some(path),
            _ => None,
        }
    }

    /// Removes the mirror of a source that is gone.
    pub fn forget(&self, source: &GitSource) -> Result<(), FetchError> {
        Mirror::new(self.state.join("git").join(source_name(source)?)).remove()
    }

    fn turn(&self, name: &str) -> Arc<Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(busy.entry(name.to_owned()).or_default())
    }

    fn secret(&self, source: &GitSource) -> Result<Secret, FetchError> {
        match &source.spec.secret_ref {
            None => Ok(Secret::default()),
            Some(reference) => {
                let name = file_name(&reference.name)?;
                Secret::in_folder(&self.state.join("secrets").join(name))
            }
        }
    }
}

fn source_name(source: &GitSource) -> Result<&str, FetchError> {
    file_name(source.metadata.name.as_deref().unwrap_or_default())
}

/// Names of resources are checked before they get here; that they are fit for a file name is
/// checked where it matters all the same.
fn file_name(name: &str) -> Result<&str, FetchError> {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(fit) {
        return Ok(name);
    }
    Err(FetchError::Name {
        name: visible(name).to_string(),
    })
}

fn open_local(path: &Path) -> Result<Repository, FetchError> {
    let none: [&str; 0] = [];
    let flags = RepositoryOpenFlags::NO_SEARCH;
    Repository::open_ext(path, flags, none).map_err(|error| FetchError::Open {
        path: path.to_owned(),
        why: match error.code() {
            ErrorCode::NotFound if path.exists() => "there is no git repository here".to_owned(),
            ErrorCode::NotFound => "it does not exist".to_owned(),
            ErrorCode::Owner => format!(
                "it belongs to another user; if that is meant, allow it with `git config --global --add safe.directory '{}'`",
                visible(&path.to_string_lossy())
            ),
            _ => error::plain(&error),
        },
    })
}
