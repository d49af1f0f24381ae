//! Generations: one manifest as installed, numbered and immutable.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use placet_model::{Digest, NodeManifest, canonical_json};

use super::blob::Held;
use super::disk::{Context as _, Operation};
use super::{Store, StoreError, check, files};

/// Folders of a generation can be read and entered, never changed.
pub(super) const FOLDER_MODE: u32 = 0o555;

/// A manifest as installed on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Its number; 0 is the pristine node, which has nothing.
    pub(crate) number: u64,
    /// Digest of the manifest.
    pub(crate) digest: Digest,
    pub(crate) manifest: NodeManifest,
    pub(super) held: Held,
}

impl Generation {
    /// What runs on a node that was never given anything.
    pub(crate) fn pristine() -> Self {
        Self::new(0, NodeManifest::default(), Held::new())
    }

    pub(crate) fn new(number: u64, manifest: NodeManifest, held: Held) -> Self {
        Self {
            number,
            digest: manifest.digest(),
            manifest,
            held,
        }
    }
}

impl Store {
    /// The root of what processes of this generation see.
    pub(crate) fn tree(&self, number: u64) -> PathBuf {
        self.folder(number).join("tree")
    }

    pub(super) fn folder(&self, number: u64) -> PathBuf {
        let owner = self.owner(number);
        owner.generations().join(number.to_string())
    }

    /// The generation that is committed; the pristine one if there is none.
    pub(crate) fn committed(&self) -> Result<Generation, StoreError> {
        self.load(self.committed_number()?)
    }

