//! `GitSource`: a git repository whose commits change the fleet.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LINE, NAME, REVISION};
use crate::Condition;

/// Which repository is followed, and how.
#[derive(Debug, Clone, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "placet.dev",
    version = "v1alpha1",
    kind = "GitSource",
    plural = "gitsources",
    shortname = "gsrc",
    category = "placet",
    status = "GitSourceStatus",
    derive = "PartialEq",
    doc = "A git repository whose declarations Placet carries out.",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(
        name = "Path",
        type_ = "string",
        json_path = ".spec.path",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct GitSourceSpec {
    /// Where the repository is: a `https://`, `http://`, `ssh://`, `git://` or `file://` URL, the
    /// short form `user@host:path` of ssh, or an absolute path on the controller's machine.
    /// User names and passwords do not belong into the URL of a web server; use `secretRef`.
    #[schemars(length(min = 1, max = 2048))]
    #[schemars(regex(
        pattern = r"^((https?|ssh|git|file)://|/|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:)[^\x00-\x1f\x7f]+$"
    ))]
    #[x_kube(validation = ("!self.startsWith('http') || !self.contains('@')", "the URL of a web server holds no user name or password; put them into a secret and name it in secretRef"))]
    pub url: String,
    /// Which commit is followed; the branch `main` where left out.
    #[serde(default, rename = "ref")]
    pub reference: GitReference,
    /// The folder of the repository that holds the declarations, relative to its root; `.`, the
    /// default, is the root itself. All files below it whose names end in `.yaml` or `.yml` count,
    /// but for those in folders whose names begin with a dot.
    #[serde(default = "root")]
    #[schemars(length(min = 1, max = 1024))]
    #[schemars(regex(pattern = r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"))]
    #[x_kube(validation = ("!('/' + self + '/').contains('/../')", "the path stays inside the repository: no component may be `..`"))]
    pub path: String,
    /// How often the repository is looked at, in seconds; 60 by default.
    #[serde(default = "interval")]
    #[schemars(range(min = 1, max = 86_400))]
    pub interval_seconds: u32,
    /// The secret that gives access: on Kubernetes a Secret in the controller's own namespace,
    /// with the embedded home a file in its folder of secrets. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Which keys must have signed a commit. By default commits need no signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<CommitVerification>,
    /// Whether resources that the repository no longer holds are deleted; true by default. Nothing
    /// is ever deleted after a failed fetch or for a revision that does not hold.
    #[serde(default = "yes")]
    pub prune: bool,
    /// Whether the repository is left alone for now; false by default.
    #[serde(default)]
    pub suspend: bool,
    /// The full id of a commit to which the branch may go back. A branch that was rewound (by a
    /// forced push) is refused until this names the commit that it points at now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{40}([0-9a-f]{24})?$"), length(max = 64))]
    pub allow_rewind: Option<String>,
    /// Pull requests whose effect is worked out and reported. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_requests: Option<PullRequests>,
}

fn root() -> String {
    ".".to_owned()
}

fn interval() -> u32 {
    60
}

fn yes() -> bool {
    true
}

/// Which commit is followed: at most one of the fields is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.branch), has(self.tag), has(self.commit)].filter(set, set).size() <= 1", "name a branch, a tag or a commit, only one of them"))]
pub struct GitReference {
    /// The newest commit of this branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[^\x00-\x20\x7f~^:?*\[\\]+$")
    )]
    pub branch: Option<String>,
    /// The commit that this tag names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^[^\x00-\x20\x7f~^:?*\[\\]+$")
    )]
    pub tag: Option<String>,
    /// This commit, by its full id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[0-9a-f]{40}([0-9a-f]{24})?$"))]
    pub commit: Option<String>,
}

/// A secret by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretReference {
    /// The name of the secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub name: String,
}

/// Which keys must have signed a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitVerification {
    /// Public keys, each an armoured `OpenPGP` key or a line as in an `authorized_keys` file. A
    /// commit needs the signature of one of them.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 16_384)))]
    pub keys: Vec<String>,
}

/// Which pull requests are looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullRequests {
    /// Under which refs the git host keeps them; `refs/pull/*/head` by default, as GitHub does.
    #[serde(default = "pull_refs")]
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = r"^refs/[^\x00-\x20\x7f]+$")
    )]
    pub refs: String,
}

fn pull_refs() -> String {
    "refs/pull/*/head".to_owned()
}

/// What Placet knows of the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSourceStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// The last good revision, whose declarations are in force: `main@sha1:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = REVISION))]
    pub revision: Option<String>,
    /// The revision that was looked at last, good or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = REVISION))]
    pub last_attempted_revision: Option<String>,
    /// The first line of the message of the commit in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = LINE))]
    pub subject: Option<String>,
    /// The author of the commit in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = LINE))]
    pub author: Option<String>,
    /// When the repository was last fetched with success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fetched: Option<Timestamp>,
    /// What is wrong with the revision that was looked at last, with file, line and field; at most
    /// 20 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub faults: Vec<String>,
    /// The resources that come from this repository; what leaves the list is pruned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inventory: Vec<InventoryEntry>,
    /// The value of the annotation `reconcile.placet.dev/requestedAt` that was handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The state in the manner of kstatus.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A resource that comes from a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct InventoryEntry {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}
