//! Declarations of one revision, with the packages that they name.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use placet_controller::catalog::{MODULES_MOST, Packages};
use placet_controller::secrets::Secrets;
use placet_crds::SourceFile;
use placet_model::{Module, PackageReference};
use placet_simulator::Side;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::check::Revision;
use crate::supplied::read_module;

/// Packages in layouts and registries. To be used within a runtime: those in registries are asked
/// for all at once.
pub(super) struct Packed {
    packages: Packages,
    /// Where relative references start from.
    base: PathBuf,
    /// What is fetched; removed with this value.
    _fetched: TempDir,
}

/// Puts another package in the place of one that is declared.
pub(super) type Change<'a> = dyn Fn(&mut PackageReference) -> anyhow::Result<()> + 'a;

impl Packed {
    pub(super) fn new(secrets: Option<&Path>, base: &Path) -> anyhow::Result<Self> {
        let fetched = tempfile::tempdir().context("failed to make a temporary folder")?;
        let nowhere = fetched.path().join("secrets");
        let secrets = Secrets::Folder(secrets.map_or(nowhere, Path::to_owned));
        let base = std::path::absolute(base)
            .with_context(|| format!("failed to find {}", base.display()))?;
        Ok(Self {
            packages: Packages::with_registries(fetched.path(), MODULES_MOST, secrets),
            base,
            _fetched: fetched,
        })
    }

    /// Reads what files declare under the name of a revision.
    pub(super) fn read(
        &self,
        name: &str,
        files: Vec<SourceFile>,
        change: &Change<'_>,
    ) -> anyhow::Result<Side> {
        let Revision {
            mut desired,
            mut wanted,
            ..
        } = Revision::of_files(name, files)?;
        let sets = desired.package_sets.values_mut();
        let declared = sets.flat_map(|set| &mut set.packages);
        let named = wanted.iter_mut().map(|it| &mut it.reference);
        declared.chain(named).try_for_each(change)?;
        Ok(Side {
            revision: desired.revision.clone(),
            catalog: self.packages.resolve_all(&wanted, &self.base),
            desired,
            ..Side::default()
        })
    }

    /// Gives the bytes of modules of those packages that were read.
    pub(super) fn modules<'a>(
        &'a self,
        runtime: &'a Runtime,
    ) -> impl Fn(&Module) -> Result<Vec<u8>, String> + 'a {
        move |module| read_module(&self.packages, runtime, module)
    }
}
