//! The package: a named, versioned group of modules with metadata (B8).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, Module, ModulePath, PackageName, Version, VersionRequirement};

/// All metadata of a package: the config blob of its OCI artifact, which is authoritative.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageConfig {
    /// Name.
    pub name: PackageName,
    /// Version.
    pub version: Version,
    /// What it is, in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its licence: an SPDX expression, or what its makers call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Build date: `SOURCE_DATE_EPOCH`, so that the same inputs give the same digest.
    pub created: Timestamp,
    /// Why the package exists.
    #[serde(default)]
    pub purpose: Purpose,
    /// Free characteristics by which nodes choose (`tier: core`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub characteristics: BTreeMap<String, String>,
    /// Features that it offers (`routing-protocol/bgp`).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<String>,
    /// Node types that it applies to; empty means all. Choosing it elsewhere is an error.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub node_types: BTreeSet<String>,
    /// Revision of the source that it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_revision: Option<String>,
    /// Packages needed on the same node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<LocalRequirement>,
    /// Packages needed on other nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires_remote: Vec<RemoteRequirement>,
    /// The packages whose modules this one partly replaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrades: Vec<Upgrade>,
    /// How it was made from another package; none for one that was built or imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<Derived>,
    /// The modules, sorted by path and then architecture; no two equal in both.
    pub modules: Vec<Module>,
}

/// How a package was made from another one (B13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Derived {
    /// The tool that made it.
    pub by: UpdateTool,
    /// The version that it was made from, of the same name.
    pub version: Version,
    /// Digest of that package's manifest.
    pub digest: Digest,
    /// The modules whose signatures are not those of their content, but random.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub shaded: BTreeSet<ModulePath>,
    /// The modules that were replaced.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub replaced: BTreeSet<ModulePath>,
    /// The modules that were left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub removed: BTreeSet<ModulePath>,
}

/// What makes one package from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateTool {
    /// Keeps all signatures: nothing changes on a node.
    White,
    /// Gives every module a random signature: everything changes.
    Black,
    /// Gives chosen modules random signatures.
    Gray,
    /// Replaces modules, or leaves some out.
    Repack,
}

impl fmt::Display for UpdateTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::White => "white",
            Self::Black => "black",
            Self::Gray => "gray",
            Self::Repack => "repack",
        })
    }
}

impl PackageConfig {
    /// The modules whose signatures are not those of their content.
    pub fn shaded(&self) -> Option<&BTreeSet<ModulePath>> {
        let derived = self.derived.as_ref()?;
        (!derived.shaded.is_empty()).then_some(&derived.shaded)
    }
}

/// Why a package exists.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Purpose {
    /// It brings a function.
    #[default]
    Feature,
    /// It changes part of another package.
    Update,
    /// It brings base software.
    Boot,
    /// It is a test suite.
    Test,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Feature => "feature",
            Self::Update => "update",
            Self::Boot => "boot",
            Self::Test => "test",
        })
    }
}

/// A package version needed on the same node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalRequirement {
    /// The package.
    pub package: PackageName,
    /// The versions that satisfy it.
    pub version: VersionRequirement,
    /// Node types for which it holds; empty means all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub node_types: BTreeSet<String>,
}

/// A package version needed on other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteRequirement {
    /// The package.
    pub package: PackageName,
    /// The versions that satisfy it.
    pub version: VersionRequirement,
    /// Types of nodes with the package for which it holds; empty means all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub node_types: BTreeSet<String>,
    /// Which other nodes are looked at, by class; none given means every class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Which other nodes are looked at, by type; none given means every type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_type: Option<String>,
    /// Which other nodes are looked at, by label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How many of them have to satisfy it.
    pub quantifier: Quantifier,
}

impl RemoteRequirement {
    /// True if it holds for a node of this type that has the package.
    pub fn concerns(&self, node_type: Option<&str>) -> bool {
        self.node_types.is_empty() || node_type.is_some_and(|it| self.node_types.contains(it))
    }
}

/// How many of the nodes looked at have to satisfy a remote requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Quantifier {
    /// Every one.
    All,
    /// At least one.
    Any,
    /// At least so many.
    AtLeast(u32),
}

/// A package that an upgrade package partly replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// The package.
    pub package: PackageName,
    /// The versions to which the upgrade applies.
    pub version: VersionRequirement,
}
