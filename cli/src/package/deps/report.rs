//! What is told of files, for programs that read JSON or YAML.

use std::collections::BTreeSet;

use placet_model::{Architecture, ElfFacts, Symbol};
use placet_package::ElfKind;
use placet_packager::deps::{Collection, Entry, Graph};
use serde::{Serialize, Serializer};

/// One file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    #[serde(serialize_with = "kind")]
    pub(super) kind: ElfKind,
    pub(super) architecture: &'a Architecture,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) build_id: Option<&'a str>,
    #[serde(flatten)]
    pub(super) facts: &'a ElfFacts,
    /// What it needs itself.
    pub(super) uses: Vec<Library<'a>>,
    /// Paths, or names where nothing is found.
    pub(super) uses_through_others: BTreeSet<String>,
    #[serde(flatten)]
    pub(super) users: Users,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) symbols: Option<Symbols<'a>>,
}

/// A library that a file needs, and where the loader finds it.
#[derive(Debug, Serialize)]
pub(super) struct Library<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<&'a str>,
}

/// Who uses one library.
#[derive(Debug, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "they are the fields of the answer"
)]
#[serde(rename_all = "camelCase")]
pub(super) struct Users {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) library: Option<String>,
    pub(super) users: BTreeSet<String>,
    pub(super) users_through_others: BTreeSet<String>,
}

/// The dynamic symbols of a file.
#[derive(Debug, Serialize)]
pub(super) struct Symbols<'a> {
    #[serde(serialize_with = "texts")]
    pub(super) exported: Vec<Symbol<'a>>,
    #[serde(serialize_with = "texts")]
    pub(super) imported: Vec<Symbol<'a>>,
}

/// Everything about all files.
pub(super) fn files(collection: &Collection, with_symbols: bool) -> Vec<File<'_>> {
    let graph = collection.graph();
    let entries = collection.entries().iter();
    entries
        .map(|entry| file(entry, &graph, with_symbols))
        .collect()
}

fn file<'a>(entry: &'a Entry, graph: &Graph, with_symbols: bool) -> File<'a> {
    let object = &*entry.object;
    let uses = entry.uses.iter().map(|(name, path)| Library {
        name,
        path: path.as_deref(),
    });
    let through = graph.uses_through_others(&entry.path);
    File {
        path: &entry.path,
        kind: object.kind,
        architecture: &object.architecture,
        build_id: object.build_id.as_deref(),
        facts: &object.facts,
        uses: uses.collect(),
        uses_through_others: owned(through),
        users: Users {
            library: None,
            ..users(graph, &entry.path)
        },
        symbols: with_symbols.then(|| Symbols {
            exported: object.symbols.exported().collect(),
            imported: object.symbols.imported().collect(),
        }),
    }
}

/// Who uses the library at `path`, or of that name.
pub(super) fn users(graph: &Graph, path: &str) -> Users {
    Users {
        library: Some(path.to_owned()),
        users: owned(graph.users(path)),
        users_through_others: owned(graph.users_through_others(path)),
    }
}

fn owned<'a>(paths: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    paths.into_iter().map(ToOwned::to_owned).collect()
}

pub(super) fn kind_name(kind: ElfKind) -> &'static str {
    match kind {
        ElfKind::Executable => "executable",
        ElfKind::SharedObject => "shared-object",
        ElfKind::Other => "other",
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference to serialize_with"
)]
fn kind<S: Serializer>(kind: &ElfKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind_name(*kind))
}

fn texts<S: Serializer>(symbols: &[Symbol<'_>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(symbols.iter().map(|symbol| symbol.text))
}
