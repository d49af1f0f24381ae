//! Every change that the store makes to the disk passes here.
//!
//! One list of operations and one place that carries them out: a test that stops at the n-th, kills
//! its process there, or keeps a record to see what a power cut leaves, sees all of them.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, symlink,
};
use std::path::Path;
#[cfg(test)]
use std::sync::Arc;

use super::StoreError;

/// Says what failed on which file.
pub(super) trait Context<T> {
    fn on(self, what: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> Context<T> for io::Result<T> {
    fn on(self, what: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    StoreError::Full { what, path, source }
                }
                ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { what, path, source },
                _ => StoreError::File { what, path, source },
            }
        })
    }
}

/// One change to the disk. Only what was flushed is sure to be there after a power cut: the content,
/// mode and owner of a file by [`Self::Flush`] or [`Self::Seal`] of the file, the names in a folder
/// by [`Self::Flush`] of the folder.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation<'a> {
    MakeFolder {
        path: &'a Path,
    },
    Write {
        path: &'a Path,
        content: &'a [u8],
    },
    Append {
        path: &'a Path,
        content: &'a [u8],
    },
    /// Shares the blocks where the file system can.
    Copy {
        from: &'a Path,
        to: &'a Path,
    },
    Flush {
        path: &'a Path,
    },
    Seal {
        path: &'a Path,
        seal: Seal,
    },
    SetMode {
        path: &'a Path,
        mode: u32,
    },
    Rename {
        from: &'a Path,
        to: &'a Path,
    },
    Link {
        from: &'a Path,
        to: &'a Path,
    },
    Symlink {
        target: &'a Path,
        path: &'a Path,
    },
    Remove {
        path: &'a Path,
    },
    RemoveFolder {
        path: &'a Path,
    },
}

/// The mode and owner that a file gets, before it is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) mode: u32,
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
}

impl Operation<'_> {
    fn perform(&self) -> io::Result<()> {
        match *self {
            Self::MakeFolder { path } => DirBuilder::new().mode(0o700).create(path),
            Self::Write { path, content } => {
                let mut options = File::options();
                let options = options.write(true).create(true).truncate(true).mode(0o600);
                options.open(path)?.write_all(content)
            }
            Self::Append { path, content } => {
                let mut options = File::options();
                let options = options.append(true).create(true).mode(0o600);
                options.open(path)?.write_all(content)
            }
            Self::Copy { from, to } => {
                let mut options = File::options();
                let options = options.write(true).create_new(true).mode(0o600);
                // `copy_file_range`, which makes reflinks.
                io::copy(&mut File::open(from)?, &mut options.open(to)?).map(drop)
            }
            Self::Flush { path } => File::open(path)?.sync_all(),
            Self::Seal { path, seal } => {
                // One handle for all: without read permission the file is not opened again.
                let file = File::open(path)?;
                if seal.user.is_some() || seal.group.is_some() {
                    fchown(&file, seal.user, seal.group)?;
                }
                file.set_permissions(Permissions::from_mode(seal.mode))?;
                file.sync_all()
            }
            Self::SetMode { path, mode } => fs::set_permissions(path, Permissions::from_mode(mode)),
            Self::Rename { from, to } => fs::rename(from, to),
            Self::Link { from, to } => fs::hard_link(from, to),
            Self::Symlink { target, path } => symlink(target, path),
            Self::Remove { path } => fs::remove_file(path),
            Self::RemoveFolder { path } => fs::remove_dir(path),
        }
    }

    /// What is attempted, for people, and on what.
    fn said(&self) -> (&'static str, &Path) {
        match *self {
            Self::MakeFolder { path } => ("make the folder", path),
            Self::Write { path, .. } | Self::Append { path, .. } => ("write", path),
            Self::Flush { path } => ("flush", path),
            Self::Seal { path, .. } => ("set mode and owner of", path),
            Self::SetMode { path, .. } => ("set the mode of", path),
            Self::Copy { to, .. } => ("copy a module to", to),
            Self::Rename { to, .. } => ("put in place", to),
            Self::Link { to, .. } => ("link", to),
            Self::Symlink { path, .. } => ("link", path),
            Self::Remove { path } | Self::RemoveFolder { path } => ("remove", path),
        }
    }
}

/// Is told of every operation before it is carried out, and may refuse it.
#[cfg(test)]
pub(super) type Watcher = Arc<dyn Fn(&Operation<'_>) -> io::Result<()> + Send + Sync>;

/// What the operations are done on. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    watcher: Option<Watcher>,
}

impl Disk {
    /// A disk of which `watcher` sees everything.
    #[cfg(test)]
    pub(super) fn watched(
        watcher: impl Fn(&Operation<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            watcher: Some(Arc::new(watcher)),
        }
    }

    /// Carries out one operation.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "tests watch what passes here")
    )]
    pub(super) fn run(&self, operation: &Operation<'_>) -> io::Result<()> {
        #[cfg(test)]
        if let Some(watcher) = &self.watcher {
            watcher(operation)?;
        }
        operation.perform()
    }

    /// Carries out one operation; an error says what was attempted.
    pub(super) fn apply(&self, operation: Operation<'_>) -> Result<(), StoreError> {
        let (what, path) = operation.said();
        self.run(&operation).on(what, path)
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}
