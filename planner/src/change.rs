//! What a change would do to a node (V1, V2): the same function for controller, node and simulator.

mod boot;
mod graph;
mod handover;
mod ties;
mod uses;

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{
    Because, Change, ChangeSet, Follow, FollowAction, InactiveChange, InactivePackage,
    ManifestEntry, Module, ModuleChange, ModulePath, ModuleVersion, NodeChange, NodeManifest,
    NodeRestart, ProcessAction, ProcessChange, ProcessKind, ProcessName, ProcessSpec, Version,
};

use self::handover::handover;
use self::uses::{Users, Uses};

pub use self::boot::restarts;
pub use self::graph::{Dependency, Needs};
pub use self::ties::{TiedProcess, Ties, ties};

/// What processes of a node have said at run time, by process.
pub type Announcements = BTreeMap<ProcessName, Announcement>;

/// What a process has said at run time of what it uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcement {
    /// Modules that it opened.
    pub opened: BTreeSet<ModulePath>,
    /// Modules in which it has an interest. What happens to it when they change is its own affair:
    /// the action counts for nothing.
    pub follows: Vec<Follow>,
}

/// What it is to a node to go from one manifest to another.
///
/// # Guarantees
///
/// A module is changed if signature, mode, owner, link target or process definition differ; another
/// digest alone is no change. A process is affected by its own module, by the way it is run, and by
/// every library that it maps, directly or not, in the old manifest or in the new one; each reason
/// is there once, with the shortest chain of libraries that leads to it.
pub fn change(from: &NodeManifest, to: &NodeManifest) -> NodeChange {
    change_with(from, to, &Announcements::new())
}

/// As [`change`], with what processes of the node have said at run time.
///
/// Only the node knows them, so votes bind to the digest of [`change`], not of this.
pub fn change_with(
    from: &NodeManifest,
    to: &NodeManifest,
    announced: &Announcements,
) -> NodeChange {
    NodeChange {
        from: from.digest(),
        to: to.digest(),
        change_set: change_set(from, to, announced),
    }
}

/// As [`change_with`], on a node that runs the new boot image already, or has none.
pub fn change_in_place(
    from: &NodeManifest,
    to: &NodeManifest,
    announced: &Announcements,
) -> ChangeSet {
    change_between(from, to, announced, None)
}

pub(crate) fn change_set(
    from: &NodeManifest,
    to: &NodeManifest,
    announced: &Announcements,
) -> ChangeSet {
    change_between(from, to, announced, boot::restart(from, to))
}

fn change_between(
    from: &NodeManifest,
    to: &NodeManifest,
    announced: &Announcements,
    restart: Option<NodeRestart>,
) -> ChangeSet {
    let modules = module_changes(from, to);
    let changed = modules
        .iter()
        .map(|module| (&module.path, module.change))
        .collect();
    let sides = Sides {
        old: Users::new(from, &changed, announced),
        new: Users::new(to, &changed, announced),
        changed,
        announced,
        restart: restart.as_ref(),
    };
    let processes = sides.process_changes();
    ChangeSet {
        modules,
        processes,
        restart,
        inactive: inactive_changes(from, to),
    }
}

fn module_changes(from: &NodeManifest, to: &NodeManifest) -> Vec<ModuleChange> {
    let paths: BTreeSet<&ModulePath> = from
        .modules
        .iter()
        .chain(&to.modules)
        .map(|entry| &entry.module.path)
        .collect();
    let changes = paths.into_iter().filter_map(|path| {
        let (old, new) = (from.get(path), to.get(path));
        let change = match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(old), Some(new)) if !is_changed(&old.module, &new.module) => return None,
            (Some(_), Some(_)) => Change::Changed,
        };
        Some(ModuleChange {
            path: path.clone(),
            change,
            kind: new.or(old)?.module.kind,
            from: old.map(|entry| version_of(from, entry)),
            to: new.map(|entry| version_of(to, entry)),
        })
    });
    changes.collect()
}

