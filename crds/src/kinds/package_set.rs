//! `PackageSet`: an ordered list of package versions.

use kube::{CustomResource, KubeSchema};
use placet_model::{Digest, PackageName, PackageReference, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::git_source::SecretReference;
use crate::Condition;

/// A semantic version of which every number fits into 64 bits, or one of Debian or RPM.
pub(crate) const VERSION: &str = r"^((0|[1-9][0-9]{0,18})\.(0|[1-9][0-9]{0,18})\.(0|[1-9][0-9]{0,18})(-(0|[1-9][0-9]{0,18}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]{0,18}|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?|deb:([0-9A-Za-z][0-9A-Za-z.+~-]*|[0-9]{1,10}:[0-9A-Za-z][0-9A-Za-z.+~:-]*)|rpm:([0-9]{1,10}:)?[0-9A-Za-z._+~^]+(-[0-9A-Za-z._+~^]+)?)$";

/// Where a package is found.
pub(crate) const REFERENCE: &str = r"^(oci-layout:|oci://|oci\+http://)[^\x00-\x1f\x7f]+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})$";

/// Which packages, in which order.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, CustomResource, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "placet.dev",
    version = "v1alpha1",
    kind = "PackageSet",
    plural = "packagesets",
    shortname = "pset",
    category = "placet",
    status = "PackageSetStatus",
    derive = "PartialEq",
    doc = "An ordered list of package versions.",
    printcolumn(name = "Packages", type_ = "string", json_path = ".status.summary"),
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
pub struct PackageSetSpec {
    /// The packages in order: a package stands before those that it depends on, an upgrade before
    /// what it upgrades. Where several hold the same path, the first in the list wins.
    #[schemars(length(max = 500))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub packages: Vec<PackageEntry>,
    /// Public keys for ECDSA on the curve P-256, each in PEM, one of which must have signed each package
    /// of the set. A package that none has signed is refused, and no decision overrides that. By default
    /// packages need no signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 16_384)))]
    pub keys: Vec<String>,
    /// The secret that gives access to the registries of the packages: `username` and `password`, or
    /// `.dockerconfigjson`; and `ca.crt`, the authorities in the place of the machine's. None by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// One package version and where it is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackageEntry {
    /// The name of the package; the artifact must say the same.
    pub name: PackageName,
    /// The version of the package, as in `1.1.0`, `deb:1:2.3-4` or `rpm:2.3-4.el9`; the artifact
    /// must say the same.
    #[schemars(with = "String", length(max = 255), regex(pattern = VERSION))]
    pub version: Version,
    /// Where the package is found: an OCI image layout on disk, by tag
    /// (`oci-layout:../packages:1.1.0`) or by digest (`oci-layout:../packages@sha256:…`), or a
    /// registry (`oci://host/repository:1.1.0`). A registry on the controller's own machine may do
    /// without TLS: `oci+http://127.0.0.1:5000/chat:1.1.0`. A folder is relative to the controller's
    /// folder of packages.
    #[schemars(length(min = 1, max = 2048), regex(pattern = REFERENCE))]
    pub reference: String,
    /// When a tag is looked up: `Always`, the default, at every look at the declarations; `Once`
    /// keeps the digest that the tag had first.
    #[serde(default, skip_serializing_if = "TagPolicy::is_always")]
    pub tag_policy: TagPolicy,
    /// Whether nodes run the package; true by default. Otherwise they fetch and store it, so that it
    /// is at hand when this is turned.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub active: bool,
    /// Packages, of other sets too, before which this one has to stand. None by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub before: Vec<PackageName>,
}

impl From<&PackageEntry> for PackageReference {
    fn from(entry: &PackageEntry) -> Self {
        Self {
            name: entry.name.clone(),
            version: entry.version.clone(),
            reference: entry.reference.clone(),
        }
    }
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it by reference"
)]
fn is_true(it: &bool) -> bool {
    *it
}

/// When a tag is looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TagPolicy {
    /// At every look at the declarations.
    #[default]
    Always,
    /// The first time only.
    Once,
}

impl TagPolicy {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it by reference"
    )]
    fn is_always(&self) -> bool {
        *self == Self::Always
    }
}

/// What Placet knows of the packages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackageSetStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// The packages as they were found, in the order in which they are used.
    #[serde(default)]
    pub packages: Vec<ResolvedPackage>,
    /// The packages in one line, for tables: `chat 1.1.0, base 2.0.0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// The value of the annotation `reconcile.placet.dev/requestedAt` that was handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The state in the manner of kstatus.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl PackageSetStatus {
    /// The status of these packages, with nothing said yet of conditions.
    pub fn of(packages: Vec<ResolvedPackage>) -> Self {
        let words: Vec<String> = packages
            .iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect();
        Self {
            packages,
            summary: words.join(", "),
            ..Self::default()
        }
    }
}

impl PackageSetStatus {
    /// The package as it was found first, where its tag counts as it was then.
    pub fn first(&self, entry: &PackageEntry) -> Option<&ResolvedPackage> {
        if entry.tag_policy != TagPolicy::Once {
            return None;
        }
        self.packages.iter().find(|found| {
            found.name == entry.name && found.reference.as_ref() == Some(&entry.reference)
        })
    }

    /// The digest that counts for an entry, whatever its tag names now.
    pub fn pinned(&self, entry: &PackageEntry) -> Option<Digest> {
        self.first(entry).map(|found| found.digest)
    }
}

/// A package as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedPackage {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    #[schemars(with = "String", length(max = 255), regex(pattern = VERSION))]
    pub version: Version,
    /// The digest of its OCI manifest.
    pub digest: Digest,
    /// The reference under which it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub reference: Option<String>,
}
