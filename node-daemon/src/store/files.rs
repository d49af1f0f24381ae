//! File operations that survive a power cut, with errors that say what was attempted on what.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::StoreError;
use super::disk::{Context as _, Disk, Operation};

impl Disk {
    /// Makes a folder that only its owner can enter, and those above it, where they are missing.
    /// Names are not flushed.
    pub(super) fn make_folder(&self, path: &Path) -> Result<(), StoreError> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
            self.make_folder(above)?;
        }
        self.apply(Operation::MakeFolder { path })
    }

    /// Flushes a file or folder to the disk.
    pub(super) fn flush(&self, path: &Path) -> Result<(), StoreError> {
        self.apply(Operation::Flush { path })
    }

    /// Lets others pass through a folder to what they know is in it, and no more.
    pub(super) fn let_pass(&self, path: &Path) -> Result<(), StoreError> {
        let mode = fs::metadata(path).on("look at", path)?.permissions().mode();
        if mode & 0o777 == 0o711 {
            return Ok(());
        }
        self.apply(Operation::SetMode { path, mode: 0o711 })
    }

    /// Gives a file or folder another name. The name is not flushed.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.apply(Operation::Rename { from, to })
    }

    /// Puts a file with this content at `path` in one step, for good.
    pub(super) fn write(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let temporary = path.with_extension("new");
        self.apply(Operation::Write {
            path: &temporary,
            content,
        })?;
        self.flush(&temporary)?;
        self.rename(&temporary, path)?;
        self.flush(path.parent().unwrap_or(path))
    }

    /// Removes a file that may be gone already. The name may come back with a power cut.
    pub(super) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match self.run(&Operation::Remove { path }) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).on("remove", path),
            _ => Ok(()),
        }
    }

    /// Removes a file that may be gone already, for good.
    pub(super) fn remove_for_good(&self, path: &Path) -> Result<(), StoreError> {
        self.remove(path)?;
        self.flush(path.parent().unwrap_or(path))
    }

    /// Removes a tree, read-only folders included. Symbolic links are removed, never followed.
    pub(super) fn remove_tree(&self, path: &Path) -> Result<(), StoreError> {
        self.apply(Operation::SetMode { path, mode: 0o700 })?;
        for entry in fs::read_dir(path).on("list", path)? {
            let entry = entry.on("list", path)?;
            if entry.file_type().on("look at", path)?.is_dir() {
                self.remove_tree(&entry.path())?;
            } else {
                self.remove(&entry.path())?;
            }
        }
        self.apply(Operation::RemoveFolder { path })
    }
}

/// The content of a file; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("read", path),
    }
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
