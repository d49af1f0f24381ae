//! An OCI image layout on disk.
//!
//! `oci-layout`, `index.json` and `blobs/sha256`, as the OCI image specification says, so that any
//! tool that knows layouts can copy packages. Writers take turns through a lock file; readers need
//! none, since every file appears complete or not at all.

mod attach;
mod graph;
mod index;
mod remove;
mod write;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use placet_model::{Digest, PackageConfig};
use serde::Deserialize;

use crate::error::{Outcome, PackageError, Problem};
use crate::files;
use crate::package::{self, Package};
use crate::reference::Selector;
use crate::trust::simple;

pub(crate) use index::Index;
pub use remove::{Freed, Removed};
pub use write::Blob;

/// An OCI image layout on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
}

/// The content of the file `oci-layout`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";
const VERSION: &str = "1.0.0";
/// The marker is one line.
const MARKER_MAX: u64 = 4_096;

impl Layout {
    /// Opens the layout in the folder `dir`.
    ///
    /// # Errors
    ///
    /// The folder is not a layout, or its index is missing.
    pub fn open(dir: &Path) -> Result<Self, PackageError> {
        let layout = Self {
            dir: dir.to_owned(),
        };
        let checked = layout.check();
        checked.map_err(|problem| layout.error(None, problem))?;
        Ok(layout)
    }

    /// Opens the layout in the folder `dir`, or makes a new one there.
    ///
    /// # Errors
    ///
    /// The folder holds other things, or cannot be written.
    pub fn create(dir: &Path) -> Result<Self, PackageError> {
        let layout = Self {
            dir: dir.to_owned(),
        };
        let made = layout.make().and_then(|()| layout.check());
        made.map_err(|problem| layout.error(None, problem))?;
        Ok(layout)
    }

    fn check(&self) -> Outcome<()> {
        let marker = match files::read(&self.dir.join(MARKER), MARKER_MAX) {
            Err(Problem::Missing { .. }) if self.dir.is_dir() => {
                let why = "the file `oci-layout` is missing; name the folder that holds it";
                return Err(Problem::NotALayout(why));
            }
            Err(Problem::Missing { .. }) => {
                let why = "there is no such folder; check the path, or build the package";
                return Err(Problem::NotALayout(why));
            }
            marker => marker?,
        };
        let what = "the file `oci-layout`";
        let marker: Marker = crate::manifest::parse(&marker, what)?;
        if marker.image_layout_version != VERSION {
            let why = format!(
                "its version is `{}`, not {VERSION}",
                marker.image_layout_version
            );
            return Err(Problem::Malformed { what, why });
        }
        files::open(&self.dir.join(INDEX)).map(drop)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the blob with the given digest lies, if it is there.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(BLOBS).join(digest.hex())
    }

    /// Opens a blob for reading, and checks that it has `size` bytes. Its digest is for the
    /// receiver to compare.
    ///
    /// # Errors
    ///
    /// The blob is missing, is no regular file, or has another size.
    pub fn open_blob(&self, digest: &Digest, size: u64) -> Result<File, PackageError> {
        let file = self.open_sized(digest, size);
        file.map_err(|problem| self.error(None, problem))
    }

    pub(crate) fn open_sized(&self, digest: &Digest, size: u64) -> Outcome<File> {
        let (file, found) = files::open(&self.blob_path(digest))?;
        if found == size {
            Ok(file)
        } else {
            Err(Problem::WrongSize {
                what: format!("blob {digest}"),
                wanted: size,
                found,
            })
        }
    }

    /// Every tag and the digest of the manifest that carries it.
    ///
    /// # Errors
    ///
    /// The index cannot be read.
    pub fn tags(&self) -> Result<BTreeMap<String, Digest>, PackageError> {
        let tags = self.read_index().and_then(|index| index.tags());
        let mut tags = tags.map_err(|problem| self.error(None, problem))?;
        // Names that tools make of digests, for what refers to a manifest.
        tags.retain(|tag, _| simple::signed_by_tag(tag).is_none());
        Ok(tags)
    }

    /// The digest of the manifest that `selector` names.
    ///
    /// # Errors
    ///
    /// The index cannot be read, or nothing has that tag or digest.
    pub fn resolve(&self, selector: &Selector) -> Result<Digest, PackageError> {
        let found = self.find(selector);
        found.map_err(|problem| self.error(Some(selector), problem))
    }

    pub(crate) fn find(&self, selector: &Selector) -> Outcome<Digest> {
        match selector {
            Selector::Digest(digest) => {
                files::open(&self.blob_path(digest))?;
                Ok(*digest)
            }
            Selector::Tag(tag) => self.read_index()?.find(tag),
        }
    }

    /// Reads the package with the given manifest: every rule is checked, and that every blob is
    /// there in its size. [`Package::verify_blobs`] compares their digests.
    ///
    /// # Errors
    ///
    /// What is wrong with the package.
    pub fn package(&self, manifest: &Digest) -> Result<Package, PackageError> {
        let selector = Selector::Digest(*manifest);
        package::read(self, manifest).map_err(|problem| self.error(Some(&selector), problem))
    }

    /// Reads manifest and config of a package whose modules may still be elsewhere.
    ///
    /// # Errors
    ///
    /// What is wrong with them, or that they are missing.
    pub fn metadata(&self, manifest: &Digest) -> Result<Package, PackageError> {
        let selector = Selector::Digest(*manifest);
        package::metadata(self, manifest).map_err(|problem| self.error(Some(&selector), problem))
    }

    /// Stores a package and gives it `tag`, which a package that had it before loses.
    ///
    /// `blobs` has the bytes of every module and of every list of symbols; blobs that the layout
    /// holds already are not written again. The same config gives the same digest.
    ///
    /// # Guarantees
    ///
    /// A crash at any instant leaves the tag as it was, or at the new package, complete.
    ///
    /// # Errors
    ///
    /// The config breaks a rule, the tag cannot be one, bytes are missing or not those announced,
    /// or the folder cannot be written.
    pub fn write_package(
        &self,
        config: &PackageConfig,
        blobs: &BTreeMap<Digest, Blob>,
        tag: &str,
    ) -> Result<Digest, PackageError> {
        let selector = Selector::Tag(tag.to_owned());
        let written = self.store(config, blobs, tag);
        written.map_err(|problem| self.error(Some(&selector), problem))
    }

    fn error(&self, selector: Option<&Selector>, problem: Problem) -> PackageError {
        PackageError::new(&self.dir, selector, problem)
    }

    /// Makes the files of an empty layout, the marker last: with it, the layout is whole.
    fn make(&self) -> Outcome<()> {
        let failed = || Problem::io("make", &self.dir);
        fs::create_dir_all(&self.dir).map_err(failed())?;
        let _lock = self.lock()?;
        if self.dir.join(MARKER).exists() {
            return Ok(());
        }
        for entry in fs::read_dir(&self.dir).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let known = ["blobs", INDEX].iter().any(|own| name == *own);
            if !known && !name.to_string_lossy().starts_with(".placet-") {
                let why = "the folder holds other things; name a new folder, or an empty one";
                return Err(Problem::NotALayout(why));
            }
        }
        fs::create_dir_all(self.dir.join(BLOBS)).map_err(failed())?;
        if !self.dir.join(INDEX).exists() {
            self.write_index(&index::Index::default())?;
        }
        let marker = format!("{{\"imageLayoutVersion\":\"{VERSION}\"}}");
        self.write_small(&self.dir.join(MARKER), marker.as_bytes())
    }
}
