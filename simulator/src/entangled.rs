//! Which modules can only change together, and what would part them (M5).
//!
//! The *reach* of a module is the set of processes, node by node, that have to restart or to agree
//! when it alone changes; `placet_planner` says which those are. Modules with the same reach are one
//! *group*: whoever has to give way for one has to give way for all, so that nothing is gained by
//! changing them apart. A *cut* is one dependency without which the reach of some module would be
//! smaller.

mod cut;
mod dot;
mod fleet;
mod known;
mod packages;
#[cfg(test)]
mod tests;
mod text;
mod web;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use placet_model::{ModulePath, ModuleType, NodeManifest, PackageName, ProcessAction, ProcessName};
use serde::Serialize;

use self::known::Fleet;

pub use self::dot::dot;
pub use self::fleet::{FleetError, OfFleet, of_fleet};
pub use self::packages::{OfPackages, of_packages};
pub use self::text::{Shown, text};

/// Nodes that run the same modules.
#[derive(Debug, Clone)]
pub struct Configuration<'m> {
    /// What they run.
    pub manifest: &'m NodeManifest,
    /// How many they are.
    pub nodes: usize,
}

/// What each module's change would restart, and which modules hang together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entangled {
    /// Nodes, and the processes on all of them.
    pub total: Reach,
    /// The modules whose change touches processes, by what it touches; those that reach farthest
    /// first. Every module is in one group, or idle.
    pub groups: Vec<Group>,
    /// Modules whose change restarts nothing.
    pub idle: Vec<Member>,
    /// Modules that depend on each other in circles.
    pub circles: Vec<Vec<ModuleName>>,
    /// Every dependency, sorted.
    pub dependencies: Vec<Dependency>,
}

/// How far a change goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reach {
    /// Processes, counted on every node.
    pub processes: usize,
    /// Nodes on which they are.
    pub nodes: usize,
}

/// A module of the fleet, whichever version of it a node has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ModuleName {
    /// The package it comes from.
    pub package: PackageName,
    /// Where it is installed.
    pub path: ModulePath,
}

/// A module, and what its change does beside restarting processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Which it is.
    #[serde(flatten)]
    pub name: ModuleName,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ModuleType,
    /// Processes that follow it, and read their files again or are told when it changes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub told: BTreeSet<ProcessName>,
}

/// Modules whose change touches the same processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// How far a change of any of them goes.
    pub reach: Reach,
    /// The modules, sorted.
    pub modules: Vec<Member>,
    /// The processes, by name.
    pub processes: BTreeMap<ProcessName, Touched>,
    /// Dependencies of which one alone makes a difference; those that free most first.
    pub cuts: Vec<Cut>,
    /// What it takes to leave the group to those who use it by themselves; none where nobody else
    /// is touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apart: Option<Apart>,
}

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// It restarts, or is asked.
    pub action: ProcessAction,
    /// On how many nodes.
    pub nodes: usize,
}

/// A module that names another one and depends on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Link {
    /// Who depends on it.
    pub user: ModuleName,
    /// What it names: a library's name, or a path.
    pub needs: String,
    /// How it depends on it.
    pub how: How,
}

/// A dependency with every module that it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// The dependency.
    #[serde(flatten)]
    pub link: Link,
    /// The modules whose change may change what is found under that name.
    pub on: BTreeSet<ModuleName>,
}

/// How a module depends on what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The loader maps it.
    Linked,
    /// It is the interpreter of the executable.
    Interpreter,
    /// It opens it, by declaration.
    Supplemental,
    /// It opens it where it is present, by declaration.
    Optional,
}

/// A dependency without which some modules of a group would reach less far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// The dependency.
    #[serde(flatten)]
    pub link: Link,
    /// The modules of the group whose reach would shrink, and by how many processes, counted on
    /// every node. Where they are fewer than all, or shrink in different ways, the group is parted.
    pub frees: BTreeMap<ModulePath, usize>,
}

/// The fewest dependencies whose removal leaves a group to the processes that use one of its modules
/// by themselves, taking the fleet as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Apart {
    /// The dependencies; one of the smallest sets, the one that is nearest to the group.
    pub links: Vec<Link>,
    /// How far the group would reach then.
    pub left: Reach,
}

/// Works out what hangs together; at most `cuts` cuts are kept for each group.
pub fn entangled(configurations: &[Configuration<'_>], cuts: usize) -> Entangled {
    let fleet = Fleet::new(configurations);
    let mut groups: Vec<_> = fleet
        .by_reach()
        .into_iter()
        .map(|(touched, members)| {
            let (cuts, apart) = cut::cuts(&fleet, &members, &touched, cuts);
            Group {
                reach: fleet.reach(&touched),
                modules: members.iter().map(|id| fleet.member(*id)).collect(),
                processes: fleet.processes(&touched),
                cuts,
                apart,
            }
        })
        .collect();
    // Stable: of those that reach equally far, the one with the first module comes first.
    groups.sort_by_key(|group| Reverse(group.reach));
    Entangled {
        total: fleet.total(),
        groups,
        idle: fleet.idle().map(|id| fleet.member(id)).collect(),
        circles: fleet.circles(),
        dependencies: fleet.dependencies(),
    }
}

impl Cut {
    /// By how much the reach shrinks of the module that gains most.
    pub fn most(&self) -> usize {
        self.frees.values().copied().max().unwrap_or_default()
    }
}
