//! The manifest of a node: the total list of modules that it is to run.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    Digest, LocalRequirement, Module, ModulePath, PackageName, RemoteRequirement, digest_of,
};

/// Every module that a node is to run, in order, with path, digest and signature.
///
/// The default manifest is that of a pristine node: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeManifest {
    /// The packages chosen, in order: application packages first, base packages last (D4).
    pub packages: Vec<ChosenPackage>,
    /// The modules, sorted by path; each path once.
    pub modules: Vec<ManifestEntry>,
}

/// A package that a manifest draws from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChosenPackage {
    /// Name.
    pub name: PackageName,
    /// Version.
    pub version: Version,
    /// Digest of the package's OCI manifest.
    pub digest: Digest,
    /// What it needs on the same node, for the check after the change (C-A8).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<LocalRequirement>,
    /// What it needs on other nodes: while a change is on its way, packages of before and after
    /// stand side by side in the fleet, and both have to find what they need (D7).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_remote: Vec<RemoteRequirement>,
}

/// One module of a manifest and the package that it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestEntry {
    /// The package; one of [`NodeManifest::packages`].
    pub package: PackageName,
    /// The module.
    #[serde(flatten)]
    pub module: Module,
}

impl NodeManifest {
    /// SHA-256 of the canonical JSON.
    pub fn digest(&self) -> Digest {
        digest_of(self)
    }

    /// The entry installed at `path`.
    pub fn get(&self, path: &ModulePath) -> Option<&ManifestEntry> {
        self.modules
            .binary_search_by(|entry| entry.module.path.cmp(path))
            .ok()
            .map(|index| &self.modules[index])
    }
}
