//! Symbols that nothing defines any more, and who did before.

use std::collections::BTreeSet;

use placet_model::{
    ManifestEntry, ModulePath, NodeManifest, NodeName, PackageName, ProcessName, Symbols, Version,
};
use placet_planner::{Catalog, CatalogEntry, MissingSymbols};
use serde::Serialize;

/// Symbols that a module imports and that nothing defines which its processes would load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Undefined {
    /// The nodes.
    pub nodes: BTreeSet<NodeName>,
    /// The package of the module.
    pub package: PackageName,
    /// The module that imports them.
    pub module: ModulePath,
    /// The symbols: `name`, or `name@version`.
    pub symbols: BTreeSet<String>,
    /// The library that should define them, by the name under which the module needs it; left out
    /// where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// The processes in which they are missing.
    pub processes: BTreeSet<ProcessName>,
    /// What defines them in the old revision, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formerly: Option<Definer>,
    /// Packages, with their versions, whose library of that name defines all of them.
    pub candidates: Vec<String>,
}

/// A module that defines symbols.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Definer {
    /// Its path.
    pub module: ModulePath,
    /// Its package.
    pub package: PackageName,
    /// The package's version.
    pub version: Version,
}

impl Undefined {
    /// As the planner tells it; `before` is the old manifest of one of the nodes, with the packages
    /// that it is made of.
    pub(crate) fn new(missing: &MissingSymbols, before: Option<(&NodeManifest, &Catalog)>) -> Self {
        let definer = before.and_then(|(manifest, catalog)| definer(missing, manifest, catalog));
        let missing = missing.clone();
        Self {
            nodes: missing.nodes,
            package: missing.package,
            module: missing.module,
            symbols: missing.symbols,
            library: missing.library,
            processes: missing.processes,
            formerly: definer,
            candidates: missing.candidates,
        }
    }
}

/// The module of a manifest that defines all of the symbols: the library that should, if it does.
fn definer(
    missing: &MissingSymbols,
    manifest: &NodeManifest,
    catalog: &Catalog,
) -> Option<Definer> {
    let wanted = Symbols::imports(missing.symbols.iter().map(String::as_str));
    let defines = |entry: &&ManifestEntry| {
        let package = package_of(manifest, catalog, entry);
        let exported = package.and_then(|package| package.symbols_of(&entry.module));
        exported.is_some_and(|exported| wanted.imported().all(|it| exported.defines(&it)))
    };
    let is_meant = |entry: &&ManifestEntry| {
        let soname = entry
            .module
            .elf
            .as_ref()
            .and_then(|elf| elf.soname.as_deref());
        soname.is_some() && soname == missing.library.as_deref()
    };
    let entries = || manifest.modules.iter().filter(defines);
    let found = entries().find(is_meant).or_else(|| entries().next())?;
    let package = package_of(manifest, catalog, found)?;
    Some(Definer {
        module: found.module.path.clone(),
        package: found.package.clone(),
        version: package.config.version.clone(),
    })
}

fn package_of<'c>(
    manifest: &NodeManifest,
    catalog: &'c Catalog,
    entry: &ManifestEntry,
) -> Option<&'c CatalogEntry> {
    let chosen = manifest
        .packages
        .iter()
        .find(|it| it.name == entry.package)?;
    let mut packages = catalog.entries.values().flatten();
    packages.find(|package| package.digest == chosen.digest)
}
