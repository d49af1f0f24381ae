//! The declarations in one commit.

use git2::{Commit, ObjectType, Oid, Repository, Tree, TreeEntry};
use jiff::Timestamp;
use placet_crds::SourceFile;
use placet_model::visible;

use super::followed::Revision;
use super::selection::Selection;
use super::{FetchError, Fetched, Limits};

/// Folders deeper than this are nobody's declarations.
pub(super) const DEPTH_MAX: usize = 64;

/// Entries of folders that are looked at. One small folder that holds itself many times over, as
/// git allows by hash, can stand for more than any machine can walk through.
const ENTRIES_MAX: usize = 200_000;

/// Bytes of one folder's listing, or of a commit.
const LISTING_MAX: usize = 16 << 20;

/// As many characters as a status field holds.
const LINE_MAX: usize = 1_000;

const LINK: i32 = 0o120_000;

/// Why a submodule is refused.
pub(super) const SUBMODULE: &str = "it is a submodule, whose files are elsewhere; copy them here, follow that repository with a GitSource of its own, or name it in `spec.ignore`";

/// What is to be read of a commit.
pub(super) struct Wanted<'a> {
    /// The folder of declarations.
    pub(super) path: &'a str,
    pub(super) selection: &'a Selection,
    /// The commit that may hold no declarations at all.
    pub(super) allow_empty: Option<&'a str>,
    pub(super) limits: &'a Limits,
}

/// Reads the declarations that are wanted of the commit of `revision`.
pub(super) fn read(
    repository: &Repository,
    revision: &Revision,
    wanted: &Wanted<'_>,
) -> Result<Fetched, FetchError> {
    require_commit_size(repository, revision.commit)?;
    let commit = repository
        .find_commit(revision.commit)
        .map_err(FetchError::read(format!("commit `{}`", revision.commit)))?;
    let mut walk = Walk {
        repository,
        root: tree(repository, commit.tree_id(), "")?,
        wanted,
        base: 0,
        files: Vec::new(),
        bytes: 0,
        entries: 0,
    };
    let may_be_empty = wanted.allow_empty == Some(revision.commit.to_string().as_str());
    match walk.folder(revision, wanted.path) {
        Ok((folder, name)) => {
            walk.base = name.len();
            walk.folder_at(&folder, &name, 0)?;
        }
        // Git knows no empty folders.
        Err(FetchError::NoFolder { .. }) if may_be_empty => {}
        Err(error) => return Err(error),
    }
    if walk.files.is_empty() && !may_be_empty {
        return Err(FetchError::NoFiles {
            revision: revision.to_string(),
            path: visible(wanted.path).to_string(),
        });
    }
    let mut files = walk.files;
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Fetched {
        revision: revision.to_string(),
        subject: subject(&commit),
        author: author(&commit),
        committed: Timestamp::from_second(commit.time().seconds()).unwrap_or_default(),
        signer: None,
        may_be_empty,
        files,
    })
}

/// Refuses a commit that is larger than any is.
pub(super) fn require_commit_size(repository: &Repository, id: Oid) -> Result<(), FetchError> {
    require_size(repository, id, LISTING_MAX, || format!("commit `{id}`")).map(drop)
}

struct Walk<'repository> {
    repository: &'repository Repository,
    root: Tree<'repository>,
    wanted: &'repository Wanted<'repository>,
    /// How much of a path is the folder of declarations.
    base: usize,
    files: Vec<SourceFile>,
    bytes: usize,
    entries: usize,
}

