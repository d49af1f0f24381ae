//! The words of Placet as plain data.
//!
//! Everything that Placet says about software is a value of one of these types: the module, the
//! package, the manifest of a node, the change set between two manifests, the proposal, the
//! verdict, the decision. They have one representation, canonical JSON, which is what digests are
//! taken of and what travels in gRPC envelopes, varlink calls, status fields and `-o json`.
//!
//! **Invariant:** nothing here does I/O, reads a clock or the environment, or depends on the order
//! of a hash map. A value that was deserialised has passed the checks of its type: a
//! [`ModulePath`] never escapes its tree, a [`Digest`] is always 64 hexadecimal digits.

mod canonical;
mod change;
mod desired;
mod digest;
mod dry_run;
mod key;
mod manifest;
mod module;
mod name;
mod package;
mod process;
mod rollout;
#[cfg(feature = "schema")]
mod schema;
mod symbols;
mod text;
mod trace;
mod version;
mod vote;
mod window;

pub use canonical::{canonical_json, digest_of};
pub use change::{
    Because, Change, ChangeSet, Handover, InactiveChange, ModuleChange, ModuleVersion, NodeRestart,
    ProcessAction, ProcessChange, Transfer,
};
pub use desired::{
    BootDeclaration, ClassDeclaration, Desired, DriftPolicy, NodeDeclaration, NodeFacts, OnStale,
    OnUnreachable, PackageReference, PackageSetDeclaration, Selector, Strategy, VetoRule, Wants,
    Wave,
};
pub use digest::{Digest, DigestError, Hasher, Signature, SignatureError, SignatureKind};
pub use dry_run::{DryRunAnswer, DryRunNode, DryRunReport};
pub use key::{KeyError, PublicKey};
pub use manifest::{
    Boot, BootCommands, ChosenPackage, InactivePackage, ManifestEntry, NodeManifest,
};
pub use module::{
    Api, Architecture, ElfClass, ElfFacts, Mode, Module, ModuleType, Owner, Supplemental,
    SymbolLists, SymbolVersion,
};
pub use name::{LinkTarget, ModulePath, NameError, NodeName, PackageName, PathError, ProcessName};
pub use package::{
    Derived, LocalRequirement, PackageConfig, Purpose, Quantifier, RemoteRequirement, UpdateTool,
    Upgrade,
};
pub use process::{
    Follow, FollowAction, HealthCommand, Limits, ListenSocket, ProcessFault, ProcessKind,
    ProcessSpec, ReloadSignal, Silence, SocketAddress, SocketType, StateFormat, StateFormatError,
    StateFormats, StopSignal, VoteCommand, VoteLogic,
};
pub use rollout::{Activation, Hold, NodeState, RolloutPhase};
pub use symbols::{FileSymbol, Symbol, SymbolRole, Symbols};
pub use text::{Visible, Wrapped, few, visible, wrapped};
pub use trace::{TraceParent, TraceParentError};
pub use version::{
    DebianVersion, RpmVersion, Version, VersionBounds, VersionError, VersionRequirement,
    VersionRequirementError,
};
pub use vote::{
    Answer, Decision, DecisionKind, NodeChange, NodeDescription, Proposal, Verdict, VerdictKind,
    VoteRecord, Voter,
};
pub use window::{Weekday, Window};
