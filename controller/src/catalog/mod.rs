//! The packages that declarations name, found, verified and kept open, so that nodes can be served
//! from them.

mod cache;
mod registries;
mod signatures;
mod symbols;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use placet_crds::{Object, PackageEntry, SecretReference};
use placet_model::{Digest, PackageReference, PublicKey};
use placet_package::{Layout, Package, PackageError, Reference, Selector, open_package};
use placet_planner::{Catalog, CatalogEntry, Unresolved};

use self::registries::Registries;
use self::signatures::Signatures;
use self::symbols::SymbolTables;
use crate::secrets::Secrets;

/// The packages that were resolved so far. Clones share them.
///
/// A package named by digest is read and verified once; a tag is looked up anew every time, and
/// read anew when it has moved. Packages of earlier revisions stay, so that nodes that are still
/// on their way can be served. Of packages in registries only the metadata are fetched here; a
/// module is fetched when the first node asks for it.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    known: Arc<Mutex<Known>>,
    registries: Option<Arc<Registries>>,
    signatures: Signatures,
    symbols: SymbolTables,
    /// True if modules are not served, and their bytes need not be looked at.
    metadata_only: bool,
}

#[derive(Debug, Default)]
struct Known {
    packages: BTreeMap<(PathBuf, Digest), Arc<Package>>,
    /// Where the bytes of each module are, with its size.
    blobs: BTreeMap<Digest, (Layout, u64)>,
}

/// Modules from registries that are kept where nobody says how many, in bytes.
pub const MODULES_MOST: u64 = 16 << 30;

/// A package to look up, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPackage {
    /// What is declared.
    pub reference: PackageReference,
    /// The secret that gives access to its registry.
    pub secret: Option<String>,
    /// The digest that its tag had first, where that is the one that counts.
    pub pinned: Option<Digest>,
    /// The keys one of which must have signed it; `None` where it needs no signature.
    pub keys: Option<Vec<PublicKey>>,
}

impl WantedPackage {
    /// The packages that a resource names; `pinned` says which digest of an entry counts whatever
    /// its tag names now.
    pub fn named_by(
        object: &Object,
        pinned: impl Fn(&PackageEntry) -> Option<Digest>,
    ) -> Vec<Self> {
        let name = |secret: &Option<SecretReference>| secret.as_ref().map(|it| it.name.clone());
        match object {
            Object::PackageSet(set) => {
                let keys = keys(&set.spec.keys);
                let entries = set.spec.packages.iter();
                let wanted = entries.map(|entry| Self {
                    reference: entry.into(),
                    secret: name(&set.spec.secret_ref),
                    pinned: pinned(entry),
                    keys: keys.clone(),
                });
                wanted.collect()
            }
            Object::NodeClass(class) => {
                let images = class.spec.boot_images.iter();
                let wanted = images.map(|image| Self {
                    reference: image.into(),
                    secret: name(&image.secret_ref),
                    pinned: None,
                    keys: keys(&image.keys),
                });
                wanted.collect()
            }
            Object::GitSource(_) | Object::FleetNode(_) | Object::Rollout(_) => Vec::new(),
        }
    }
}

/// The keys that are listed. One that cannot be read, which no admission lets through, has signed
/// nothing.
fn keys(listed: &[String]) -> Option<Vec<PublicKey>> {
    let keys = listed.iter().filter_map(|key| key.parse().ok());
    (!listed.is_empty()).then(|| keys.collect())
}

/// What a look at all packages gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookedUp {
    /// Each package, or why there is none.
    pub catalog: Catalog,
    /// True if another look may give more, though nothing is declared anew: a registry is away.
    pub is_open: bool,
}

/// Why the bytes of a module cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBlob {
    /// No package that was resolved has it, or its layout no longer holds it.
    #[error("it is in no package that could be opened; was its layout removed?")]
    Absent,
    /// Its registry is away, or the disk is full; it is worth asking again.
    #[error("{0}")]
    Later(String),
    /// Its registry does not give it.
    #[error("{0}")]
    Refused(String),
}

impl From<&PackageReference> for WantedPackage {
    fn from(reference: &PackageReference) -> Self {
        Self {
            reference: reference.clone(),
            secret: None,
            pinned: None,
            keys: None,
        }
    }
}

