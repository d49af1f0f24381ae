//! Why files cannot be looked at for their dependencies.

use std::io;
use std::path::PathBuf;

use placet_model::visible;
use placet_package::{PackageError, ReadError, ReferenceError};

/// A file, folder or package whose dependencies cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("failed to read `{}`", visible(&path.to_string_lossy()))]
    Read {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is an ELF file that cannot be read or makes no sense.
    #[error("failed to read the ELF headers of `{}`", visible(&path.to_string_lossy()))]
    Elf {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// What was named as a file is none.
    #[error("`{}` is no ELF file; name a program, a library, a folder or a package", visible(&path.to_string_lossy()))]
    NotElf {
        /// What was named.
        path: PathBuf,
    },
    /// The package's name is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The package cannot be read.
    #[error(transparent)]
    Package(#[from] PackageError),
}
