//! Files that hold keys: in folders of mode 0700, of mode 0600, whole or not there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file with a key, or its folder, that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The folder could not be made.
    #[error("failed to create the folder `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the key.
    #[error(
        "`{0}` holds a private key and has mode {mode:03o}; run `chmod 600 '{0}'`, and take the key as known to others if they could read it",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// More than any key with its certificates takes.
const MOST: u64 = 256 * 1024;

/// Creates `dir` with mode 0700, and its parents, unless it exists.
pub(crate) fn private_dir(dir: &Path) -> Result<(), FileError> {
    let result = match dir.parent() {
        Some(parent) => fs::create_dir_all(parent),
        None => Ok(()),
    };
    let result = result.and_then(|()| match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        other => other,
    });
    result.map_err(|source| FileError::Folder {
        path: dir.to_owned(),
        source,
    })
}

/// The text of `path`; nothing if there is no such file.
pub(crate) fn read_private(path: &Path) -> Result<Option<String>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Puts `text` at `path`, in place of what may be there, in one step.
pub(crate) fn replace_private(path: &Path, text: &str) -> Result<(), FileError> {
    store(path, text, |from, to| fs::rename(from, to))
}

/// Puts `text` at `path` unless there is something already; true if it did.
pub(crate) fn create_private(path: &Path, text: &str) -> Result<bool, FileError> {
    let mut created = true;
    store(path, text, |from, to| {
        let linked = fs::hard_link(from, to);
        fs::remove_file(from)?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                created = false;
                Ok(())
            }
            other => other,
        }
    })?;
    Ok(created)
}

/// Writes a new file beside `path`, makes it durable and lets `publish` give it its name.
fn store(
    path: &Path,
    text: &str,
    publish: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> Result<(), FileError> {
    let new = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        publish(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().map_err(|source| {
        // What is left is a file that nobody reads; the first error is the one worth telling.
        let _ = fs::remove_file(&new);
        FileError::Write {
            path: path.to_owned(),
            source,
        }
    })
}
