//! `NodeClass`: nodes that share a software configuration.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use placet_model::{
    Architecture, Digest, ModuleType, OnStale, OnUnreachable, PackageName, PackageReference,
    Version,
};

pub use placet_model::Weekday;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::git_source::SecretReference;
use super::{LINE, NAME, WORD};
use crate::Condition;

/// What the nodes of a class run, and how a change goes through them.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "placet.dev",
    version = "v1alpha1",
    kind = "NodeClass",
    plural = "nodeclasses",
    shortname = "ncls",
    category = "placet",
    status = "NodeClassStatus",
    derive = "PartialEq",
    doc = "Nodes that share a software configuration.",
    printcolumn(
        name = "Package Sets",
        type_ = "string",
        json_path = ".spec.packageSets"
    ),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes.total"),
    printcolumn(
        name = "Up To Date",
        type_ = "integer",
        json_path = ".status.nodes.upToDate"
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
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct NodeClassSpec {
    /// Which nodes belong to the class that do not name a class themselves. Left out, only nodes
    /// that name the class belong to it.
    #[serde(default)]
    pub selector: NodeSelector,
    /// The package sets of the class by name, in order: those of applications first, of the base
    /// last. Where several packages hold the same path, the first in the list wins.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253), regex(pattern = NAME)))]
    #[x_kube(validation = ("self.all(name, self.exists_one(other, other == name))", "a package set stands in the list only once"))]
    pub package_sets: Vec<String>,
    /// Which modules of the packages its nodes want; all that fit their architecture by default.
    #[serde(default)]
    pub wants: Wanted,
    /// Boot images by node type, architecture or location; the first that fits a node is used.
    /// None by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub boot_images: Vec<BootImage>,
    /// Rules that object on behalf of software that cannot vote. None by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub veto_rules: Vec<VetoRule>,
    /// How a change goes through the class.
    #[serde(default)]
    #[x_kube(validation = ("self.promiseSeconds >= self.voteSeconds", "promiseSeconds is at least voteSeconds: a promise must outlive the asking"))]
    pub strategy: RolloutStrategy,
    /// What its nodes store.
    #[serde(default)]
    pub persistence: Persistence,
    /// What its nodes do where something is not what it should be.
    #[serde(default)]
    pub drift: ClassDrift,
}

/// What nodes do where something is not what it should be. Files are put right in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClassDrift {
    /// What to do about a process that executes something else than the generation that runs has,
    /// as one does that says that it has handled a change and goes on with the library from before:
    /// `report` it, or report and `restart` it, at most once in 10 minutes and only where that puts
    /// it right. A restart asks nobody and waits for no other node. `report` by default.
    pub running: OnStale,
}

/// Which nodes are meant. Parts that are left out do not restrict; a wholly empty selector matches
/// no node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    /// Node types, any of which fits.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128), regex(pattern = WORD)))]
    pub types: BTreeSet<String>,
    /// Processor architectures by their Linux names (`x86_64`, `aarch64`), any of which fits.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64), regex(pattern = WORD)))]
    pub architectures: BTreeSet<Architecture>,
    /// Locations, any of which fits.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128), regex(pattern = WORD)))]
    pub locations: BTreeSet<String>,
    /// Labels, all of which a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
}

/// Which modules of the chosen packages are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// Module types to receive; all where left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 16))]
    pub types: BTreeSet<ModuleType>,
    /// Functions to receive; all where left out. A module without a function is always received.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128), regex(pattern = WORD)))]
    pub functions: BTreeSet<String>,
    /// Features wanted (`routing-protocol/bgp`). A package has to offer each of them: where none
    /// of the package sets does, the one package among all package sets that fits the node and
    /// offers it is added before them; several that do are an error that lists them. A module that
    /// names features is received if one of them is wanted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128), regex(pattern = WORD)))]
    pub features: BTreeSet<String>,
    /// Characteristics of packages and modules (`tier: core`). A package that says otherwise of
    /// itself is not chosen for a feature, and a module that does is not received; those that say
    /// nothing are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub characteristics: BTreeMap<String, String>,
}

