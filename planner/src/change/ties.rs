//! What the change of each module of a manifest, alone, would do to each process (M5).

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Change, ModulePath, NodeManifest, ProcessAction, ProcessName, ProcessSpec};

use super::graph::{Dependency, Graph};
use super::uses::Users;
use super::{Announcements, action_of};

/// How the processes of a manifest hang on its modules. Modules are told by their places in the
/// manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ties<'m> {
    /// Every dependency of the modules, sorted.
    pub dependencies: Vec<Dependency<'m>>,
    /// The processes, by name.
    pub processes: BTreeMap<&'m ProcessName, TiedProcess>,
}

/// One process and the modules that it hangs on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TiedProcess {
    /// Its own module and, where that is a symbolic link, the modules on the way to its end.
    pub own: BTreeSet<usize>,
    /// For each module whose change alone touches the process, what happens to it then.
    pub touched: BTreeMap<usize, ProcessAction>,
    /// What happens to it where no dependency counts: when its own module changes, one that it
    /// follows, or what its node starts from.
    pub bound: BTreeMap<usize, ProcessAction>,
}

/// Manifests alone are looked at: no process has said anything.
static NOTHING: Announcements = Announcements::new();

/// What the change of each module alone would do to each process.
///
/// # Guarantees
///
/// A process is touched by the change of a module's signature as [`change`](super::change) says, for
/// every module, at the cost of one walk for each process.
pub fn ties(manifest: &NodeManifest) -> Ties<'_> {
    let modules = manifest.modules.iter();
    let changed = modules
        .map(|entry| (&entry.module.path, Change::Changed))
        .collect();
    let users = Users::new(manifest, &changed, &NOTHING);
    let image: BTreeSet<_> = manifest.boot_image().map(|module| &module.path).collect();
    let mut processes = BTreeMap::new();
    for name in users.processes.keys() {
        if let Some((module, spec)) = users.process(name) {
            let tied = tied(manifest, &users, (&module.path, spec), &image);
            processes.insert(*name, tied);
        }
    }
    Ties {
        dependencies: Graph::dependencies(manifest),
        processes,
    }
}

fn tied(
    manifest: &NodeManifest,
    users: &Users<'_>,
    (path, spec): (&ModulePath, &ProcessSpec),
    image: &BTreeSet<&ModulePath>,
) -> TiedProcess {
    let what = users.uses(path);
    let used: BTreeSet<_> = what.paths().collect();
    let mut tied = TiedProcess {
        own: users.chain(path).into_iter().collect(),
        ..TiedProcess::default()
    };
    for (place, entry) in manifest.modules.iter().enumerate() {
        let path = &entry.module.path;
        let follows = spec.follows.iter().filter(|it| it.covers(&entry.module));
        let followed = follows.map(|it| it.action).max();
        let restarts = action_of(spec.kind, None);
        if what.own.contains(path) || image.contains(path) {
            tied.bound.insert(place, restarts);
        } else if followed.is_some() {
            tied.bound.insert(place, action_of(spec.kind, followed));
        }
        if used.contains(path) {
            tied.touched.insert(place, restarts);
        } else if let Some(action) = tied.bound.get(&place) {
            tied.touched.insert(place, *action);
        }
    }
    tied
}