    /// The number that `committed` names; 0 if there is none.
    pub(crate) fn committed_number(&self) -> Result<u64, StoreError> {
        let path = self.root.join("committed");
        let target = match fs::read_link(&path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error).on("read", &path),
        };
        let number = target
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let why = || format!("it points to `{}`", target.display());
        number.ok_or_else(|| StoreError::Damaged { path, why: why() })
    }

    /// Makes generation `number` the committed one: the point of no return.
    ///
    /// # Guarantees
    ///
    /// A crash at any instant leaves the link at the old generation or at the new one.
    pub(crate) fn commit(&self, number: u64) -> Result<(), StoreError> {
        self.note_before(number)?;
        let path = self.root.join("committed");
        if number == 0 {
            return self.disk.remove_for_good(&path);
        }
        let temporary = self.root.join("committed.new");
        self.disk.remove(&temporary)?;
        self.disk.apply(Operation::Symlink {
            target: &Path::new("generations").join(number.to_string()),
            path: &temporary,
        })?;
        self.disk.rename(&temporary, &path)?;
        self.disk.flush(&self.root)
    }

    pub(crate) fn load(&self, number: u64) -> Result<Generation, StoreError> {
        if number == 0 {
            return Ok(Generation::pristine());
        }
        let folder = self.folder(number);
        let path = folder.join("manifest.json");
        let manifest = read_json(&path)?;
        let held = read_json(&folder.join("held.json"))?;
        let generation = Generation::new(number, manifest, held);
        let sealed = self.sealed(number).map(|sealed| sealed.manifest);
        if sealed.is_some_and(|sealed| sealed != generation.digest) {
            let why = "it is not the manifest that was laid out".to_owned();
            return Err(StoreError::Damaged { path, why });
        }
        Ok(generation)
    }

    /// The numbers of all complete generations.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let names = files::names(&self.generations())?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A complete generation with this manifest, the newest if there are several. The part in
    /// memory finds stored ones too.
    pub(crate) fn find(&self, digest: Digest) -> Result<Option<Generation>, StoreError> {
        for number in self.numbers()?.into_iter().rev() {
            let path = self
                .generations()
                .join(number.to_string())
                .join("manifest.json");
            if files::read(&path)?.is_some_and(|content| Digest::of(&content) == digest) {
                return self.load(number).map(Some);
            }
        }
        self.source.as_ref().map_or(Ok(None), |it| it.find(digest))
    }

    /// Refuses a manifest from which no generation can be made.
    pub(crate) fn check(manifest: &NodeManifest) -> Result<(), StoreError> {
        check::check(manifest, manifest.digest())
    }

    /// Makes a generation of `manifest`; all that [`Store::missing`] named has arrived. A complete
    /// generation with the same manifest is used again.
    pub(crate) fn lay_out(
        &self,
        manifest: &NodeManifest,
        base: &Generation,
    ) -> Result<Generation, StoreError> {
        Self::check(manifest)?;
        if let Some(generation) = self.find(manifest.digest())? {
            return Ok(generation);
        }
        let number = self.next_number()?;
        let building = self.generations().join(format!(".new-{number}"));
        if building.exists() {
            self.disk.remove_tree(&building)?;
        }
        let generation = Generation::new(number, manifest.clone(), self.held_by(manifest, base));
        self.build(&generation, base, &building)?;
        let path = self.generations().join(number.to_string());
        self.disk.rename(&building, &path)?;
        self.disk.flush(&self.generations())?;
        Ok(generation)
    }

    /// Has the modules that are stored without being active stay with the generation: what no
    /// generation links to is removed.
    fn keep_inactive(
        &self,
        manifest: &NodeManifest,
        base: &Generation,
        building: &Path,
    ) -> Result<Option<PathBuf>, StoreError> {
        let folder = building.join("inactive");
        let modules = manifest.inactive.iter().flat_map(|it| &it.modules);
        let files = modules.filter(|module| module.link.is_none());
        let mut is_there = false;
        for (index, module) in files.enumerate() {
            if !is_there {
                self.disk.make_folder(&folder)?;
                is_there = true;
            }
            let from = &self.variant(self.held(module, base), module)?;
            let to = &folder.join(index.to_string());
            self.disk.apply(Operation::Link { from, to })?;
        }
        Ok(is_there.then_some(folder))
    }

    fn held_by(&self, manifest: &NodeManifest, base: &Generation) -> Held {
        let files = manifest.installed_modules();
        files
            .filter(|module| module.link.is_none())
            .map(|module| (module, self.held(module, base)))
            .filter(|(module, held)| module.digest != *held)
            .map(|(module, held)| (module.path.clone(), held))
            .collect()
    }

    fn build(
        &self,
        generation: &Generation,
        base: &Generation,
        folder: &Path,
    ) -> Result<(), StoreError> {
        let tree = folder.join("tree");
        self.disk.make_folder(&tree)?;
        let mut folders = BTreeSet::from([folder.to_owned(), tree.clone()]);
        for module in generation.manifest.installed_modules() {
            let path = tree.join(module.path.as_str());
            let parent = tree.join(module.path.parent());
            self.disk.make_folder(&parent)?;
            let within = parent
                .ancestors()
                .take_while(|above| above.starts_with(&tree));
            folders.extend(within.map(Path::to_owned));
            // Both fail if something is there already, so nothing is ever followed or replaced.
            if let Some(target) = &module.link {
                let target = Path::new(target.as_str());
                self.disk.apply(Operation::Symlink {
                    target,
                    path: &path,
                })?;
            } else {
                let from = &self.variant(generation.held(module), module)?;
                self.disk.apply(Operation::Link { from, to: &path })?;
            }
        }
        folders.extend(self.keep_inactive(&generation.manifest, base, folder)?);
        self.disk
            .write(&folder.join("held.json"), &canonical_json(&generation.held))?;
        self.disk.write(
            &folder.join("manifest.json"),
            &canonical_json(&generation.manifest),
        )?;
        self.note_sealed(generation, folder)?;
        for folder in folders.iter().rev() {
            self.disk.apply(Operation::SetMode {
                path: folder,
                mode: FOLDER_MODE,
            })?;
            self.disk.flush(folder)?;
        }
        Ok(())
    }

    /// Numbers are never given twice, not even when the generation came to nothing.
    fn next_number(&self) -> Result<u64, StoreError> {
        if let Some(source) = &self.source {
            return source.next_number();
        }
        let path = self.root.join("last-generation");
        let last =
            files::read(&path)?.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
        let newest = self.numbers()?.last().copied();
        let number = last.max(newest).unwrap_or(0) + 1;
        self.disk.write(&path, format!("{number}\n").as_bytes())?;
        Ok(number)
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let content = fs::read(path).on("read", path)?;
    serde_json::from_slice(&content).map_err(|error| StoreError::Damaged {
        path: path.to_owned(),
        why: error.to_string(),
    })
}

/// Removes what was being made or removed when the daemon ended.
pub(super) fn tidy(store: &Store) -> Result<(), StoreError> {
    for name in files::names(&store.generations())? {
        if let Some(what) = name.strip_prefix('.') {
            tracing::debug!("what is left of generation {what} is removed");
            store.disk.remove_tree(&store.generations().join(&name))?;
        }
    }
    Ok(())
}

pub(super) fn collect(store: &Store, keep: &BTreeSet<u64>) -> Result<Vec<u64>, StoreError> {
    let numbers = store.numbers()?;
    let unused: Vec<_> = numbers
        .into_iter()
        .filter(|number| !keep.contains(number))
        .collect();
    for number in &unused {
        let path = store.generations().join(number.to_string());
        let removing = store.generations().join(format!(".old-{number}"));
        store.disk.rename(&path, &removing)?;
    }
    if !unused.is_empty() {
        // Before anything is taken out of it, a generation must have lost its name for good.
        store.disk.flush(&store.generations())?;
    }
    tidy(store)?;
    Ok(unused)
}
