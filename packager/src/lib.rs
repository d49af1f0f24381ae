//! Placet's build environment: from a [`package.yaml`](PackageFile) to a package in an OCI layout.
//!
//! [`build`] runs the build commands with everything fixed that would make one build differ from
//! the next (time, time zone, locale, umask, paths in debug data), reads what the linker wrote into
//! each module, checks what only the author can repair, and stores the package. [`update`] makes
//! packages from other packages.
//! [`read_composite_file`] reads what a composite of packages and declarations is made of.
//!
//! **Invariant:** the same package file and the same module bytes give the same manifest digest,
//! whatever the folder, the time and the user.

mod api_file;
mod apis;
mod assemble;
mod build;
mod commands;
mod composite;
mod config;
mod contradictions;
pub mod deps;
mod error;
mod file;
mod gather;
mod glob;
pub mod import;
mod key;
mod opens;
mod provenance;
mod reference;
mod sbom;
mod schema;
mod sign;
mod source;
mod stub;
mod suite;
mod taint;
pub mod update;
mod variable;
mod vote_logic;
mod watch;
mod yaml;

pub use api_file::{ApiFile, ApiSymbol, ApiSymbolKind, ApiVersion};
pub use build::{BuildOptions, Built, build, build_watched};
pub use commands::{Confine, Confinement};
pub use composite::{
    CompositeError, CompositeFile, CompositePlan, read_composite_file, source_files,
};
pub use error::{Error, FileFault, ModuleFault, Place};
pub use file::{
    LocalRequirementEntry, ModuleEntry, OwnerEntry, PackageFile, ProcessEntry,
    RemoteRequirementEntry, SupplementalEntry, UpgradeEntry,
};
pub use glob::{Glob, GlobError, Globs};
pub use key::{Passphrase, SigningKey, SigningKeyError};
pub use provenance::{Builder, PROVENANCE_PREDICATE, PROVENANCE_TYPE};
pub use reference::generated;
pub use sbom::SBOM_TYPE;
pub use schema::schema;
pub use sign::{attestation, signature};
pub use stub::{Stub, StubError, Target};
pub use taint::{Leak, Warning};
pub use variable::{VariableName, VariableNameError};
pub use watch::{Step, Watch};
#[doc(hidden)]
pub use yaml::parse_package_file;
