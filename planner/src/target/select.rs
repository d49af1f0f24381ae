//! Which modules a node receives (D6), and which wins where several claim one path (D4).

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{
    Architecture, InactivePackage, ManifestEntry, Module, ModulePath, PackageName, ProcessName,
};

use super::{Configuration, Findings, Scope};
use crate::{CatalogEntry, Note, Problem};

/// A package and those of its modules that the configuration wants.
pub(super) struct Wanted<'c> {
    pub(super) package: &'c CatalogEntry,
    pub(super) modules: Vec<&'c Module>,
}

impl Wanted<'_> {
    pub(super) fn name(&self) -> &PackageName {
        &self.package.config.name
    }

    /// The package as a node has it that does not run it.
    pub(super) fn stored(self) -> InactivePackage {
        let config = &self.package.config;
        InactivePackage {
            name: config.name.clone(),
            version: config.version.clone(),
            digest: self.package.digest,
            modules: self.modules.into_iter().cloned().collect(),
        }
    }
}

pub(super) fn wanted<'c>(
    packages: &[&'c CatalogEntry],
    configuration: &Configuration,
) -> Vec<Wanted<'c>> {
    let wanted = packages.iter().map(|package| {
        let mut modules = BTreeMap::<&ModulePath, &Module>::new();
        for module in package
            .config
            .modules
            .iter()
            .filter(|module| wants(configuration, module))
        {
            let best = modules.entry(&module.path).or_insert(module);
            // What is built for the architecture is preferred to what runs anywhere.
            if best.architecture.0 == Architecture::NEUTRAL {
                *best = module;
            }
        }
        Wanted {
            package,
            modules: modules.into_values().collect(),
        }
    });
    wanted.collect()
}

fn wants(configuration: &Configuration, module: &Module) -> bool {
    let types = &configuration.types;
    let functions = &configuration.functions;
    let has_function = module
        .function
        .as_ref()
        .is_none_or(|function| functions.contains(function));
    module.architecture.runs_on(&configuration.architecture)
        && (types.is_empty() || types.contains(&module.kind))
        && (functions.is_empty() || has_function)
        && configuration.agrees(&module.characteristics)
        && (module.features.is_empty() || !module.features.is_disjoint(&configuration.features))
}

/// The modules of the manifest, sorted by path.
pub(super) fn compose(
    scope: &Scope,
    wanted: &[Wanted],
    findings: &mut Findings,
) -> Vec<ManifestEntry> {
    let mut claims = BTreeMap::<&ModulePath, Vec<(&Wanted, &Module)>>::new();
    for package in wanted {
        for module in &package.modules {
            claims
                .entry(&module.path)
                .or_default()
                .push((package, module));
        }
    }
    let mut entries = Vec::new();
    for (path, claimants) in claims {
        let (winner, module) = claimants[0];
        let losers: Vec<_> = claimants[1..]
            .iter()
            .map(|(loser, _)| loser.name())
            .filter(|loser| !upgrades(wanted, winner.name(), loser))
            .cloned()
            .collect();
        if !losers.is_empty() {
            let (path, winner) = (path.clone(), winner.name().clone());
            let declared_by = scope.declared_by();
            findings.notes.insert(Note::SamePath {
                declared_by,
                path,
                winner,
                losers,
            });
        }
        entries.push(ManifestEntry {
            package: winner.name().clone(),
            module: module.clone(),
        });
    }
    check_tree(scope, &entries, findings);
    check_processes(scope, &entries, findings);
    entries
}

/// True if `upgrade` replaces part of `base`, itself or through other packages of the list.
fn upgrades(wanted: &[Wanted], upgrade: &PackageName, base: &PackageName) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![upgrade];
    while let Some(name) = open.pop() {
        let package = wanted.iter().find(|package| package.name() == name);
        let bases = package
            .into_iter()
            .flat_map(|package| &package.package.config.upgrades);
        for next in bases.map(|upgrade| &upgrade.package) {
            if next == base {
                return true;
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
}

/// No path may run through a file.
fn check_tree(scope: &Scope, entries: &[ManifestEntry], findings: &mut Findings) {
    let packages: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| (entry.module.path.as_str(), entry))
        .collect();
    for inside in entries {
        let path = inside.module.path.as_str();
        let ancestors = path.match_indices('/').map(|(end, _)| &path[..end]);
        for file in ancestors.filter_map(|ancestor| packages.get(ancestor)) {
            findings.problems.insert(Problem::Path {
                declared_by: scope.declared_by(),
                path: file.module.path.clone(),
                package: file.package.clone(),
                inside: inside.module.path.clone(),
                inside_package: inside.package.clone(),
            });
        }
    }
}

/// The node tells processes apart by name.
fn check_processes(scope: &Scope, entries: &[ManifestEntry], findings: &mut Findings) {
    let mut paths = BTreeMap::<&ProcessName, Vec<ModulePath>>::new();
    for module in entries.iter().map(|entry| &entry.module) {
        if let Some(process) = &module.process {
            paths
                .entry(&process.name)
                .or_default()
                .push(module.path.clone());
        }
    }
    for (process, paths) in paths.into_iter().filter(|(_, paths)| paths.len() > 1) {
        let (declared_by, process) = (scope.declared_by(), process.clone());
        findings.problems.insert(Problem::SameProcess {
            declared_by,
            process,
            paths,
        });
    }
}
