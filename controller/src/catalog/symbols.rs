//! The dynamic symbols of packages, read once for all packages that share a list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use placet_model::{Digest, Module, Symbols};
use placet_package::Package;
use placet_planner::Unresolved;

use super::unresolved;

/// The lists that were read so far. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct SymbolTables {
    known: Arc<Mutex<BTreeMap<Digest, Arc<Symbols>>>>,
}

impl SymbolTables {
    /// The symbols of all modules of a package, by the digests of its lists. Where the package is in a
    /// registry, lists that are not on this machine are left out; a layout has them all.
    pub(super) fn of(
        &self,
        package: &Package,
        is_remote: bool,
    ) -> Result<BTreeMap<Digest, Arc<Symbols>>, Unresolved> {
        // Each insertion stands for itself: a panic in between leaves nothing half done.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut symbols = BTreeMap::new();
        for module in &package.config.modules {
            let Some(digest) = list_of(module) else {
                continue;
            };
            if let Some(read) = known.get(&digest) {
                symbols.insert(digest, Arc::clone(read));
                continue;
            }
            if is_remote && !package.layout.blob_path(&digest).exists() {
                continue;
            }
            let lists = package
                .symbols(module)
                .map_err(|error| unresolved(&error))?;
            let read = Arc::new(Symbols::of_lists(&lists.unwrap_or_default()));
            known.insert(digest, Arc::clone(&read));
            symbols.insert(digest, read);
        }
        Ok(symbols)
    }
}

fn list_of(module: &Module) -> Option<Digest> {
    module.elf.as_ref()?.symbols
}

/// The lists of symbols of a package that are not on this machine.
pub(super) fn lists_missing(package: &Package) -> BTreeSet<Digest> {
    let lists = package.config.modules.iter().filter_map(list_of);
    let missing = lists.filter(|digest| !package.layout.blob_path(digest).exists());
    missing.collect()
}
