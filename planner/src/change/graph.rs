//! Who maps or opens whom among the modules of one manifest, and walks through it that look for a
//! few of them.
//!
//! A module is named by its place in the manifest. The manifest is sorted by path, so of two places
//! the lesser is the one whose path comes first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use placet_model::{ManifestEntry, ModulePath, NodeManifest};

use crate::libraries::{Libraries, follow, path_of};

/// One module that another one maps, opens, or both.
#[derive(Clone, Copy)]
struct Step {
    to: usize,
    is_linked: bool,
    is_opened: bool,
}

/// Something that a module names and depends on. Modules are told by their places in the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency<'m> {
    /// Who names it.
    pub user: usize,
    /// What it names.
    pub needs: Needs<'m>,
    /// Every module whose change may change what is found under that name; never empty.
    pub leads_to: BTreeSet<usize>,
}

/// The modules of a manifest with what each maps and opens.
pub(super) struct Graph<'m> {
    manifest: &'m NodeManifest,
    /// By place; each sorted by the place it leads to, and that once.
    steps: Vec<Vec<Step>>,
    /// By place, the places with a step to it.
    users: Vec<Vec<usize>>,
}

/// Places that are looked for.
pub(super) struct Wanted {
    is_wanted: Vec<bool>,
    /// Those from which steps lead to a wanted one, and the wanted ones themselves. No way to a
    /// wanted one leaves them, so nothing else has to be walked through.
    leads: Vec<bool>,
}

/// What a walk found.
pub(super) struct Walk {
    /// The wanted places that are linked, with the first place that links each; absent if that is
    /// the start.
    linked: BTreeMap<usize, Option<usize>>,
    /// The wanted places that are opened.
    pub(super) opened: BTreeSet<usize>,
    /// By place, how the walk came there.
    came: Vec<Came>,
    /// Places reached whose steps are still to be taken.
    queue: VecDeque<usize>,
}

#[derive(Clone, Copy)]
enum Came {
    NotYet,
    FromStart,
    From(usize),
}

impl<'m> Graph<'m> {
    pub(super) fn new(manifest: &'m NodeManifest) -> Self {
        let mut steps = StepsReader::new(manifest);
        let steps: Vec<_> = manifest.modules.iter().map(|it| steps.of(it)).collect();
        let mut users = vec![Vec::new(); steps.len()];
        for (user, steps) in steps.iter().enumerate() {
            for step in steps {
                users[step.to].push(user);
            }
        }
        Self {
            manifest,
            steps,
            users,
        }
    }

    /// Every dependency of the modules, with the places of its user and of what it leads to; those
    /// that lead to nothing in the manifest are left out.
    pub(super) fn dependencies(manifest: &'m NodeManifest) -> Vec<Dependency<'m>> {
        let mut reader = StepsReader::new(manifest);
        let mut dependencies = BTreeMap::new();
        for (user, entry) in manifest.modules.iter().enumerate() {
            reader.each(entry, |needs, places| {
                if !places.is_empty() {
                    dependencies.insert((user, needs), places.iter().copied().collect());
                }
            });
        }
        let dependencies = dependencies.into_iter();
        dependencies
            .map(|((user, needs), leads_to)| Dependency {
                user,
                needs,
                leads_to,
            })
            .collect()
    }

    pub(super) fn path(&self, place: usize) -> &'m ModulePath {
        &self.manifest.modules[place].module.path
    }

    /// The places of those of `paths` that are in the manifest.
    pub(super) fn wanted<'p>(&self, paths: impl Iterator<Item = &'p ModulePath>) -> Wanted {
        let mut is_wanted = vec![false; self.steps.len()];
        let mut leads = is_wanted.clone();
        let mut rest: Vec<_> = paths
            .filter_map(|path| place_of(self.manifest, path))
            .collect();
        for place in &rest {
            is_wanted[*place] = true;
        }
        while let Some(place) = rest.pop() {
            if !std::mem::replace(&mut leads[place], true) {
                rest.extend(&self.users[place]);
            }
        }
        Wanted { is_wanted, leads }
    }

    /// Walks outwards from the modules at `own` and from those at `opened` one step at a time; in
    /// each round by the order of the chains, so that the first chain that reaches a module is the
    /// one to name. What is in `own` is not counted.
    pub(super) fn walk(
        &self,
        own: &[usize],
        opened: impl Iterator<Item = &'m ModulePath>,
        wanted: &Wanted,
    ) -> Walk {
        let mut first: Vec<_> = places_behind(self.manifest, opened).map(opening).collect();
        first.extend(own.iter().flat_map(|place| &self.steps[*place]));
        first.retain(|step| wanted.leads[step.to] && !own.contains(&step.to));
        let mut walk = Walk {
            linked: BTreeMap::new(),
            opened: BTreeSet::new(),
            came: Vec::new(),
            queue: VecDeque::new(),
        };
        if first.is_empty() {
            return walk;
        }
        walk.came = vec![Came::NotYet; self.steps.len()];
        merge(&mut first);
        walk.take(&first, None, wanted);
        while let Some(place) = walk.queue.pop_front() {
            let steps = self.steps[place].iter();
            let steps = steps.filter(|step| wanted.leads[step.to] && !own.contains(&step.to));
            walk.take(steps, Some(place), wanted);
        }
        walk
    }

    /// The wanted modules that a walk found linked, each with those in between.
    pub(super) fn linked(
        &self,
        walk: &Walk,
    ) -> impl Iterator<Item = (&'m ModulePath, Vec<&'m ModulePath>)> {
        walk.linked.iter().map(|(place, linked_by)| {
            let mut chain = Vec::new();
            let mut next = *linked_by;
            while let Some(place) = next {
                chain.push(self.path(place));
                next = match walk.came[place] {
                    Came::From(before) => Some(before),
                    Came::NotYet | Came::FromStart => None,
                };
            }
            chain.reverse();
            (self.path(*place), chain)
        })
    }
}