impl From<&Self> for WantedPackage {
    fn from(wanted: &Self) -> Self {
        wanted.clone()
    }
}

impl Packages {
    /// Knows no packages yet, and no registries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows no packages yet; what is fetched from registries is kept in `state`, at most `most`
    /// bytes of it, and may be deleted at any time.
    pub fn with_registries(state: &Path, most: u64, secrets: Secrets) -> Self {
        let signatures = Signatures::default();
        let registries = Registries::new(state, most, secrets, signatures.clone());
        Self {
            known: Arc::default(),
            registries: Some(Arc::new(registries)),
            signatures,
            symbols: SymbolTables::default(),
            metadata_only: false,
        }
    }

    /// For saying what packages are, not for serving them. The metadata of those in registries are
    /// kept in `cache` from one process to the next, at most `most` bytes of them; several processes
    /// may share it. Of packages in layouts the modules have to be there, but are not read.
    ///
    /// A tag counts as it is now: where its registry does not say so, the package is missing.
    pub fn of_metadata(cache: &Path, most: u64, secrets: Secrets) -> Self {
        let signatures = Signatures::default();
        let registries = Registries::new(cache, most, secrets, signatures.clone()).only_as_now();
        Self {
            known: Arc::default(),
            registries: Some(Arc::new(registries)),
            signatures,
            symbols: SymbolTables::default(),
            metadata_only: true,
        }
    }

    /// Resolves references; relative folders are relative to `base`. Blocks, and reads every byte of
    /// packages that it has not seen before.
    ///
    /// What cannot be resolved is in the catalog with the reason, in one text for people; so is a
    /// package that is not the one that was declared by name and version, and one that none of the keys
    /// has signed that are listed for it.
    pub fn resolve_all(
        &self,
        references: impl IntoIterator<Item: Into<WantedPackage>>,
        base: &Path,
    ) -> Catalog {
        self.look_up(references, base).catalog
    }

    /// As [`Packages::resolve_all`]; says whether it is worth looking again. Packages in registries
    /// are looked up at the same time, each with its own time limit, so that no registry holds up
    /// another. Where any is in a registry, this has to be called from a thread of a runtime that
    /// may block.
    pub fn look_up(
        &self,
        references: impl IntoIterator<Item: Into<WantedPackage>>,
        base: &Path,
    ) -> LookedUp {
        let wanted: Vec<WantedPackage> = references.into_iter().map(Into::into).collect();
        let mut is_open = false;
        let remote = match &self.registries {
            Some(registries) => registries.find_all(&wanted, &mut is_open),
            None => BTreeMap::new(),
        };
        let mut catalog = Catalog::default();
        for wanted in &wanted {
            let reference = &wanted.reference;
            let text = &reference.reference;
            let remote = remote.get(&registries::key(wanted));
            let is_remote = remote.is_some();
            let package = match remote {
                Some(found) => found.clone().map(|package| {
                    let key = (package.layout.dir().to_owned(), package.digest);
                    self.keep(key, package)
                }),
                None => self.find(wanted, base),
            };
            let entry = package.and_then(|package| {
                self.check_signature(wanted, &package)?;
                check_identity(reference, &package)?;
                Ok(CatalogEntry {
                    digest: package.digest,
                    config: package.config.clone(),
                    symbols: self.symbols.of(&package, is_remote)?,
                })
            });
            // Somebody may sign it.
            is_open |= matches!(entry, Err(Unresolved::Untrusted(_)));
            // Of two declarations that share a reference and differ, one is wrong, and stays wrong.
            let slot = catalog.entries.entry(text.clone());
            let slot = slot.or_insert_with(|| entry.clone());
            match (&*slot, &entry) {
                (_, Err(_)) => *slot = entry,
                (Ok(one), Ok(other)) if one.digest != other.digest => {
                    *slot = Err(two_digests(text, one.digest, other.digest));
                }
                _ => {}
            }
        }
        LookedUp { catalog, is_open }
    }

    /// Opens a module's bytes for reading, with their size, where they are on this machine. The
    /// receiver compares the digest.
    pub fn open_blob(&self, digest: &Digest) -> Option<(File, u64)> {
        let (layout, size) = self.known().blobs.get(digest)?.clone();
        let file = layout.open_blob(digest, size).ok()?;
        Some((file, size))
    }

