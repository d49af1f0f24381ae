//! What people declared, after validation: the planner's view of the custom resources.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Architecture, BootCommands, NodeName, PackageName, ProcessName, Version, Window};

/// All declarations of one revision, references checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// Where it comes from: `main@sha1:…` for a git commit, `apply@sha256:…` otherwise.
    pub revision: String,
    /// Node classes by name.
    pub classes: BTreeMap<String, ClassDeclaration>,
    /// Package sets by name.
    pub package_sets: BTreeMap<String, PackageSetDeclaration>,
    /// Nodes by name.
    pub nodes: BTreeMap<NodeName, NodeDeclaration>,
}

/// Nodes that share a software configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassDeclaration {
    /// Which nodes belong to it that do not name a class themselves.
    pub selector: Selector,
    /// Package sets in order: those of applications first, of the base last (D4).
    pub package_sets: Vec<String>,
    /// What its nodes want of modules.
    pub wants: Wants,
    /// How a change goes through it.
    pub strategy: Strategy,
    /// Rules that object on behalf of software that cannot vote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub veto_rules: Vec<VetoRule>,
    /// True if its nodes store no packages: what they run, they run from memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub memory_only: bool,
    /// True if its nodes do not keep the boot image, though they may store packages.
    pub transient_image: bool,
    /// What its nodes start from; the first that fits a node counts (D9).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot_images: Vec<BootDeclaration>,
    /// What its nodes do where something is not what it should be.
    #[serde(default)]
    pub drift: DriftPolicy,
}

/// What nodes do where something is not what it should be (C-R2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftPolicy {
    /// About processes that execute something else than what runs should hold.
    pub running: OnStale,
}

/// What to do about a process that executes something else than the running generation has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnStale {
    /// It is reported, and goes on.
    #[default]
    Report,
    /// It is reported, and restarted where that puts it right.
    Restart,
}

/// Which nodes of a class start from which boot image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootDeclaration {
    /// Which nodes it is for: by type, architecture and location; a wholly empty selector means
    /// all of the class.
    pub selector: Selector,
    /// The package that holds it.
    pub package: PackageReference,
    /// How a node deals with it.
    pub commands: BootCommands,
}

/// A rule that votes for software that cannot (V3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VetoRule {
    /// The name by which it stands in a verdict, where others have that of a process.
    pub name: ProcessName,
    /// A CEL expression over `node` and `change`; it objects where this is true.
    pub rule: String,
    /// What people are told then.
    pub message: String,
}

/// Which nodes are meant. Empty parts do not restrict; a wholly empty selector matches no node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Node types.
    pub types: BTreeSet<String>,
    /// Architectures.
    pub architectures: BTreeSet<Architecture>,
    /// Locations.
    pub locations: BTreeSet<String>,
    /// Labels that a node must all have.
    pub labels: BTreeMap<String, String>,
}

/// Which modules of the chosen packages a node wants (D6).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Wants {
    /// Module types to receive; empty means all.
    pub types: BTreeSet<crate::ModuleType>,
    /// Functions to receive; empty means all. A module without a function is always received.
    pub functions: BTreeSet<String>,
    /// Features wanted. A module that names features is received if one of them is wanted; a
    /// feature that no listed package offers is looked for among all packages (D3).
    pub features: BTreeSet<String>,
    /// Characteristics that a package chosen for a feature, and a module, may not contradict.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub characteristics: BTreeMap<String, String>,
}