/// Which nodes start from which boot image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootImage {
    /// Which nodes of the class it is for; all where left out. Labels do not count here.
    #[serde(default)]
    pub selector: NodeSelector,
    /// The name of the package that holds it, which is of purpose `boot`; the artifact must say the
    /// same.
    pub name: PackageName,
    /// The version of the package, as in `1.1.0`, `deb:1:2.3-4` or `rpm:2.3-4.el9`; the artifact
    /// must say the same.
    #[schemars(with = "String", length(max = 255), regex(pattern = super::package_set::VERSION))]
    pub version: Version,
    /// Where the package is found, as in a package set: `oci-layout:../packages:1.1.0`.
    #[schemars(length(min = 1, max = 2048), regex(pattern = super::package_set::REFERENCE))]
    pub reference: String,
    /// The secret that gives access to the registry of the package, as in a package set. None by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Public keys one of which must have signed the package, as in a package set. By default it needs
    /// no signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 16_384)))]
    pub keys: Vec<String>,
    /// The command that has the boot loader start from the image at the next start, with its
    /// arguments; the path of the image is added as the last one. It runs as placetd does. A program
    /// without a leading slash is one of the node's packages.
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub install: Vec<String>,
    /// The command that succeeds if the node runs the image, and fails if it runs another: the boot
    /// loader has fallen back. The path of the image is added as its last argument. It is asked
    /// before anything is installed, and after the restart, when it also tells the boot loader to
    /// stay with the image.
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub confirm: Vec<String>,
    /// The command that restarts the node; `systemctl reboot` by default.
    #[serde(default = "reboot")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub restart: Vec<String>,
    /// How many seconds each of the commands may take; 600 by default.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    pub command_seconds: u32,
    /// Within how many seconds after the command to restart the node has to be down, and to be back;
    /// 600 by default.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    pub restart_seconds: u32,
}

impl From<&BootImage> for PackageReference {
    fn from(image: &BootImage) -> Self {
        Self {
            name: image.name.clone(),
            version: image.version.clone(),
            reference: image.reference.clone(),
        }
    }
}

fn reboot() -> Vec<String> {
    ["systemctl", "reboot"].map(str::to_owned).into()
}

fn ten_minutes() -> u32 {
    600
}

/// A rule that votes for software that cannot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VetoRule {
    /// Its name, by which it stands in a verdict.
    #[schemars(length(min = 1, max = 64), regex(pattern = NAME))]
    pub name: String,
    /// A CEL expression over `node` (the node's facts) and `change` (its change set); the rule
    /// objects where it is true. At most 4,096 bytes, nested at most 32 deep.
    #[schemars(length(min = 1, max = 4096))]
    pub rule: String,
    /// What people are told when the rule objects.
    #[schemars(length(min = 1, max = 1024), regex(pattern = LINE))]
    pub message: String,
}

/// How a change goes through a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStrategy {
    /// How many nodes change at once; all of the class where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_unavailable: Option<u32>,
    /// How many nodes change at once, as a share of the nodes of the class in percent, rounded
    /// down but never to none; all of the class where left out. Beside `maxUnavailable` the smaller
    /// of the two counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_unavailable_percent: Option<u32>,
    /// How long a node may take to answer a proposal, in seconds; 30 by default.
    #[schemars(range(min = 1, max = 86_400))]
    pub vote_seconds: u32,
    /// How long the accept of a node holds, in seconds; 3600 by default. After that it is asked
    /// again before it changes.
    #[schemars(range(min = 1, max = 604_800))]
    pub promise_seconds: u32,
    /// What to do about a node that cannot be reached: `wait` for it, `skip` it and go on with the
    /// others, or `fail`, which holds the roll-out as if the node had objected. `wait` by default.
    pub on_unreachable: OnUnreachable,
    /// How long a process may put a change off before its answer counts as a veto, in seconds;
    /// 86400, one day, where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub max_defer_seconds: Option<u32>,
    /// How many nodes change first, alone, by name. If one of them fails, the roll-out halts
    /// whatever `haltThreshold` says. None where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub canaries: Option<u32>,
    /// The waves that follow one another, each verified before the next: all of its nodes have
    /// changed, their processes are ready, and `verifySeconds` have passed. One wave with all nodes
    /// by default. Nodes that requirements on other nodes bind to each other change together, even
    /// where they are of several waves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub waves: Vec<Wave>,
    /// When nodes may begin to change; at any time by default. They are asked, and fetch, at any
    /// time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub windows: Vec<Window>,
    /// After how many failed nodes the roll-out halts; 1, the first failure, where left out. Nodes
    /// about which a person has decided do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub halt_threshold: Option<u32>,
    /// For how long the processes that a change touches on a node have to run well, after all of
    /// them are ready, in seconds; 0 where left out. One that dies or fails its health command
    /// within that time has the node give the change back by itself; a node counts as changed when
    /// the time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub soak_seconds: Option<u32>,
    /// For how long the nodes of a wave have to run well before the next wave begins, in seconds;
    /// 0 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 604_800))]
    pub verify_seconds: Option<u32>,
    /// The share of all nodes of the fleet, in percent, above which a change of the class is held
    /// until a person confirms by a decision that so many nodes are meant: `force` confirms it,
    /// `skip` leaves the class as it is. Nothing is to be confirmed where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub confirm_above_percent: Option<u32>,
}

