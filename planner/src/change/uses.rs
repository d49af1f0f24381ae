//! Which modules a process maps or opens, directly and through others.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Change, Module, ModulePath, NodeManifest, ProcessName, ProcessSpec};

use super::Announcements;
use super::graph::{Graph, Walk, Wanted, chain_of};
use super::handover::Side;

/// The processes of a manifest and what they use.
pub(super) struct Users<'m> {
    manifest: &'m NodeManifest,
    graph: Graph<'m>,
    /// The modules of the change.
    changed: Wanted,
    /// The modules of processes.
    process_modules: Wanted,
    pub(super) processes: BTreeMap<&'m ProcessName, &'m Module>,
    announced: &'m Announcements,
}

/// What a process uses of the modules of a change.
#[derive(Default)]
pub(super) struct Uses<'m> {
    /// Its own module and, where that is a symbolic link, the modules on the way to its end.
    pub(super) own: BTreeSet<&'m ModulePath>,
    /// What the loader maps for it, with the libraries in between: of the shortest chains the first
    /// by name.
    pub(super) linked: BTreeMap<&'m ModulePath, Vec<&'m ModulePath>>,
    /// What it, or a library that it maps, opens at run time.
    pub(super) opened: BTreeSet<&'m ModulePath>,
}

impl<'m> Uses<'m> {
    /// What it maps and opens.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'m ModulePath> {
        self.linked.keys().chain(&self.opened).copied()
    }
}

impl<'m> Users<'m> {
    pub(super) fn new(
        manifest: &'m NodeManifest,
        changed: &BTreeMap<&ModulePath, Change>,
        announced: &'m Announcements,
    ) -> Self {
        // Nobody waits for what a test suite does, and nothing is asked of it.
        let services = manifest.services();
        let processes: BTreeMap<_, _> = services
            .map(|(module, spec)| (&spec.name, module))
            .collect();
        let graph = Graph::new(manifest);
        Self {
            manifest,
            changed: graph.wanted(changed.keys().copied()),
            process_modules: graph.wanted(processes.values().map(|module| &module.path)),
            graph,
            processes,
            announced,
        }
    }

    pub(super) fn module(&self, path: &ModulePath) -> Option<&'m Module> {
        self.manifest.get(path).map(|entry| &entry.module)
    }

    pub(super) fn process(&self, name: &ProcessName) -> Option<(&'m Module, &'m ProcessSpec)> {
        let module = *self.processes.get(name)?;
        Some((module, module.process.as_ref()?))
    }

    /// One of them, with the manifest that it is in.
    pub(super) fn side(&self, (module, spec): (&'m Module, &'m ProcessSpec)) -> Side<'m> {
        let manifest = self.manifest;
        Side {
            manifest,
            module,
            spec,
        }
    }

    /// How many processes' modules a process depends on. One that depends on another has a greater
    /// number than that, so it is handled later.
    pub(super) fn processes_used_by(&self, path: &ModulePath) -> usize {
        self.walk(&self.chain(path), &self.process_modules).found()
    }

    /// What the process whose module is at `path` uses of what was looked for.
    pub(super) fn uses(&self, path: &ModulePath) -> Uses<'m> {
        let own = self.chain(path);
        let walk = self.walk(&own, &self.changed);
        Uses {
            own: own.iter().map(|place| self.graph.path(*place)).collect(),
            linked: self.graph.linked(&walk).collect(),
            opened: walk.opened.iter().map(|it| self.graph.path(*it)).collect(),
        }
    }

    /// The places of a process's own module and, where that is a link, of those on the way to its
    /// end.
    pub(super) fn chain(&self, path: &ModulePath) -> Vec<usize> {
        chain_of(self.manifest, path)
    }

    fn walk(&self, own: &[usize], wanted: &Wanted) -> Walk {
        let modules = own
            .iter()
            .map(|place| &self.manifest.modules[*place].module);
        let opened = modules
            .filter_map(|module| self.announced.get(&module.process.as_ref()?.name))
            .flat_map(|announced| &announced.opened);
        self.graph.walk(own, opened, wanted)
    }
}
