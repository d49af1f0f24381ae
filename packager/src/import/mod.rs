//! Software that exists: what a Debian package, an RPM package or an OCI image holds.
//!
//! [`open`] reads an archive once, as a stream, and puts its files into a temporary folder under
//! names of its own, so that no name of the archive is ever a path on this machine. What the
//! archive says of each file stays beside it. Nothing of an archive is ever run.
//!
//! **Invariant:** memory does not grow with the archive's size, only with the number of its files.

mod ar;
mod copyright;
mod cpio;
mod deb;
mod decompress;
mod entry;
mod error;
mod image;
mod limits;
mod meter;
mod purl;
mod registry;
mod rpm;
mod tar;
mod tree;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use placet_model::{Digest, LocalRequirement, PackageName, Version};
use placet_package::Reference;
use placet_package::registry::Access;
use tempfile::TempDir;

use crate::watch::{self, Watch};
use error::{Fault, Outcome, Refused};
use meter::Meter;
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
    /// Its package URL, by which others know it.
    pub purl: Option<String>,
    /// What processors it is for, in the words of its format.
    pub architecture: Option<String>,
    /// What it is, in a line.
    pub summary: Option<String>,
    /// Its licence, or its licences, as it calls them.
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

impl About {
    /// Its name, or how it is called where it has none.
    pub(crate) fn name_or<'a>(&'a self, called: &'a str) -> &'a str {
        self.name.as_ref().map_or(called, PackageName::as_str)
    }
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
    /// What gives access to the registry of an image; what this machine's user has for it where
    /// `None`.
    pub access: Option<Access>,
}

/// Reads an archive: the path of a `.deb` or `.rpm` file, or `oci-layout:DIR:TAG` or
/// `oci://HOST/REPOSITORY:TAG` for an image. It blocks; asynchronous code calls it on a thread that
/// may be blocked.
///
/// # Guarantees
///
/// Nothing is written outside of a temporary folder, which goes with the value.
///
/// # Errors
///
/// Which archive, which entry of it, what is wrong, and what to do.
pub fn open(
    archive: &str,
    options: &ImportOptions,
    watch: Watch<'_>,
) -> Result<Import, ImportError> {
    let meter = Meter::new(watch);
    let failed = |(entry, fault): Refused| {
        if meter.is_cancelled() {
            return ImportError::new(archive, None, Fault::Cancelled);
        }
        ImportError::new(archive, entry, fault)
    };
    let folder = temporary(options).map_err(|fault| failed(fault.into()))?;
    let mut tree = Tree::new(folder.path(), options.limits);
    let about = if is_image(archive) {
        image::read(archive, options, &mut tree, &meter)
    } else {
        let file = File::open(Path::new(archive)).map_err(|error| (None, Fault::Read(error)));
        file.and_then(|file| read_file(file, &mut tree, &meter))
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

/// The digest that the image in a registry has for the wanted platform; its layers stay there.
fn digest_in_registry(archive: &str, options: &ImportOptions) -> Result<Digest, ImportError> {
    let digest = temporary(options).and_then(|folder| match image::parse(archive)? {
        Reference::Registry(remote) => registry::digest(&remote, options, folder.path()),
        Reference::Layout { .. } => Err(Fault::Unknown),
    });
    digest.map_err(|fault| ImportError::new(archive, None, fault))
}

/// A folder for what comes out of an archive.
fn temporary(options: &ImportOptions) -> Result<TempDir, Fault> {
    let folder = match &options.workspace {
        Some(parent) => tempfile::Builder::new()
            .prefix(".import-")
            .tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    folder.map_err(Fault::Workspace)
}

/// True for what names an image and no file.
fn is_image(archive: &str) -> bool {
    archive.starts_with("oci-layout:") || is_in_registry(archive)
}

/// True for what names an image in a registry.
fn is_in_registry(archive: &str) -> bool {
    archive.starts_with("oci://") || archive.starts_with("oci+http://")
}

/// Reads a `.deb` or `.rpm` file, whichever it is.
fn read_file(mut file: File, tree: &mut Tree, meter: &Meter<'_>) -> Outcome<About> {
    let mut magic = [0; 8];
    let count = file.read(&mut magic).map_err(Fault::Read)?;
    file.rewind().map_err(Fault::Read)?;
    let size = file.metadata().map_err(Fault::Read)?.len();
    meter.expect(size);
    let mut reader = limits::Hashing::new(BufReader::new(meter.read(file)));
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
        ..ImportOptions::default()
    };
    let import = open(&file.to_string_lossy(), &options, &watch::unwatched);
    let import = import.map_err(|error| error.to_string())?;
    Ok(import.entries.len())
}

/// A name of packages from one of a format that has upper case too.
fn package_name(name: &str) -> Option<PackageName> {
    name.to_ascii_lowercase().parse().ok()
}
