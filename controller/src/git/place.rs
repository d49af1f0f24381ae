//! The declarations at some place of a repository on this machine: in a revision, whatever git
//! understands by that, or in the working tree.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use git2::{ErrorCode, Oid, Repository};
use placet_crds::SourceFile;
use placet_model::visible;

use super::base::{self, MergeBase};
use super::error::plain;
use super::files::{self, DEPTH_MAX, SUBMODULE, Wanted, is_declaration, is_overlay, refused};
use super::followed::{Followed, Revision};
use super::selection::Selection;
use super::{FetchError, Limits};

/// No revision that a person would write is longer.
const REVISION_MAX: usize = 1_024;

/// The mode of a submodule in git's index.
const SUBMODULE_MODE: u32 = 0o160_000;

/// Where declarations are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// What git understands by this text: a branch, a tag, a commit, `HEAD~2`.
    Revision(&'a str),
    /// Where a revision (`HEAD` where none is given) left the main branch.
    MergeBase(Option<&'a str>),
    /// The files as they are, committed or not, but for those that git ignores.
    WorkingTree,
}

/// Declarations that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Where they stood: `HEAD@sha1:…`, or `working tree`.
    pub revision: String,
    /// The files, by name; names are relative to the root of the repository.
    pub files: Vec<SourceFile>,
}

/// A repository that is read where it is, and never changed.
pub struct LocalRepository(Repository);

impl std::fmt::Debug for LocalRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LocalRepository")
            .field(&self.0.path())
            .finish()
    }
}

impl LocalRepository {
    /// The repository that `path` is in.
    pub fn containing(path: &Path) -> Result<Self, FetchError> {
        let found = Repository::discover(path).map_err(|error| FetchError::Open {
            path: path.to_owned(),
            why: match error.code() {
                ErrorCode::NotFound if path.exists() => {
                    "there is no git repository here".to_owned()
                }
                ErrorCode::NotFound => "it does not exist".to_owned(),
                ErrorCode::Owner => "it belongs to another user; if that is meant, allow it with `git config --global --add safe.directory`".to_owned(),
                _ => plain(&error),
            },
        });
        found.map(Self)
    }

    /// Its folder: that of the working tree, or the repository itself if it has none.
    pub fn folder(&self) -> &Path {
        self.0.workdir().unwrap_or_else(|| self.0.path())
    }

    /// The declarations below the folder `path` of the repository.
    ///
    /// # Errors
    ///
    /// The same as for a source that is followed: what the controller would refuse is refused here.
    pub fn declared(&self, place: Place<'_>, path: &str) -> Result<Declared, FetchError> {
        let limits = Limits::default();
        let selection = Selection::all();
        let wanted = Wanted {
            path,
            selection: &selection,
            allow_empty: None,
            limits: &limits,
        };
        match place {
            Place::Revision(text) => {
                let revision = Revision {
                    followed: Followed::Branch(visible(text).to_string()),
                    commit: self.commit(text)?,
                };
                self.committed(&revision, &wanted)
            }
            Place::MergeBase(of) => {
                let base = self.merge_base(of)?;
                let revision = Revision {
                    followed: Followed::Branch(format!("merge base with {}", base.main)),
                    commit: base.commit,
                };
                self.committed(&revision, &wanted)
            }
            Place::WorkingTree => self.working_tree(&wanted),
        }
    }

    /// The last commit that the revision `of`, or `HEAD`, shares with the main branch: what
    /// `origin/HEAD` names, or else `origin/main`, `origin/master`, `main` or `master`.
    ///
    /// # Errors
    ///
    /// There is none of them, or no such commit, as in a shallow clone.
    pub fn merge_base(&self, of: Option<&str>) -> Result<MergeBase, FetchError> {
        base::merge_base(&self.0, self.commit(of.unwrap_or("HEAD"))?)
    }

    fn committed(&self, revision: &Revision, wanted: &Wanted<'_>) -> Result<Declared, FetchError> {
        let fetched = files::read(&self.0, revision, wanted)?;
        Ok(Declared {
            revision: fetched.revision,
            files: fetched.files,
        })
    }

    fn commit(&self, text: &str) -> Result<Oid, FetchError> {
        let named = (text.len() <= REVISION_MAX)
            .then(|| self.0.revparse_single(text).ok())
            .flatten();
        let Some(object) = named else {
            return Err(FetchError::NoReference {
                url: self.folder().display().to_string(),
                followed: format!("revision `{}`", visible(text)),
                known: base::missing_advice(&self.0),
            });
        };
        match object.peel_to_commit() {
            Ok(commit) => Ok(commit.id()),
            Err(error) => Err(FetchError::NotACommit {
                followed: format!("revision `{}`", visible(text)),
                why: plain(&error),
            }),
        }
    }

