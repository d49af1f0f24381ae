//! `FleetNode`: one node, what is declared of it and what is known of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use placet_model::{Architecture, Digest, NodeFacts, NodeState, PackageName, ProcessName, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::node_class::Wanted;
use super::{NAME, WORD};
use crate::Condition;

/// What is declared of one node. The node is known by the name of the resource.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "placet.dev",
    version = "v1alpha1",
    kind = "FleetNode",
    plural = "fleetnodes",
    shortname = "fnode",
    category = "placet",
    status = "FleetNodeStatus",
    derive = "PartialEq",
    doc = "One node of the fleet.",
    printcolumn(name = "Class", type_ = "string", json_path = ".status.class"),
    printcolumn(name = "Presence", type_ = "string", json_path = ".status.presence"),
    printcolumn(
        name = "Generation",
        type_ = "integer",
        json_path = ".status.generation"
    ),
    printcolumn(
        name = "Verdict",
        type_ = "string",
        json_path = ".status.lastVerdict.verdict"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(
        name = "Type",
        type_ = "string",
        json_path = ".status.facts.type",
        priority = "1"
    ),
    printcolumn(
        name = "Architecture",
        type_ = "string",
        json_path = ".status.facts.architecture",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct FleetNodeSpec {
    /// The class of the node by name. Where left out, the class whose selector matches the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub class: Option<String>,
    /// Package sets that take the place of those of the class, in order. Those of the class where
    /// left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253), regex(pattern = NAME)))]
    #[x_kube(validation = ("self.all(name, self.exists_one(other, other == name))", "a package set stands in the list only once"))]
    pub package_sets: Option<Vec<String>>,
    /// What is declared of the node's nature. It wins over what the node announces; where the two
    /// contradict each other, the node is held as it is. So a node whose facts are declared cannot
    /// take another role by announcing it; one whose facts are left out can, and is asked anew.
    #[serde(default)]
    pub facts: DeclaredFacts,
    /// Labels by which classes select the node. The labels of the resource's metadata count too;
    /// where both have a key, the one here wins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// What the node wants of modules, beside what its class wants.
    #[serde(default)]
    pub wants: Wanted,
    /// Whether nothing is to change on the node for now; false by default.
    #[serde(default)]
    pub suspended: bool,
    /// Whether people work on the node, so that its absence and its failures are no news; false by
    /// default.
    #[serde(default)]
    pub maintenance: bool,
    /// Runs what the node is given from memory only, until it restarts or the time is over. Off
    /// where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_mode: Option<TestMode>,
}

/// What is declared of a node's nature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredFacts {
    /// The node's type, in the fleet's own words (`line-card`).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = WORD))]
    pub kind: Option<String>,
    /// The processor architecture by its Linux name (`x86_64`, `aarch64`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(min = 1, max = 64), regex(pattern = WORD))]
    pub architecture: Option<Architecture>,
    /// Where the node stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = WORD))]
    pub location: Option<String>,
    /// Features that the node has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128), regex(pattern = WORD)))]
    pub features: BTreeSet<String>,
}

/// Running software from memory only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestMode {
    /// After how many seconds the node goes back to what it has stored; 3600, one hour, by
    /// default.
    #[serde(default = "hour")]
    #[schemars(range(min = 1, max = 604_800))]
    pub seconds: u32,
}

fn hour() -> u32 {
    3_600
}

