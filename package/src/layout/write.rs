//! Storing packages: blobs first, then the manifest, then the index.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use placet_model::{Digest, PackageConfig, canonical_json};

use super::{BLOBS, Layout};
use crate::check_config;
use crate::error::{Outcome, Problem};
use crate::files::{self, TEMPORARY};
use crate::manifest::{
    self, ARTIFACT_TYPE, Descriptor, IMAGE_MANIFEST, MANIFEST_MAX, Manifest, symbol_digests,
};
use crate::reference::check_tag;

/// Where the bytes of a blob come from.
#[derive(Debug, Clone)]
pub enum Blob {
    /// A file, read when the package is written.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

const LOCK: &str = ".placet-lock";
/// Held by those who bring blobs that no index names yet.
const TRANSFERS: &str = ".placet-transfers";

impl Layout {
    pub(super) fn store(
        &self,
        config: &PackageConfig,
        blobs: &BTreeMap<Digest, Blob>,
        tag: &str,
    ) -> Outcome<Digest> {
        check_config(config)?;
        check_tag(tag).map_err(|why| Problem::BadTag {
            tag: tag.to_owned(),
            why,
        })?;
        let _lock = self.lock()?;
        self.remove_leftovers()?;
        let failed = Problem::io("make", &self.dir);
        fs::create_dir_all(self.dir.join(BLOBS)).map_err(failed)?;
        for module in &config.modules {
            let what = format!("module `{}`", module.path);
            let size = self.store_blob(&module.digest, blobs, &what)?;
            if size != module.size {
                return Err(Problem::WrongSize {
                    what,
                    wanted: module.size,
                    found: size,
                });
            }
        }
        let mut symbols = BTreeMap::new();
        for digest in symbol_digests(config) {
            let size = self.store_blob(&digest, blobs, "a list of symbols")?;
            symbols.insert(digest, size);
        }
        let manifest = canonical_json(&Manifest::new(config, &symbols));
        let config = canonical_json(config);
        for (what, document) in [("the config", &config), ("the manifest", &manifest)] {
            self.store_document(what, document)?;
        }
        let digest = Digest::of(&manifest);
        let mut index = self.read_index()?;
        index.set(tag, package_descriptor(digest, manifest.len() as u64));
        self.write_index(&index)?;
        Ok(digest)
    }

    /// Stores a small document by its digest.
    pub(crate) fn keep(&self, document: &[u8]) -> Outcome<()> {
        let failed = Problem::io("make", &self.dir);
        fs::create_dir_all(self.dir.join(BLOBS)).map_err(failed)?;
        self.store_document("a document", document)
    }

    /// Lets the index name a manifest whose blobs are all there.
    pub(crate) fn adopt(&self, manifest: Descriptor, tag: Option<&str>) -> Outcome<()> {
        files::open(&self.blob_path(&manifest.digest))?;
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        match tag {
            Some(tag) if index.find(tag).ok() == Some(manifest.digest) => return Ok(()),
            Some(tag) => index.set(tag, manifest),
            None => index.add(manifest),
        }
        self.write_index(&index)
    }

    /// Taken for as long as the value lives; the system gives it back when a writer dies.
    pub(super) fn lock(&self) -> Outcome<Flock<File>> {
        self.lock_file(LOCK, FlockArg::LockExclusive)
    }

    /// While the value lives, nothing is removed: what a transfer has brought is named by no index
    /// yet.
    pub(crate) fn begin_transfer(&self) -> Outcome<Flock<File>> {
        self.lock_file(TRANSFERS, FlockArg::LockShared)
    }

    /// Waits until no transfer is under way, and lets none begin while the value lives.
    pub(super) fn end_transfers(&self) -> Outcome<Flock<File>> {
        self.lock_file(TRANSFERS, FlockArg::LockExclusive)
    }

    fn lock_file(&self, name: &str, how: FlockArg) -> Outcome<Flock<File>> {
        let path = self.dir.join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Problem::io("open", &path))?;
        Flock::lock(file, how)
            .map_err(|(_, error)| Problem::io("lock", &path)(io::Error::from(error)))
    }

    /// What a writer that died left unfinished.
    pub(super) fn remove_leftovers(&self) -> Outcome<()> {
        let failed = || Problem::io("read", &self.dir);
        for entry in fs::read_dir(&self.dir).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(TEMPORARY) {
                fs::remove_file(&path).map_err(Problem::io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn store_document(&self, what: &str, bytes: &[u8]) -> Outcome<()> {
        let size = bytes.len() as u64;
        if size > MANIFEST_MAX {
            return Err(Problem::TooLarge {
                what: what.to_owned(),
                size,
                most: MANIFEST_MAX,
            });
        }
        let digest = Digest::of(bytes);
        let blobs = BTreeMap::from([(digest, Blob::Bytes(bytes.to_vec()))]);
        self.store_blob(&digest, &blobs, what).map(drop)
    }

    /// Stores a blob unless it is there, whole; its size.
    fn store_blob(
        &self,
        digest: &Digest,
        blobs: &BTreeMap<Digest, Blob>,
        what: &str,
    ) -> Outcome<u64> {
        if let Some(size) = self.size_of(digest) {
            return Ok(size);
        }
        let blob = blobs.get(digest).ok_or_else(|| Problem::NoBytes {
            what: what.to_owned(),
            digest: *digest,
        })?;
        self.copy_in(digest, &mut blob.open()?, what)
    }

    /// The size of a blob that is there with the bytes of its digest.
    pub(crate) fn size_of(&self, digest: &Digest) -> Option<u64> {
        let (mut file, size) = files::open(&self.blob_path(digest)).ok()?;
        let (found, _) = files::copy(&mut file, &mut io::sink()).ok()?;
        (found == *digest).then_some(size)
    }

    /// Stores a blob, if `source` gives the bytes of its digest; its size.
    pub(crate) fn copy_in(
        &self,
        digest: &Digest,
        source: &mut dyn Read,
        what: &str,
    ) -> Outcome<u64> {
        let path = self.blob_path(digest);
        files::write(&self.dir, &path, |target| {
            let failed = Problem::io("write", &path);
            let (found, size) = files::copy(source, target).map_err(failed)?;
            if found == *digest {
                Ok(size)
            } else {
                Err(Problem::WrongDigest {
                    what: what.to_owned(),
                    wanted: *digest,
                    found,
                })
            }
        })
    }

    pub(super) fn write_small(&self, target: &Path, bytes: &[u8]) -> Outcome<()> {
        files::write(&self.dir, target, |file| {
            file.write_all(bytes).map_err(Problem::io("write", target))
        })
    }
}

fn package_descriptor(digest: Digest, size: u64) -> Descriptor {
    let mut descriptor = manifest::descriptor(IMAGE_MANIFEST, digest, size);
    descriptor.artifact_type = Some(ARTIFACT_TYPE.to_owned());
    descriptor
}

impl Blob {
    fn open(&self) -> Outcome<Box<dyn Read + '_>> {
        match self {
            Self::File(path) => {
                let file = File::open(path).map_err(Problem::io("open", path))?;
                Ok(Box::new(file))
            }
            Self::Bytes(bytes) => Ok(Box::new(bytes.as_slice())),
        }
    }
}
