//! Bare mirrors of repositories elsewhere. A mirror is a cache: what is wrong with it is mended by
//! making it anew.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository};

use super::FetchError;
use super::followed::Followed;
use super::remote::Session;

/// Each fetch leaves a pack, and many packs make every look slow: past this, the mirror is made
/// anew.
const PACKS_MAX: usize = 300;

/// The name under which the mirror keeps what was fetched.
pub(super) const KEPT: &str = "refs/placet/followed";

pub(super) struct Mirror {
    path: PathBuf,
}

impl Mirror {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Brings the mirror up to date and does `read` with it and the commit that is followed.
    pub(super) fn with<T>(
        &self,
        followed: &Followed,
        session: impl Fn() -> Result<Session, FetchError>,
        read: impl Fn(&Repository, Oid) -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        let attempt = || {
            let repository = self.open()?;
            let commit = Self::update(&repository, followed, session()?)?;
            read(&repository, commit)
        };
        let existed = self.path.exists();
        match attempt() {
            Err(FetchError::Read { .. }) if existed => {
                self.remove()?;
                attempt()
            }
            result => result,
        }
    }

    pub(super) fn remove(&self) -> Result<(), FetchError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove the mirror", &self.path)(error))
            }
            _ => Ok(()),
        }
    }

    fn open(&self) -> Result<Repository, FetchError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(failed("make the mirror", &self.path))?;
        let packs = self.clean()?;
        if packs > PACKS_MAX {
            self.remove()?;
        }
        Repository::open_bare(&self.path)
            .or_else(|_| Repository::init_bare(&self.path))
            .map_err(FetchError::read(format!(
                "the mirror `{}`",
                self.path.display()
            )))
    }

    /// Removes what an interrupted fetch left behind, and counts the packs.
    fn clean(&self) -> Result<usize, FetchError> {
        let mut packs = 0;
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(failed("look through", &folder))? {
                let entry = entry.map_err(failed("look through", &folder))?;
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if is_left_over(&name) {
                    fs::remove_file(&path).map_err(failed("remove", &path))?;
                } else if name.strip_suffix(".pack").is_some() {
                    packs += 1;
                }
            }
        }
        Ok(packs)
    }

    fn update(
        repository: &Repository,
        followed: &Followed,
        session: Session,
    ) -> Result<Oid, FetchError> {
        let Some(name) = followed.full_name() else {
            return Self::update_to_commit(repository, followed, session);
        };
        let commit = session.fetch(repository, &[format!("+{name}:{KEPT}")])?;
        let kept = repository
            .find_reference(KEPT)
            .and_then(|reference| reference.peel_to_commit())
            .map_err(FetchError::read(format!("what {followed} names")))?;
        match commit {
            Some(commit) if commit != kept.id() => Err(FetchError::Read {
                what: format!("what {followed} names"),
                why: format!("it is commit `{commit}`, and `{}` arrived", kept.id()),
            }),
            _ => Ok(kept.id()),
        }
    }

    /// A commit never changes: what is here once need not be fetched again.
    fn update_to_commit(
        repository: &Repository,
        followed: &Followed,
        session: Session,
    ) -> Result<Oid, FetchError> {
        if let Ok(commit) = followed.find(repository, "") {
            return Ok(commit);
        }
        let url = session.address();
        let all = ["heads", "tags"].map(|it| format!("+refs/{it}/*:refs/placet/all/{it}/*"));
        session.fetch(repository, &all)?;
        followed.find(repository, &url)
    }
}

/// Lock files and unfinished packs; nobody else works in a mirror.
fn is_left_over(name: &str) -> bool {
    name.strip_suffix(".lock").is_some() || name.contains("_git2_")
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Mirror {
        what,
        path: path.clone(),
        source,
    }
}