    fn working_tree(&self, wanted: &Wanted<'_>) -> Result<Declared, FetchError> {
        let revision = "working tree".to_owned();
        let Some(root) = self.0.workdir() else {
            return Err(FetchError::Open {
                path: self.0.path().to_owned(),
                why: "it is bare, and has no working tree; name a revision".to_owned(),
            });
        };
        let parts = wanted.path.split('/');
        let parts: Vec<_> = parts.filter(|it| !matches!(*it, "" | ".")).collect();
        let no_folder = || FetchError::NoFolder {
            revision: revision.clone(),
            path: visible(wanted.path).to_string(),
        };
        if parts.contains(&"..") {
            return Err(no_folder());
        }
        let folder = parts.join("/");
        let is_folder = |metadata: fs::Metadata| metadata.is_dir();
        if !fs::symlink_metadata(root.join(&folder)).is_ok_and(is_folder) {
            return Err(no_folder());
        }
        let mut walk = Walk {
            repository: &self.0,
            root,
            wanted,
            files: Vec::new(),
            bytes: 0,
        };
        walk.folder(&folder, 0)?;
        if walk.files.is_empty() {
            return Err(FetchError::NoFiles {
                revision,
                path: visible(wanted.path).to_string(),
            });
        }
        let mut files = walk.files;
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Declared { revision, files })
    }
}

struct Walk<'a> {
    repository: &'a Repository,
    root: &'a Path,
    wanted: &'a Wanted<'a>,
    files: Vec<SourceFile>,
    bytes: u64,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &str, depth: usize) -> Result<(), FetchError> {
        if depth > DEPTH_MAX {
            let why = format!("folders nest deeper than {DEPTH_MAX}");
            return Err(refused(folder, why));
        }
        let at = self.root.join(folder);
        let entries = fs::read_dir(&at).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries: Vec<DirEntry> = entries.map_err(|error| refused(folder, error.to_string()))?;
        for entry in entries {
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let shown = format!("{folder}/{}", name.to_string_lossy());
                return Err(refused(&shown, "its name is not UTF-8; rename it"));
            };
            let path = if folder.is_empty() {
                name.to_owned()
            } else {
                format!("{folder}/{name}")
            };
            let is_ignored = || self.repository.is_path_ignored(&path).unwrap_or(false);
            if !name.starts_with('.') && !is_ignored() {
                self.entry(&entry, &path, depth)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, path: &str, depth: usize) -> Result<(), FetchError> {
        let unreadable = |error: std::io::Error| refused(path, error.to_string());
        let kind = entry.file_type().map_err(unreadable)?;
        let place: PathBuf = entry.path();
        if kind.is_symlink() && (is_declaration(path) || place.is_dir()) {
            return Err(refused(
                path,
                "it is a symbolic link, which is not followed; put the file or folder itself here",
            ));
        }
        if kind.is_dir() {
            if self.is_submodule(path) {
                return Err(refused(path, SUBMODULE));
            }
            if place.join(".git").exists() {
                let why = "it is another repository, whose files a commit would not hold";
                return Err(refused(path, why));
            }
            return self.folder(path, depth + 1);
        }
        if !kind.is_file() || !is_declaration(path) {
            return Ok(());
        }
        if is_overlay(path) {
            return Err(refused(
                path,
                "it is a Kustomize overlay, which is not carried out; commit what `kustomize build` makes of it",
            ));
        }
        self.file(&place, path)
    }

    /// One that was not cloned yet is an empty folder.
    fn is_submodule(&self, path: &str) -> bool {
        let entry = self.repository.index().ok();
        let entry = entry.and_then(|index| index.get_path(Path::new(path), 0));
        entry.is_some_and(|entry| entry.mode == SUBMODULE_MODE)
    }

    fn file(&mut self, place: &Path, path: &str) -> Result<(), FetchError> {
        let limits = self.wanted.limits;
        let unreadable = |error: std::io::Error| refused(path, error.to_string());
        let size = place.metadata().map_err(unreadable)?.len();
        self.bytes += size;
        let (file_most, most) = (limits.file_bytes as u64, limits.total_bytes as u64);
        if size > file_most || self.bytes > most || self.files.len() >= limits.files {
            return Err(FetchError::TooLarge {
                what: format!("what there is up to `{}`", visible(path)),
                most: format!(
                    "{file_most} bytes in one file, {most} bytes or {} files in all",
                    limits.files
                ),
                advice: "; split the file, or name the folder of declarations",
            });
        }
        let text = fs::read(place).map_err(unreadable)?;
        let text = String::from_utf8(text).map_err(|error| {
            let byte = error.utf8_error().valid_up_to();
            refused(
                path,
                format!("byte {byte} is not UTF-8; save the file as UTF-8"),
            )
        })?;
        let name = path.to_owned();
        self.files.push(SourceFile { name, text });
        Ok(())
    }
}
