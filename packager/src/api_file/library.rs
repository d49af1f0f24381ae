//! API files and libraries: what a library offers, and whether it offers what an API asks.

use std::collections::BTreeSet;

use placet_model::SymbolLists;
use placet_package::{DynamicSymbol, Elf, SymbolKind, SymbolRole};

use super::{ApiFile, ApiSymbol, ApiSymbolKind, ApiVersion};

/// What linkers and start-up code define in every file. No API consists of it.
const LINKER_MADE: [&str; 14] = [
    "_DYNAMIC",
    "_GLOBAL_OFFSET_TABLE_",
    "_PROCEDURE_LINKAGE_TABLE_",
    "__bss_end__",
    "__bss_start",
    "__bss_start__",
    "__end__",
    "_bss_end__",
    "_edata",
    "_end",
    "_etext",
    "_fini",
    "_init",
    "_init_array_start",
];
/// The widest registers want 64 bytes; an address may be a multiple of more by chance.
const ALIGN_MAX: u64 = 64;

impl ApiFile {
    /// The API that `library` offers; `file_name` names it where it has no soname. `None` where it
    /// offers nothing.
    ///
    /// Name and version are proposals, made of the soname: `libssl.so.3` gives `libssl`, `3`.
    pub fn of_library(library: &Elf<'_>, file_name: &str) -> Option<Self> {
        let exported = library.symbols().iter();
        let exported = exported.filter(|symbol| symbol.role == SymbolRole::Exported);
        let mut symbols: Vec<_> = exported
            .filter(|symbol| belongs(symbol))
            .map(|symbol| describe(symbol, library))
            .collect();
        symbols
            .sort_by(|a, b| (&a.name, a.hidden, &a.version).cmp(&(&b.name, b.hidden, &b.version)));
        symbols.dedup_by(|a, b| a.name == b.name && a.version == b.version);
        if symbols.is_empty() {
            return None;
        }
        let soname = library.facts().soname.clone();
        let (name, version) = split(soname.as_deref().unwrap_or(file_name));
        let definitions = library.version_definitions().iter();
        let versions = definitions.map(|definition| ApiVersion {
            name: definition.name.to_owned(),
            parents: definition.parents.iter().map(ToString::to_string).collect(),
        });
        Some(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            soname,
            versions: versions.collect(),
            symbols,
        })
    }

    /// The symbols of the API that a module with these symbols does not export, as `name@version`.
    pub fn missing_of(&self, module: &SymbolLists) -> Vec<String> {
        let symbols = self.symbols.iter();
        symbols
            .filter(|symbol| !is_exported(symbol, &module.exported))
            .map(ApiSymbol::versioned_name)
            .collect()
    }

    /// The symbols of the API that a module with these symbols imports.
    pub fn used_by(&self, module: &SymbolLists) -> Vec<String> {
        let symbols = self.symbols.iter();
        symbols
            .filter(|symbol| {
                let wanted = match &symbol.version {
                    Some(version) => &format!("{}@{version}", symbol.name),
                    None => &symbol.name,
                };
                module.imported.contains(wanted)
            })
            .map(ApiSymbol::versioned_name)
            .collect()
    }
}

/// Whoever was linked against `name@version` is served by that version, default or not; whoever was
/// linked against a name alone, by the default version too.
fn is_exported(symbol: &ApiSymbol, exported: &BTreeSet<String>) -> bool {
    let name = &symbol.name;
    if let Some(version) = &symbol.version {
        let mut spellings = ["@@", "@"].iter();
        return spellings.any(|at| exported.contains(&format!("{name}{at}{version}")));
    }
    let default = format!("{name}@@");
    let mut from = exported.range(default.clone()..);
    exported.contains(name) || from.next().is_some_and(|it| it.starts_with(&default))
}

/// The symbols that stand for the versions themselves come with the versions.
fn belongs(symbol: &DynamicSymbol<'_>) -> bool {
    let is_version = symbol.is_absolute && symbol.version.is_some_and(|it| it == symbol.name);
    !is_version && !symbol.name.contains('@') && !LINKER_MADE.contains(&&*symbol.name)
}

fn describe(symbol: &DynamicSymbol<'_>, library: &Elf<'_>) -> ApiSymbol {
    let kind = match symbol.kind {
        SymbolKind::Function | SymbolKind::IndirectFunction => ApiSymbolKind::Function,
        SymbolKind::ThreadLocal => ApiSymbolKind::ThreadLocal,
        SymbolKind::Untyped if library.is_code(symbol.value) => ApiSymbolKind::Function,
        SymbolKind::Object | SymbolKind::Untyped => ApiSymbolKind::Object,
    };
    let is_data = kind != ApiSymbolKind::Function;
    let mut described = ApiSymbol {
        name: symbol.name.clone().into_owned(),
        version: symbol.version.map(ToOwned::to_owned),
        hidden: symbol.version.is_some() && !symbol.is_default,
        kind,
        weak: symbol.is_weak,
        size: is_data.then_some(symbol.size),
        align: None,
    };

    let align = 1
        << symbol
            .value
            .trailing_zeros()
            .min(ALIGN_MAX.trailing_zeros());
    if is_data && align != described.alignment() {
        described.align = Some(align);
    }
    described
}

/// `libssl.so.3` as `libssl` and `3`.
fn split(soname: &str) -> (&str, &str) {
    match soname.split_once(".so") {
        Some((name, rest)) if !name.is_empty() => {
            let version = rest.strip_prefix('.').filter(|it| !it.is_empty());
            (name, version.unwrap_or("1"))
        }
        _ => (soname, "1"),
    }
}
