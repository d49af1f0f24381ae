//! The five kinds, one file each.

#![expect(
    unreachable_pub,
    reason = "the derive KubeSchema repeats the public structs inside functions"
)]
#![expect(clippy::duplicated_attributes, reason = "printer columns share words")]

pub(crate) mod fleet_node;
pub(crate) mod git_source;
pub(crate) mod node_class;
pub(crate) mod package_set;
pub(crate) mod rollout;

/// What Kubernetes accepts as the name of an object (DNS-1123 subdomain).
pub(crate) const NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A revision as Placet writes it: `main@sha1:…` of a git commit, `apply@sha256:…` otherwise.
pub(crate) const REVISION: &str = r"^[^\x00-\x20\x7f]+@sha(1:[0-9a-f]{40}|256:[0-9a-f]{64})$";

/// Printable text of one line.
pub(crate) const LINE: &str = r"^[^\x00-\x1f\x7f]*$";

/// A word of the fleet's own vocabulary: a node type, a location, a function, a feature.
pub(crate) const WORD: &str = r"^[A-Za-z0-9]([-A-Za-z0-9._/+]*[A-Za-z0-9])?$";

/// How many nodes a list of nodes may name; a fleet has to hold this many.
pub(crate) const NODES_MAX: u32 = 10_000;
