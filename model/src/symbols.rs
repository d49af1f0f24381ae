//! The dynamic symbols of one file, in few pieces of memory however many they are.

use crate::SymbolLists;

/// The dynamic symbols of a file, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symbols {
    /// All names, each followed by `@version` or `@@version`.
    text: String,
    exported: Vec<Place>,
    imported: Vec<Place>,
}

/// Where a symbol stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// A symbol of a file that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileSymbol<'a> {
    /// The name alone.
    pub name: &'a str,
    /// The version alone.
    pub version: Option<&'a str>,
    /// True of the exported one that a link without version gets.
    pub is_default: bool,
    /// As [`Symbol::serves_any`].
    pub serves_any: bool,
    /// Offered to others or wanted of them.
    pub role: SymbolRole,
}

/// On which side of a binding a symbol stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SymbolRole {
    /// Defined, and visible to others.
    Exported,
    /// To be found in another file.
    Imported,
    /// Both: a program has a copy of an object that another file has to define (copy relocation).
    Copied,
}

impl<'a> FileSymbol<'a> {
    /// The bytes of its text, at most.
    fn length(&self) -> usize {
        self.name.len() + self.version.map_or(0, |version| "@@".len() + version.len())
    }

    fn of_text(text: &'a str, role: SymbolRole) -> Self {
        let (name, version) = text.split_once('@').unzip();
        let is_default = version.is_some_and(|version| version.starts_with('@'));
        Self {
            name: name.unwrap_or(text),
            version: version.map(|version| version.trim_start_matches('@')),
            is_default,
            serves_any: true,
            role,
        }
    }
}

impl Symbols {
    /// These symbols, in whatever order. Imported ones that are weak are to be left out: nobody misses
    /// them.
    pub fn new<'a>(symbols: impl IntoIterator<Item = FileSymbol<'a>>) -> Self {
        let mut symbols: Vec<_> = symbols.into_iter().collect();
        symbols.sort_unstable();
        let mut all = Self::default();
        all.text
            .reserve_exact(symbols.iter().map(FileSymbol::length).sum());
        for symbol in symbols {
            let place = all.append(&symbol);
            if symbol.role != SymbolRole::Imported {
                all.exported.push(place);
            }
            if symbol.role != SymbolRole::Exported {
                all.imported.push(place);
            }
        }
        all
    }

    /// The symbols that stand in a package. Its lists do not say which version is the first one, which
    /// serves any, so that each is taken to.
    pub fn of_lists(lists: &SymbolLists) -> Self {
        // A name that is on both lists is that of a copy.
        let exported = lists.exported.iter().map(|text| {
            let is_copied = lists.imported.contains(text);
            let role = if is_copied {
                SymbolRole::Copied
            } else {
                SymbolRole::Exported
            };
            FileSymbol::of_text(text, role)
        });
        let imported = lists.imported.difference(&lists.exported);
        let imported = imported.map(|text| FileSymbol::of_text(text, SymbolRole::Imported));
        Self::new(exported.chain(imported))
    }

    /// Imported symbols, from texts of these.
    pub fn imports<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let imports = texts.into_iter();
        Self::new(imports.map(|text| FileSymbol::of_text(text, SymbolRole::Imported)))
    }

    fn append(&mut self, symbol: &FileSymbol<'_>) -> Place {
        // Names of one file come to 64 MiB at most.
        let position = |text: &String| u32::try_from(text.len()).unwrap_or(u32::MAX);
        let start = position(&self.text);
        self.text.push_str(symbol.name);
        let name_end = position(&self.text);
        let mut version_start = name_end;
        if let Some(version) = symbol.version {
            self.text
                .push_str(if symbol.is_default { "@@" } else { "@" });
            version_start = position(&self.text);
            self.text.push_str(version);
        }
        Place {
            start,
            name_end,
            version_start,
            end: position(&self.text),
            serves_any: symbol.serves_any,
            is_copied: symbol.role == SymbolRole::Copied,
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

    /// The exported symbols of this name, one for each version.
    pub fn named(&self, name: &str) -> impl Iterator<Item = Symbol<'_>> {
        let from = |place: &Place| self.at(place).name < name;
        let first = self.exported.partition_point(from);
        let symbols = self.exported[first..].iter().map(|place| self.at(place));
        symbols.take_while(move |symbol| symbol.name == name)
    }

    /// True if the loader binds `import` to one of the exported symbols.
    pub fn defines(&self, import: &Symbol<'_>) -> bool {
        self.named(import.name).any(|export| export.serves(import))
    }

    /// True if a symbol of this name is exported, in whatever version.
    pub fn exports(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }
}
