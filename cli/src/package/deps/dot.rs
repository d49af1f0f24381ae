//! Who uses whom, in graphviz' language.

use std::fmt::Write as _;

use placet_model::visible;
use placet_packager::deps::Collection;

/// The objects that were named, those that they come to, and what is missing (dashed).
pub(super) fn graph(collection: &Collection) -> String {
    let graph = collection.graph();
    let mut text = "digraph uses {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for missing in graph.missing() {
        writeln!(text, "  {} [style=dashed];", quoted(missing)).expect("a text takes it");
    }
    for (user, used) in graph.edges() {
        writeln!(text, "  {} -> {};", quoted(user), quoted(used)).expect("a text takes it");
    }
    text + "}\n"
}

/// A name in quotes. A backslash would begin an escape of graphviz's own.
fn quoted(name: &str) -> String {
    let name = visible(name).to_string();
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
