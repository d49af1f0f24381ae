//! Declarations of one revision, with the packages that they name.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use placet_controller::catalog::{MODULES_MOST, Packages, WantedPackage};
use placet_controller::secrets::Secrets;
use placet_crds::{Fault, Loaded, SourceFile, load_all, locate};
use placet_model::{Module, PackageReference, visible};
use placet_simulator::Side;
use tempfile::TempDir;
use tokio::runtime::Runtime;

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
        revision: &str,
        files: &[SourceFile],
        change: &Change<'_>,
    ) -> anyhow::Result<Side> {
        let Loaded { objects, .. } =
            load_all(files).map_err(|faults| refused(revision, faults, files))?;
        let mut desired = placet_crds::desired(revision, &objects)
            .map_err(|faults| refused(revision, faults, files))?;
        let named = objects.iter();
        let wanted = named.flat_map(|object| WantedPackage::named_by(object, |_| None));
        let mut wanted: Vec<_> = wanted.collect();
        let sets = desired.package_sets.values_mut();
        for reference in sets.flat_map(|set| &mut set.packages) {
            change(reference)?;
        }
        for wanted in &mut wanted {
            change(&mut wanted.reference)?;
        }
        Ok(Side {
            revision: revision.to_owned(),
            catalog: self.packages.resolve_all(wanted, &self.base),
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

fn refused(revision: &str, faults: Vec<Fault>, files: &[SourceFile]) -> anyhow::Error {
    let faults: Vec<_> = locate(faults, files)
        .iter()
        .map(ToString::to_string)
        .collect();
    let what = format!("the declarations of {} are not valid", visible(revision));
    anyhow::anyhow!("{what}\n  {}", faults.join("\n  "))
}