/// Packages that come to be stored without being active, and those that were and are not there any
/// more; what becomes active shows in the modules.
fn inactive_changes(from: &NodeManifest, to: &NodeManifest) -> Vec<InactiveChange> {
    let is_active =
        |it: &InactivePackage| to.packages.iter().any(|other| other.digest == it.digest);
    let has = |manifest: &NodeManifest, it: &InactivePackage| {
        let mut others = manifest.inactive.iter();
        others.any(|other| other.digest == it.digest)
    };
    let change = |it: &InactivePackage, stored| InactiveChange {
        package: it.name.clone(),
        version: it.version.clone(),
        stored,
    };
    let dropped = from.inactive.iter();
    let dropped = dropped.filter(|it| !has(to, it) && !is_active(it));
    let new = to.inactive.iter().filter(|it| !has(from, it));
    let dropped = dropped.map(|it| change(it, false));
    dropped.chain(new.map(|it| change(it, true))).collect()
}

/// True if signature, mode, owner, link target or process definition differ: what makes a module a
/// changed one.
pub fn is_changed(old: &Module, new: &Module) -> bool {
    !has_same_content(old, new)
        || (old.mode, &old.owner, &old.process) != (new.mode, &new.owner, &new.process)
}

fn has_same_content(old: &Module, new: &Module) -> bool {
    (&old.signature, &old.link) == (&new.signature, &new.link)
}

fn version_of(manifest: &NodeManifest, entry: &ManifestEntry) -> ModuleVersion {
    let package = manifest
        .packages
        .iter()
        .find(|package| package.name == entry.package);
    ModuleVersion {
        package: entry.package.clone(),
        // A manifest whose module comes from a package that it does not list is malformed.
        version: package.map_or(Version::new(0, 0, 0), |package| package.version.clone()),
        digest: entry.module.digest,
        signature: entry.module.signature,
    }
}

/// Both sides of a change.
struct Sides<'m> {
    old: Users<'m>,
    new: Users<'m>,
    changed: BTreeMap<&'m ModulePath, Change>,
    announced: &'m Announcements,
    /// Present if the node restarts, and every process with it.
    restart: Option<&'m NodeRestart>,
}

impl Sides<'_> {
    fn process_changes(&self) -> Vec<ProcessChange> {
        let names: BTreeSet<&ProcessName> = self
            .old
            .processes
            .keys()
            .chain(self.new.processes.keys())
            .copied()
            .collect();
        let mut changes: Vec<_> = names
            .into_iter()
            .filter_map(|name| self.process_change(name))
            .collect();
        changes.sort_by(|(left, one), (right, other)| (left, &one.name).cmp(&(right, &other.name)));
        changes.into_iter().map(|(_, change)| change).collect()
    }

    /// How a process is affected, with its place in the order of handling.
    fn process_change(&self, name: &ProcessName) -> Option<((i32, usize), ProcessChange)> {
        let (old, new) = (self.old.process(name), self.new.process(name));
        let (side, (module, spec)) = match (old, new) {
            (_, Some(new)) => (&self.new, new),
            (old, None) => (&self.old, old?),
        };
        let kind = old.map_or(spec.kind, |(_, old)| old.kind);
        let (action, because) = match (old, new) {
            (None, _) => (ProcessAction::Start, vec![Because::New]),
            (_, None) => (ProcessAction::Stop, vec![Because::Gone]),
            (Some(old), Some(new)) => {
                let (follows, action) = self.followed(old.1);
                let mut reasons = self.reasons(old, new);
                reasons.extend(self.restart.cloned().map(Because::NodeRestart));
                let action = action_of(kind, if reasons.is_empty() { action } else { None });
                reasons.extend(follows);
                reasons.sort_unstable();
                (action, reasons)
            }
        };
        if because.is_empty() {
            return None;
        }
        let handover = old.zip(new).and_then(|(old, new)| {
            let (old, new) = (self.old.side(old), self.new.side(new));
            handover(old, new)
        });
        let order = (spec.start_order, side.processes_used_by(&module.path));
        let (name, path) = (name.clone(), module.path.clone());
        let change = ProcessChange {
            name,
            path,
            kind,
            action,
            because,
            handover,
            rules: old.map_or_else(Vec::new, |(_, old)| old.rules.clone()),
        };
        Some((order, change))
    }

    /// The modules of the change that a process follows, as it runs now, and what is done about it
    /// if nothing else touches it.
    fn followed(&self, spec: &ProcessSpec) -> (Vec<Because>, Option<FollowAction>) {
        let announced = self.announced.get(&spec.name);
        let announced = announced.map_or(&[][..], |announced| &announced.follows);
        if spec.follows.is_empty() && announced.is_empty() {
            return (Vec::new(), None);
        }
        let (mut reasons, mut action) = (Vec::new(), None);
        for (path, change) in &self.changed {
            let sides = [&self.old, &self.new];
            let versions: Vec<_> = sides.iter().filter_map(|it| it.module(path)).collect();
            let covers = |follow: &&Follow| versions.iter().any(|module| follow.covers(module));
            let declared = spec.follows.iter().filter(covers).map(|it| it.action).max();
            let is_announced = announced.iter().any(|follow| covers(&follow));
            if declared.is_some() || is_announced {
                let (module, change) = ((*path).clone(), *change);
                reasons.push(Because::Follows { module, change });
                action = action.max(Some(declared.unwrap_or(FollowAction::Nothing)));
            }
        }
        (reasons, action)
    }

    /// Every other reason why a process that is in both manifests is affected, sorted.
    fn reasons(
        &self,
        (old, old_spec): (&Module, &ProcessSpec),
        (new, new_spec): (&Module, &ProcessSpec),
    ) -> Vec<Because> {
        let mut reasons = BTreeSet::new();
        let before = self.old.uses(&old.path);
        let after = self.new.uses(&new.path);
        let behind_link = before.own.iter().chain(&after.own).any(|path| {
            **path != old.path && **path != new.path && self.changed.contains_key(path)
        });
        if old.path != new.path || !has_same_content(old, new) || behind_link {
            reasons.insert(Because::OwnModule);
        }
        if (old.mode, &old.owner) != (new.mode, &new.owner) || !runs_same(old_spec, new_spec) {
            reasons.insert(Because::Definition);
        }
        let used = before.paths().chain(after.paths()).collect::<BTreeSet<_>>();
        for path in used {
            let change = self.changed.get(path).copied();
            reasons.extend(
                change
                    .into_iter()
                    .flat_map(|it| because_of(path, it, &before, &after)),
            );
        }
        reasons.into_iter().collect()
    }
}