/// What Placet knows of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetNodeStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Whether the node can be reached.
    #[serde(default)]
    pub presence: Presence,
    /// When the node was last connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// The class that the node belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What the node announces of itself.
    #[serde(default)]
    pub facts: NodeFacts,
    /// The boot that the node is in. It changes when its processes were started anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// What that boot came to: whether the node had what it was to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<NodeBoot>,
    /// The generation that the node runs, counted by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The generation that the node starts from, where it is another than the running one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed_generation: Option<u64>,
    /// When the node goes back by itself to what is stored, where what it runs is in memory only
    /// and has an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_ends: Option<Timestamp>,
    /// The test suites of what the node runs in test mode: packages of purpose `test`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["package".into()]))]
    pub suites: Vec<NodeSuite>,
    /// The digest of the manifest that the node runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<Digest>,
    /// The digest of the manifest that the node is to run, by what is declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_digest: Option<Digest>,
    /// Digests of manifests whose activation failed on the node. They are not tried again until
    /// somebody says so.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed: BTreeSet<Digest>,
    /// What a person ordered last for this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_order: Option<NodeOrder>,
    /// The digest of a manifest that ran in test mode and is to stay, by order of a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Digest>,
    /// Where the node stands in the latest roll-out that it took part in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<NodeRollout>,
    /// The processes that run on the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub processes: Vec<NodeProcess>,
    /// The node's latest verdict, with the record of every process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_verdict: Option<Verdict>,
    /// The value of the annotation `reconcile.placet.dev/requestedAt` that was handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The state in the manner of kstatus.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Whether a node can be reached.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Presence {
    /// It never joined.
    #[default]
    NeverSeen,
    /// It joined once and has no connection now.
    Away,
    /// It is connected.
    Connected,
}

/// What a boot of a node came to, by a comparison of what the node had with what it was to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeBoot {
    /// When the node was first heard in this boot.
    pub time: Timestamp,
    /// What it was answered.
    #[serde(default)]
    pub answer: BootAnswer,
    /// How many modules it lacked of what it was to run.
    #[serde(default, skip_serializing_if = "is_none")]
    #[schemars(range(min = 0))]
    pub modules: u64,
    /// How many bytes those have.
    #[serde(default, skip_serializing_if = "is_none")]
    #[schemars(range(min = 0))]
    pub bytes: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_none(number: &u64) -> bool {
    *number == 0
}

impl NodeBoot {
    /// A boot that was heard of at this time and is not answered yet.
    pub fn at(time: Timestamp) -> Self {
        Self {
            time,
            answer: BootAnswer::Unknown,
            modules: 0,
            bytes: 0,
        }
    }
}

/// What a node is answered when it boots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BootAnswer {
    /// Nothing: it is not known what the node is to run.
    #[default]
    Unknown,
    /// It has what it is to run, and goes on.
    Continue,
    /// It is to run something else: a proposal follows unless something holds the node.
    Change,
}

/// What a person orders for one node, past all declarations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeOrder {
    /// What is to be done.
    #[serde(rename = "do")]
    pub action: NodeAction,
    /// When it was heard.
    pub time: Timestamp,
    /// Who ordered it.
    pub author: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What came of it.
    pub outcome: String,
    /// The annotation by which it was ordered, as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2_000))]
    pub request: Option<String>,
}

/// What may be ordered for one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NodeAction {
    /// What runs in test mode is stored and stays.
    Commit,
    /// Back to what is stored, from a test, or to what was stored before.
    Regress,
    /// What failed on the node may be tried there again.
    Retry,
}

/// Where a node stands in a roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRollout {
    /// The name of the roll-out.
    pub name: String,
    /// What happened so far.
    pub state: NodeState,
}

/// A process that runs on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeProcess {
    /// Its name.
    pub name: ProcessName,
    /// Its process id; 0 while it does not run.
    #[serde(default)]
    pub pid: u32,
    /// The generation that it was started from.
    #[serde(default)]
    pub generation: u64,
    /// Whether it is ready.
    #[serde(default)]
    pub ready: bool,
}

/// A test suite on a node in test mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSuite {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: String,
    /// Where it stands.
    pub state: SuiteState,
    /// How many tests it has.
    pub tests: u32,
    /// How many of them passed.
    #[serde(default)]
    pub passed: u32,
    /// How many of them do not apply to the node, as they said by exit code 77.
    #[serde(default)]
    pub skipped: u32,
    /// How many of them failed. While there are any, what runs is not stored.
    #[serde(default)]
    pub failed: u32,
    /// The first ones that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<TestFailure>,
}

/// Where a test suite stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SuiteState {
    /// Not all of its tests have run.
    Running,
    /// All have run, and none failed.
    Passed,
    /// All have run, and some failed.
    Failed,
}

/// A test that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestFailure {
    /// Its name as a process.
    pub test: ProcessName,
    /// How it ended, with the last lines that it wrote.
    pub why: String,
}
