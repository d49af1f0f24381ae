//! Scripts, as people write them.

mod check;
mod entries;

use std::collections::BTreeMap;

use placet_model::{PackageName, Version, visible};
use serde::Deserialize;
use serde_yaml::{Location, Spanned};

pub(super) use check::{duration, time};
use entries::RevisionEntry;
pub(super) use entries::{Decides, DecisionEntry, FailEntry, Fails, Says, StepEntry, VoteEntry};

/// Far above any story that somebody wants to read.
const STEPS_MOST: usize = 1_000;

/// A script that cannot be played: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {why}", visible(file))]
pub struct ScriptError {
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) why: String,
}

/// What happens to a fleet, step by step.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "schema", schemars(title = "Placet simulation script"))]
pub struct Script {
    /// From what it is drawn how long each node takes for what it does; 0 where left out. The same
    /// seed gives the same times.
    #[serde(default)]
    pub(super) seed: u64,
    /// When it begins; 2026-01-01T00:00:00Z where left out.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub(super) start: Option<Spanned<String>>,
    /// The revision that all nodes run at the beginning; where left out they run nothing yet.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub(super) running: Option<Spanned<String>>,
    /// The revisions that can be committed, by the names that steps use.
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, RevisionEntry>"))]
    pub(super) revisions: BTreeMap<String, Spanned<RevisionEntry>>,
    /// What happens, in this order.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<StepEntry>"))]
    pub(super) steps: Vec<Spanned<StepEntry>>,
    /// The name of its file.
    #[serde(skip)]
    pub(super) file: String,
}

/// Where the declarations of a revision come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A folder, from the folder of the script.
    Folder(String),
    /// A git revision.
    Git(String),
}

/// The JSON Schema of scripts, for editors.
#[cfg(feature = "schema")]
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    settings
        .into_generator()
        .into_root_schema_for::<Script>()
        .to_value()
}

impl Script {
    /// Reads a script, of a file of this name.
    ///
    /// # Errors
    ///
    /// It is no script, or contradicts itself: revisions that are based on each other, names that are
    /// not there, times that go backwards.
    pub fn parse(text: &str, file: &str) -> Result<Self, ScriptError> {
        let mut script: Self = serde_yaml::from_str(text).map_err(|error| ScriptError {
            file: file.to_owned(),
            line: error.location().map_or(0, |it| it.line()),
            why: first_line(&error.to_string()),
        })?;
        file.clone_into(&mut script.file);
        if script.steps.len() > STEPS_MOST {
            let place = script.steps[STEPS_MOST].referenced;
            return Err(script.error(place, format!("a script has at most {STEPS_MOST} steps")));
        }
        script.check_revisions()?;
        script.check_steps()?;
        Ok(script)
    }

    /// Where a revision comes from, and the versions of packages that it has instead.
    ///
    /// # Panics
    ///
    /// For a name that is none of [`Script::revisions`].
    pub fn source(&self, revision: &str) -> (Source, BTreeMap<PackageName, Version>) {
        let mut packages = BTreeMap::new();
        let mut entry = &self.revisions[revision].value;
        // What is nearer wins; that bases come to an end was checked.
        loop {
            for (name, version) in &entry.packages {
                packages.entry(name.clone()).or_insert(version.clone());
            }
            if let Some(folder) = &entry.folder {
                return (Source::Folder(folder.clone()), packages);
            }
            let Some(base) = &entry.base else {
                let git = entry.git.clone().unwrap_or_default();
                return (Source::Git(git), packages);
            };
            entry = &self.revisions[base].value;
        }
    }

    /// The names of its revisions.
    pub fn revisions(&self) -> impl Iterator<Item = &str> {
        self.revisions.keys().map(String::as_str)
    }

    pub(super) fn error(&self, place: Location, why: String) -> ScriptError {
        ScriptError {
            file: self.file.clone(),
            line: place.line(),
            why,
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
