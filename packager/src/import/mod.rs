//! Software that exists: what a Debian package, an RPM package or an OCI image holds.
//!
//! [`open`] reads an archive once, as a stream, and puts its files into a temporary folder under
//! names of its own, so that no name of the archive is ever a path on this machine. What the
//! archive says of each file stays beside it. Nothing of an archive is ever run.
//!
//! **Invariant:** memory does not grow with the archive's size, only with the number of its files.

mod ar;
mod cpio;
mod deb;
mod decompress;
mod entry;
mod error;
mod image;
mod limits;
mod rpm;
mod tar;
mod tree;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use placet_model::{Digest, LocalRequirement, PackageName, Version};
use tempfile::TempDir;

use error::{Fault, Outcome};
use tree::Tree;

pub use entry::{ImportEntry, ImportTolerance};
pub(crate) use entry::{Imported, Imports};
pub use error::ImportError;
pub use limits::ImportLimits;
pub use whole::{ImportChoice, ImportedPackage, import};

/// What an archive says of itself and what it holds.
#[derive(Debug)]
pub struct Import {
    /// What it says of itself.
    pub about: About,
    /// What it holds by name; folders are left out.
    entries: BTreeMap<String, tree::Entry>,
    /// Where the bytes are until the package is stored.
    _folder: TempDir,
}

/// What an archive says of itself.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// What it is: `deb`, `rpm` or `oci`.
    pub format: &'static str,
    /// SHA-256 of the file, or of the image's manifest.
    pub digest: Option<Digest>,
    /// Its name as a name of packages has it.
    pub name: Option<PackageName>,
    /// Its version, by the rules of its format.
    pub version: Option<Version>,
    /// What processors it is for, in the words of its format.
    pub architecture: Option<String>,
    /// What it is, in a line.
    pub summary: Option<String>,
    /// Its licence, where the format has a field for it.
    pub license: Option<String>,
    /// Scripts and triggers, which are never run.
    pub scripts: Vec<String>,
    /// Names of files that administrators change.
    pub configuration: BTreeSet<String>,
    /// The libraries that it brings, each with the package versions that its users need, as its
    /// `symbols` and `shlibs` files say.
    pub libraries: BTreeMap<String, String>,
    /// What it depends on and what can be said exactly.
    pub requires: Vec<LocalRequirement>,
    /// What it says of other packages and what cannot be said exactly, each with the reason.
    pub not_carried: Vec<String>,
    /// Folders, which are made as they are needed and are no modules.
    pub folders: usize,
    /// Absolute links that became relative ones.
    pub relative_links: Vec<String>,
}

/// How to read an archive.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Within which limits.
    pub limits: ImportLimits,
    /// Where the files lie meanwhile; the system's temporary folder where `None`.
    pub workspace: Option<PathBuf>,
    /// Which image of an index: `linux/amd64`; that of this machine where `None`.
    pub platform: Option<String>,
}

/// Reads an archive: the path of a `.deb` or `.rpm` file, or `oci-layout:DIR:TAG` for an image.
///
/// # Guarantees
///
/// Nothing is written outside of a temporary folder, which goes with the value.
///
/// # Errors
///
/// Which archive, which entry of it, what is wrong, and what to do.
pub fn open(archive: &str, options: &ImportOptions) -> Result<Import, ImportError> {
    let failed = |(entry, fault)| ImportError::new(archive, entry, fault);
    let folder = match &options.workspace {
        Some(parent) => tempfile::Builder::new()
            .prefix(".import-")
            .tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    let folder = folder.map_err(|error| failed((None, Fault::Workspace(error))))?;
    let mut tree = Tree::new(folder.path(), options.limits);
    let about = if archive.starts_with("oci://") || archive.starts_with("oci+http://") {
        Err(Fault::Registry.into())
    } else if archive.starts_with("oci-layout:") {
        image::read(archive, options, &mut tree)
    } else {
        let file = File::open(Path::new(archive)).map_err(|error| (None, Fault::Read(error)));
        file.and_then(|file| read_file(file, &mut tree))
    };
    let mut about = about.map_err(failed)?;
    let finished = tree.finish();
    about.folders = finished.folders;
    about.relative_links = finished.relative_links;
    Ok(Import {
        about,
        entries: finished.entries,
        _folder: folder,
    })
}

/// Reads a `.deb` or `.rpm` file, whichever it is.
fn read_file(mut file: File, tree: &mut Tree) -> Outcome<About> {
    let mut magic = [0; 8];
    let count = file.read(&mut magic).map_err(Fault::Read)?;
    file.rewind().map_err(Fault::Read)?;
    let size = file.metadata().map_err(Fault::Read)?.len();
    let mut reader = limits::Hashing::new(BufReader::new(file));
    let mut about = match &magic[..count] {
        ar::MAGIC => deb::read(&mut reader, tree),
        magic if magic.starts_with(rpm::MAGIC) => rpm::read(&mut reader, size, tree),
        _ => Err(Fault::Unknown.into()),
    }?;
    about.digest = Some(reader.finish().map_err(Fault::Read)?);
    Ok(about)
}

/// Reads bytes as if they were a `.deb` or an `.rpm` file, for tests that try many.
#[doc(hidden)]
pub fn try_bytes(bytes: &[u8]) -> Result<usize, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("archive");
    std::fs::write(&file, bytes).map_err(|error| error.to_string())?;
    let options = ImportOptions {
        limits: ImportLimits {
            bytes: 1 << 22,
            entries: 1_000,
            ratio: 1_000,
        },
        workspace: Some(folder.path().to_owned()),
        platform: None,
    };
    let import = open(&file.to_string_lossy(), &options).map_err(|error| error.to_string())?;
    Ok(import.entries.len())
}

/// A name of packages from one of a format that has upper case too.
fn package_name(name: &str) -> Option<PackageName> {
    name.to_ascii_lowercase().parse().ok()
}
