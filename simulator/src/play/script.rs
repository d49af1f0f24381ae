//! Scripts, as people write them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use placet_model::{NodeName, PackageName, ProcessName, Version, visible};
use serde::Deserialize;
use serde_yaml::{Location, Spanned};

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

/// Declarations of a fleet: exactly one of `folder`, `git` and `base`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct RevisionEntry {
    /// A folder of declarations, from the folder of the script.
    pub(super) folder: Option<String>,
    /// A revision of the git repository that holds the script: a branch, a tag, a commit.
    pub(super) git: Option<String>,
    /// Another revision of this script, which this one takes over.
    pub(super) base: Option<String>,
    /// With `base`: other versions of packages, under the same references with another tag.
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<PackageName, String>"))]
    pub(super) packages: BTreeMap<PackageName, Version>,
}

/// One thing that happens: exactly one field beside `at`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct StepEntry {
    /// When it happens, as 2026-01-01T00:00:00Z; right after the step before where left out.
    pub(super) at: Option<String>,
    /// A revision becomes what the fleet should run.
    pub(super) commit: Option<String>,
    /// Time passes: `90s`, `10m`, `2h`, `1d`.
    pub(super) wait: Option<String>,
    /// What a process says from now on when it is asked.
    pub(super) vote: Option<VoteEntry>,
    /// A person decides about the hold that is open.
    pub(super) decide: Option<DecisionEntry>,
    /// Nodes lose their connection.
    pub(super) lose: Option<BTreeSet<NodeName>>,
    /// Nodes have a connection again.
    #[serde(rename = "return")]
    pub(super) back: Option<BTreeSet<NodeName>>,
    /// Nodes have a connection again, after they were started anew: what they promised is void.
    pub(super) reboot: Option<BTreeSet<NodeName>>,
    /// From now on something fails.
    pub(super) fail: Option<FailEntry>,
    /// On these nodes nothing fails any more.
    pub(super) mend: Option<BTreeSet<NodeName>>,
}

/// What a process says.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VoteEntry {
    /// The process.
    pub(super) process: ProcessName,
    /// On which nodes; all where left out.
    #[serde(default)]
    pub(super) nodes: BTreeSet<NodeName>,
    /// Its answer.
    pub(super) answer: Says,
    /// Its short code.
    #[serde(default)]
    pub(super) code: String,
    /// Its reason, for people.
    #[serde(default)]
    pub(super) message: String,
    /// For `defer`: seconds until it wants to be asked again; 60 where left out.
    #[serde(default = "minute")]
    pub(super) seconds: u32,
}

fn minute() -> u32 {
    60
}

/// An answer of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum Says {
    /// It agrees.
    Accept,
    /// It objects.
    Veto,
    /// It wants to be asked later.
    Defer,
    /// It says nothing, which counts by its policy.
    Silent,
    /// It is not registered: its logic decides, if it carries any, and it has no say otherwise.
    Unregistered,
}

/// A decision.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DecisionEntry {
    /// What is to happen.
    pub(super) action: Decides,
    /// For `force`: these nodes alone; all where left out.
    #[serde(default)]
    pub(super) nodes: BTreeSet<NodeName>,
    /// Why.
    #[serde(default)]
    pub(super) reason: String,
}

/// The three ways on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum Decides {
    /// Leave out the nodes that object.
    Skip,
    /// Change them all the same.
    Force,
    /// Give the change up.
    Abort,
}

/// Something that fails.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FailEntry {
    /// Where.
    pub(super) nodes: BTreeSet<NodeName>,
    /// What.
    pub(super) what: Fails,
    /// What is said of it.
    pub(super) message: String,
}

