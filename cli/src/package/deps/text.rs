//! What is told of files, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use placet_model::{visible, wrapped};
use placet_packager::deps::Unresolved;

use super::report::{File, Users, kind_name};
use crate::output::{DIM, HEAD};

/// Columns before the values.
const INDENT: usize = 15;

pub(super) fn files(files: &[File<'_>]) -> String {
    let files = files.iter().map(file);
    files.collect::<Vec<_>>().join("\n")
}

fn file(file: &File<'_>) -> String {
    let (facts, users) = (file.facts, &file.users);
    let what = format!("{} {}", file.architecture, kind_name(file.kind));
    let mut text = heading(file.path, &what);
    let versions = facts.versions_needed.iter().map(ToString::to_string);
    let absent = file.uses.iter().filter(|library| library.path.is_none());
    field(&mut text, "soname", facts.soname.iter());
    field(&mut text, "interpreter", facts.interpreter.iter());
    field(&mut text, "run path", facts.run_path.iter());
    field(&mut text, "provides", facts.versions_provided.iter());
    field(&mut text, "needs", facts.needed.iter());
    field(&mut text, "versions", versions);
    field(&mut text, "not here", absent.map(|library| library.name));
    field(&mut text, "through others", file.uses_through_others.iter());
    field(&mut text, "used by", users.users.iter());
    field(&mut text, "and through", users.users_through_others.iter());
    if let Some(symbols) = &file.symbols {
        lines(
            &mut text,
            "exports",
            symbols.exported.iter().map(|it| it.text),
        );
        lines(
            &mut text,
            "imports",
            symbols.imported.iter().map(|it| it.text),
        );
    }
    text
}

fn heading(path: &str, what: &str) -> String {
    format!("{HEAD}{}{HEAD:#}  {DIM}{what}{DIM:#}\n", visible(path))
}

/// A field and its values, in as many lines as they take.
fn field(text: &mut String, name: &str, values: impl Iterator<Item = impl AsRef<str>>) {
    let values: Vec<_> = values
        .map(|value| visible(value.as_ref()).to_string())
        .collect();
    if !values.is_empty() {
        let values = values.join(" ");
        let shown = wrapped(&values, INDENT + 2);
        writeln!(text, "  {name:INDENT$}{shown}").expect("a text takes what is written");
    }
}

/// A field with one line for each value.
fn lines<'a>(text: &mut String, name: &str, values: impl Iterator<Item = &'a str>) {
    for value in values {
        let value = visible(value);
        writeln!(text, "  {name:INDENT$}{value}").expect("a text takes what is written");
    }
}

pub(super) fn users(libraries: &[Users]) -> String {
    let mut text = String::new();
    for library in libraries {
        let name = library.library.as_deref().unwrap_or_default();
        let count = library.users.len() + library.users_through_others.len();
        text += &heading(name, &format!("{count} users"));
        lines(
            &mut text,
            "directly",
            library.users.iter().map(String::as_str),
        );
        let others = library.users_through_others.iter();
        lines(&mut text, "through others", others.map(String::as_str));
    }
    text
}

pub(super) fn unresolved(unresolved: &[Unresolved]) -> String {
    let mut files: BTreeMap<&str, Vec<&Unresolved>> = BTreeMap::new();
    for one in unresolved {
        files.entry(&one.path).or_default().push(one);
    }
    let files = files.into_iter().map(|(path, missing)| {
        let mut text = heading(path, &loaded_by(path, &missing));
        for one in missing {
            let hint = hint(one);
            writeln!(text, "  {}{hint}", one.missing).expect("a text takes what is written");
        }
        text
    });
    files.collect::<Vec<_>>().join("\n")
}

/// Who exports a symbol, and what is missing with a library.
fn hint(one: &Unresolved) -> String {
    let exporters = one.exported_by.iter().map(|path| visible(path).to_string());
    let exporters = exporters.collect::<Vec<_>>().join(" ");
    let said = match (one.symbols.first(), one.symbols.len()) {
        (Some(symbol), 1) => format!("with symbol {}", visible(symbol)),
        (Some(symbol), count) => format!("with {count} symbols, as {}", visible(symbol)),
        (None, _) if exporters.is_empty() => return String::new(),
        (None, _) => format!("exported by {exporters}"),
    };
    format!("  {DIM}{said}{DIM:#}")
}

/// In which processes, where it is not the file itself that was loaded first.
fn loaded_by(path: &str, missing: &[&Unresolved]) -> String {
    let processes = missing.iter().flat_map(|one| &one.loaded_by);
    let mut others: Vec<_> = processes.filter(|process| *process != path).collect();
    others.sort_unstable();
    others.dedup();
    match others.as_slice() {
        [] => String::new(),
        [first] => format!("in {}", visible(first)),
        [first, rest @ ..] => format!("in {} and {} more", visible(first), rest.len()),
    }
}
