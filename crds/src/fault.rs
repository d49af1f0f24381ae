//! What is wrong with a declaration, where, and what to do.

use std::fmt;

use placet_model::visible;

use crate::yaml::{Place, read};
use crate::{FILE_MAX, SourceFile};

/// One thing that is wrong: `classes.yaml:12:5: spec.strategy.voteSeconds: …`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file, or kind and name of the resource (`NodeClass/core`) where no file is known; empty
    /// where neither is.
    pub file: String,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The column, counted from 1.
    pub column: Option<usize>,
    /// The field, as in `spec.packages[0].version`; empty for the whole.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            field,
            message,
        } = self;
        f.write_str(file)?;
        for number in [line, column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        if !file.is_empty() {
            f.write_str(": ")?;
        }
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        f.write_str(message)
    }
}

impl std::error::Error for Fault {}

/// One step from a value to a value inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// What is wrong at a path inside a document.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) path: Vec<Step>,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(path: &[Step], message: impl Into<String>) -> Self {
        Self {
            path: path.to_vec(),
            message: message.into(),
        }
    }

    /// The finding as a fault of `file`, with the place that `places` has for it.
    pub(crate) fn into_fault(self, file: &str, places: Option<&Place>) -> Fault {
        let at = places.map(|root| root.find(&self.path));
        Fault {
            file: visible(file).to_string(),
            line: at.map(|(line, _)| line),
            column: at.map(|(_, column)| column),
            field: field(&self.path),
            message: visible(&self.message).to_string(),
        }
    }
}

/// The path as text: `spec.packages[0].name`, `metadata.labels["a.b/c"]`.
pub(crate) fn field(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.extend(["[", &index.to_string(), "]"]),
            Step::Key(key) if is_plain(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Step::Key(key) => text.extend(["[\"", &visible(key).to_string(), "\"]"]),
        }
    }
    text
}

fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 64
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Reads a path as [`field`] writes it, as far as its keys are plain.
fn steps(field: &str) -> Vec<Step> {
    field
        .split(['.', '['])
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_suffix(']') {
            Some(index) => index.parse().map_or_else(
                |_| Step::Key(index.trim_matches('"').to_owned()),
                Step::Index,
            ),
            None => Step::Key(part.to_owned()),
        })
        .collect()
}

/// Gives faults that know only a resource (`NodeClass/core`, as from [`crate::desired`] and
/// [`crate::not_carried_out`]) the file and line where that resource stands in `files`.
pub fn locate(mut faults: Vec<Fault>, files: &[SourceFile]) -> Vec<Fault> {
    if faults.is_empty() {
        return faults;
    }
    for file in files.iter().filter(|file| file.text.len() <= FILE_MAX) {
        let Ok(documents) = read(&file.text) else {
            continue;
        };
        for document in documents {
            let text = |pointer| document.value.pointer(pointer).and_then(|it| it.as_str());
            let (Some(kind), Some(name)) = (text("/kind"), text("/metadata/name")) else {
                continue;
            };
            let resource = format!("{}/{}", visible(kind), visible(name));
            for fault in faults.iter_mut().filter(|fault| fault.file == resource) {
                let (line, column) = document.place.find(&steps(&fault.field));
                visible(&file.name).to_string().clone_into(&mut fault.file);
                fault.line = Some(line);
                fault.column = Some(column);
            }
        }
    }
    faults
}

/// The candidate that `text` was probably meant to be.
pub(crate) fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer texts are no slips of the pen, and comparing them costs the square of their length.
    if text.len() > 128 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// `a, b or c`, cut after a few.
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    let words: Vec<&str> = words.into_iter().collect();
    let mut text = words
        .iter()
        .take(MOST)
        .map(|word| format!("`{}`", visible(word)))
        .collect::<Vec<_>>()
        .join(", ");
    if words.len() > MOST {
        text.extend([" and ", &(words.len() - MOST).to_string(), " more"]);
    }
    text
}
