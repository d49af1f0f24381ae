//! Generations: one manifest as installed, numbered and immutable.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use placet_model::{Digest, NodeManifest, canonical_json};

use super::blob::Held;
use super::files::{self, Context as _};
use super::{Store, StoreError, check};

/// Folders of a generation can be read and entered, never changed.
const FOLDER_MODE: u32 = 0o555;

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
        self.generations().join(number.to_string()).join("tree")
    }

    /// The generation that is committed; the pristine one if there is none.
    pub(crate) fn committed(&self) -> Result<Generation, StoreError> {
        let path = self.root.join("committed");
        let target = match fs::read_link(&path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Generation::pristine());
            }
            Err(error) => return Err(error).on("read", &path),
        };
        let number = target
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let why = || format!("it points to `{}`", target.display());
        let number = number.ok_or_else(|| StoreError::Damaged { path, why: why() })?;
        self.load(number)
    }

    /// Makes generation `number` the committed one: the point of no return.
    ///
    /// # Guarantees
    ///
    /// A crash at any instant leaves the link at the old generation or at the new one.
    pub(crate) fn commit(&self, number: u64) -> Result<(), StoreError> {
        let path = self.root.join("committed");
        if number == 0 {
            files::remove(&path)?;
            return files::sync(&self.root);
        }
        let temporary = self.root.join("committed.new");
        files::remove(&temporary)?;
        symlink(
            Path::new("generations").join(number.to_string()),
            &temporary,
        )
        .on("make", &temporary)?;
        self.fault.at("commit:linked").on("commit", &path)?;
        fs::rename(&temporary, &path).on("put in place", &path)?;
        self.fault.at("commit:renamed").on("commit", &path)?;
        files::sync(&self.root)
    }

    pub(crate) fn load(&self, number: u64) -> Result<Generation, StoreError> {
        if number == 0 {
            return Ok(Generation::pristine());
        }
        let folder = self.generations().join(number.to_string());
        let manifest = read_json(&folder.join("manifest.json"))?;
        let held = read_json(&folder.join("held.json"))?;
        Ok(Generation::new(number, manifest, held))
    }

    /// The numbers of all complete generations.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let names = files::names(&self.generations())?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A complete generation with this manifest, the newest if there are several.
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
        Ok(None)
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
            files::remove_tree(&building)?;
        }
        let generation = Generation::new(number, manifest.clone(), self.held_by(manifest, base));
        self.build(&generation, &building)?;
        let path = self.generations().join(number.to_string());
        self.fault.at("layout:built").on("lay out", &path)?;
        fs::rename(&building, &path).on("put in place", &path)?;
        self.fault.at("layout:renamed").on("lay out", &path)?;
        files::sync(&self.generations())?;
        Ok(generation)
    }

    fn held_by(&self, manifest: &NodeManifest, base: &Generation) -> Held {
        let files = manifest.modules.iter().map(|entry| &entry.module);
        files
            .filter(|module| module.link.is_none())
            .map(|module| (module, self.held(module, base)))
            .filter(|(module, held)| module.digest != *held)
            .map(|(module, held)| (module.path.clone(), held))
            .collect()
    }

    fn build(&self, generation: &Generation, folder: &Path) -> Result<(), StoreError> {
        let tree = folder.join("tree");
        files::make_folder(&tree)?;
        let mut folders = BTreeSet::from([folder.to_owned(), tree.clone()]);
        for entry in &generation.manifest.modules {
            let module = &entry.module;
            let path = tree.join(module.path.as_str());
            let parent = tree.join(module.path.parent());
            files::make_folder(&parent)?;
            let within = parent
                .ancestors()
                .take_while(|above| above.starts_with(&tree));
            folders.extend(within.map(Path::to_owned));
            // Both fail if something is there already, so nothing is ever followed or replaced.
            if let Some(target) = &module.link {
                symlink(target.as_str(), &path).on("link", &path)?;
            } else {
                let source = self.variant(generation.held(module), module)?;
                fs::hard_link(source, &path).on("link", &path)?;
            }
            self.fault.at("layout:linked").on("lay out", &path)?;
        }
        files::write(&folder.join("held.json"), &canonical_json(&generation.held))?;
        files::write(
            &folder.join("manifest.json"),
            &canonical_json(&generation.manifest),
        )?;
        for folder in folders.iter().rev() {
            fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).on("seal", folder)?;
            files::sync(folder)?;
        }
        Ok(())
    }

    /// Numbers are never given twice, not even when the generation came to nothing.
    fn next_number(&self) -> Result<u64, StoreError> {
        let path = self.root.join("last-generation");
        let last =
            files::read(&path)?.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
        let newest = self.numbers()?.last().copied();
        let number = last.max(newest).unwrap_or(0) + 1;
        files::write(&path, format!("{number}\n").as_bytes())?;
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
            tracing::warn!("found generation {what} unfinished: it is removed");
            files::remove_tree(&store.generations().join(&name))?;
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
        fs::rename(&path, &removing).on("remove", &path)?;
        store.fault.at("collect:renamed").on("remove", &path)?;
        files::remove_tree(&removing)?;
    }
    Ok(unused)
}
