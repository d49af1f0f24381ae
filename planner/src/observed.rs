//! What is observed of the fleet and of the roll-out under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use placet_model::{
    Decision, Digest, Hold, NodeFacts, NodeManifest, NodeName, NodeState, RolloutPhase,
};
use serde::{Deserialize, Serialize};

use crate::{Plan, TargetNode};

/// Everything that [`crate::plan`] looks at beside the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The time of the observation.
    pub now: Timestamp,
    /// Every node that is declared or ever joined.
    pub nodes: BTreeMap<NodeName, ObservedNode>,
    /// The newest roll-out, whatever its phase.
    pub rollout: Option<RolloutState>,
}

/// What is observed of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedNode {
    /// Whether it can be reached.
    pub presence: Presence,
    /// What it announces of itself.
    pub announced: NodeFacts,
    /// Its boot; empty while unknown.
    pub boot_id: String,
    /// Since when it has been connected without a break; orders given before may be lost.
    pub connected_since: Option<Timestamp>,
    /// Since when it has been without connection: when the connection broke or, where there was
    /// none since then, when the controller started. The policy for unreachable nodes takes hold
    /// when it has lasted for as long as a node may take to answer; where it is none, at once.
    pub away_since: Option<Timestamp>,
    /// What it runs; none while unknown (a pristine node runs the empty manifest).
    pub running: Option<Running>,
    /// Digests of manifests that are staged on it completely.
    pub staged: BTreeSet<Digest>,
    /// Digests of manifests whose activation failed on it.
    pub failed: BTreeSet<Digest>,
    /// Processes that are not ready, of those that it should run.
    pub not_ready: BTreeSet<String>,
    /// True if changes can run on it from memory only.
    pub has_memory: bool,
    /// What is stored on it, where what it runs is in memory only.
    pub stored: Option<Digest>,
    /// The manifest of that, where it is known.
    pub falls_back_to: Option<Running>,
    /// The manifest that is to stay on it by order of a person, though it is in test mode.
    pub kept: Option<Digest>,
    /// True while it is about a change: it makes it, gives it back, or watches how it does.
    pub changing: bool,
}

/// For how long what a node is given runs from memory only, if it does.
pub(crate) fn memory(target: &TargetNode, seen: &ObservedNode) -> Option<u32> {
    let is_kept = seen.kept == Some(target.manifest_digest);
    target.memory.filter(|_| !is_kept)
}

impl ObservedNode {
    /// True if the connection is newer than `time`: an order given then may be lost.
    pub(crate) fn is_newly_connected(&self, time: Timestamp) -> bool {
        self.connected_since.is_some_and(|since| since > time)
    }
}

/// The manifest that a node runs. Cheap to clone; its digest is taken once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    manifest: Arc<NodeManifest>,
    digest: Digest,
}

impl Running {
    /// The manifest.
    pub fn manifest(&self) -> &NodeManifest {
        &self.manifest
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// True if nothing else holds the manifest.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.manifest) == 1
    }

    /// A manifest of which the digest is known.
    pub(crate) fn known(manifest: &Arc<NodeManifest>, digest: Digest) -> Self {
        let manifest = Arc::clone(manifest);
        Self { manifest, digest }
    }
}

/// That of a pristine node.
impl Default for Running {
    fn default() -> Self {
        NodeManifest::default().into()
    }
}

impl From<Arc<NodeManifest>> for Running {
    fn from(manifest: Arc<NodeManifest>) -> Self {
        let digest = manifest.digest();
        Self { manifest, digest }
    }
}

impl From<NodeManifest> for Running {
    fn from(manifest: NodeManifest) -> Self {
        Arc::new(manifest).into()
    }
}

/// Whether a node can be reached. Absence and ignorance are two things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// It never joined: nothing is known of it.
    #[default]
    NeverSeen,
    /// It joined once and has no connection now.
    Away,
    /// It is connected.
    Connected,
}

/// A roll-out, as the home keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutState {
    /// Its name.
    pub name: String,
    /// The revision that it brings.
    pub revision: String,
    /// Target revision, package digests and distinct configurations; never membership or votes.
    pub plan_digest: Digest,
    /// Where it stands.
    pub phase: RolloutPhase,
    /// How many holds there have been; the number of the latest one.
    pub holds: u32,
    /// The hold that is open.
    pub hold: Option<Hold>,
    /// Decisions, in the order in which they were taken.
    pub decisions: Vec<Decision>,
    /// True while a person wants no further node to begin to change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// The nodes that took part so far.
    pub nodes: BTreeMap<NodeName, NodeState>,
}

impl RolloutState {
    /// The roll-out of a plan that has just begun.
    pub fn of_plan(name: String, plan: &Plan) -> Self {
        Self {
            name,
            revision: plan.revision.clone(),
            plan_digest: plan.digest,
            // Being done is what it has yet to come to, and is told of then.
            phase: RolloutPhase::Proposing,
            holds: 0,
            hold: None,
            decisions: Vec::new(),
            paused: false,
            nodes: BTreeMap::new(),
        }
    }
}
