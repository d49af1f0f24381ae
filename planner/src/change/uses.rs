//! Which modules a process maps or opens, directly and through others.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Module, ModulePath, NodeManifest, ProcessName, ProcessSpec};

use super::Announcements;
use super::handover::Side;
use crate::libraries::{Libraries, follow, path_of};

/// The processes of a manifest and what they use.
pub(super) struct Users<'m> {
    manifest: &'m NodeManifest,
    libraries: Libraries<'m>,
    pub(super) processes: BTreeMap<&'m ProcessName, &'m Module>,
    announced: &'m Announcements,
}

/// What a process uses.
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

impl<'m> Users<'m> {
    pub(super) fn new(manifest: &'m NodeManifest, announced: &'m Announcements) -> Self {
        let modules = manifest.modules.iter().map(|entry| &entry.module);
        let processes = modules
            .filter_map(|module| Some((&module.process.as_ref()?.name, module)))
            .collect();
        Self {
            manifest,
            libraries: Libraries::new(manifest),
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
        let uses = self.uses(path);
        let is_used = |module: &&&Module| {
            module.path != *path
                && (uses.linked.contains_key(&module.path) || uses.opened.contains(&module.path))
        };
        self.processes.values().filter(is_used).count()
    }

    /// Walks outwards from the process one step at a time; in each round by the order of the
    /// chains, so that the first chain that reaches a module is the one to name.
    pub(super) fn uses(&self, process: &ModulePath) -> Uses<'m> {
        let own: Vec<_> = follow(self.manifest, process)
            .into_iter()
            .map(|e| &e.module)
            .collect();
        let mut uses = Uses {
            own: own.iter().map(|module| &module.path).collect(),
            ..Uses::default()
        };
        let mut round: BTreeSet<(Vec<&'m ModulePath>, &'m ModulePath)> = BTreeSet::new();
        for module in own {
            self.step(module, &[], &mut uses, &mut round);
            let name = module.process.as_ref().map(|spec| &spec.name);
            let opened = name
                .and_then(|name| self.announced.get(name))
                .into_iter()
                .flat_map(|announced| &announced.opened);
            self.open(opened, &[], &mut uses, &mut round);
        }
        let mut seen = uses.own.clone();
        while !round.is_empty() {
            for (via, path) in std::mem::take(&mut round) {
                let Some(entry) = self.manifest.get(path).filter(|_| seen.insert(path)) else {
                    continue;
                };
                let via: Vec<_> = via.into_iter().chain([path]).collect();
                self.step(&entry.module, &via, &mut uses, &mut round);
            }
        }
        uses
    }

    /// What `module`, reached through `via` (itself included), maps and opens.
    fn step(
        &self,
        module: &'m Module,
        via: &[&'m ModulePath],
        uses: &mut Uses<'m>,
        round: &mut BTreeSet<(Vec<&'m ModulePath>, &'m ModulePath)>,
    ) {
        let elf = module.elf.iter();
        let interpreter = elf
            .clone()
            .filter_map(|elf| path_of(elf.interpreter.as_ref()?));
        let libraries = elf
            .flat_map(|elf| &elf.needed)
            .flat_map(|soname| self.libraries.behind(soname));
        let interpreters = interpreter
            .flat_map(|path| follow(self.manifest, &path))
            .map(|entry| &entry.module.path);
        for path in libraries.chain(interpreters) {
            if !uses.own.contains(path) {
                uses.linked.entry(path).or_insert_with(|| via.to_vec());
                round.insert((via.to_vec(), path));
            }
        }
        let supplemental = module.supplemental.iter().flat_map(|one| &one.one_of);
        self.open(supplemental.chain(&module.optional), via, uses, round);
    }

    fn open<'p>(
        &self,
        paths: impl Iterator<Item = &'p ModulePath>,
        via: &[&'m ModulePath],
        uses: &mut Uses<'m>,
        round: &mut BTreeSet<(Vec<&'m ModulePath>, &'m ModulePath)>,
    ) {
        for path in paths
            .flat_map(|path| follow(self.manifest, path))
            .map(|e| &e.module.path)
        {
            if !uses.own.contains(path) {
                uses.opened.insert(path);
                round.insert((via.to_vec(), path));
            }
        }
    }
}