/// What can fail on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fails {
    /// Fetching modules.
    Fetch,
    /// The start of what changes: the node gives the change back at once.
    Start,
    /// What runs, while it is watched: the node gives the change back then.
    Health,
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

    /// When it begins.
    pub(super) fn begins(&self) -> Timestamp {
        let start = self.start.as_ref().and_then(|it| it.value.parse().ok());
        start.unwrap_or(BEGINNING)
    }

    pub(super) fn error(&self, place: Location, why: String) -> ScriptError {
        ScriptError {
            file: self.file.clone(),
            line: place.line(),
            why,
        }
    }

    fn check_revisions(&self) -> Result<(), ScriptError> {
        for (name, entry) in &self.revisions {
            let (place, entry) = (entry.referenced, &entry.value);
            let sources = [&entry.folder, &entry.git, &entry.base];
            let wrong = |why: String| Err(self.error(place, why));
            if sources.into_iter().flatten().count() != 1 {
                return wrong(format!(
                    "revision `{}` needs exactly one of `folder`, `git` and `base`",
                    visible(name)
                ));
            }
            if entry.base.is_none() && !entry.packages.is_empty() {
                return wrong("`packages` changes a `base`, and there is none".to_owned());
            }
            self.check_base(name).or_else(wrong)?;
        }
        let names = self.running.iter().map(|it| (it.referenced, &it.value));
        let start = self.start.iter();
        for (place, name) in names {
            self.check_name(name)
                .map_err(|why| self.error(place, why))?;
        }
        for start in start {
            time(&start.value).map_err(|why| self.error(start.referenced, why))?;
        }
        Ok(())
    }

    /// Follows the bases of a revision to their end.
    fn check_base(&self, name: &str) -> Result<(), String> {
        let mut seen = vec![name];
        let mut next = self.revisions[name].value.base.as_deref();
        while let Some(base) = next {
            self.check_name(base)?;
            if seen.contains(&base) {
                seen.push(base);
                let names: Vec<_> = seen.iter().map(|it| visible(it).to_string()).collect();
                return Err(format!(
                    "revisions are based on each other: {}",
                    names.join(", ")
                ));
            }
            seen.push(base);
            next = self.revisions[base].value.base.as_deref();
        }
        Ok(())
    }

    fn check_name(&self, revision: &str) -> Result<(), String> {
        if self.revisions.contains_key(revision) {
            return Ok(());
        }
        let known: Vec<_> = self
            .revisions
            .keys()
            .map(|it| visible(it).to_string())
            .collect();
        Err(format!(
            "there is no revision `{}`; there are {}",
            visible(revision),
            known.join(", ")
        ))
    }

    fn check_steps(&self) -> Result<(), ScriptError> {
        let mut now = self.begins();
        for step in &self.steps {
            now = self
                .check_step(&step.value, now)
                .map_err(|why| self.error(step.referenced, why))?;
        }
        Ok(())
    }

    /// Checks a step that is reached at `now`; says when the next one is.
    fn check_step(&self, step: &StepEntry, mut now: Timestamp) -> Result<Timestamp, String> {
        let count = step.count();
        if count != 1 && !(count == 0 && step.at.is_some()) {
            return Err(format!("a step does one thing, and this one {count}"));
        }
        if let Some(at) = &step.at {
            let at = time(at)?;
            if at < now {
                return Err(format!("{at} is over: it is {now} by then"));
            }
            now = at;
        }
        if let Some(revision) = &step.commit {
            self.check_name(revision)?;
        }
        if let Some(decision) = &step.decide
            && !decision.nodes.is_empty()
            && decision.action != Decides::Force
        {
            return Err("`nodes` is for `force` alone".to_owned());
        }
        match &step.wait {
            Some(wait) => now
                .checked_add(duration(wait)?)
                .map_err(|_| "too long".to_owned()),
            None => Ok(now),
        }
    }
}

impl StepEntry {
    /// How many things it does.
    fn count(&self) -> usize {
        let Self {
            at: _,
            commit,
            wait,
            vote,
            decide,
            lose,
            back,
            reboot,
            fail,
            mend,
        } = self;
        let things = [
            commit.is_some(),
            wait.is_some(),
            vote.is_some(),
            decide.is_some(),
            lose.is_some(),
            back.is_some(),
            reboot.is_some(),
            fail.is_some(),
            mend.is_some(),
        ];
        things.into_iter().filter(|it| *it).count()
    }

    /// Every node that it names.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        let sets = [&self.lose, &self.back, &self.reboot, &self.mend];
        let sets = sets.into_iter().flatten();
        let others = [
            self.vote.as_ref().map(|it| &it.nodes),
            self.decide.as_ref().map(|it| &it.nodes),
            self.fail.as_ref().map(|it| &it.nodes),
        ];
        sets.chain(others.into_iter().flatten()).flatten()
    }
}

/// 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("`{}` is no time as 2026-01-01T00:00:00Z", visible(text)))
}

/// `90s`, `10m`, `2h`, `1d`.
pub(super) fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{}` is no time as 90s, 10m, 2h or 1d", visible(text));
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(SignedDuration::from_secs(i64::from(number) * seconds))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