impl<'repository> Walk<'repository> {
    /// The folder `path` and its name with a `/` at the end, or empty for the root.
    fn folder(
        &self,
        revision: &Revision,
        path: &str,
    ) -> Result<(Tree<'repository>, String), FetchError> {
        let mut name = String::new();
        let mut folder = self.root.clone();
        for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
            let below = folder.get_name(part);
            if below.as_ref().and_then(TreeEntry::kind) == Some(ObjectType::Commit) {
                return Err(refused(&format!("{name}{part}"), SUBMODULE));
            }
            let below = below
                .filter(|entry| entry.kind() == Some(ObjectType::Tree))
                .map(|entry| entry.id());
            let below = below.ok_or_else(|| FetchError::NoFolder {
                revision: revision.to_string(),
                path: visible(path).to_string(),
            })?;
            name = format!("{name}{part}/");
            folder = tree(self.repository, below, &name)?;
        }
        Ok((folder, name))
    }

    fn folder_at(
        &mut self,
        folder: &Tree<'repository>,
        prefix: &str,
        depth: usize,
    ) -> Result<(), FetchError> {
        if depth > DEPTH_MAX {
            return Err(refused(
                prefix,
                format!("folders nest deeper than {DEPTH_MAX}"),
            ));
        }
        for entry in folder {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(FetchError::TooLarge {
                    what: "the number of files and folders".to_owned(),
                    most: ENTRIES_MAX.to_string(),
                    advice: "; name the folder of declarations in `spec.path`, or what does not matter in `spec.ignore`",
                });
            }
            let name = entry_name(&entry, prefix)?;
            let path = format!("{prefix}{name}");
            if !name.starts_with('.') && !self.wanted.selection.ignores(&path[self.base..]) {
                self.entry(&entry, &path, prefix, depth)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &TreeEntry<'_>,
        path: &str,
        folder: &str,
        depth: usize,
    ) -> Result<(), FetchError> {
        match (entry.kind(), entry.filemode()) {
            (Some(ObjectType::Tree), _) => {
                let prefix = format!("{path}/");
                let below = tree(self.repository, entry.id(), &prefix)?;
                self.folder_at(&below, &prefix, depth + 1)
            }
            (Some(ObjectType::Blob), LINK) => self.link(entry.id(), path, folder),
            (Some(ObjectType::Blob), _) if is_overlay(path) && self.includes(path) => Err(refused(
                path,
                "it is a Kustomize overlay, which is not carried out; commit what `kustomize build` makes of it, and leave its sources out by `spec.path` or `spec.ignore`",
            )),
            (Some(ObjectType::Blob), _) if self.is_wanted(path) => self.file(entry.id(), path),
            (Some(ObjectType::Blob), _) => Ok(()),
            (Some(ObjectType::Commit), _) => Err(refused(path, SUBMODULE)),
            _ => Err(refused(path, "it is neither a file nor a folder")),
        }
    }

    fn is_wanted(&self, path: &str) -> bool {
        is_declaration(path) && self.includes(path)
    }

    fn includes(&self, path: &str) -> bool {
        self.wanted.selection.includes(&path[self.base..])
    }

    fn file(&mut self, id: Oid, path: &str) -> Result<(), FetchError> {
        if self.files.len() >= self.wanted.limits.files {
            return Err(FetchError::TooLarge {
                what: "the number of declaration files".to_owned(),
                most: self.wanted.limits.files.to_string(),
                advice: "; put several declarations into one file, separated by `---`",
            });
        }
        self.bytes += self.blob_size(id, path, self.wanted.limits.file_bytes)?;
        if self.bytes > self.wanted.limits.total_bytes {
            return Err(FetchError::TooLarge {
                what: "the size of all declaration files together".to_owned(),
                most: format!("{} bytes", self.wanted.limits.total_bytes),
                advice: "; divide them among several repositories",
            });
        }
        let blob = self.repository.find_blob(id);
        let blob = blob.map_err(FetchError::read(format!("`{}`", visible(path))))?;
        let text = std::str::from_utf8(blob.content()).map_err(|error| {
            let place = error.valid_up_to();
            refused(
                path,
                format!("byte {place} is not UTF-8; save the file as UTF-8"),
            )
        })?;
        self.files.push(SourceFile {
            name: path.to_owned(),
            text: text.to_owned(),
        });
        Ok(())
    }

    /// Links are not followed. One to a plain file that is no declaration changes nothing; any
    /// other could stand for declarations, which must not be missed.
    fn link(&self, id: Oid, path: &str, folder: &str) -> Result<(), FetchError> {
        let why = "it is a symbolic link, which is not followed; put the file or folder itself here, or name the link in `spec.ignore`";
        if is_declaration(path) {
            return Err(refused(path, why));
        }
        self.blob_size(id, path, 4_096)?;
        let blob = self.repository.find_blob(id);
        let blob = blob.map_err(FetchError::read(format!("`{}`", visible(path))))?;
        let target = std::str::from_utf8(blob.content()).unwrap_or_default();
        if self.is_plain_file(&format!("{folder}{target}")) {
            Ok(())
        } else {
            Err(refused(path, why))
        }
    }

    fn is_plain_file(&self, path: &str) -> bool {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
            if part != ".." {
                parts.push(part);
            } else if parts.pop().is_none() {
                return false;
            }
        }
        let mut folder = self.root.clone();
        let Some((file, folders)) = parts.split_last() else {
            return false;
        };
        for part in folders {
            let below = folder
                .get_name(part)
                .filter(|entry| entry.kind() == Some(ObjectType::Tree))
                .and_then(|entry| tree(self.repository, entry.id(), part).ok());
            match below {
                Some(below) => folder = below,
                None => return false,
            }
        }
        folder
            .get_name(file)
            .is_some_and(|it| it.kind() == Some(ObjectType::Blob) && it.filemode() != LINK)
    }

    fn blob_size(&self, id: Oid, path: &str, most: usize) -> Result<usize, FetchError> {
        require_size(self.repository, id, most, || format!("`{}`", visible(path)))
    }
}

