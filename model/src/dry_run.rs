//! What a dry run found out (M1).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Answer, Digest, NodeName, Verdict, VerdictKind, visible};

/// What a change would do, as planned and as the live nodes say. Nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DryRunReport {
    /// The name of the dry run.
    pub name: String,
    /// The revision that the declarations would make.
    pub revision: String,
    /// The plan digest: a roll-out with the same one is the change that was tried out.
    pub plan_digest: Digest,
    /// What would become of each declaration (`nodeclass.placet.dev/core configured`).
    pub results: Vec<String>,
    /// What stands in the way; nobody was asked if there is anything.
    pub problems: Vec<String>,
    /// What people should know.
    pub notes: Vec<String>,
    /// What would change on which nodes, and why, in the planner's words.
    pub changes: Vec<String>,
    /// Every node that would change.
    pub nodes: Vec<DryRunNode>,
}

/// What a dry run found out about one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DryRunNode {
    /// The node.
    pub node: NodeName,
    /// The node change digest; none where it is not known what the node runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_digest: Option<Digest>,
    /// How many modules would change.
    pub modules: usize,
    /// The processes that would be touched, each with what would happen to it (`chatd: ask`).
    pub processes: Vec<String>,
    /// What the node says.
    pub answer: DryRunAnswer,
}

/// What a node says in a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DryRunAnswer {
    /// It answered.
    Verdict(Box<Verdict>),
    /// It was asked, and did not answer within so many seconds.
    Silent(u32),
    /// It was not asked; the text says why.
    NotAsked(String),
}

impl DryRunAnswer {
    /// True if a roll-out would be held by it, or could not be said to go on.
    pub fn objects(&self) -> bool {
        match self {
            Self::Verdict(verdict) => {
                !matches!(verdict.verdict, VerdictKind::Accept | VerdictKind::Defer)
            }
            Self::Silent(_) => true,
            Self::NotAsked(_) => false,
        }
    }
}

/// The answer in a word or two.
impl fmt::Display for DryRunAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict(verdict) => verdict.verdict.fmt(f),
            Self::Silent(_) => f.pad("no answer"),
            Self::NotAsked(_) => f.pad("not asked"),
        }
    }
}

impl DryRunReport {
    /// True if nothing stands in the way and no node objects.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && !self.nodes.iter().any(|node| node.answer.objects())
    }

    /// One line for whatever is not an accept, objections first, in the words used everywhere:
    /// `node core-1: chatd (412) non placet: 3 open sessions [sessions-open]`.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<(Rank, String)> =
            self.nodes.iter().flat_map(DryRunNode::lines).collect();
        lines.sort_by_key(|(rank, _)| *rank);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Whether a [`Self::summary`] says that nothing stands in the way and no node objects; none
    /// for a line that is no summary. For those to whom nothing but lines is passed on.
    pub fn summary_is_clean(line: &str) -> Option<bool> {
        let (_, says) = line.strip_prefix("dry run ")?.split_once(": ")?;
        let bad = ["nobody was asked", OBJECT, UNSURE, SILENT];
        Some(!bad.iter().any(|bad| says.contains(bad)))
    }

    /// All of it in one line.
    pub fn summary(&self) -> String {
        if !self.problems.is_empty() {
            let problems = counted(self.problems.len(), "problem");
            return format!(
                "dry run {}: {problems}; nobody was asked, and nothing was changed",
                self.name
            );
        }
        if self.nodes.is_empty() {
            return format!("dry run {}: no node would change", self.name);
        }
        let count = |test: &dyn Fn(&DryRunAnswer) -> bool| {
            self.nodes.iter().filter(|node| test(&node.answer)).count()
        };
        let said = |kind: VerdictKind| {
            count(&|answer| matches!(answer, DryRunAnswer::Verdict(it) if it.verdict == kind))
        };
        let silent = count(&|answer| matches!(answer, DryRunAnswer::Silent(_)));
        let parts = [
            (said(VerdictKind::Accept), "would accept"),
            (said(VerdictKind::Veto), OBJECT),
            (said(VerdictKind::Defer), "would put it off"),
            (said(VerdictKind::Error), UNSURE),
            (said(VerdictKind::NoAnswer) + silent, SILENT),
            (
                count(&|answer| matches!(answer, DryRunAnswer::NotAsked(_))),
                "not asked",
            ),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        format!(
            "dry run {}: {} would change: {}; nothing was changed",
            self.name,
            counted(self.nodes.len(), "node"),
            parts.join(", ")
        )
    }
}

/// What a summary says of nodes whose answer is not clean.
const OBJECT: &str = "would object";
const UNSURE: &str = "could not say";
const SILENT: &str = "did not answer";

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// What people read first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Veto,
    Trouble,
    Defer,
    NotAsked,
}

impl DryRunNode {
    fn lines(&self) -> Vec<(Rank, String)> {
        let Self { node, answer, .. } = self;
        match answer {
            DryRunAnswer::Silent(seconds) => {
                let line = format!("node {node}: no answer within {seconds} s");
                vec![(Rank::Trouble, line)]
            }
            DryRunAnswer::NotAsked(why) => {
                let line = format!("node {node}: not asked: {}", visible(why));
                vec![(Rank::NotAsked, line)]
            }
            DryRunAnswer::Verdict(verdict) => {
                let lines: Vec<_> = verdict.ranked().collect();
                if lines.is_empty() && verdict.verdict != VerdictKind::Accept {
                    let line = format!("node {node}: {}", verdict.verdict);
                    return vec![(Rank::of(verdict.verdict), line)];
                }
                lines
            }
        }
    }
}

impl Verdict {
    /// [`Self::objections`], with what each is.
    fn ranked(&self) -> impl Iterator<Item = (Rank, String)> {
        let answers = self.records.iter().map(|record| record.answer);
        let answers = answers.filter(|answer| *answer != Answer::Accept);
        let own = (!self.message.is_empty()).then_some(self.verdict);
        answers
            .map(VerdictKind::from)
            .chain(own)
            .map(Rank::of)
            .zip(self.objections())
    }
}

impl Rank {
    fn of(verdict: VerdictKind) -> Self {
        match verdict {
            VerdictKind::Veto => Self::Veto,
            VerdictKind::Defer => Self::Defer,
            VerdictKind::Accept | VerdictKind::NoAnswer | VerdictKind::Error => Self::Trouble,
        }
    }
}