    /// As [`Packages::open_blob`]; a module that is in a registry is fetched first, by whoever asks
    /// first.
    ///
    /// # Errors
    ///
    /// Nobody has it, or its registry is away.
    pub async fn fetch_blob(&self, digest: &Digest) -> Result<(File, u64), NoBlob> {
        if let Some(registries) = &self.registries {
            registries.bring(digest).await?;
        }
        let (packages, digest) = (self.clone(), *digest);
        let opened = tokio::task::spawn_blocking(move || packages.open_blob(&digest)).await;
        opened.ok().flatten().ok_or(NoBlob::Absent)
    }

    fn check_signature(&self, wanted: &WantedPackage, package: &Package) -> Result<(), Unresolved> {
        match &wanted.keys {
            None => Ok(()),
            Some(keys) => {
                let checked = self.signatures.check(package, keys);
                checked.map_err(|why| refused(&wanted.reference.reference, why))
            }
        }
    }

    fn find(&self, wanted: &WantedPackage, base: &Path) -> Result<Arc<Package>, Unresolved> {
        let text = &wanted.reference.reference;
        let reference: Reference = text.parse().map_err(|error| unresolved(&error))?;
        let Reference::Layout { dir, selector } = &reference else {
            let why = format!("`{reference}` is in a registry, and here only layouts are opened");
            return Err(Unresolved::Missing(why));
        };
        let dir = base.join(dir);
        let digest = match (selector, wanted.pinned) {
            (Selector::Digest(digest), _) => *digest,
            (_, Some(digest)) => digest,
            (Selector::Tag(_), None) => Layout::open(&dir)
                .and_then(|layout| layout.resolve(selector))
                .map_err(|error| unresolved(&error))?,
        };
        let key = (dir.clone(), digest);
        if let Some(package) = self.known().packages.get(&key) {
            return Ok(Arc::clone(package));
        }
        let pinned = Reference::Layout {
            dir,
            selector: Selector::Digest(digest),
        };
        let package = if self.metadata_only {
            metadata(&key.0, &digest)
        } else {
            open_package(&pinned, base)
        };
        Ok(self.keep(key, package.map_err(|error| unresolved(&error))?))
    }

    fn keep(&self, key: (PathBuf, Digest), package: Package) -> Arc<Package> {
        let package = Arc::new(package);
        let mut known = self.known();
        for module in &package.config.modules {
            let place = (package.layout.clone(), module.size);
            known.blobs.insert(module.digest, place);
        }
        known.packages.insert(key, Arc::clone(&package));
        package
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each insertion stands for itself: a panic in between leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A package in a layout whose modules are there, though they are not read.
fn metadata(dir: &Path, digest: &Digest) -> Result<Package, PackageError> {
    let layout = Layout::open(dir)?;
    let package = layout.metadata(digest)?;
    for module in package.config.modules.iter().filter(|it| it.link.is_none()) {
        layout.open_blob(&module.digest, module.size)?;
    }
    Ok(package)
}

/// With the reference of the package that nobody who counts has signed.
fn refused(reference: &str, why: Unresolved) -> Unresolved {
    match why {
        Unresolved::Untrusted(why) => {
            Unresolved::Untrusted(format!("`{reference}` is refused: {why}"))
        }
        why @ Unresolved::Missing(_) => why,
    }
}

fn two_digests(text: &str, one: Digest, other: Digest) -> Unresolved {
    Unresolved::Missing(format!(
        "`{text}` is {one} where its tag counts as it was first, and {other} where it counts as it is now; name the digest, or give both the same tagPolicy"
    ))
}

/// That the package is the one that was declared.
fn check_identity(reference: &PackageReference, package: &Package) -> Result<(), Unresolved> {
    let config = &package.config;
    if config.name != reference.name || config.version != reference.version {
        return Err(Unresolved::Missing(format!(
            "`{}` holds {} {}, and {} {} is declared; correct the declaration or the reference",
            reference.reference, config.name, config.version, reference.name, reference.version
        )));
    }
    Ok(())
}

/// The error with all its causes, in one line.
fn unresolved(error: &dyn Error) -> Unresolved {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    Unresolved::Missing(text)
}