/// The size of an object, found without reading it.
fn require_size(
    repository: &Repository,
    id: Oid,
    most: usize,
    what: impl Fn() -> String,
) -> Result<usize, FetchError> {
    let header = repository.odb().and_then(|odb| odb.read_header(id));
    let (size, _) = header.map_err(|error| FetchError::read(what())(error))?;
    if size > most {
        return Err(FetchError::TooLarge {
            what: format!("the size of {}, {size} bytes,", what()),
            most: format!("{most} bytes"),
            advice: "; split it, or move it out of the folder of declarations",
        });
    }
    Ok(size)
}

fn tree<'repository>(
    repository: &'repository Repository,
    id: Oid,
    path: &str,
) -> Result<Tree<'repository>, FetchError> {
    let what = || format!("the folder `/{}`", visible(path));
    require_size(repository, id, LISTING_MAX, what)?;
    repository
        .find_tree(id)
        .map_err(|error| FetchError::read(what())(error))
}

/// The name of an entry; one that could not be shown as it is, is refused.
fn entry_name(entry: &TreeEntry<'_>, folder: &str) -> Result<String, FetchError> {
    let bytes = entry.name_bytes();
    let shown = || format!("{folder}{}", String::from_utf8_lossy(bytes));
    let name = std::str::from_utf8(bytes)
        .map_err(|_| refused(&shown(), "its name is not UTF-8; rename it"))?;
    let special = matches!(name, "" | "." | "..") || name.contains('/');
    if special || visible(name).to_string() != name {
        return Err(refused(
            &shown(),
            "its name holds control or invisible characters, or is not a name at all; rename it",
        ));
    }
    Ok(name.to_owned())
}

pub(super) fn is_declaration(path: &str) -> bool {
    [".yaml", ".yml"].iter().any(|end| path.ends_with(end))
}

/// Kustomize's own file: what it declares is made of other files, which by themselves say something
/// else.
pub(super) fn is_overlay(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    matches!(
        name,
        "kustomization.yaml" | "kustomization.yml" | "Kustomization"
    )
}

pub(super) fn refused(path: &str, why: impl Into<String>) -> FetchError {
    FetchError::File {
        path: visible(path).to_string(),
        why: why.into(),
    }
}

fn subject(commit: &Commit<'_>) -> String {
    let message = commit.message_bytes();
    let mut lines = message.split(|byte| *byte == b'\n');
    line(
        lines
            .find(|line| !line.trim_ascii().is_empty())
            .unwrap_or_default(),
    )
}

fn author(commit: &Commit<'_>) -> String {
    let author = commit.author();
    let text = [author.name_bytes(), b" <", author.email_bytes(), b">"].concat();
    line(&text)
}

/// One line from outside, escaped, and cut after escaping.
fn line(text: &[u8]) -> String {
    let text = visible(String::from_utf8_lossy(text).trim()).to_string();
    match text.char_indices().nth(LINE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
