//! `Rollout`: one change on its way through the fleet.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use placet_model::{Decision, DecisionKind, Digest, Hold, NodeName, RolloutPhase};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LINE, NODES_MAX, REVISION};
use crate::Condition;

/// Which change it is. Everything but `decision` and `paused` stays as it was written first. The
/// controller opens roll-outs; people write those with `dryRun`.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "placet.dev",
    version = "v1alpha1",
    kind = "Rollout",
    plural = "rollouts",
    shortname = "ro",
    category = "placet",
    status = "RolloutStatus",
    derive = "PartialEq",
    doc = "One change on its way through the fleet, from proposal to verified or given up.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes.total"),
    printcolumn(name = "Done", type_ = "integer", json_path = ".status.nodes.done"),
    printcolumn(
        name = "Vetoes",
        type_ = "integer",
        json_path = ".status.verdicts.veto"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".spec.to",
        priority = "1"
    ),
    printcolumn(
        name = "Hold",
        type_ = "integer",
        json_path = ".status.hold.number",
        priority = "1"
    ),
    printcolumn(
        name = "Decision",
        type_ = "string",
        json_path = ".spec.decision.action",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.planDigest) == has(oldSelf.planDigest) && (!has(self.planDigest) || self.planDigest == oldSelf.planDigest) && self.to == oldSelf.to && self.dryRun == oldSelf.dryRun && has(self.from) == has(oldSelf.from) && (!has(self.from) || self.from == oldSelf.from) && has(self.source) == has(oldSelf.source) && (!has(self.source) || self.source == oldSelf.source) && has(self.withinSeconds) == has(oldSelf.withinSeconds) && (!has(self.withinSeconds) || self.withinSeconds == oldSelf.withinSeconds)", "a roll-out cannot be changed, only decided: every field but decision and paused stays as it is"))]
#[x_kube(validation = ("!has(oldSelf.decision) || (has(self.decision) && (self.decision.hold > oldSelf.decision.hold || self.decision == oldSelf.decision))", "this hold has been decided already; a decision can neither be changed nor taken back, only a later hold can be decided"))]
#[x_kube(validation = ("!self.dryRun || (has(self.source) && !has(self.planDigest) && !has(self.from) && !has(self.decision) && !(has(self.paused) && self.paused))", "a dry run names a source and a revision, and is neither planned by hand, decided nor paused"))]
#[x_kube(validation = ("self.dryRun || (has(self.planDigest) && !has(self.source) && !has(self.withinSeconds))", "a roll-out has a planDigest; source and withinSeconds are for dry runs"))]
pub struct RolloutSpec {
    /// The digest of the plan: it covers the revision, the digests of the packages and the
    /// distinct configurations of the nodes. A dry run has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<Digest>,
    /// The revision that was in force before, as `main@sha1:…`. None for the first roll-out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = REVISION))]
    pub from: Option<String>,
    /// The revision that the roll-out brings, as `main@sha1:…`.
    #[schemars(length(max = 512), regex(pattern = REVISION))]
    pub to: String,
    /// Whether the change is only modelled: nodes are asked, and the question is withdrawn after
    /// their verdicts; nothing is fetched, stored or changed on any node. False by default.
    #[serde(default)]
    pub dry_run: bool,
    /// For a dry run: the `GitSource` whose repository has the commit that `to` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub source: Option<String>,
    /// For a dry run: seconds that looking at the repository and at packages, and the nodes'
    /// answers, may take in all. 30 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600))]
    pub within_seconds: Option<u32>,
    /// While true, no further node begins to change; those that have begun go on to the end, and
    /// nodes are asked and fetch as before. False, which is the default, resumes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// What a person says of the hold that is open. Each hold is decided once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRequest>,
}

