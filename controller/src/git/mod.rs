//! Declarations from git repositories.
//!
//! A repository on this machine (a path or a `file://` URL) is read where it is. One behind `ssh`
//! or `https` is fetched into a bare mirror, `<state>/git/<source>`, with the system's own `ssh`
//! program or with the HTTP client that is there anyway. What is wrong with an answer, a tree, a
//! signature or a file is an error that says so; nothing is ever guessed, cut short or left out,
//! since what is missing from a revision would be pruned from the fleet.
//!
//! **Invariant:** neither a name nor an address from a repository becomes part of a command line
//! unquoted, a path on disk, or text that is shown unescaped. Memory and time that a hostile
//! repository can cost are bounded by [`Limits`].

mod address;
mod base;
mod credentials;
mod error;
mod files;
mod followed;
mod mirror;
mod place;
mod remote;
mod selection;
mod signature;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use git2::{ErrorCode, Oid, Repository, RepositoryOpenFlags};
use jiff::Timestamp;
use placet_crds::{CommitVerification, GitSource, SecretReference, SourceFile};
use placet_model::visible;

use crate::secrets::Secrets;
use address::Address;
use credentials::Credentials;
use followed::{Followed, Reference, Revision};
use mirror::Mirror;
use remote::{Keys, Runner, Session};
use selection::Selection;
use signature::AllowedSigners;

pub use base::MergeBase;
pub use error::FetchError;
pub use place::{Declared, LocalRepository, Place};
pub use signature::Signer;

/// A secret is read anew after this long, and after whatever failed: looking at a repository every
/// minute is no reason to ask for its secret every minute.
const CREDENTIALS_AGE: Duration = Duration::from_mins(10);

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
    /// Who signed it, where that is asked for.
    pub signer: Option<Signer>,
    /// Whether a person said that this commit may declare nothing at all.
    pub may_be_empty: bool,
    /// The declaration files, by name.
    pub files: Vec<SourceFile>,
}

/// The repositories that sources follow. All methods block: they are not for a thread that runs
/// asynchronous tasks.
#[derive(Debug)]
pub struct Repositories {
    state: PathBuf,
    secrets: Secrets,
    limits: Limits,
    /// Two fetches of one source take turns.
    busy: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
    /// Secrets that were read, and when.
    known: Mutex<BTreeMap<String, (Instant, Credentials)>>,
}

impl Repositories {
    /// Keeps mirrors below the state folder `state`, and finds secrets there. One process at a time
    /// does so, which [`crate::home::Home`] sees to.
    pub fn new(state: &Path) -> Self {
        Self::with_limits(state, Limits::default())
    }

