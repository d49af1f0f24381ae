//! Is everything there that the packages and modules of a node need? (D7, and features of D2)

use std::collections::BTreeSet;

use placet_model::{ElfFacts, ManifestEntry, Module, ModulePath, NodeManifest, PackageName};

use super::{Checked, Findings, Scope, list, shelf, symbols};
use crate::libraries::{Libraries, path_of};
use crate::{CatalogEntry, Note, Problem};

/// The C library and what is built together with it. They come with the interpreter, so as long as
/// that is the node's own, so are they, even if a package of the catalog brings them elsewhere.
pub(super) const C_LIBRARY: [&str; 13] = [
    "ld-linux-aarch64.so.1",
    "ld-linux-armhf.so.3",
    "ld-linux-x86-64.so.2",
    "ld-linux.so.2",
    "libanl.so.1",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libmvec.so.1",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
];

pub(super) fn check(scope: &Scope, packages: &[&CatalogEntry], manifest: &NodeManifest) -> Checked {
    let check = Check {
        scope,
        packages,
        manifest,
        libraries: Libraries::new(manifest),
    };
    let mut checked = Checked {
        symbols: symbols::lists(packages).copied().collect(),
        ..Checked::default()
    };
    let Checked { base, findings, .. } = &mut checked;
    check.node_types(findings);
    check.features(findings);
    check.packages(findings);
    for entry in &manifest.modules {
        check.module(entry, base, findings);
    }
    symbols::check(scope, packages, manifest, &check.libraries, findings);
    if !base.is_empty() {
        findings.notes.insert(Note::BaseSoftware {
            declared_by: scope.declared_by(),
            names: base.clone(),
        });
    }
    checked
}

struct Check<'a, 'c> {
    scope: &'a Scope<'a, 'c>,
    packages: &'a [&'c CatalogEntry],
    manifest: &'a NodeManifest,
    libraries: Libraries<'a>,
}

impl Check<'_, '_> {
    fn missing(
        &self,
        package: &PackageName,
        module: Option<&ModulePath>,
        needs: String,
        candidates: Vec<String>,
    ) -> Problem {
        Problem::Requirement {
            nodes: self.scope.nodes.clone(),
            package: package.clone(),
            module: module.cloned(),
            needs,
            candidates,
        }
    }

    fn node_types(&self, findings: &mut Findings) {
        let configuration = self.scope.configuration;
        let configs = self.packages.iter().map(|entry| &entry.config);
        for config in configs.filter(|config| !configuration.is_of(&config.node_types)) {
            findings.problems.insert(Problem::NodeType {
                nodes: self.scope.nodes.clone(),
                node_type: configuration.node_type.clone().unwrap_or_default(),
                package: config.name.clone(),
            });
        }
    }

    fn features(&self, findings: &mut Findings) {
        let configs = self.packages.iter().map(|entry| &entry.config);
        let offered: BTreeSet<&String> = configs
            .flat_map(|config| {
                config
                    .features
                    .iter()
                    .chain(config.modules.iter().flat_map(|it| &it.features))
            })
            .collect();
        for feature in &self.scope.configuration.features {
            if !offered.contains(feature) {
                findings.problems.insert(Problem::Feature {
                    nodes: self.scope.nodes.clone(),
                    feature: feature.clone(),
                    candidates: list::candidates(self.scope, feature)
                        .into_iter()
                        .map(shelf::label)
                        .collect(),
                });
            }
        }
    }

    /// Packages needed by packages: those required, and at least one of those to be upgraded.
    fn packages(&self, findings: &mut Findings) {
        let listed = |name: &PackageName| {
            self.packages
                .iter()
                .map(|entry| &entry.config)
                .find(|config| config.name == *name)
        };
        for config in self.packages.iter().map(|entry| &entry.config) {
            let requires = config.requires.iter();
            for it in requires.filter(|it| self.scope.configuration.is_of(&it.node_types)) {
                if !listed(&it.package).is_some_and(|other| it.version.matches(&other.version)) {
                    let candidates = self.scope.shelf.with_version(&it.package, &it.version);
                    let needs = self.scope.shelf.needed(&it.package, &it.version);
                    findings
                        .problems
                        .insert(self.missing(&config.name, None, needs, candidates));
                }
            }
            let has_base = config
                .upgrades
                .iter()
                .any(|it| listed(&it.package).is_some());
            if let Some(first) = config.upgrades.first().filter(|_| !has_base) {
                let needed = self.scope.shelf.needed(&first.package, &first.version);
                let needs = format!("{needed}, which it upgrades");
                let candidates = self
                    .scope
                    .shelf
                    .with_version(&first.package, &first.version);
                findings
                    .problems
                    .insert(self.missing(&config.name, None, needs, candidates));
            }
        }
    }