impl Walk {
    /// How many of the wanted places were found.
    pub(super) fn found(&self) -> usize {
        let opened_only = self.opened.iter();
        let opened_only = opened_only.filter(|place| !self.linked.contains_key(place));
        self.linked.len() + opened_only.count()
    }

    /// Takes the steps from one place, or from the start.
    fn take<'s>(
        &mut self,
        steps: impl IntoIterator<Item = &'s Step>,
        from: Option<usize>,
        wanted: &Wanted,
    ) {
        for step in steps {
            if wanted.is_wanted[step.to] {
                if step.is_linked {
                    self.linked.entry(step.to).or_insert(from);
                }
                if step.is_opened {
                    self.opened.insert(step.to);
                }
            }
            if matches!(self.came[step.to], Came::NotYet) {
                self.came[step.to] = from.map_or(Came::FromStart, Came::From);
                self.queue.push_back(step.to);
            }
        }
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "names are only looked up in it: its order is never seen"
)]
type ByName<'m, T> = std::collections::HashMap<&'m str, T>;

/// What a module names that it depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs<'m> {
    /// A library, by the name that the loader looks for.
    Library(&'m str),
    /// The interpreter of an executable, by its absolute path.
    Interpreter(&'m str),
    /// A module that it opens, as its author declared.
    Supplemental(&'m ModulePath),
    /// A module that it opens where it is present.
    Optional(&'m ModulePath),
}

impl Needs<'_> {
    /// True if the module opens it by itself; otherwise the loader maps it.
    pub fn is_opened(&self) -> bool {
        matches!(self, Self::Supplemental(_) | Self::Optional(_))
    }
}

/// Finds the steps of module after module; what is behind a name is looked up once.
struct StepsReader<'m> {
    manifest: &'m NodeManifest,
    libraries: Libraries<'m>,
    behind: ByName<'m, Vec<usize>>,
}

impl<'m> StepsReader<'m> {
    fn new(manifest: &'m NodeManifest) -> Self {
        Self {
            manifest,
            libraries: Libraries::new(manifest),
            behind: ByName::new(),
        }
    }

    fn of(&mut self, entry: &'m ManifestEntry) -> Vec<Step> {
        let mut steps = Vec::new();
        self.each(entry, |dependency, places| {
            let step = if dependency.is_opened() {
                opening
            } else {
                linking
            };
            steps.extend(places.iter().copied().map(step));
        });
        merge(&mut steps);
        steps
    }

    /// Tells of each dependency that a module names, with the places that it leads to.
    fn each(&mut self, entry: &'m ManifestEntry, mut told: impl FnMut(Needs<'m>, &[usize])) {
        let (manifest, module) = (self.manifest, &entry.module);
        let behind = |paths: &[&ModulePath]| -> Vec<usize> {
            places_behind(manifest, paths.iter().copied()).collect()
        };
        if let Some(elf) = &module.elf {
            for needed in &elf.needed {
                told(Needs::Library(needed), self.behind(needed));
            }
            if let Some(name) = elf.interpreter.as_deref()
                && let Some(path) = path_of(name)
            {
                told(Needs::Interpreter(name), &behind(&[&path]));
            }
        }
        for path in module.supplemental.iter().flat_map(|one| &one.one_of) {
            told(Needs::Supplemental(path), &behind(&[path]));
        }
        for path in &module.optional {
            told(Needs::Optional(path), &behind(&[path]));
        }
    }

    fn behind(&mut self, needed: &'m str) -> &[usize] {
        let (manifest, libraries) = (self.manifest, &self.libraries);
        self.behind.entry(needed).or_insert_with(|| {
            let paths = libraries.behind(needed).into_iter();
            paths.filter_map(|path| place_of(manifest, path)).collect()
        })
    }
}

fn linking(to: usize) -> Step {
    Step {
        to,
        is_linked: true,
        is_opened: false,
    }
}

fn opening(to: usize) -> Step {
    Step {
        to,
        is_linked: false,
        is_opened: true,
    }
}

/// Sorts steps and makes one of those that lead to the same place.
fn merge(steps: &mut Vec<Step>) {
    steps.sort_unstable_by_key(|step| step.to);
    steps.dedup_by(|step, kept| {
        let is_same = step.to == kept.to;
        if is_same {
            kept.is_linked |= step.is_linked;
            kept.is_opened |= step.is_opened;
        }
        is_same
    });
}

/// The places of the modules at `paths` and, of links, of every module on the way to their ends.
fn places_behind<'p>(
    manifest: &NodeManifest,
    paths: impl IntoIterator<Item = &'p ModulePath>,
) -> impl Iterator<Item = usize> {
    let paths = paths.into_iter();
    paths.flat_map(|path| chain_of(manifest, path))
}

/// The place of the module at `path` and, where that is a link, of every module on the way to its
/// end.
pub(super) fn chain_of(manifest: &NodeManifest, path: &ModulePath) -> Vec<usize> {
    let chain = follow(manifest, path).into_iter();
    chain
        .filter_map(|entry| place_of(manifest, &entry.module.path))
        .collect()
}

fn place_of(manifest: &NodeManifest, path: &ModulePath) -> Option<usize> {
    let path_at = |entry: &ManifestEntry| entry.module.path.cmp(path);
    manifest.modules.binary_search_by(path_at).ok()
}