/// Why the change of one module affects a process that uses what `before` and `after` say.
fn because_of(path: &ModulePath, change: Change, before: &Uses, after: &Uses) -> Vec<Because> {
    let via = [before, after]
        .into_iter()
        .filter_map(|uses| uses.linked.get(path))
        .min_by_key(|via| (via.len(), *via));
    let library = via.map(|via| Because::Library {
        library: path.clone(),
        change,
        via: via.iter().map(|step| (*step).clone()).collect(),
    });
    let is_opened = before.opened.contains(path) || after.opened.contains(path);
    let opened = is_opened.then(|| Because::Opened {
        module: path.clone(),
        change,
    });
    library.into_iter().chain(opened).collect()
}

/// What happens to a process; `followed` is given if nothing touches it but what it follows.
fn action_of(kind: ProcessKind, followed: Option<FollowAction>) -> ProcessAction {
    match (kind, followed) {
        (ProcessKind::SelfManaging, _) => ProcessAction::Ask,
        (ProcessKind::Simple, None | Some(FollowAction::Restart)) => ProcessAction::Restart,
        (ProcessKind::Simple, Some(FollowAction::Reload)) => ProcessAction::Reload,
        (ProcessKind::Simple, Some(FollowAction::Nothing)) => ProcessAction::Notify,
    }
}

/// True if a process that runs as `old` says need not be restarted to run as `new` says. Settings
/// of the system manager alone, and of who votes, come into force without.
fn runs_same(old: &ProcessSpec, new: &ProcessSpec) -> bool {
    let ProcessSpec {
        name,
        kind,
        arguments,
        environment,
        notify,
        user,
        group,
        working_directory,
        limits,
        sockets,
        watchdog_seconds,
        start_order: _,
        ready_seconds: _,
        stop_seconds: _,
        vote_seconds: _,
        silence: _,
        stored_descriptors: _,
        stop_signal: _,
        reload_signal: _,
        health: _,
        state: _,
        follows: _,
        rules: _,
        vote_command: _,
        vote_logic: _,
    } = old;
    let program = (name, kind, arguments, environment, notify);
    let place = (user, group, working_directory, limits, sockets);
    program
        == (
            &new.name,
            &new.kind,
            &new.arguments,
            &new.environment,
            &new.notify,
        )
        && place
            == (
                &new.user,
                &new.group,
                &new.working_directory,
                &new.limits,
                &new.sockets,
            )
        && *watchdog_seconds == new.watchdog_seconds
}
