//! Placet's custom resources: group `placet.dev`, version `v1alpha1`, cluster scope.
//!
//! The five kinds are Rust types; their schemas, CEL rules and printer columns are generated from
//! them into the chart ([`generated`]) and are what every program validates with, so that a
//! resource that passes here passes at a Kubernetes API server and the other way round:
//!
//! * [`load`] reads YAML files that people wrote, and says with file, line and field what is wrong;
//! * [`validate`] checks one resource that comes as JSON, with what it was before;
//! * [`desired`] turns declarations into the planner's view and checks that what they name exists;
//! * [`with_references`] gives the packages that files name other references;
//! * [`not_carried_out`] names what is declared but not done by this version.
//!
//! **Invariant:** nothing here does I/O or reads a clock. Text from outside is bounded before it
//! is parsed and shown through [`placet_model::visible`].

mod check;
mod condition;
mod desired;
mod fault;
mod kind;
mod kinds;
mod load;
mod object;
mod references;
mod rules;
mod schema;
mod unfinished;
mod unsupported;
mod yaml;

pub use condition::{Condition, ConditionStatus, ConditionType, Reason, State, conditions};
pub use desired::desired;
pub use fault::{Fault, locate};
pub use kind::{Column, KindInfo, find_kind, full_name, generated, kinds};
pub use kinds::fleet_node::{
    BootAnswer, DeclaredFacts, FleetNode, FleetNodeSpec, FleetNodeStatus, NodeAction, NodeBoot,
    NodeOrder, NodeProcess, NodeRollout, NodeSuite, Presence, SuiteState, TestFailure, TestMode,
};
pub use kinds::git_source::{
    CommitStatus, CommitVerification, DriftPolicy, GitReference, GitSource, GitSourceSpec,
    GitSourceStatus, HostKind, InventoryEntry, PullRequests, Receiver, ReceiverKind,
    SecretReference, VerificationMode,
};
pub use kinds::node_class::{
    BootImage, NodeClass, NodeClassSpec, NodeClassStatus, NodeCounts, NodeSelector, Persistence,
    RolloutStrategy, VetoRule, Wanted, Wave, Weekday, Window,
};
pub use kinds::package_set::{
    PackageEntry, PackageSet, PackageSetSpec, PackageSetStatus, ResolvedPackage, TagPolicy,
};
pub use kinds::rollout::{
    DecisionAction, DecisionRequest, PhaseChange, Rollout, RolloutNodes, RolloutSpec,
    RolloutStatus, VerdictCounts, WaveStatus,
};
pub use load::{Loaded, RolloutDecision, load, load_all, validate};
pub use object::Object;
pub use references::{NamedPackage, named_packages, with_references};
pub use unsupported::not_carried_out;

/// The API group of all kinds.
pub const GROUP: &str = "placet.dev";

/// The version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// The API group and version of all kinds.
pub const API_VERSION: &str = "placet.dev/v1alpha1";

/// How large a file of declarations may be, in bytes. Callers that read files stop there too.
pub const FILE_MAX: usize = 1 << 20;

/// One file of declarations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// The name by which faults point at it.
    pub name: String,
    /// Its text.
    pub text: String,
}
