//! Whether a generation is still what was laid out.
//!
//! The quick look compares each file with what was noted of it when the generation was sealed, and
//! takes the digest only of what differs; the full one takes all digests. The time of a file's last
//! change of status (`ctime`) is not compared: it moves whenever a generation that shares the file
//! comes or goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use placet_model::{Digest, Hasher, Module, ModulePath};
use serde::{Deserialize, Serialize};

use super::blob;
use super::disk::Context as _;
use super::generation::FOLDER_MODE;
use super::{Generation, Store, StoreError, files};

/// More differences than anybody reads.
const DRIFTS_MAX: usize = 1_000;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    Quick,
    Full,
}

/// What was noted when a generation was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    /// Digest of the manifest.
    pub(super) manifest: Digest,
    /// Inode, size and time of the last write in nanoseconds.
    pub(super) files: BTreeMap<ModulePath, (u64, u64, i64)>,
}

/// Something in a generation that is not as it was laid out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Drift {
    /// Path in the tree.
    pub(crate) path: PathBuf,
    pub(crate) what: Difference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum Difference {
    #[error("it is missing")]
    Missing,
    #[error("it is no longer a {0}")]
    Kind(&'static str),
    #[error("its bytes are others")]
    Bytes,
    #[error("its mode is {found:04o} in place of {wanted:04o}")]
    Mode { found: u32, wanted: u32 },
    #[error("its owner is another")]
    Owner,
    #[error("it leads somewhere else")]
    Target,
    #[error("no package has it")]
    Foreign,
}

impl Store {
    /// What differs in the tree of `generation`. Of its files only those that `is_meant` says are
    /// looked at.
    pub(crate) fn verify(
        &self,
        generation: &Generation,
        depth: Depth,
        is_meant: &dyn Fn(&Module) -> bool,
    ) -> Result<Vec<Drift>, StoreError> {
        if generation.number == 0 {
            return Ok(Vec::new());
        }
        let tree = self.tree(generation.number);
        let sealed = self.sealed(generation.number);
        let noted = sealed.map(|sealed| sealed.files).unwrap_or_default();
        let mut drifts = foreign(generation, &tree)?;
        for module in generation.manifest.installed_modules() {
            if drifts.len() >= DRIFTS_MAX {
                return Ok(drifts);
            }
            let path = tree.join(module.path.as_str());
            let trusted = noted.get(&module.path).filter(|_| depth == Depth::Quick);
            let digest = generation.held(module);
            let what = if !is_meant(module) {
                None
            } else if is_reached_by_folders(&tree, &path) {
                difference(&path, module, digest, trusted.copied())?
            } else {
                Some(Difference::Missing)
            };
            drifts.extend(what.map(|what| Drift {
                path: module.path.as_str().into(),
                what,
            }));
        }
        Ok(drifts)
    }

    /// Notes what the files of a laid out generation are, for the quick look.
    pub(super) fn seal(&self, generation: &Generation) -> Result<(), StoreError> {
        let folder = self.folder(generation.number);
        let path = folder.join("sealed.json");
        self.in_folder(&path, || self.note_sealed(generation, &folder))
    }

    pub(super) fn note_sealed(
        &self,
        generation: &Generation,
        folder: &Path,
    ) -> Result<(), StoreError> {
        let modules = generation.manifest.installed_modules();
        let note = |module: &Module| {
            let found =
                fs::symlink_metadata(folder.join("tree").join(module.path.as_str())).ok()?;
            Some((module.path.clone(), stat(&found)))
        };
        let sealed = Sealed {
            manifest: generation.digest,
            files: modules
                .filter(|module| module.link.is_none())
                .filter_map(note)
                .collect(),
        };
        let text = placet_model::canonical_json(&sealed);
        self.disk.write(&folder.join("sealed.json"), &text)
    }

    /// What was noted of a generation; nothing if that cannot be read.
    pub(super) fn sealed(&self, number: u64) -> Option<Sealed> {
        let content = files::read(&self.folder(number).join("sealed.json")).ok()??;
        serde_json::from_slice(&content).ok()
    }
}

/// What differs at the path of a module; bytes are looked at unless the file is as `trusted` says.
pub(super) fn difference(
    path: &Path,
    module: &Module,
    digest: Digest,
    trusted: Option<(u64, u64, i64)>,
) -> Result<Option<Difference>, StoreError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if is_absent(&error) => return Ok(Some(Difference::Missing)),
        Err(error) => return Err(error).on("look at", path),
    };
    if let Some(target) = &module.link {
        if !found.is_symlink() {
            return Ok(Some(Difference::Kind("symbolic link")));
        }
        let leads = fs::read_link(path).on("read", path)?;
        let is_right = leads == Path::new(target.as_str());
        return Ok((!is_right).then_some(Difference::Target));
    }
    if !found.is_file() {
        return Ok(Some(Difference::Kind("file")));
    }
    let seal = blob::seal(module)?;
    let mode = found.mode() & 0o7777;
    if mode != seal.mode {
        let wanted = seal.mode;
        return Ok(Some(Difference::Mode {
            found: mode,
            wanted,
        }));
    }
    let is_of = |wanted: Option<u32>, found: u32| wanted.is_none_or(|wanted| wanted == found);
    if !is_of(seal.user, found.uid()) || !is_of(seal.group, found.gid()) {
        return Ok(Some(Difference::Owner));
    }
    if trusted == Some(stat(&found)) {
        return Ok(None);
    }
    let is_right = digest_of(path)? == digest;
    Ok((!is_right).then_some(Difference::Bytes))
}

