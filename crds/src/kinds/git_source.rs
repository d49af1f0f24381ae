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
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".status.revision",
        priority = "1"
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
    /// Where the repository is: a `https://`, `ssh://` or `file://` URL, the short form
    /// `user@host:path` of ssh, or an absolute path on the controller's machine. `http://` and
    /// `git://` are neither encrypted nor authenticated, and are refused when the repository is
    /// looked at. User names and passwords do not belong into the URL of a web server; use
    /// `secretRef`.
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
    /// Which files below `path` count, as globs relative to `path`: `*` stands for any part of one
    /// name, `**` for any number of folders, as in `**/*.yaml`. All files by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,
    /// Which files and folders below `path` do not count, as globs relative to `path`; this is
    /// stronger than `include`. What is left out is not looked at, whatever it is. None by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub ignore: Vec<String>,
    /// How often the repository is looked at, in seconds. By default 60, and 1 for a repository on
    /// the controller's machine, where a look costs reading one file. A call of the `receiver` and
    /// the annotation `reconcile.placet.dev/requestedAt` make it looked at at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub interval_seconds: Option<u32>,
    /// The secret that gives access: on Kubernetes a Secret in the controller's own namespace,
    /// with the embedded home a folder in its folder of secrets. For `https`: `username` and
    /// `password`, or `bearerToken`; `ca.crt` (PEM) names the only authorities that are trusted,
    /// in place of the system's. For `ssh`: `identity` (a private key without passphrase) and
    /// `known_hosts`. None by default; `ssh` then uses what its user has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Who must have signed a commit. By default commits need no signature, and decisions on
    /// roll-outs cannot come from the repository, since their author is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<CommitVerification>,
    /// Calls by which a git host says that something was pushed. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Receiver>,
    /// Tells the git host, commit by commit, what became of it. Not by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_status: Option<CommitStatus>,
    /// Whether resources that the repository no longer holds are deleted; true by default. Nothing
    /// is ever deleted after a failed fetch, for a revision that does not hold, or for one that
    /// declares nothing at all, unless `allowEmpty` names it.
    #[serde(default = "yes")]
    pub prune: bool,
    /// What happens when somebody changes or deletes what the repository declares: `correct` puts
    /// it right, `report` leaves it until the next commit and says so in the status. `correct` by
    /// default.
    #[serde(default)]
    pub drift: DriftPolicy,
    /// Whether the repository is left alone for now; false by default.
    #[serde(default)]
    pub suspend: bool,
    /// The full id of a commit to which the branch may go back. A branch that was rewound (by a
    /// forced push) is refused until this names the commit that it points at now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{40}([0-9a-f]{24})?$"), length(max = 64))]
    pub allow_rewind: Option<String>,
    /// The full id of a commit that may declare nothing at all, so that everything is deleted that
    /// the repository declared. A commit without declarations is refused unless this names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{40}([0-9a-f]{24})?$"), length(max = 64))]
    pub allow_empty: Option<String>,
    /// Pull requests whose effect is worked out and reported. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_requests: Option<PullRequests>,
}

fn root() -> String {
    ".".to_owned()
}

fn yes() -> bool {
    true
}

/// Which commit is followed: at most one of the fields is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.branch), has(self.tag), has(self.semver), has(self.commit)].filter(set, set).size() <= 1", "name a branch, a tag, a range of versions or a commit, only one of them"))]
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
    /// The greatest of the tags that are versions within this range, such as `>=1.2.0, <2.0.0` or
    /// `1.4`. A tag may begin with `v`. Pre-releases count only where the range names one. A tag
    /// that moves, or a greatest tag that disappears, needs `allowRewind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = LINE))]
    pub semver: Option<String>,
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