/// What a person says of a hold. Who it was is taken from their access, never from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.action == 'force' || !has(self.nodes) || self.nodes.size() == 0", "only force names nodes"))]
pub struct DecisionRequest {
    /// The number of the hold that this answers, as in the roll-out's `status.hold.number`.
    #[schemars(range(min = 1))]
    pub hold: u32,
    /// What is to happen: `skip` updates the nodes that accepted, `force` updates nodes against
    /// their vote, `abort` gives the change up.
    pub action: DecisionAction,
    /// For `force`: the nodes to force; all where left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = NODES_MAX))]
    pub nodes: BTreeSet<NodeName>,
    /// The objections that are overridden, in the words of the hold. Where given, the decision
    /// counts only while the hold has no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 4096)))]
    pub overrides: Vec<String>,
    /// Why, for those who read the history.
    #[schemars(length(min = 1, max = 1024), regex(pattern = LINE))]
    pub reason: String,
    /// Who decided. It is written where the decision comes in, from the person's access; what
    /// people write here themselves does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = LINE))]
    pub author: Option<String>,
}

impl DecisionRequest {
    /// The decision in the model's words.
    pub fn kind(&self) -> DecisionKind {
        match self.action {
            DecisionAction::Skip => DecisionKind::Skip,
            DecisionAction::Abort => DecisionKind::Abort,
            DecisionAction::Force => DecisionKind::Force {
                nodes: self.nodes.iter().cloned().collect(),
            },
        }
    }
}

/// The three ways on from a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionAction {
    /// Update the nodes that accepted; leave the others.
    Skip,
    /// Update against the vote.
    Force,
    /// Give the change up.
    Abort,
}

/// Where a roll-out stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RolloutPhase>,
    /// How many holds there have been; the number of the latest one.
    #[serde(default)]
    pub holds: u32,
    /// The hold that is open: it waits for a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The decisions so far, in the order in which they were taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Decision>,
    /// The nodes that take part, counted by how far they are.
    #[serde(default)]
    pub nodes: RolloutNodes,
    /// The latest verdicts of the nodes, counted.
    #[serde(default)]
    pub verdicts: VerdictCounts,
    /// Some of the objections, in the words used everywhere; at most 20. All of them stand in the
    /// status of the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub vetoes: Vec<String>,
    /// What blocks it; at most 100 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub problems: Vec<String>,
    /// What people should know; at most 100 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub notes: Vec<String>,
    /// The waves so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1_000))]
    pub waves: Vec<WaveStatus>,
    /// The phases so far, oldest first; at most 50 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub history: Vec<PhaseChange>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The latest dry run that tried out what this roll-out brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<String>,
    /// Of a dry run: the roll-out that brought what was tried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed_by: Option<String>,
    /// Of a dry run: what the nodes would have run, whatever the revision is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests_digest: Option<Digest>,
    /// The value of the annotation `reconcile.placet.dev/requestedAt` that was handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The state in the manner of kstatus.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl RolloutStatus {
    /// When it began, unless it is over or has not begun.
    pub fn under_way(&self) -> Option<Timestamp> {
        self.started.filter(|_| self.ended.is_none())
    }
}

/// The nodes of a roll-out, counted by how far they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutNodes {
    /// All that take part.
    pub total: u32,
    /// Those that have been asked.
    pub asked: u32,
    /// Those that have fetched everything.
    pub staged: u32,
    /// Those that are changing.
    pub activating: u32,
    /// Those that run the new software.
    pub done: u32,
    /// Those that gave the change back.
    pub failed: u32,
    /// Those that were left out by decision.
    pub skipped: u32,
}

/// Verdicts counted by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VerdictCounts {
    /// Nodes that agree.
    pub accept: u32,
    /// Nodes that object.
    pub veto: u32,
    /// Nodes that want to be asked later.
    pub defer: u32,
    /// Nodes that did not answer in time.
    pub no_answer: u32,
    /// Nodes that could not find out.
    pub error: u32,
}

/// One wave of a roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaveStatus {
    /// When it began.
    pub started: Timestamp,
    /// How many nodes it has.
    pub nodes: u32,
    /// How many of them run the new software.
    #[serde(default)]
    pub done: u32,
    /// How many gave the change back.
    #[serde(default)]
    pub failed: u32,
}

/// A change of phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PhaseChange {
    /// The phase that began.
    pub phase: RolloutPhase,
    /// When.
    pub time: Timestamp,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