/// How a change goes through a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// How many nodes change at once; none means all.
    pub max_unavailable: Option<u32>,
    /// The same as a share of the class's nodes, in percent, rounded down but never to none.
    pub max_unavailable_percent: Option<u32>,
    /// Seconds that a node may take to answer a proposal.
    pub vote_seconds: u32,
    /// Seconds for which a node's accept holds.
    pub promise_seconds: u32,
    /// What to do about a node that cannot be reached.
    pub on_unreachable: OnUnreachable,
    /// Seconds for which voters may put off their answer in all, before that counts as a veto.
    pub max_defer_seconds: u32,
    /// How many nodes change first, alone; their failure always halts.
    pub canaries: u32,
    /// The waves that follow, in order; nodes that belong to none come last, together.
    pub waves: Vec<Wave>,
    /// When nodes may begin to change; empty means at any time.
    pub windows: Vec<Window>,
    /// How many nodes have to fail, without a person having decided about them, to halt the class.
    pub halt_threshold: u32,
    /// Seconds for which the processes that a change touches on a node have to run well before the
    /// node counts as changed; one that fails meanwhile has the node give the change back.
    pub soak_seconds: u32,
    /// Seconds for which the nodes of a wave have to run well before the next wave begins.
    pub verify_seconds: u32,
    /// The share of the fleet, in percent, above which a change of the class waits for a person to
    /// confirm it.
    pub confirm_above_percent: Option<u32>,
}

/// Nodes of a class that change before those of later waves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// Its name, for people.
    pub name: String,
    /// Which nodes belong to it, if no earlier wave has them.
    pub selector: Selector,
    /// In place of a selector: the share of the class's nodes in the roll-out, in percent, rounded
    /// up, that it takes of those that no earlier wave has.
    pub percent: Option<u32>,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            max_unavailable: None,
            max_unavailable_percent: None,
            vote_seconds: 30,
            promise_seconds: 3_600,
            on_unreachable: OnUnreachable::Wait,
            max_defer_seconds: 86_400,
            canaries: 0,
            waves: Vec::new(),
            windows: Vec::new(),
            halt_threshold: 1,
            soak_seconds: 0,
            verify_seconds: 0,
            confirm_above_percent: None,
        }
    }
}

/// What to do about a node of a roll-out that cannot be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnUnreachable {
    /// The roll-out waits for it.
    #[default]
    Wait,
    /// The others go on without it.
    Skip,
    /// The roll-out is held, as if the node had objected.
    Fail,
}

impl Desired {
    /// Every package that is named anywhere.
    pub fn packages(&self) -> impl Iterator<Item = &PackageReference> {
        let sets = self.package_sets.values();
        let listed = sets.flat_map(|set| &set.packages);
        let classes = self.classes.values();
        let boot = classes.flat_map(|class| class.boot_images.iter().map(|boot| &boot.package));
        listed.chain(boot)
    }
}

/// An ordered list of package versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageSetDeclaration {
    /// The packages, in order.
    pub packages: Vec<PackageReference>,
    /// Those of them that nodes store without running them (C-A7).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub inactive: BTreeSet<PackageName>,
    /// Packages, of other sets too, before which those of this set have to stand (D4).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub before: BTreeMap<PackageName, BTreeSet<PackageName>>,
}

/// One package version and where it is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageReference {
    /// Name; the artifact must say the same.
    pub name: PackageName,
    /// Version; the artifact must say the same.
    pub version: Version,
    /// Where: `oci-layout:/dir:tag`, `oci-layout:/dir@sha256:…`.
    pub reference: String,
}

/// What is declared about one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeDeclaration {
    /// Its class by name; found by the classes' selectors where left out.
    pub class: Option<String>,
    /// Package sets that take the place of the class's.
    pub package_sets: Option<Vec<String>>,
    /// Declared facts; they win over what the node announces.
    pub facts: NodeFacts,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it wants beside what its class wants.
    pub wants: Wants,
    /// True if nothing is to change on it for now.
    pub suspended: bool,
    /// True while people work on it: its absence and its failures are no news.
    pub maintenance: bool,
    /// Seconds for which changes run on it in test mode, if they do (C-D2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_seconds: Option<u32>,
}

/// What is known of a node's nature (S1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeFacts {
    /// Node type, in the fleet's own words (`line-card`).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Processor architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Features that it announces.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<String>,
}