    fn module(&self, entry: &ManifestEntry, base: &mut BTreeSet<String>, findings: &mut Findings) {
        let module = &entry.module;
        let mut report = |needs: String, candidates: Vec<String>| {
            let problem = self.missing(&entry.package, Some(&module.path), needs, candidates);
            findings.problems.insert(problem);
        };
        if let Some(elf) = &module.elf {
            self.libraries(elf, base, &mut report);
            self.symbol_versions(elf, &mut report);
            self.interpreter(elf, base, &mut report);
        }
        self.unlinked(module, &mut report);
    }

    fn libraries(
        &self,
        elf: &ElfFacts,
        base: &mut BTreeSet<String>,
        report: &mut impl FnMut(String, Vec<String>),
    ) {
        for needed in elf
            .needed
            .iter()
            .filter(|needed| self.libraries.loaded(needed).is_none())
        {
            if let Some(unreachable) = self.libraries.with_soname(needed).first() {
                // The loader looks for a file of this name, whatever a library calls itself.
                let path = &unreachable.module.path;
                let needs = format!("a file {needed}, by which the loader finds {path}");
                report(needs, vec!["a symbolic link beside it".to_owned()]);
                continue;
            }
            let name = needed.rsplit('/').next().unwrap_or(needed);
            let candidates = self.scope.shelf.with_library(name, self.architecture());
            if candidates.is_empty() || self.comes_with_interpreter(elf, needed) {
                base.insert(needed.clone());
            } else {
                report(needed.clone(), candidates);
            }
        }
    }

    fn architecture(&self) -> &placet_model::Architecture {
        &self.scope.configuration.architecture
    }

    fn comes_with_interpreter(&self, elf: &ElfFacts, needed: &str) -> bool {
        let is_ours = |path: ModulePath| self.manifest.get(&path).is_some();
        C_LIBRARY.contains(&needed)
            && !elf
                .interpreter
                .as_deref()
                .and_then(path_of)
                .is_some_and(is_ours)
    }

    /// A library without any symbol versions satisfies whoever needs one: so does the loader see it.
    fn symbol_versions(&self, elf: &ElfFacts, report: &mut impl FnMut(String, Vec<String>)) {
        for needed in &elf.versions_needed {
            let library = self.libraries.loaded(&needed.soname);
            let elf = library.and_then(|entry| entry.module.elf.as_ref());
            if elf.is_some_and(|elf| {
                !elf.versions_provided.is_empty()
                    && !elf.versions_provided.contains(&needed.version)
            }) {
                report(
                    needed.to_string(),
                    self.with_symbol_version(&needed.soname, &needed.version),
                );
            }
        }
    }

    fn with_symbol_version(&self, soname: &str, version: &str) -> Vec<String> {
        self.scope
            .shelf
            .with_symbol_version(soname, version, self.architecture())
    }

    fn interpreter(
        &self,
        elf: &ElfFacts,
        base: &mut BTreeSet<String>,
        report: &mut impl FnMut(String, Vec<String>),
    ) {
        let Some(interpreter) = &elf.interpreter else {
            return;
        };
        let path = path_of(interpreter);
        if path
            .as_ref()
            .is_some_and(|path| self.manifest.get(path).is_some())
        {
            return;
        }
        let candidates = path
            .as_ref()
            .map_or_else(Vec::new, |path| self.scope.shelf.with_path(path));
        let is_own = path.is_some_and(|path| C_LIBRARY.contains(&path.file_name()));
        if candidates.is_empty() || is_own {
            base.insert(interpreter.clone());
        } else {
            report(interpreter.clone(), candidates);
        }
    }

    /// What the linker cannot see: named interfaces and supplemental dependencies.
    fn unlinked(&self, module: &Module, report: &mut impl FnMut(String, Vec<String>)) {
        let catalog = self.scope.shelf;
        for api in &module.uses {
            let mut modules = self.manifest.modules.iter().map(|entry| &entry.module);
            if !modules.any(|other| other.provides.contains(api)) {
                report(
                    format!("API {} {}", api.name, api.version),
                    catalog.with_api(api),
                );
            }
        }
        for one_of in module
            .supplemental
            .iter()
            .map(|supplemental| &supplemental.one_of)
        {
            if !one_of.iter().any(|path| self.manifest.get(path).is_some()) {
                let names: Vec<_> = one_of.iter().map(ModulePath::as_str).collect();
                let candidates = one_of.iter().flat_map(|path| catalog.with_path(path));
                report(names.join(" or "), candidates.collect());
            }
        }
    }
}
