//! Composites: one artifact with packages and boot images of all node types, and the declarations
//! that go with them.
//!
//! A composite is an image index. Its parts are the manifests of the packages, byte for byte, so
//! that modules, signatures and digests are those of the packages themselves; the last part is the
//! manifest of the declarations, whose layers are YAML files.

mod read;
mod write;

use jiff::Timestamp;
use placet_model::{Digest, ModulePath, PackageConfig, PackageName};

pub use read::read_composite;
pub use write::{NewComposite, write_composite};

/// What the artifact of a composite is.
pub const COMPOSITE_TYPE: &str = "application/vnd.placet.composite.v1";
/// What the manifest with the declarations is.
pub const NODES_TYPE: &str = "application/vnd.placet.nodes.v1";
/// Media type of a file of declarations.
pub const DECLARATIONS_TYPE: &str = "application/vnd.placet.declarations.v1+yaml";
/// More files of declarations are refused.
pub const DECLARATIONS_MOST: usize = 1_000;

/// A composite, as far as people choose by it; its modules may be elsewhere.
#[derive(Debug, Clone)]
pub struct Composite {
    /// Digest of its index.
    pub digest: Digest,
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: String,
    /// The time of its newest part.
    pub created: Timestamp,
    /// The packages and boot images, in the order in which they were named.
    pub packages: Vec<CompositePart>,
    /// The declarations, sorted by path.
    pub declarations: Vec<Declaration>,
}

/// A package of a composite.
#[derive(Debug, Clone)]
pub struct CompositePart {
    /// Digest of its manifest.
    pub digest: Digest,
    /// Its metadata.
    pub config: PackageConfig,
}

/// A file of declarations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Where it is installed, from the root of the declarations.
    pub path: ModulePath,
    /// YAML.
    pub text: String,
}
