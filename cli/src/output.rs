//! Printing: tables for people, JSON and YAML for programs.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use clap::ValueEnum;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use placet_simulator::{Outcome, Paint};
use serde_json::Value;

/// What stands out badly.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What waits.
pub(crate) const WAIT: Style = AnsiColor::Yellow.on_default();
/// Headings.
pub(crate) const HEAD: Style = Style::new().bold();
/// What is said beside the matter.
pub(crate) const DIM: Style = Style::new().dimmed();

/// The same for reports of the simulator.
pub(crate) const PAINT: Paint = Paint {
    head: HEAD,
    bad: BAD,
    wait: WAIT,
    good: GOOD,
};

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Markdown, for a comment on a pull request; `placet check` and `placet package diff` have
    /// it.
    Markdown,
    /// `JUnit` XML, for hosts of continuous integration; `placet check` has it.
    Junit,
    /// SARIF 2.1.0, shown beside the lines of a change; `placet check` has it.
    Sarif,
}

/// How a command ended that could be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done, or yes.
    Done,
    /// The answer is no.
    No,
    /// There is no answer.
    Unknown,
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Clean => Self::Done,
            Outcome::Objection => Self::No,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done => Self::SUCCESS,
            Answer::No => Self::from(1),
            Answer::Unknown => Self::from(2),
        }
    }
}

/// The exit code where something could not be done: 130, as shells have it, where a person ended it.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    use placet_packager::Error;
    let mut causes = error.chain();
    let is_ended = causes.any(|it| matches!(it.downcast_ref(), Some(Error::Cancelled)));
    if is_ended { 130 } else { 2 }
}

/// Says what a person should know, and nothing waits for.
pub(crate) fn warn(what: &dyn fmt::Display) {
    anstream::eprintln!("{WAIT}warning:{WAIT:#} {what}");
}

/// Prints `value` as JSON or YAML.
pub(crate) fn print(value: &Value, format: Format) -> anyhow::Result<()> {
    let text = match format {
        Format::Yaml => serde_yaml::to_string(value).context("failed to write YAML")?,
        Format::Table | Format::Json | Format::Markdown | Format::Junit | Format::Sarif => {
            serde_json::to_string_pretty(value)?
        }
    };
    anstream::println!("{}", text.trim_end());
    Ok(())
}

/// Writes all of a long text to standard output at once.
pub(crate) fn write(text: &[u8]) -> anyhow::Result<()> {
    written(io::stdout().lock().write_all(text))
}

/// What became of writing to standard output.
pub(crate) fn written(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("failed to write to standard output"),
    }
}

/// Resources as one value: themselves where there is one, a `List` otherwise, as kubectl does.
pub(crate) fn list(mut objects: Vec<Value>, single: bool) -> Value {
    match objects.len() {
        1 if single => objects.remove(0),
        _ => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}),
    }
}

/// Columns between two columns of a table.
const GAP: u16 = 2;

/// A longer word may be broken.
const WORD_MOST: u16 = 16;

/// Prints a table without lines, at most as wide as the terminal (80 columns where there is none).
/// The first column, which is what people type, is never broken, nor are words of a usual length.
pub(crate) fn table(headings: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(80);
    }
    let heading = [headings
        .iter()
        .map(|heading| heading.to_uppercase())
        .collect::<Vec<_>>()];
    table.set_header(&heading[0]);
    let shortened = |row: Vec<String>| row.iter().map(|cell| short(cell)).collect();
    let rows: Vec<Vec<String>> = rows.into_iter().map(shortened).collect();
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, GAP));
        let width = longest_word(&rows, index).max(longest_word(&heading, index)) + GAP;
        column.set_constraint(if index == 0 {
            ColumnConstraint::ContentWidth
        } else {
            ColumnConstraint::LowerBoundary(Width::Fixed(width))
        });
    }
    table.add_rows(rows);
    for line in table.to_string().lines() {
        anstream::println!("{}", line.trim_end());
    }
}

fn longest_word(rows: &[Vec<String>], column: usize) -> u16 {
    let cells = rows.iter().filter_map(|row| row.get(column));
    let words = cells.flat_map(|cell| cell.split_whitespace());
    let longest = words.map(|word| word.chars().count()).max();
    u16::try_from(longest.unwrap_or_default()).map_or(WORD_MOST, |longest| longest.min(WORD_MOST))
}

/// Text with its revisions as people say them: `main@1a2b3c4d5e` for `main@sha1:1a2b3c4d5e…`.
pub(crate) fn short(text: &str) -> String {
    let mut parts = text.split("@sha1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |before, part| {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        format!("{before}@{}{}", &part[..digits.min(SHORT)], &part[digits..])
    })
}

/// Enough digits to tell commits apart.
const SHORT: usize = 10;

/// The value at a printer column's JSON path (`.spec.url`,
/// `.status.conditions[?(@.type=="Ready")].status`), as text.
pub(crate) fn at(object: &Value, path: &str) -> String {
    lookup(object, path).map_or_else(String::new, plain)
}

fn lookup<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let path = path.trim_start_matches('.');
    if path.is_empty() {
        return Some(object);
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    if end == 0 {
        let (filter, rest) = path.strip_prefix("[?(@.")?.split_once(")]")?;
        let (key, wanted) = filter.split_once("==")?;
        let wanted = wanted.trim_matches(['"', '\'']);
        let found = object.as_array()?.iter().find(|item| item[key] == wanted)?;
        return lookup(found, rest);
    }
    lookup(object.get(&path[..end])?, &path[end..])
}

/// A value as people read it in a table cell.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => placet_model::visible(text).to_string(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{at, short};

    #[test]
    fn revisions_are_shortened_wherever_they_stand() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let text = format!("main@sha1:{commit} is in force, é after v1@sha1:{commit}");
        assert_eq!(
            short(&text),
            "main@0123456789 is in force, é after v1@0123456789"
        );
        assert_eq!(short("no revision"), "no revision");
    }

    #[test]
    fn a_json_path_finds_fields_and_conditions() {
        let object = json!({
            "spec": {"url": "a\u{1b}[2J"},
            "status": {"conditions": [{"type": "Stalled", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        assert_eq!(at(&object, ".spec.url"), "a\\u{1b}[2J");
        assert_eq!(
            at(&object, ".status.conditions[?(@.type==\"Ready\")].status"),
            "True"
        );
        assert_eq!(at(&object, ".status.none"), "");
    }
}
