//! Packages made from other packages (B13): shaded ones to try out what an update does, and
//! repacked ones with other modules.
//!
//! **Invariant:** what was made says so ([`Derived`]), and from which package.

mod repack;
mod shade;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use placet_model::{Derived, Digest, ModulePath, PackageConfig, UpdateTool, Version, visible};
use placet_package::trust::Attachment;
use placet_package::{Blob, Layout, Package, PackageError};

use crate::error::ModuleFault;
use crate::glob::Glob;
use crate::import::Imports;
use crate::provenance::{self, Builder, PROVENANCE_TYPE};
use crate::sbom::{SBOM_TYPE, sbom};
use crate::taint::Warning;

pub use repack::{Replacement, repack};
pub use shade::{Shade, shade};
pub use version::Naming;

/// A package that was made from another, and is not stored yet.
#[derive(Debug, Clone)]
pub struct Update {
    /// Its metadata.
    pub config: PackageConfig,
    /// What the person who made it should know.
    pub warnings: Vec<Warning>,
    blobs: BTreeMap<Digest, Blob>,
}

/// Why a package cannot be made from another one.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// A pattern stands for nothing.
    #[error(
        "{package} has no module `{}`; `placet package inspect` lists those that it has",
        visible(pattern)
    )]
    NoMatch {
        /// Name and version of the package.
        package: String,
        /// The pattern, or the path.
        pattern: String,
    },
    /// The file is for other machines than the module.
    #[error("`{}` is for {found}, and {package} has `{path}` for {wanted}; build it for that", visible(&file.to_string_lossy()))]
    Architecture {
        /// Name and version of the package.
        package: String,
        /// The file.
        file: PathBuf,
        /// What it is for.
        found: String,
        /// The module.
        path: ModulePath,
        /// What the module is for.
        wanted: String,
    },
    /// A module is named twice.
    #[error("module `{0}` is named twice; say once what becomes of it")]
    Twice(ModulePath),
    /// Nothing would be left.
    #[error("no module would be left of {0}; `placet package remove` removes a whole package")]
    Empty(String),
    /// The version is one that the target has.
    #[error(
        "the target has version {0} already; give another, or leave it out and the next is chosen"
    )]
    Taken(Version),
    /// The version is the one that the package has.
    #[error(
        "{0} is the version that the package has; give another, or leave it out and the next is chosen"
    )]
    Same(Version),
    /// No version can follow.
    #[error("no version can be chosen after {version}: {why}; give one")]
    NoVersion {
        /// The version of the package.
        version: Version,
        /// What is wrong.
        why: String,
    },
    /// The new content of a module is refused.
    #[error("module `{path}` is refused")]
    Module {
        /// The module.
        path: ModulePath,
        /// What is wrong.
        #[source]
        fault: Box<ModuleFault>,
    },
    /// A simple process came to open what nobody declared.
    #[error(
        "the simple process `{path}` would come to open libraries at run time ({opener} imports dlopen), and no dependency on them is declared, so that it would go on with old ones; declare them in the package file and build again, or confirm with --acknowledge-opens {path} that there are none"
    )]
    Opens {
        /// The process.
        path: ModulePath,
        /// What imports dlopen.
        opener: ModulePath,
    },
    /// The package cannot be stored.
    #[error(transparent)]
    Store(#[from] PackageError),
}

impl Update {
    /// What `package` becomes with another version: the same modules, and a note where they come
    /// from.
    fn of(package: &Package, by: UpdateTool, version: Version) -> Self {
        let mut config = package.config.clone();
        let before = config.derived.take();
        config.derived = Some(Derived {
            by,
            version: config.version.clone(),
            digest: package.digest,
            // Signatures that were random stay so.
            shaded: before.map(|it| it.shaded).unwrap_or_default(),
            replaced: BTreeSet::new(),
            removed: BTreeSet::new(),
        });
        config.version = version;
        Self {
            blobs: blobs(package),
            warnings: Vec::new(),
            config,
        }
    }

    /// Where it comes from.
    fn derived(&mut self) -> &mut Derived {
        let derived = self.config.derived.as_mut();
        derived.expect("every update says where it comes from")
    }

    /// Stores it in `layout`, tagged with its version; the digest of its manifest.
    ///
    /// # Errors
    ///
    /// What is wrong with the package, or with the layout.
    pub fn write(&self, layout: &Layout) -> Result<Digest, UpdateError> {
        let digest = layout.write_package(&self.config, &self.blobs, &self.config.version.tag())?;
        Ok(digest)
    }

    /// What is known of it once it is stored under this digest: the bill of materials, and from
    /// which package it was made and how.
    ///
    /// # Panics
    ///
    /// Never: every update says where it comes from.
    pub fn documents(&self, digest: &Digest, builder: &Builder) -> [Attachment; 2] {
        let derived = self.config.derived.as_ref().expect("made from a package");
        let provenance = provenance::of_update(digest, &self.config, derived, builder);
        [
            Attachment::new(SBOM_TYPE, sbom(digest, &self.config, &Imports::default())),
            Attachment::new(PROVENANCE_TYPE, provenance.write()),
        ]
    }

    /// True if it has modules that the package which it was made from does not have.
    pub fn has_new_blobs(&self) -> bool {
        let derived = self.config.derived.as_ref();
        derived.is_some_and(|it| !it.replaced.is_empty())
    }
}

/// Where the bytes of a package's modules and lists of symbols are.
fn blobs(package: &Package) -> BTreeMap<Digest, Blob> {
    let digests = package.config.modules.iter().flat_map(|module| {
        let symbols = module.elf.as_ref().and_then(|facts| facts.symbols);
        [Some(module.digest), symbols]
    });
    let digests = digests.flatten();
    digests
        .map(|digest| (digest, Blob::File(package.layout.blob_path(&digest))))
        .collect()
}

/// `chat 1.0.0`
fn name(config: &PackageConfig) -> String {
    format!("{} {}", config.name, config.version)
}

/// The paths of the modules that `globs` stand for; each has to stand for one at least.
fn matching(config: &PackageConfig, globs: &[Glob]) -> Result<BTreeSet<ModulePath>, UpdateError> {
    let mut paths = BTreeSet::new();
    for glob in globs {
        let modules = config.modules.iter();
        let found: Vec<_> = modules
            .filter(|module| glob.covers(module.path.as_str(), true))
            .map(|module| module.path.clone())
            .collect();
        if found.is_empty() {
            return Err(UpdateError::NoMatch {
                package: name(config),
                pattern: glob.as_str().to_owned(),
            });
        }
        paths.extend(found);
    }
    Ok(paths)
}
