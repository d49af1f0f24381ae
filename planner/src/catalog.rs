//! The packages that declarations refer to, as the controller resolved them.

use std::collections::BTreeMap;
use std::sync::Arc;

use placet_model::{Digest, Module, PackageConfig, PackageReference, Symbols};

/// Every package reference of the declarations, resolved or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// By the reference text of the declaration ([`PackageReference::reference`]).
    pub entries: BTreeMap<String, Result<CatalogEntry, Unresolved>>,
}

/// A package that was found, verified and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Digest of its OCI manifest.
    pub digest: Digest,
    /// Its metadata.
    pub config: PackageConfig,
    /// The dynamic symbols of its modules, by the digest that these give for them
    /// ([`placet_model::ElfFacts::symbols`]). Where one is left out, nothing is known of its symbols.
    pub symbols: BTreeMap<Digest, Arc<Symbols>>,
}

impl CatalogEntry {
    /// The dynamic symbols of one of its modules, where they are known.
    pub fn symbols_of(&self, module: &Module) -> Option<&Symbols> {
        let digest = module.elf.as_ref()?.symbols?;
        self.symbols.get(&digest).map(|symbols| &**symbols)
    }
}

/// Why a package could not be had, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// It is not there, or is not what the declaration says.
    Missing(String),
    /// None of the keys that are listed for it has signed it.
    Untrusted(String),
}

impl Unresolved {
    /// The reason.
    pub fn why(&self) -> &str {
        match self {
            Self::Missing(why) | Self::Untrusted(why) => why,
        }
    }
}

impl Catalog {
    /// What is known of `reference`; a reference that nobody resolved yet is unresolved too.
    pub fn get(&self, reference: &PackageReference) -> Option<&Result<CatalogEntry, Unresolved>> {
        self.entries.get(&reference.reference)
    }
}