/// What is in the tree and in no module, and folders that are none or can be written.
fn foreign(generation: &Generation, tree: &Path) -> Result<Vec<Drift>, StoreError> {
    let mut drifts = Vec::new();
    let mut known = BTreeSet::from([Path::new("")]);
    let mut folders = known.clone();
    for module in generation.manifest.installed_modules() {
        let path = Path::new(module.path.as_str());
        known.extend(path.ancestors());
        folders.extend(path.ancestors().skip(1));
    }
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let Ok(found) = fs::symlink_metadata(tree.join(&path)) else {
            // Its modules are missing as well.
            continue;
        };
        if !found.is_dir() {
            // What it leads to is none of this generation's.
            let what = Difference::Kind("folder");
            drifts.push(Drift { path, what });
            continue;
        }
        let (mode, wanted) = (found.mode() & 0o7777, FOLDER_MODE);
        for entry in fs::read_dir(tree.join(&path)).on("list", tree)? {
            let inside = path.join(entry.on("list", tree)?.file_name());
            if folders.contains(&*inside) {
                open.push(inside);
            } else if !known.contains(&*inside) && drifts.len() < DRIFTS_MAX {
                let what = Difference::Foreign;
                drifts.push(Drift { path: inside, what });
            }
        }
        if mode != wanted {
            let found = mode;
            let what = Difference::Mode { found, wanted };
            drifts.push(Drift { path, what });
        }
    }
    Ok(drifts)
}

/// True if no symbolic link stands in for a folder above `path`.
pub(super) fn is_reached_by_folders(tree: &Path, path: &Path) -> bool {
    let folders = folders_between(tree, path.parent().unwrap_or(tree));
    let is_folder = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    folders.iter().all(is_folder)
}

/// `folder` and those above it below `tree`, the highest first.
pub(super) fn folders_between(tree: &Path, folder: &Path) -> Vec<PathBuf> {
    let within = folder.ancestors().take_while(|above| *above != tree);
    let mut folders: Vec<_> = within.map(Path::to_owned).collect();
    folders.reverse();
    folders
}

fn stat(found: &Metadata) -> (u64, u64, i64) {
    let written = found.mtime().saturating_mul(1_000_000_000) + found.mtime_nsec();
    (found.ino(), found.len(), written)
}

pub(super) fn digest_of(path: &Path) -> Result<Digest, StoreError> {
    let mut file = File::open(path).on("open", path)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer).on("read", path)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
