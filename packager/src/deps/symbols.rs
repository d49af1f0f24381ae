//! The dynamic symbols of one file, in two pieces of memory however many they are.

use std::collections::BTreeSet;

use placet_model::SymbolLists;
use placet_package::{Elf, SymbolRole};

/// The dynamic symbols of a file, by name.
#[derive(Debug, Clone, Default)]
pub struct Symbols {
    /// All names, each followed by `@version` or `@@version`.
    text: String,
    exported: Vec<Place>,
    imported: Vec<Place>,
}

/// Where a symbol stands in the text.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u32,
    name_end: u32,
    version_start: u32,
    end: u32,
    serves_any: bool,
    is_copied: bool,
}

/// A symbol that is exported or imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// `name`, `name@version` or, of an exported one that a link without version gets,
    /// `name@@version`.
    pub text: &'a str,
    /// The name alone.
    pub name: &'a str,
    /// The version alone.
    pub version: Option<&'a str>,
    /// True of an exported symbol that the loader takes for one that wants no version.
    pub serves_any: bool,
    /// True of an object of which the file has a copy: another file has to define it too.
    pub is_copied: bool,
}

impl Symbol<'_> {
    /// True if the loader binds `import` to this exported symbol.
    ///
    /// Who wants a version gets that one, or a symbol of a file that gives it none. Source: the GNU
    /// C library, `elf/dl-lookup.c`, `check_match`.
    pub fn serves(&self, import: &Symbol<'_>) -> bool {
        self.name == import.name
            && match (self.version, import.version) {
                (None, _) => true,
                (Some(_), None) => self.serves_any,
                (Some(own), Some(wanted)) => own == wanted,
            }
    }
}

impl Symbols {
    /// The symbols of an ELF file. Imported ones that are weak are left out: nobody misses them.
    pub fn of_elf(elf: &Elf<'_>) -> Self {
        let mut symbols: Vec<_> = elf.symbols().iter().collect();
        symbols.retain(|symbol| symbol.is_exported() || symbol.is_missed());
        symbols.sort_unstable_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        let mut all = Self::default();
        for symbol in symbols {
            let at = if symbol.is_default { "@@" } else { "@" };
            let place = all.append(&symbol.name, symbol.version.map(|version| (at, version)));
            let place = Place {
                serves_any: symbol.serves_any(),
                is_copied: symbol.role == SymbolRole::Copied,
                ..place
            };
            if symbol.is_exported() {
                all.exported.push(place);
            }
            if symbol.is_missed() {
                all.imported.push(place);
            }
        }
        all
    }

    /// The symbols that stand in a package.
    pub fn of_lists(lists: &SymbolLists) -> Self {
        let mut all = Self::default();
        all.exported = all.append_all(&lists.exported);
        // A name that is on both lists is that of a copy.
        let mut imported = all.append_all(&lists.imported);
        for place in &mut imported {
            place.is_copied = lists.exported.contains(all.at(place).text);
        }
        all.imported = imported;
        all
    }

    fn append_all(&mut self, names: &BTreeSet<String>) -> Vec<Place> {
        let mut names: Vec<_> = names.iter().map(|text| split(text)).collect();
        names.sort_unstable();
        let places = names.into_iter().map(|(name, version)| Place {
            serves_any: version.is_none_or(|(at, _)| at == "@@"),
            ..self.append(name, version)
        });
        places.collect()
    }

    fn append(&mut self, name: &str, version: Option<(&str, &str)>) -> Place {
        // Names of one file come to 64 MiB at most.
        let position = |text: &String| u32::try_from(text.len()).unwrap_or(u32::MAX);
        let start = position(&self.text);
        self.text.push_str(name);
        let name_end = position(&self.text);
        let mut version_start = name_end;
        if let Some((at, version)) = version {
            self.text.push_str(at);
            version_start = position(&self.text);
            self.text.push_str(version);
        }
        Place {
            start,
            name_end,
            version_start,
            end: position(&self.text),
            serves_any: false,
            is_copied: false,
        }
    }

    fn at(&self, place: &Place) -> Symbol<'_> {
        let part = |from: u32, to: u32| &self.text[from as usize..to as usize];
        Symbol {
            text: part(place.start, place.end),
            name: part(place.start, place.name_end),
            version: (place.version_start > place.name_end)
                .then(|| part(place.version_start, place.end)),
            serves_any: place.serves_any,
            is_copied: place.is_copied,
        }
    }

    /// Symbols that others may be bound to, by name.
    pub fn exported(&self) -> impl ExactSizeIterator<Item = Symbol<'_>> {
        self.exported.iter().map(|place| self.at(place))
    }

    /// Symbols that others have to export, by name.
    pub fn imported(&self) -> impl ExactSizeIterator<Item = Symbol<'_>> {
        self.imported.iter().map(|place| self.at(place))
    }

    /// True if a symbol of this name is exported, in whatever version.
    pub fn exports(&self, name: &str) -> bool {
        let place = |place: &Place| self.at(place).name.cmp(name);
        self.exported.binary_search_by(place).is_ok()
    }
}

/// A name, and what marks its version with the version.
fn split(text: &str) -> (&str, Option<(&str, &str)>) {
    if let Some((name, version)) = text.split_once("@@") {
        return (name, Some(("@@", version)));
    }
    match text.split_once('@') {
        Some((name, version)) => (name, Some(("@", version))),
        None => (text, None),
    }
}
