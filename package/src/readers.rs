//! The readers of a package's documents as functions of bytes, for tests that try many.

use std::collections::BTreeMap;

use placet_model::{PackageConfig, SymbolLists, canonical_json};

use crate::check_config;
use crate::document::Document;
use crate::error::Problem;
use crate::layout::Index;
use crate::manifest::{self, Manifest, symbol_digests};
use crate::package;

/// Reads the index of a layout, and counts its tags.
pub fn index(bytes: &[u8]) -> Result<usize, Problem> {
    Index::read(bytes)?.tags().map(|tags| tags.len())
}

/// Reads a manifest by itself.
pub fn manifest(bytes: &[u8]) -> Result<(), Problem> {
    manifest::parse::<Manifest>(bytes, "the manifest")?.check()
}

/// Reads a manifest or index of any kind, and counts what it points at.
pub fn document(bytes: &[u8]) -> Result<usize, Problem> {
    let document = Document::read(bytes.to_owned())?;
    Ok(document.blobs.len() + document.children.len())
}

/// Reads a config by itself.
pub fn config(bytes: &[u8]) -> Result<PackageConfig, Problem> {
    let config: PackageConfig = manifest::parse(bytes, "the config")?;
    check_config(&config)?;
    Ok(config)
}

/// Reads a list of symbols.
pub fn symbols(bytes: &[u8]) -> Result<SymbolLists, Problem> {
    manifest::parse(bytes, "the list of symbols")
}

/// The manifest that is written for a config; its lists of symbols are empty.
pub fn manifest_of(config: &PackageConfig) -> Vec<u8> {
    let symbols = symbol_digests(config).into_iter();
    let symbols: BTreeMap<_, _> = symbols.map(|digest| (digest, 0)).collect();
    canonical_json(&Manifest::new(config, &symbols))
}

/// Reads a manifest and a config, and compares them.
pub fn package(manifest: &[u8], config: &[u8]) -> Result<(), Problem> {
    package::check(manifest, config).map(drop)
}
