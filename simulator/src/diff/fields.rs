//! Metadata, compared field by field, whatever fields there are.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Module, PackageConfig, SymbolLists, visible};
use serde::Serialize;
use serde_json::Value;

use super::PackageSide;

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The field by its name in the metadata (`elf.needed`, `process.stopSeconds`).
    pub field: String,
    /// What the old package alone has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Value>,
    /// What the new package alone has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<Value>,
}

/// What the status of a module says already, or its row.
const OF_CONTENT: &[&str] = &[
    "path",
    "architecture",
    "size",
    "digest",
    "signature",
    "buildId",
];
/// What every new version has another one of, and the modules.
const OF_VERSION: &[&str] = &["version", "created", "sourceRevision", "derived", "modules"];

/// What differs in what is said of two modules, symbols included.
pub(super) fn of_modules(
    (from, before): (PackageSide<'_>, &Module),
    (to, after): (PackageSide<'_>, &Module),
) -> Vec<Difference> {
    let mut differences = differences(before, after, OF_CONTENT);
    let lists = differences.extract_if(.., |it| it.field == "elf.symbols");
    if lists.count() > 0 {
        let (old, new) = (symbols(from, before), symbols(to, after));
        differences.extend(old.zip(new).into_iter().flat_map(|(old, new)| {
            let exported = of_names("symbols.exported", &old.exported, &new.exported);
            exported
                .into_iter()
                .chain(of_names("symbols.imported", &old.imported, &new.imported))
        }));
    }
    differences
}

/// The dynamic symbols of a module; none at all are an empty list.
fn symbols(side: PackageSide<'_>, module: &Module) -> Option<SymbolLists> {
    match module.elf.as_ref().and_then(|facts| facts.symbols) {
        Some(digest) => side.symbols.get(&digest).cloned(),
        None => Some(SymbolLists::default()),
    }
}

fn of_names(field: &str, old: &BTreeSet<String>, new: &BTreeSet<String>) -> Option<Difference> {
    let texts = |names: BTreeSet<String>| names.into_iter().map(Value::String).collect();
    (old != new).then(|| Difference {
        field: field.to_owned(),
        removed: texts(old - new),
        added: texts(new - old),
    })
}

/// What differs in the metadata of two packages, modules aside.
pub(super) fn of_packages(from: &PackageConfig, to: &PackageConfig) -> Vec<Difference> {
    differences(from, to, OF_VERSION)
}

fn differences<T: Serialize>(from: &T, to: &T, without: &[&str]) -> Vec<Difference> {
    let fields = |value: &T| {
        let mut fields = BTreeMap::new();
        let value = serde_json::to_value(value).expect("metadata are JSON");
        flatten(String::new(), value, &mut fields);
        fields.retain(|field, _| !without.contains(&field.split('.').next().unwrap_or_default()));
        fields
    };
    let (old, new) = (fields(from), fields(to));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name));
    differing
        .map(|field| between(field, old.get(field), new.get(field)))
        .collect()
}

/// Objects become fields with dots in their names.
fn flatten(name: String, value: Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let separator = if name.is_empty() { "" } else { "." };
                flatten(format!("{name}{separator}{key}"), value, fields);
            }
        }
        Value::Null => {}
        value => {
            fields.insert(name, value);
        }
    }
}

/// Lists are compared as sets, but for those of processes, whose order is what matters in them, and
/// those that differ in order alone.
fn between(field: &str, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let items = |value: Option<&Value>| match value {
        Some(Value::Array(items)) => items.clone(),
        Some(value) => vec![value.clone()],
        None => Vec::new(),
    };
    let (before, after) = (items(old), items(new));
    let without = |own: &[Value], other: &[Value]| -> Vec<Value> {
        let own = own.iter().filter(|item| !other.contains(item));
        own.cloned().collect()
    };
    let (mut removed, mut added) = (without(&before, &after), without(&after, &before));
    if field.starts_with("process.") || (removed.is_empty() && added.is_empty()) {
        removed = old.cloned().into_iter().collect();
        added = new.cloned().into_iter().collect();
    }
    Difference {
        field: field.to_owned(),
        removed,
        added,
    }
}

/// How many items a line shows of each side before it counts the rest.
const ITEMS_SHOWN: usize = 8;

impl Difference {
    /// The field and what became of it, for people.
    pub(super) fn line(&self) -> String {
        let field = self.field.strip_prefix("elf.").unwrap_or(&self.field);
        let field = field.replace('.', " ");
        match (self.removed.as_slice(), self.added.as_slice()) {
            ([old], [new]) => format!("{field}: {} -> {}", shown(old), shown(new)),
            (removed, added) => {
                let parts = items('-', removed).chain(items('+', added));
                format!("{field}: {}", parts.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn items(sign: char, values: &[Value]) -> impl Iterator<Item = String> {
    let more = values.len().saturating_sub(ITEMS_SHOWN);
    let more = (more > 0).then(|| format!("{sign}{more} more"));
    let first = values.iter().take(ITEMS_SHOWN);
    first
        .map(move |it| format!("{sign}{}", shown(it)))
        .chain(more)
}

/// A value as people would write it: `greet >=1.0`, `one of usr/lib/a.so, usr/lib/b.so`.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => visible(text).to_string(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(object) => {
            // What names a thing comes first, and needs no key.
            let named = ["package", "name", "soname", "version"];
            let plain = named.iter().filter_map(|key| object.get(*key).map(shown));
            let rest = object
                .iter()
                .filter(|(key, _)| !named.contains(&key.as_str()));
            let rest = rest.map(|(key, value)| format!("{} {}", visible(key), shown(value)));
            plain.chain(rest).collect::<Vec<_>>().join(" ")
        }
        value => value.to_string(),
    }
}
