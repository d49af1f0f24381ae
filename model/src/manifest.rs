//! The manifest of a node: the total list of modules that it is to run.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, LocalRequirement, Module, ModulePath, ModuleType, PackageName, ProcessSpec,
    RemoteRequirement, Version, digest_of,
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
    /// What it starts from, if its class says so (D9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// Packages whose modules it stores without running them (C-A7), in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inactive: Vec<InactivePackage>,
}

/// What a node starts from: the modules of type boot image of one package, which stand among the
/// others of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Boot {
    /// The package; one of [`NodeManifest::packages`].
    pub package: PackageName,
    /// True if the node stores its packages, but not this one (S1): the image is in memory from when
    /// it is fetched until the node has confirmed that it runs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transient: bool,
    /// How the node deals with it.
    #[serde(flatten)]
    pub commands: BootCommands,
}

impl Boot {
    /// True of the modules that the node starts from.
    fn has(&self, entry: &ManifestEntry) -> bool {
        entry.package == self.package && entry.module.kind == ModuleType::BootImage
    }
}

/// The commands by which a node gets to start from a boot image. The paths of its modules are added
/// as the last arguments of the first two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootCommands {
    /// Has the boot loader start from the image at the next start.
    pub install: Vec<String>,
    /// Succeeds if the node runs the image, and keeps the boot loader from falling back.
    pub confirm: Vec<String>,
    /// Restarts the node.
    pub restart: Vec<String>,
    /// Seconds that each of the commands may take.
    pub command_seconds: u32,
    /// Seconds within which the node has to go down after the last, and to be back.
    pub restart_seconds: u32,
}

/// A package that is stored and not active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InactivePackage {
    /// Name.
    pub name: PackageName,
    /// Version.
    pub version: Version,
    /// Digest of the package's OCI manifest.
    pub digest: Digest,
    /// Its modules that the node would run, sorted by path.
    pub modules: Vec<Module>,
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
    /// True for a test suite: its processes run once each, one after another, on a node in test
    /// mode, and are no services.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
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

    /// The modules that the node starts from, if its class names any.
    pub fn boot_image(&self) -> impl Iterator<Item = &Module> {
        self.image_of(self.boot.as_ref())
    }

    /// Looks through the modules only if there is a `boot`: planning asks this of every node.
    fn image_of<'a>(&'a self, boot: Option<&'a Boot>) -> impl Iterator<Item = &'a Module> {
        boot.into_iter().flat_map(|boot| {
            let modules = self.modules.iter().filter(|it| boot.has(it));
            modules.map(|entry| &entry.module)
        })
    }

    /// The modules of a boot image that the node does not keep.
    pub fn transient_image(&self) -> impl Iterator<Item = &Module> {
        self.image_of(self.transient_boot())
    }

    /// True if there is a boot image that the node does not keep.
    pub fn has_transient_image(&self) -> bool {
        self.transient_image().next().is_some()
    }

    fn transient_boot(&self) -> Option<&Boot> {
        self.boot.as_ref().filter(|boot| boot.transient)
    }

    /// The modules that stand at their paths on the node: all but a boot image that it does not keep.
    pub fn installed_modules(&self) -> impl Iterator<Item = &Module> {
        let boot = self.transient_boot();
        let installed = self.modules.iter();
        let installed = installed.filter(move |it| boot.is_none_or(|boot| !boot.has(it)));
        installed.map(|entry| &entry.module)
    }

    /// The modules that a node has to have at any time, those included that it does not run.
    pub fn stored_modules(&self) -> impl Iterator<Item = &Module> {
        let inactive = self.inactive.iter().flat_map(|package| &package.modules);
        self.installed_modules().chain(inactive)
    }

    /// The modules that a node which runs `from`, and has nothing else, lacks for this manifest.
    pub fn lacks_after<'a>(&'a self, from: &'a Self) -> impl Iterator<Item = &'a Module> {
        let held = from.stored_modules().chain(from.transient_image());
        let held: BTreeSet<_> = held.map(|module| module.digest).collect();
        let needed = self.stored_modules().chain(self.transient_image());
        needed.filter(move |it| it.link.is_none() && !held.contains(&it.digest))
    }

    /// The entry installed at `path`.
    pub fn get(&self, path: &ModulePath) -> Option<&ManifestEntry> {
        self.modules
            .binary_search_by(|entry| entry.module.path.cmp(path))
            .ok()
            .map(|index| &self.modules[index])
    }

    /// The modules that the node keeps running as processes.
    pub fn services(&self) -> impl Iterator<Item = (&Module, &ProcessSpec)> {
        let suites: BTreeSet<_> = self.suites().map(|suite| &suite.name).collect();
        let services = self.modules.iter();
        services
            .filter(move |entry| !suites.contains(&entry.package))
            .filter_map(|entry| Some((&entry.module, entry.module.process.as_ref()?)))
    }

    /// The packages that are test suites.
    pub fn suites(&self) -> impl Iterator<Item = &ChosenPackage> {
        self.packages.iter().filter(|package| package.test)
    }

    /// How the tests of a suite are run, in the order in which they are.
    pub fn tests(&self, suite: &ChosenPackage) -> Vec<&ProcessSpec> {
        let own = self.modules.iter();
        let own = own.filter(|entry| entry.package == suite.name);
        let mut tests: Vec<_> = own
            .filter_map(|entry| entry.module.process.as_ref())
            .collect();
        tests.sort_by_key(|test| (test.start_order, &test.name));
        tests
    }
}
