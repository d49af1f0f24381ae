//! What comes out of planning. The `Display` of these types is the one text used in logs, events,
//! status, dry runs and golden files.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use placet_model::{
    ChangeSet, Digest, Hold, ModulePath, NodeManifest, NodeName, PackageName, Proposal,
    RolloutPhase,
};
use semver::Version;

/// What every node should run, from declarations, catalog and facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The revision of the declarations.
    pub revision: String,
    /// Declared nodes.
    pub nodes: BTreeMap<NodeName, TargetNode>,
    /// What keeps the target from being reached; any of them blocks the roll-out.
    pub problems: Vec<Problem>,
    /// What people should know but nothing waits for.
    pub notes: Vec<Note>,
    /// SHA-256 over revision, package digests and the distinct manifests.
    pub digest: Option<Digest>,
}

/// What one node should run, and the part of its class's strategy that planning needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetNode {
    /// Its class.
    pub class: String,
    /// Its manifest; shared by all nodes of the same configuration.
    pub manifest: std::sync::Arc<NodeManifest>,
    /// Digest of the manifest.
    pub manifest_digest: Digest,
    /// How a change goes through its class.
    pub strategy: placet_model::Strategy,
    /// True if nothing is to change on it for now.
    pub suspended: bool,
}

/// Something that keeps the target from being reached (D3, D4, D7).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A declaration names something that does not exist.
    UnknownReference {
        /// What names it (`NodeClass core`).
        from: String,
        /// What is named (`PackageSet base`).
        to: String,
    },
    /// A package could not be had.
    Package {
        /// Its reference.
        reference: String,
        /// Why.
        why: String,
    },
    /// A node belongs to no class, or to several.
    Class {
        /// The node.
        node: NodeName,
        /// The classes whose selectors match.
        candidates: Vec<String>,
    },
    /// A package was chosen for a node type that it does not apply to.
    NodeType {
        /// The node.
        node: NodeName,
        /// Its type.
        node_type: String,
        /// The package.
        package: PackageName,
    },
    /// The declared order contradicts a dependency: `before` stands before `after` but must not.
    Order {
        /// The class or node that declares the order.
        declared_by: String,
        /// Stands first.
        before: PackageName,
        /// Needs to stand first.
        after: PackageName,
    },
    /// A requirement does not hold on a node.
    Requirement {
        /// The node.
        node: NodeName,
        /// The package, and the module where one is concerned.
        package: PackageName,
        /// The module that needs it.
        module: Option<ModulePath>,
        /// What is needed (`libz.so.1`, `libc.so.6(GLIBC_2.38)`, `base >=2`).
        needs: String,
        /// What would satisfy it, as far as the catalog knows; empty if nothing does.
        candidates: Vec<String>,
    },
    /// A feature is offered by no package of the node, or wanted features are ambiguous.
    Feature {
        /// The node.
        node: NodeName,
        /// The feature.
        feature: String,
        /// Packages in the catalog that offer it.
        candidates: Vec<String>,
    },
    /// What a node announces contradicts what is declared of it.
    Facts {
        /// The node.
        node: NodeName,
        /// Which fact.
        fact: String,
        /// What is declared.
        declared: String,
        /// What the node announces.
        announced: String,
    },
}

/// Something worth saying that nothing waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// Several packages contain the same path; the first in the list wins (D4).
    SamePath {
        /// Where the list is declared.
        class: String,
        /// The path.
        path: ModulePath,
        /// The package whose module is used.
        winner: PackageName,
        /// The others.
        losers: Vec<PackageName>,
    },
    /// An upgrade package left the list because its base has another version now (D5).
    UpgradeDropped {
        /// Where the list is declared.
        class: String,
        /// The upgrade package.
        package: PackageName,
        /// Its base.
        base: PackageName,
        /// The version of the base.
        version: Version,
    },
}

/// What happens now, what waits, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The revision planned for.
    pub revision: String,
    /// [`Target::digest`].
    pub digest: Digest,
    /// Every declared node that differs from its target, or took part in the roll-out.
    pub nodes: BTreeMap<NodeName, NodePlan>,
    /// [`Target::problems`].
    pub problems: Vec<Problem>,
    /// [`Target::notes`].
    pub notes: Vec<Note>,
    /// The phase that the roll-out of this revision is in by this plan. A controller that holds no
    /// roll-out of this revision opens one in this phase.
    pub phase: RolloutPhase,
    /// The hold that is open by this plan; equal to the observed one while nothing changed.
    pub hold: Option<Hold>,
    /// What to do now, in order. Every step can be carried out at once.
    pub steps: Vec<Step>,
    /// Nodes that differ from their target and have to wait.
    pub held: BTreeMap<NodeName, WaitingOn>,
}

/// What the change is on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlan {
    /// Digest of what it runs.
    pub from: Digest,
    /// Digest of what it should run.
    pub to: Digest,
    /// The node change digest.
    pub change_digest: Digest,
    /// What differs.
    pub change_set: ChangeSet,
}

/// One order to one node, with everything that it was planned against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The node.
    pub node: NodeName,
    /// The order.
    pub action: Action,
}

/// What a node is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer this. Given again to a node that was asked but has not answered when the controller
    /// or the node came back; nodes take a repeated proposal for what it is.
    Propose(Box<Proposal>),
    /// Forget a proposal: it was superseded or given up.
    Release {
        /// The node change digest.
        change_digest: Digest,
        /// Why.
        reason: String,
    },
    /// Fetch what is missing and lay the generation out.
    Stage {
        /// The node change digest.
        change_digest: Digest,
        /// What to stage.
        manifest: std::sync::Arc<NodeManifest>,
    },
    /// Make the staged manifest the running one.
    Activate {
        /// The node change digest.
        change_digest: Digest,
        /// What the node runs.
        from: Digest,
        /// What it is to run.
        to: Digest,
        /// True where a decision overrides this node's vote.
        forced: bool,
    },
}

/// Why a node that differs from its target has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitingOn {
    /// A problem blocks the whole roll-out.
    Problems,
    /// It never joined.
    FirstContact,
    /// It joined, but has not yet said what it runs.
    Observation,
    /// It has no connection.
    Connection,
    /// Its answer.
    Answer,
    /// The answers of other nodes.
    OtherAnswers(BTreeSet<NodeName>),
    /// A person's decision about this hold.
    Decision(u32),
    /// Its voters want to be asked later.
    Deferred(Timestamp),
    /// It is fetching.
    Staging,
    /// Other nodes are fetching.
    OthersStaging(BTreeSet<NodeName>),
    /// So many nodes are changing already; it is its turn later.
    Budget {
        /// Nodes that are changing.
        unavailable: u32,
    },
    /// It is changing.
    Activating,
    /// It was left out by decision in this roll-out.
    Skipped,
    /// The roll-out was given up.
    Aborted,
    /// This manifest failed on it; it is not tried again by itself.
    Failed(String),
    /// It is suspended.
    Suspended,
}
