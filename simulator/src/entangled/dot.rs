//! What hangs together, as a graph in the language of Graphviz.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use super::{Cut, Entangled, Group, How, Link, ModuleName};
use crate::report::count;

/// One box for each group with an arrow from each user to what it uses; those that are worth a cut
/// say how many processes fewer it would be, in red where it is more than one.
#[expect(
    clippy::missing_panics_doc,
    reason = "writing to a string does not fail"
)]
pub fn dot(entangled: &Entangled) -> String {
    let mut text = String::new();
    write_all(&mut text, entangled).expect("writing to a string does not fail");
    text
}

fn write_all(f: &mut String, entangled: &Entangled) -> fmt::Result {
    let groups: BTreeMap<&ModuleName, usize> = (0..)
        .zip(&entangled.groups)
        .flat_map(|(number, group)| group.modules.iter().map(move |it| (&it.name, number)))
        .collect();
    writeln!(f, "digraph entangled {{")?;
    writeln!(
        f,
        "  rankdir=LR;\n  node [shape=box, fontname=\"monospace\"];"
    )?;
    for (number, group) in entangled.groups.iter().enumerate() {
        writeln!(f, "  g{number} [label=\"{}\"];", label(group))?;
    }
    let mut links = BTreeMap::<(usize, usize), BTreeSet<&Link>>::new();
    for dependency in &entangled.dependencies {
        let Some(user) = groups.get(&dependency.link.user) else {
            continue;
        };
        let on = dependency.on.iter().filter_map(|name| groups.get(name));
        for group in on.filter(|group| *group != user) {
            links
                .entry((*user, *group))
                .or_default()
                .insert(&dependency.link);
        }
    }
    for ((user, group), links) in links {
        writeln!(
            f,
            "  g{user} -> g{group}{};",
            style(&entangled.groups[group], &links)
        )?;
    }
    writeln!(f, "}}")
}

/// Modules that a box names before it counts the rest.
const MODULES_SHOWN: usize = 6;

fn label(group: &Group) -> String {
    let shown = group.modules.iter().take(MODULES_SHOWN);
    let mut lines: Vec<_> = shown.map(|it| quoted(&it.name.to_string())).collect();
    if let more @ 1.. = group.modules.len().saturating_sub(MODULES_SHOWN) {
        lines.push(format!("and {more} more"));
    }
    lines.push(count(group.reach.processes, "process", "processes"));
    lines.join("\\n")
}

/// How an arrow is drawn that stands for all these dependencies.
fn style(group: &Group, links: &BTreeSet<&Link>) -> String {
    let mut parts = Vec::new();
    let cuts = group.cuts.iter().filter(|cut| links.contains(&cut.link));
    if let (1, Some(most)) = (links.len(), cuts.map(Cut::most).max()) {
        parts.push(format!("label=\"-{most}\""));
        if most > 1 {
            parts.push("color=red".to_owned());
        }
    }
    if links
        .iter()
        .all(|link| matches!(link.how, How::Supplemental | How::Optional))
    {
        parts.push("style=dashed".to_owned());
    }
    match parts.join(", ") {
        none if none.is_empty() => none,
        parts => format!(" [{parts}]"),
    }
}

/// Text within quotes; what could end them is escaped.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
