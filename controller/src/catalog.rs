//! The packages that declarations name, found, verified and kept open, so that nodes can be served
//! from them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use placet_model::{Desired, Digest, PackageReference};
use placet_package::{Layout, Package, Reference, Selector, open_package};
use placet_planner::{Catalog, CatalogEntry, Unresolved};

/// The packages that were resolved so far. Clones share them.
///
/// A package named by digest is read and verified once; a tag is looked up anew every time, and
/// read anew when it has moved. Packages of earlier revisions stay, so that nodes that are still
/// on their way can be served.
#[derive(Debug, Clone, Default)]
pub struct Packages(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    packages: BTreeMap<(PathBuf, Digest), Arc<Package>>,
    /// Where the bytes of each module are, with its size.
    blobs: BTreeMap<Digest, (Layout, u64)>,
}

impl Packages {
    /// Knows no packages yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resolves every reference of `desired`; relative folders are relative to `base`. Blocks, and
    /// reads every byte of packages that it has not seen before.
    ///
    /// What cannot be resolved is in the catalog with the reason, in one text for people; so is a
    /// package that is not the one that was declared by name and version.
    pub fn resolve(&self, desired: &Desired, base: &Path) -> Catalog {
        let sets = desired.package_sets.values();
        self.resolve_all(sets.flat_map(|set| &set.packages), base)
    }

    /// As [`Packages::resolve`], for any references.
    pub fn resolve_all<'a>(
        &self,
        references: impl IntoIterator<Item = &'a PackageReference>,
        base: &Path,
    ) -> Catalog {
        let mut catalog = Catalog::default();
        let mut found = BTreeMap::new();
        for reference in references {
            let text = &reference.reference;
            let package = found
                .entry(text)
                .or_insert_with(|| self.find(text, base))
                .clone();
            let entry = package.and_then(|package| entry(reference, &package));
            // Of two declarations that share a reference and differ, one is wrong, and stays wrong.
            let slot = catalog.entries.entry(text.clone());
            let slot = slot.or_insert_with(|| entry.clone());
            if entry.is_err() {
                *slot = entry;
            }
        }
        catalog
    }

    /// Opens a module's bytes for reading, with their size; none where no package that was resolved
    /// has it, or its layout no longer holds it. The receiver compares the digest.
    pub fn open_blob(&self, digest: &Digest) -> Option<(File, u64)> {
        let (layout, size) = self.known().blobs.get(digest)?.clone();
        let file = layout.open_blob(digest, size).ok()?;
        Some((file, size))
    }

    fn find(&self, text: &str, base: &Path) -> Result<Arc<Package>, Unresolved> {
        let reference: Reference = text.parse().map_err(|error| unresolved(&error))?;
        let Reference::Layout { dir, selector } = &reference;
        let dir = base.join(dir);
        let digest = match selector {
            Selector::Digest(digest) => *digest,
            Selector::Tag(_) => Layout::open(&dir)
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
        let package = open_package(&pinned, base).map_err(|error| unresolved(&error))?;
        Ok(self.keep(key, package))
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The package as the planner sees it, if it is the one that was declared.
fn entry(reference: &PackageReference, package: &Package) -> Result<CatalogEntry, Unresolved> {
    let config = &package.config;
    if config.name != reference.name || config.version != reference.version {
        return Err(Unresolved(format!(
            "`{}` holds {} {}, and {} {} is declared; correct the declaration or the reference",
            reference.reference, config.name, config.version, reference.name, reference.version
        )));
    }
    Ok(CatalogEntry {
        digest: package.digest,
        config: config.clone(),
    })
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
    Unresolved(text)
}
