//! The catalog by what its packages provide, to name candidates.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Api, Architecture, ModulePath, PackageName, Symbols, VersionRequirement};

use crate::libraries::path_of;
use crate::{Catalog, CatalogEntry};

/// Every package of the catalog, sorted by name and version.
pub(super) struct Shelf<'c> {
    entries: Vec<&'c CatalogEntry>,
    /// Which entries bring a library under a name, and for which architecture.
    libraries: BTreeMap<&'c str, BTreeSet<(&'c Architecture, usize)>>,
    paths: BTreeMap<&'c ModulePath, BTreeSet<usize>>,
    apis: BTreeMap<&'c Api, BTreeSet<usize>>,
    features: BTreeMap<&'c str, BTreeSet<usize>>,
}

impl<'c> Shelf<'c> {
    pub(super) fn new(catalog: &'c Catalog) -> Self {
        let mut entries: Vec<_> = catalog.entries.values().flatten().collect();
        entries.sort_by_key(|entry| (&entry.config.name, &entry.config.version, entry.digest));
        entries.dedup_by_key(|entry| entry.digest);
        let mut shelf = Self {
            entries,
            libraries: BTreeMap::new(),
            paths: BTreeMap::new(),
            apis: BTreeMap::new(),
            features: BTreeMap::new(),
        };
        for index in 0..shelf.entries.len() {
            shelf.put(index);
        }
        shelf
    }

    fn put(&mut self, index: usize) {
        let config = &self.entries[index].config;
        for feature in &config.features {
            self.features.entry(feature).or_default().insert(index);
        }
        for module in &config.modules {
            self.paths.entry(&module.path).or_default().insert(index);
            for feature in &module.features {
                self.features.entry(feature).or_default().insert(index);
            }
            for api in &module.provides {
                self.apis.entry(api).or_default().insert(index);
            }
            let soname = module.elf.as_ref().and_then(|elf| elf.soname.as_deref());
            let is_file = module.elf.is_some() || module.link.is_some();
            for name in soname
                .into_iter()
                .chain(is_file.then(|| module.path.file_name()))
            {
                self.libraries
                    .entry(name)
                    .or_default()
                    .insert((&module.architecture, index));
            }
        }
    }

    /// Packages that bring a library called `soname` for nodes of `architecture`.
    pub(super) fn with_library(&self, soname: &str, architecture: &Architecture) -> Vec<String> {
        let found = self.libraries.get(soname).into_iter().flatten();
        let fitting = found.filter(|(built_for, _)| built_for.runs_on(architecture));
        self.labels(&fitting.map(|(_, index)| *index).collect())
    }

    /// As [`Shelf::with_library`], where that library also provides the symbol version.
    pub(super) fn with_symbol_version(
        &self,
        soname: &str,
        version: &str,
        architecture: &Architecture,
    ) -> Vec<String> {
        let provides = |index: usize| {
            let modules = self.entries[index].config.modules.iter();
            let mut elves = modules
                .filter(|module| module.architecture.runs_on(architecture))
                .filter_map(|module| module.elf.as_ref());
            elves.any(|elf| {
                elf.soname.as_deref() == Some(soname) && elf.versions_provided.contains(version)
            })
        };
        let found = self.libraries.get(soname).into_iter().flatten();
        self.labels(
            &found
                .map(|(_, index)| *index)
                .filter(|index| provides(*index))
                .collect(),
        )
    }

    /// As [`Shelf::with_library`], where that library also defines all of these symbols.
    pub(super) fn with_symbols(
        &self,
        name: &str,
        symbols: &BTreeSet<&str>,
        architecture: &Architecture,
    ) -> Vec<String> {
        let wanted = Symbols::imports(symbols.iter().copied());
        let defines = |index: usize| {
            let entry = self.entries[index];
            let modules = entry.config.modules.iter();
            let mut libraries = modules.filter(|module| {
                let soname = module.elf.as_ref().and_then(|elf| elf.soname.as_deref());
                module.architecture.runs_on(architecture)
                    && (soname == Some(name) || module.path.file_name() == name)
            });
            libraries.any(|module| {
                let exported = entry.symbols_of(module);
                exported.is_some_and(|exported| wanted.imported().all(|it| exported.defines(&it)))
            })
        };
        let found = self.libraries.get(name).into_iter().flatten();
        let found = found.map(|(_, index)| *index);
        self.labels(&found.filter(|index| defines(*index)).collect())
    }

    /// True if some package brings a file that may be meant by a needed name or by a path.
    pub(super) fn has_file(&self, name: &str) -> bool {
        let file_name = name.rsplit('/').next().unwrap_or(name);
        let path = path_of(name);
        self.libraries.contains_key(file_name)
            || path.is_some_and(|path| self.paths.contains_key(&path))
    }

    pub(super) fn with_path(&self, path: &ModulePath) -> Vec<String> {
        self.paths
            .get(path)
            .map_or_else(Vec::new, |found| self.labels(found))
    }

    pub(super) fn with_api(&self, api: &Api) -> Vec<String> {
        self.apis
            .get(api)
            .map_or_else(Vec::new, |found| self.labels(found))
    }

    /// Packages that offer a feature.
    pub(super) fn offering(&self, feature: &str) -> impl Iterator<Item = &'c CatalogEntry> {
        let found = self.features.get(feature).into_iter().flatten();
        found.map(|index| self.entries[*index])
    }

    pub(super) fn with_version(
        &self,
        name: &PackageName,
        version: &VersionRequirement,
    ) -> Vec<String> {
        self.named(name)
            .filter(|entry| version.matches(&entry.config.version))
            .map(label)
            .collect()
    }

    /// What is needed, for people; where every package of that name has a version of another
    /// scheme, it says so.
    pub(super) fn needed(&self, name: &PackageName, version: &VersionRequirement) -> String {
        let needed = format!("{name} {version}");
        let is_other = |entry: &&CatalogEntry| entry.config.version.scheme() != version.scheme();
        match self.named(name).next() {
            Some(other) if self.named(name).all(|entry| is_other(&entry)) => format!(
                "{needed}, which never covers the {} version of {}",
                other.config.version.scheme(),
                label(other)
            ),
            _ => needed,
        }
    }

    fn named(&self, name: &PackageName) -> impl Iterator<Item = &'c CatalogEntry> {
        let entries = self.entries.iter().copied();
        entries.filter(move |entry| entry.config.name == *name)
    }

    fn labels(&self, indices: &BTreeSet<usize>) -> Vec<String> {
        indices
            .iter()
            .map(|index| label(self.entries[*index]))
            .collect()
    }
}

pub(super) fn label(entry: &CatalogEntry) -> String {
    format!("{} {}", entry.config.name, entry.config.version)
}
