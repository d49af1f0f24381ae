//! Which modules of a manifest come into one process, and the symbols of each.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{ElfFacts, ManifestEntry, ModulePath, ModuleType, NodeManifest, Symbols};

use super::super::require::C_LIBRARY;
use crate::CatalogEntry;
use crate::libraries::{Libraries, follow, path_of};

/// Comes with the compiler; as the C library, it gives each of its symbols a version.
const COMPILER_LIBRARY: [&str; 2] = ["libgcc_s.so.1", "libstdc++.so.6"];
/// What has the loader bring more libraries into a process, before those that it needs.
const PRELOAD: &str = "LD_PRELOAD";

/// The ELF modules of a manifest.
pub(super) struct Linked<'a> {
    pub(super) parts: Vec<Part<'a>>,
}

/// An ELF module, and what it brings with it.
pub(super) struct Part<'a> {
    pub(super) entry: &'a ManifestEntry,
    pub(super) elf: &'a ElfFacts,
    /// `None` where its package does not list them.
    pub(super) symbols: Option<&'a Symbols>,
    /// The libraries that it needs, in its order, each with the modules that are found for it: none
    /// for one that no package of the node brings.
    pub(super) needs: Vec<(&'a str, Vec<usize>)>,
    /// What it opens by itself, as far as that is declared.
    opens: Vec<usize>,
}

/// What comes into a process.
pub(super) struct Process<'a> {
    /// Modules, those first in which the loader looks first.
    pub(super) parts: Vec<usize>,
    /// Libraries that no package of the node brings.
    pub(super) base: BTreeSet<&'a str>,
}

impl<'a> Linked<'a> {
    pub(super) fn new(
        manifest: &'a NodeManifest,
        libraries: &Libraries<'a>,
        packages: &[&'a CatalogEntry],
    ) -> Self {
        let packages: BTreeMap<_, _> = packages.iter().map(|it| (&it.config.name, *it)).collect();
        let mut parts: Vec<_> = manifest
            .modules
            .iter()
            .filter_map(|entry| {
                let elf = entry.module.elf.as_ref()?;
                let package = packages.get(&entry.package)?;
                Some(Part {
                    entry,
                    elf,
                    symbols: package.symbols_of(&entry.module),
                    needs: Vec::new(),
                    opens: Vec::new(),
                })
            })
            .collect();
        let finder = Finder::new(manifest, libraries, &parts);
        let found: Vec<_> = parts
            .iter()
            .map(|part| (finder.needs(part.elf), finder.opens(part.entry)))
            .collect();
        for (part, (needs, opens)) in parts.iter_mut().zip(found) {
            (part.needs, part.opens) = (needs, opens);
        }
        Self { parts }
    }

    /// What the loader brings in for one module and for all that this needs, breadth first; and, if
    /// `opened`, what they open by themselves.
    pub(super) fn process(&self, first: usize, opened: bool) -> Process<'a> {
        let mut process = Process {
            parts: vec![first],
            base: BTreeSet::new(),
        };
        let mut seen = BTreeSet::from([first]);
        let mut next = 0;
        while let Some(index) = process.parts.get(next) {
            let part = &self.parts[*index];
            next += 1;
            for (name, found) in &part.needs {
                if found.is_empty() {
                    process.base.insert(name);
                }
                let new = found.iter().filter(|index| seen.insert(**index));
                process.parts.extend(new);
            }
            let opens = part.opens.iter().filter(|_| opened);
            process
                .parts
                .extend(opens.filter(|index| seen.insert(**index)));
        }
        process
    }

    /// The modules that are started.
    pub(super) fn programs(&self) -> impl Iterator<Item = usize> {
        let parts = self.parts.iter().enumerate();
        parts
            .filter(|(_, part)| part.is_program())
            .map(|(index, _)| index)
    }
}

impl Part<'_> {
    pub(super) fn is_program(&self) -> bool {
        let module = &self.entry.module;
        module.process.is_some()
            || module.kind == ModuleType::Process
            || self.elf.interpreter.is_some() && self.elf.soname.is_none()
    }

    /// True if no symbol that it imports without a version is of this library: had it been linked with
    /// it, then with a version.
    pub(super) fn names_versions_of(&self, library: &str) -> bool {
        let with_versions =
            |name: &str| C_LIBRARY.contains(&name) || COMPILER_LIBRARY.contains(&name);
        let mut versions = self.elf.versions_needed.iter();
        versions.any(|it| it.soname == library)
            || with_versions(library) && self.elf.needed.iter().any(|name| with_versions(name))
    }
}

/// Finds modules among the parts.
struct Finder<'f, 'a> {
    manifest: &'a NodeManifest,
    libraries: &'f Libraries<'a>,
    places: BTreeMap<&'a ModulePath, usize>,
    /// True if some module has its libraries looked for elsewhere first (`DT_RPATH`), and so for the
    /// libraries that it brings.
    has_run_path: bool,
}

impl<'f, 'a> Finder<'f, 'a> {
    fn new(manifest: &'a NodeManifest, libraries: &'f Libraries<'a>, parts: &[Part<'a>]) -> Self {
        let places = parts.iter().enumerate();
        Self {
            manifest,
            libraries,
            places: places
                .map(|(index, part)| (&part.entry.module.path, index))
                .collect(),
            has_run_path: parts.iter().any(|part| part.elf.inherited_run_path),
        }
    }

    fn needs(&self, elf: &'a ElfFacts) -> Vec<(&'a str, Vec<usize>)> {
        let needed = elf.needed.iter();
        needed
            .map(|name| (name.as_str(), self.library(name)))
            .collect()
    }

    /// The module that is found for a needed name; all that may be where that depends on who looks.
    fn library(&self, name: &str) -> Vec<usize> {
        let first = self.libraries.loaded(name);
        let Some(first) = first.and_then(|it| self.places.get(&it.module.path)) else {
            return Vec::new();
        };
        if !self.has_run_path {
            return vec![*first];
        }
        let behind = self.libraries.behind(name).into_iter();
        let others = behind.filter_map(|path| self.places.get(path)).copied();
        let others = others.filter(|index| index != first);
        [*first].into_iter().chain(others).collect()
    }

    fn opens(&self, entry: &'a ManifestEntry) -> Vec<usize> {
        let module = &entry.module;
        let declared = module.supplemental.iter().flat_map(|it| &it.one_of);
        let declared = declared.chain(&module.optional);
        let ends = declared.filter_map(|path| follow(self.manifest, path).pop());
        let mut opens: Vec<_> = ends
            .filter_map(|entry| self.places.get(&entry.module.path))
            .copied()
            .collect();
        let environment = module.process.as_ref().map(|process| &process.environment);
        let preload = environment.and_then(|it| it.get(PRELOAD));
        for name in preload
            .into_iter()
            .flat_map(|names| names.split([' ', ':']))
        {
            let path = path_of(name).and_then(|path| self.places.get(&path).copied());
            opens.extend(path.map_or_else(|| self.library(name), |index| vec![index]));
        }
        opens
    }
}