/// Who must have signed a commit.
///
/// Signatures are those of ssh keys (`git config gpg.format ssh`): `ed25519`, `ecdsa` over nistp256
/// or nistp384, and `rsa` with SHA-2 of 2,048 bits or more. `OpenPGP` signatures are refused:
/// reading them takes a large tree of cryptographic code that nothing else here needs, and one more
/// trust store; ssh keys are what people who push have anyway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.allowedSigners) != has(self.secretRef)", "name the signers in `allowedSigners`, or a secret that holds them in `secretRef`, one of the two"))]
pub struct CommitVerification {
    /// What must be signed: `head`, the default, is the commit that is followed; `tag` is the
    /// annotated tag that is followed.
    #[serde(default)]
    pub mode: VerificationMode,
    /// Who may sign, in the format of ssh's `allowed_signers` file (`man ssh-keygen`): a line
    /// for each key with principals, options (`namespaces`, `valid-after`, `valid-before`; times
    /// without zone are UTC) and public key. A key without `namespaces`, or with `git` among
    /// them, may sign commits. Times are compared with the commit's own, as git does: to withdraw
    /// a key, remove its line. The principal becomes the author of decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub allowed_signers: Option<String>,
    /// A secret that holds them under the key `allowed_signers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// What must be signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerificationMode {
    /// The commit that is followed.
    #[default]
    Head,
    /// The annotated tag that is followed.
    Tag,
}

/// What happens to declarations that somebody else changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriftPolicy {
    /// They are put right.
    #[default]
    Correct,
    /// They stay until the next commit, and the status says so.
    Report,
}

/// Calls by which a git host says that something was pushed: `POST /hooks/<name of the GitSource>`
/// at the receiver's address. A call only makes the repository looked at; what it carries is not
/// used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receiver {
    /// Who calls, which says how calls are authenticated: `github` (`X-Hub-Signature-256`),
    /// `gitlab` (`X-Gitlab-Token`), `gitea` (`X-Gitea-Signature`; Forgejo too), or `generic`:
    /// `X-Placet-Timestamp` holds the time in seconds since 1970, and `X-Placet-Signature` holds
    /// `sha256=` and the hexadecimal HMAC-SHA256 of timestamp, `.` and body.
    pub kind: ReceiverKind,
    /// The secret that the host knows too, under the key `token`.
    pub secret_ref: SecretReference,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReceiverKind {
    /// GitHub.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea or Forgejo.
    Gitea,
    /// Anybody who can compute an HMAC.
    Generic,
}

/// Where the host is told what became of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitStatus {
    /// The kind of host.
    pub host: HostKind,
    /// Where its API is, such as `https://api.github.com`, `https://gitlab.example.com/api/v4` or
    /// `https://gitea.example.com/api/v1`; by default worked out from the repository's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https://[^\x00-\x20\x7f@]+$"))]
    pub api: Option<String>,
    /// The repository on the host, such as `team/fleet`; by default worked out from its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 512),
        regex(pattern = r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+$")
    )]
    pub repository: Option<String>,
    /// The secret with the key `token`, and `ca.crt` (PEM) where the host has an authority of its
    /// own.
    pub secret_ref: SecretReference,
    /// A page about the fleet that the status links to. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\x00-\x20\x7f]+$"))]
    pub target_url: Option<String>,
}

/// A kind of git host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostKind {
    /// GitHub, and GitHub Enterprise.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea or Forgejo.
    Gitea,
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
    /// Who signed the commit in force: principal and fingerprint of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = LINE))]
    pub signer: Option<String>,
    /// The revision that the fleet is planned for, where it is older than `revision`: what was
    /// committed since holds decisions on roll-outs alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = REVISION))]
    pub planned_revision: Option<String>,
    /// When the repository was last fetched with success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fetched: Option<Timestamp>,
    /// What is wrong with the revision that was looked at last, with file, line and field; at most
    /// 20 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub faults: Vec<String>,
    /// What somebody else changed of the resources that come from this repository, and that stays
    /// until the next commit (`spec.drift: report`); at most 20 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub drift: Vec<String>,
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
