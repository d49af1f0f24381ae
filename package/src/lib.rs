//! Placet's package format.
//!
//! - [`read_elf`] says what the ELF headers of a module say, read the way the loader reads them.
//! - [`signature`] finds change: equal signatures imply the same loaded program.
//! - [`Layout`] keeps packages in an OCI image layout on disk, and [`open_package`] reads one:
//!   an image manifest whose config is the [`PackageConfig`](placet_model::PackageConfig) and whose
//!   layers are the modules, each layer exactly the file.
//! - [`trust`] says who signed a package.
//! - [`copy`] takes packages and [`composite`]s from registries and layouts to others, and
//!   [`registry`] speaks with registries, with the same checks.
//!
//! **Invariant: everything read is hostile until it was checked.** Sizes are bounded before
//! anything is read, digests are compared with the bytes, the config and the layers have to agree,
//! and no path, link, mode or text gets through that could leave the generation tree, gain rights,
//! or drive a terminal. No input makes this crate panic, or use memory or time out of proportion
//! to the size of the input.

mod check;
pub mod composite;
pub mod copy;
mod document;
mod elf;
mod error;
mod files;
mod layout;
mod list;
mod manifest;
mod package;
#[doc(hidden)]
pub mod readers;
mod reference;
pub mod registry;
mod signature;
mod source;
pub mod trust;

pub use check::{ConfigFault, check_config};
pub use elf::{
    DynamicSymbol, Elf, ElfError, ElfFile, ElfHeaders, ElfKind, ElfPlace, SymbolKind, SymbolRole,
    VersionDefinition, place_in_file, read_elf, read_elf_file, section_at,
};
pub use error::{PackageError, Problem};
pub use layout::{Blob, Freed, Layout, Removed};
pub use list::{Listed, list};
pub use manifest::{
    ARTIFACT_TYPE, CONFIG_TYPE, LAYERS_MAX, MANIFEST_MAX, MODULE_TYPE, SYMBOLS_TYPE,
};
pub use package::{Package, open_package};
pub use reference::{Reference, ReferenceError, Selector, check_tag};
pub use signature::{
    Comparison, Difference, Fingerprint, compare, file_signature, fingerprint, ignored, signature,
};
pub use source::ReadError;
