//! Boot images that a node does not keep (S1): in the part in memory, from when they are fetched
//! until the node has confirmed that it runs them.
//!
//! ```text
//! images/<N>/<path>   the modules of the boot image of generation N
//! ```

use std::collections::BTreeSet;
use std::path::PathBuf;

use placet_model::NodeManifest;

use super::blob::{self, Missing};
use super::disk::Operation;
use super::space::{BLOCK, Need};
use super::{Generation, Store, StoreError, files};

impl Store {
    /// Where the modules of the boot image of `generation` stand; those that are not kept may be
    /// absent.
    pub(crate) fn boot_image(&self, generation: &Generation) -> Vec<PathBuf> {
        let manifest = &generation.manifest;
        let folder = match &self.memory {
            Some(memory) if manifest.has_transient_image() => {
                memory.image_folder(generation.number)
            }
            _ => self.tree(generation.number),
        };
        let modules = manifest.boot_image();
        modules
            .map(|module| folder.join(module.path.as_str()))
            .collect()
    }

    /// Refuses the image of `manifest`, which is not kept, if there is no room for it in memory.
    pub(crate) fn check_image_room(&self, manifest: &NodeManifest) -> Result<(), StoreError> {
        let missing = self.missing_image(manifest);
        let sizes = missing.iter().map(|it| it.size.next_multiple_of(BLOCK));
        let need = Need {
            bytes: sizes.sum(),
            files: missing.len() as u64,
        };
        self.check_need(manifest, need)
    }

    /// What has to be fetched of an image that is not kept.
    pub(crate) fn missing_image(&self, manifest: &NodeManifest) -> Vec<Missing> {
        let modules = manifest.transient_image();
        let modules = modules.filter(|module| module.link.is_none() && !self.has(module.digest));
        modules
            .map(|&placet_model::Module { digest, size, .. }| Missing { digest, size })
            .collect()
    }

    /// Puts the image of `generation`, all of which has arrived in this part, where it is installed
    /// from.
    pub(crate) fn hold_image(&self, generation: &Generation) -> Result<(), StoreError> {
        let folder = self.image_folder(generation.number);
        for module in generation.manifest.transient_image() {
            let path = folder.join(module.path.as_str());
            if path.exists() || module.link.is_some() {
                continue;
            }
            self.disk.make_folder(path.parent().unwrap_or(&folder))?;
            let from = &self.variant(module.digest, module)?;
            self.disk.apply(Operation::Link { from, to: &path })?;
        }
        Ok(())
    }

    /// Lets go of the image of `generation`, if it is not kept.
    pub(crate) fn drop_image(&self, generation: &Generation) -> Result<(), StoreError> {
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        memory.remove_image(&generation.number.to_string())?;
        let modules = generation.manifest.transient_image();
        let mut held = modules.filter(|module| memory.own_variant(module.digest).is_some());
        held.try_for_each(|module| blob::let_go(memory, &module.digest.hex()))
    }

    /// Removes the images of other generations than those in `keep`.
    pub(super) fn collect_images(&self, keep: &BTreeSet<u64>) -> Result<(), StoreError> {
        let folder = self.root.join("images");
        if !folder.exists() {
            return Ok(());
        }
        let names = files::names(&folder)?;
        let is_kept = |name: &String| name.parse().is_ok_and(|number| keep.contains(&number));
        let mut unused = names.iter().filter(|name| !is_kept(name));
        unused.try_for_each(|name| self.remove_image(name))
    }

    fn remove_image(&self, name: &str) -> Result<(), StoreError> {
        let folder = self.root.join("images").join(name);
        if folder.exists() {
            self.disk.remove_tree(&folder)?;
        }
        Ok(())
    }

    fn image_folder(&self, number: u64) -> PathBuf {
        self.root.join("images").join(number.to_string())
    }
}