    /// As [`Repositories::new`], with other limits.
    pub fn with_limits(state: &Path, limits: Limits) -> Self {
        // Keys that a killed process laid out for `ssh`. Where they cannot be removed, neither can
        // new ones be laid out, which is told.
        let _ = fs::remove_dir_all(state.join(KEYS));
        Self {
            state: state.to_owned(),
            secrets: Secrets::Folder(state.join("secrets")),
            limits,
            busy: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// With secrets from elsewhere.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
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
        self.try_fetch(source, last_good)
            .inspect_err(|_| self.forget_secrets(source))
    }

    fn try_fetch(
        &self,
        source: &GitSource,
        last_good: Option<&str>,
    ) -> Result<Fetched, FetchError> {
        let spec = &source.spec;
        let reading = Reading {
            source,
            last_good,
            selection: Selection::of(spec)?,
            signers: spec
                .verify
                .as_ref()
                .map(|verify| self.signers(verify))
                .transpose()?,
            limits: &self.limits,
        };
        let reference = Reference::of(&spec.reference)?;
        let address = match Address::parse(&spec.url)? {
            Address::Local(path) => {
                let repository = open_local(&path)?;
                let followed = pick(reference, &spec.url, || followed::names(&repository))?;
                let commit = followed.find(&repository, &spec.url)?;
                let named = followed
                    .full_name()
                    .and_then(|name| repository.find_reference(&name).ok()?.target());
                return reading.read(&repository, &Revision { followed, commit }, named);
            }
            elsewhere => elsewhere,
        };
        let name = source_name(source)?;
        let turn = self.turn(name);
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let followed = self.pick_elsewhere(source, &address, reference)?;
        let session = || self.session(source, &address, &followed);
        let read = |repository: &Repository, commit: Oid| {
            let named = repository.find_reference(mirror::KEPT).ok();
            let named = named.and_then(|kept| kept.target());
            let followed = followed.clone();
            reading.read(repository, &Revision { followed, commit }, named)
        };
        Mirror::new(self.state.join("git").join(name)).with(&followed, session, read)
    }

    /// Whether what `source` follows stands elsewhere than at revision `last`: cheap for a
    /// repository on this machine, one connection for another. `last` is the revision that was
    /// looked at last, good or not, lest a bad one be fetched again and again.
    pub fn changed_since(
        &self,
        source: &GitSource,
        last: Option<&str>,
    ) -> Result<bool, FetchError> {
        let now = self
            .revision(source)
            .inspect_err(|_| self.forget_secrets(source))?;
        Ok(last != Some(now.to_string().as_str()))
    }

    fn revision(&self, source: &GitSource) -> Result<Revision, FetchError> {
        let spec = &source.spec;
        let reference = Reference::of(&spec.reference)?;
        match (Address::parse(&spec.url)?, reference) {
            (_, Reference::One(Followed::Commit(commit))) => Ok(Revision {
                followed: Followed::Commit(commit),
                commit,
            }),
            (Address::Local(path), reference) => {
                let repository = open_local(&path)?;
                let followed = pick(reference, &spec.url, || followed::names(&repository))?;
                let commit = followed.find(&repository, &spec.url)?;
                Ok(Revision { followed, commit })
            }
            (address, Reference::One(followed)) => {
                let commit = self.session(source, &address, &followed)?.look()?;
                Ok(Revision { followed, commit })
            }
            (address, Reference::Range(range)) => {
                let session = self.session(source, &address, &Followed::Tag(String::new()))?;
                let names = session.names()?;
                let known = names.keys().map(String::as_str);
                let followed = Followed::greatest(&range, &session.address(), known)?;
                let commit = followed.commit_among(&names);
                let commit = commit.ok_or_else(|| followed.missing(&spec.url, [].into_iter()))?;
                Ok(Revision { followed, commit })
            }
        }
    }

    fn pick_elsewhere(
        &self,
        source: &GitSource,
        address: &Address,
        reference: Reference,
    ) -> Result<Followed, FetchError> {
        pick(reference, &source.spec.url, || {
            let session = self.session(source, address, &Followed::Tag(String::new()))?;
            Ok(session.names()?.into_keys().collect())
        })
    }

    fn session(
        &self,
        source: &GitSource,
        address: &Address,
        followed: &Followed,
    ) -> Result<Session, FetchError> {
        let credentials = self.credentials(source.spec.secret_ref.as_ref())?;
        match address {
            Address::Ssh(address) => {
                let keys = Keys::new(&credentials, &self.state.join(KEYS))?;
                Ok(Session::ssh(address.clone(), keys, &self.limits, followed))
            }
            Address::Https(address) => {
                Session::https(address, &credentials, &self.limits, followed)
            }
            Address::Local(path) => Err(FetchError::Open {
                path: path.clone(),
                why: "it is on this machine".to_owned(),
            }),
        }
    }

    /// Who may sign.
    fn signers(&self, verify: &CommitVerification) -> Result<AllowedSigners, FetchError> {
        let (place, text) = match (&verify.allowed_signers, &verify.secret_ref) {
            (Some(text), _) => ("`spec.verify.allowedSigners`".to_owned(), text.clone()),
            (None, reference) => {
                let credentials = self.credentials(reference.as_ref())?;
                let text = credentials.get("allowed_signers").ok_or_else(|| {
                    credentials.unfit("it does not hold `allowed_signers`".to_owned())
                })?;
                let name = credentials.name().unwrap_or_default();
                (
                    format!("`allowed_signers` of the secret `{name}`"),
                    String::from_utf8_lossy(text).into_owned(),
                )
            }
        };
        AllowedSigners::parse(&text).map_err(|why| FetchError::Signers { place, why })
    }

    /// The folder of the repository itself where `source` is on this machine: what relative
    /// references of its declarations are relative to.
    pub fn local_folder(source: &GitSource) -> Option<PathBuf> {
        match Address::parse(&source.spec.url) {
            Ok(Address::Local(path)) => Some(path),
            _ => None,
        }
    }

    /// The host, and what the repository is called there, where its address says so:
    /// `git.example`, `team/fleet`.
    pub(crate) fn place_on_host(url: &str) -> Option<(String, String)> {
        let (host, path) = match Address::parse(url).ok()? {
            Address::Local(_) => return None,
            Address::Ssh(address) => (address.host, address.path),
            Address::Https(address) => {
                let url = address.url();
                let host = url.host_str()?;
                let host = url
                    .port()
                    .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
                (host, url.path().to_owned())
            }
        };
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        path.contains('/').then(|| (host, path.to_owned()))
    }

    /// Removes the mirror of a source that is gone.
    pub fn forget(&self, source: &GitSource) -> Result<(), FetchError> {
        Mirror::new(self.state.join("git").join(source_name(source)?)).remove()
    }

    fn turn(&self, name: &str) -> Arc<Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(busy.entry(name.to_owned()).or_default())
    }

