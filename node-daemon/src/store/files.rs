//! File operations that survive a power cut, with errors that say what was attempted on what.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use super::StoreError;

/// Says what failed on which file.
pub(super) trait Context<T> {
    fn on(self, what: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> Context<T> for io::Result<T> {
    fn on(self, what: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::File {
            what,
            path: path.to_owned(),
            source,
        })
    }
}

/// Makes a folder that only its owner can enter.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .on("make the folder", path)
}

/// Lets others pass through a folder to what they know is in it, and no more.
pub(super) fn let_pass(path: &Path) -> Result<(), StoreError> {
    fs::set_permissions(path, Permissions::from_mode(0o711)).on("open up", path)
}

/// Flushes a file or folder to the disk.
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .on("flush", path)
}

/// Puts a file with this content at `path` in one step.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary).on("make", &temporary)?;
    file.write_all(content).on("write", &temporary)?;
    file.sync_all().on("flush", &temporary)?;
    fs::rename(&temporary, path).on("put in place", path)?;
    sync(path.parent().unwrap_or(path))
}

/// The content of a file; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("read", path),
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).on("remove", path),
        _ => Ok(()),
    }
}

/// Removes a tree, read-only folders included. Symbolic links are removed, never followed.
pub(super) fn remove_tree(path: &Path) -> Result<(), StoreError> {
    fs::set_permissions(path, Permissions::from_mode(0o700)).on("open up", path)?;
    for entry in fs::read_dir(path).on("list", path)? {
        let entry = entry.on("list", path)?;
        if entry.file_type().on("look at", path)?.is_dir() {
            remove_tree(&entry.path())?;
        } else {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(path).on("remove", path)
}

/// Names of the entries of a folder, sorted.
pub(super) fn names(path: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).on("list", path)? {
        // Nothing that is not UTF-8 was made here.
        names.extend(entry.on("list", path)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}