impl Default for RolloutStrategy {
    fn default() -> Self {
        let placet_model::Strategy {
            max_unavailable,
            max_unavailable_percent,
            vote_seconds,
            promise_seconds,
            on_unreachable,
            ..
        } = placet_model::Strategy::default();
        Self {
            max_unavailable,
            max_unavailable_percent,
            vote_seconds,
            promise_seconds,
            on_unreachable,
            max_defer_seconds: None,
            canaries: None,
            waves: Vec::new(),
            windows: Vec::new(),
            halt_threshold: None,
            soak_seconds: None,
            verify_seconds: None,
            confirm_above_percent: None,
        }
    }
}

/// One wave of a roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.percent) || !has(self.selector) || !(has(self.selector.types) || has(self.selector.architectures) || has(self.selector.locations) || has(self.selector.labels))", "a wave names its nodes by selector or takes a percentage, not both"))]
pub struct Wave {
    /// Its name, for people.
    #[schemars(length(min = 1, max = 64), regex(pattern = NAME))]
    pub name: String,
    /// The nodes of the class that belong to it. A node that fits several waves belongs to the
    /// first; those that fit none come last.
    #[serde(default)]
    pub selector: NodeSelector,
    /// In place of a selector: the share of the nodes of the class that take part, in percent,
    /// rounded up. They are taken by name from those that no earlier wave has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub percent: Option<u32>,
}

/// A time in which nodes may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// The days of the week on which it opens; every day where left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 7))]
    pub days: BTreeSet<Weekday>,
    /// When it opens, as `hh:mm`. On the day on which the clock skips that time it opens as much
    /// later as is skipped; on the day that has it twice, the first time.
    #[schemars(length(max = 5), regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub opens: String,
    /// How long it stays open, in minutes.
    #[schemars(range(min = 1, max = 10_080))]
    pub minutes: u32,
    /// The time zone of `opens` (`Europe/Stockholm`); `UTC` by default.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9+_/-]+$"))]
    pub time_zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What a node stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Persistence {
    /// Whether packages are stored on the node; true by default. Otherwise they are run from
    /// memory and fetched anew at every start.
    pub packages: bool,
    /// Whether the boot image is stored among the packages of the node, so that it can go back to it
    /// by itself; true by default. It cannot be where packages are not stored.
    pub boot_image: bool,
}

impl Default for Persistence {
    fn default() -> Self {
        Self {
            packages: true,
            boot_image: true,
        }
    }
}

/// What Placet knows of the class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeClassStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Its nodes, counted by state.
    #[serde(default)]
    pub nodes: NodeCounts,
    /// The digest of the manifest of its nodes, where all of them share one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_digest: Option<Digest>,
    /// When the counts were taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<Timestamp>,
    /// The value of the annotation `reconcile.placet.dev/requestedAt` that was handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The state in the manner of kstatus.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Nodes counted by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeCounts {
    /// All of them.
    pub total: u32,
    /// Those that are connected.
    pub connected: u32,
    /// Those that run what they should.
    pub up_to_date: u32,
    /// Those on which the change failed.
    pub failed: u32,
}