    /// What the secret of this name holds.
    fn credentials(&self, reference: Option<&SecretReference>) -> Result<Credentials, FetchError> {
        let Some(SecretReference { name }) = reference else {
            return Ok(Credentials::default());
        };
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, credentials)) = known().get(name)
            && read.elapsed() < CREDENTIALS_AGE
        {
            return Ok(credentials.clone());
        }
        let unfit = |why: String| FetchError::Secret {
            name: visible(name).to_string(),
            why,
        };
        let runner = Runner::new().map_err(|error| unfit(error.to_string()))?;
        let values = runner.block_on(self.secrets.read(name));
        let values = values.map_err(|error| unfit(error::chain(&error)))?;
        let credentials = Credentials::new(name, values);
        known().insert(name.clone(), (Instant::now(), credentials.clone()));
        Ok(credentials)
    }

    /// What failed may do so for a secret that is another by now.
    fn forget_secrets(&self, source: &GitSource) {
        let spec = &source.spec;
        let of_verify = spec.verify.as_ref().and_then(|it| it.secret_ref.as_ref());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for reference in spec.secret_ref.iter().chain(of_verify) {
            known.remove(&reference.name);
        }
    }
}

/// Where keys are laid out for `ssh`, below the state folder.
const KEYS: &str = "git-keys";

/// How the commit of a source is read, wherever it is.
struct Reading<'a> {
    source: &'a GitSource,
    last_good: Option<&'a str>,
    selection: Selection,
    signers: Option<AllowedSigners>,
    limits: &'a Limits,
}

impl Reading<'_> {
    /// Verifies and reads a revision. `named` is what the branch or tag names: of an annotated tag
    /// the tag itself.
    fn read(
        &self,
        repository: &Repository,
        revision: &Revision,
        named: Option<Oid>,
    ) -> Result<Fetched, FetchError> {
        let spec = &self.source.spec;
        let signer = match (&spec.verify, &self.signers) {
            (Some(verify), Some(signers)) => Some(signature::verify(
                repository,
                revision,
                named,
                (verify.mode, signers),
            )?),
            _ => None,
        };
        revision.require_descent(repository, self.last_good, spec.allow_rewind.as_deref())?;
        let wanted = files::Wanted {
            path: &spec.path,
            selection: &self.selection,
            allow_empty: spec.allow_empty.as_deref(),
            limits: self.limits,
        };
        let fetched = files::read(repository, revision, &wanted)?;
        Ok(Fetched { signer, ..fetched })
    }
}

/// The one thing that `reference` means in a repository with `names`.
fn pick(
    reference: Reference,
    url: &str,
    names: impl FnOnce() -> Result<Vec<String>, FetchError>,
) -> Result<Followed, FetchError> {
    match reference {
        Reference::One(followed) => Ok(followed),
        Reference::Range(range) => {
            let names = names()?;
            Followed::greatest(&range, url, names.iter().map(String::as_str))
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
