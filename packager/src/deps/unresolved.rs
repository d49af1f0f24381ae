//! What is missing where, with the symbols of a library that is missing as a whole under it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::missing::Missing;

/// Something missing, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unresolved {
    /// The file that misses it.
    pub path: String,
    /// What it misses.
    pub missing: Missing,
    /// The symbols that the file misses with a library: nothing else of the process exports them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub symbols: BTreeSet<String>,
    /// The programs, and libraries that no program among those asked about loads, in which it is
    /// missing.
    pub loaded_by: BTreeSet<String>,
    /// Files among those asked about that export a symbol that is missing: they would have to be
    /// there too.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub exported_by: BTreeSet<String>,
}

/// Puts symbols under the missing library that is to define them. One without a version may be of
/// any of the missing libraries that its file needs; one that some file exports, or that is of a
/// library which is there, stands by itself.
pub(super) fn grouped(all: Vec<Unresolved>) -> Vec<Unresolved> {
    let mut libraries: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in &all {
        if let Missing::Library { name } = &one.missing {
            let needed = libraries.entry(one.path.clone()).or_default();
            needed.insert(name.clone());
        }
    }
    let mut groups: BTreeMap<(String, Missing), Unresolved> = BTreeMap::new();
    for mut one in all {
        if let Some(library) = whose(&one, libraries.get(&one.path))
            && let Missing::Symbol { symbol, .. } = one.missing
        {
            one.symbols = BTreeSet::from([symbol]);
            one.missing = library;
        }
        match groups.get_mut(&(one.path.clone(), one.missing.clone())) {
            Some(group) => {
                group.symbols.extend(one.symbols);
                group.loaded_by.extend(one.loaded_by);
            }
            None => drop(groups.insert((one.path.clone(), one.missing.clone()), one)),
        }
    }
    groups.into_values().collect()
}

/// What a symbol is missing with, where that is a library.
fn whose(one: &Unresolved, libraries: Option<&BTreeSet<String>>) -> Option<Missing> {
    let libraries = libraries.filter(|_| one.exported_by.is_empty())?;
    match &one.missing {
        Missing::Symbol {
            library: Some(name),
            ..
        } => libraries
            .contains(name)
            .then(|| Missing::Library { name: name.clone() }),
        Missing::Symbol { symbol, .. } if symbol.contains('@') => None,
        Missing::Symbol { .. } => Some(match libraries.first() {
            Some(only) if libraries.len() == 1 => Missing::Library { name: only.clone() },
            _ => Missing::Libraries {
                names: libraries.clone(),
            },
        }),
        _ => None,
    }
}
