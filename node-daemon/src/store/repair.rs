//! How a generation is made again what was laid out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use placet_model::{Digest, Module, NodeManifest};

use super::blob::{self, Missing};
use super::disk::Operation;
use super::generation::FOLDER_MODE;
use super::verify::{
    Difference, Drift, difference, digest_of, folders_between, is_reached_by_folders,
};
use super::{Generation, Store, StoreError};

impl Store {
    /// Makes `generation` what it was, as far as good bytes are in the store; returns the modules
    /// that have to be fetched first.
    pub(crate) fn repair(
        &self,
        generation: &Generation,
        drifts: &[Drift],
    ) -> Result<Vec<Missing>, StoreError> {
        let tree = self.tree(generation.number);
        let mut lacking = BTreeMap::new();
        for drift in drifts {
            let path = tree.join(&drift.path);
            let module = drift.path.to_str().and_then(|path| path.parse().ok());
            let module = module.and_then(|path| generation.manifest.get(&path));
            let Some(module) = module.map(|entry| &entry.module) else {
                self.repair_foreign(&path, drift.what)?;
                continue;
            };
            let digest = generation.held(module);
            if module.link.is_none() && !self.has_good(digest, module)? {
                lacking.insert(digest, module.size);
                continue;
            }
            self.put_back(&tree, &path, module, digest)?;
        }
        if !drifts.is_empty() {
            self.seal(generation)?;
        }
        let missing = |(digest, size)| Missing { digest, size };
        Ok(lacking.into_iter().map(missing).collect())
    }

    /// Removes modules of `manifest` that are in the store and damaged, so that they are fetched
    /// again. Those of `base`, which runs, are looked at by schedule.
    pub(crate) fn remove_damaged(
        &self,
        manifest: &NodeManifest,
        base: &Generation,
    ) -> Result<(), StoreError> {
        let running = self.modules(&base.manifest, base);
        let modules = manifest.stored_modules();
        for module in modules.filter(|module| module.link.is_none()) {
            let digest = self.held(module, base);
            if !running.contains(&digest) {
                self.has_good(digest, module)?;
            }
        }
        Ok(())
    }

    /// Takes files away that should have the bytes of `lacking` modules, so that nothing is started
    /// from what is there in their place.
    pub(crate) fn take_away(
        &self,
        generation: &Generation,
        lacking: &[Missing],
    ) -> Result<(), StoreError> {
        let tree = self.tree(generation.number);
        for module in generation.manifest.installed_modules() {
            let path = tree.join(module.path.as_str());
            let held = generation.held(module);
            let is_lacking = lacking.iter().any(|missing| missing.digest == held);
            if is_lacking && module.link.is_none() && is_reached_by_folders(&tree, &path) {
                self.in_folder(&path, || self.disk.remove(&path))?;
            }
        }
        Ok(())
    }

    fn repair_foreign(&self, path: &Path, what: Difference) -> Result<(), StoreError> {
        match what {
            Difference::Mode { wanted, .. } => {
                self.disk.apply(Operation::SetMode { path, mode: wanted })?;
                self.disk.flush(path)
            }
            _ => self.in_folder(path, || self.clear(path)),
        }
    }

    /// Puts a module back in its place, in one step where something of its kind is there.
    fn put_back(
        &self,
        tree: &Path,
        path: &Path,
        module: &Module,
        digest: Digest,
    ) -> Result<(), StoreError> {
        let parent = path.parent().unwrap_or(tree);
        for folder in folders_between(tree, parent) {
            if !fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
                self.in_folder(&folder, || {
                    self.clear(&folder)?;
                    self.disk.make_folder(&folder)?;
                    let (path, mode) = (&*folder, FOLDER_MODE);
                    self.disk.apply(Operation::SetMode { path, mode })?;
                    self.disk.flush(path)
                })?;
            }
        }
        self.in_folder(path, || {
            let new = parent.join(".placet-new");
            self.clear(&new)?;
            if let Some(target) = &module.link {
                let target = Path::new(target.as_str());
                self.disk.apply(Operation::Symlink { target, path: &new })?;
            } else {
                let from = &self.variant(digest, module)?;
                self.disk.apply(Operation::Link { from, to: &new })?;
            }
            if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
                self.clear(path)?;
            }
            self.disk.rename(&new, path)?;
            // Two names of one file are not renamed into each other.
            self.clear(&new)
        })
    }

    /// True if the bytes of `digest` are in the store, with mode and owner as `module` has them.
    /// What is there and wrong is removed.
    fn has_good(&self, digest: Digest, module: &Module) -> Result<bool, StoreError> {
        let wanted = self.variant_path(digest, module)?;
        let Ok(entries) = fs::read_dir(self.blobs().join(digest.hex())) else {
            return Ok(false);
        };
        let mut is_there = false;
        for path in entries.flatten().map(|entry| entry.path()) {
            if digest_of(&path)? == digest {
                is_there = true;
                let (path, seal) = (&*path, blob::seal(module)?);
                if path == wanted && difference(path, module, digest, None)?.is_some() {
                    self.disk.apply(Operation::Seal { path, seal })?;
                }
            } else {
                tracing::warn!("`{}` is damaged: it is removed", path.display());
                self.disk.remove(&path)?;
            }
        }
        Ok(is_there)
    }

    /// Removes whatever is at `path`.
    fn clear(&self, path: &Path) -> Result<(), StoreError> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => self.disk.remove_tree(path),
            _ => self.disk.remove(path),
        }
    }

    /// Does something to a name in a sealed folder, and flushes it.
    pub(super) fn in_folder(
        &self,
        path: &Path,
        change: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let path = path.parent().unwrap_or(path);
        self.disk.apply(Operation::SetMode { path, mode: 0o755 })?;
        let changed = change();
        let mode = FOLDER_MODE;
        self.disk.apply(Operation::SetMode { path, mode })?;
        self.disk.flush(path)?;
        changed
    }
}
