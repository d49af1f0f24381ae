//! What people decided, by the objections that it answers.

use std::collections::BTreeSet;

use jiff::Timestamp;
use placet_model::{Decision, DecisionKind, NodeName};

/// The decisions of a roll-out.
pub(super) struct Decisions<'a> {
    decisions: Vec<Indexed<'a>>,
}

struct Indexed<'a> {
    decision: &'a Decision,
    overrides: BTreeSet<&'a str>,
}

/// What a decision means for a node that objected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// It is left out.
    Skip,
    /// It changes all the same.
    Force,
}

/// What an objection about a class as a whole begins with.
pub(super) fn class_prefix(class: &str) -> String {
    format!("class {class}: ")
}

impl<'a> Decisions<'a> {
    pub(super) fn new(decisions: &'a [Decision]) -> Self {
        let decisions = decisions.iter().map(|decision| Indexed {
            decision,
            overrides: decision.overrides.iter().map(String::as_str).collect(),
        });
        Self {
            decisions: decisions.collect(),
        }
    }

    pub(super) fn aborted(&self) -> bool {
        self.abort().is_some()
    }

    pub(super) fn abort(&self) -> Option<&'a Decision> {
        let mut decisions = self.decisions.iter().map(|indexed| indexed.decision);
        decisions.find(|decision| decision.kind == DecisionKind::Abort)
    }

    /// True if there is a decision on the hold of this number.
    pub(super) fn answer(&self, hold: u32) -> bool {
        self.decisions
            .iter()
            .any(|indexed| indexed.decision.hold == hold)
    }

    /// The latest decision on whether so many nodes of a class were meant.
    pub(super) fn on_class(&self, class: &str) -> Option<Answered> {
        let prefix = class_prefix(class);
        let is_about = |indexed: &&Indexed| {
            let mut overrides = indexed.overrides.iter();
            overrides.any(|line| line.starts_with(&prefix))
        };
        let latest = self.decisions.iter().rev().find(is_about)?;
        match latest.decision.kind {
            DecisionKind::Force { .. } => Some(Answered::Force),
            DecisionKind::Skip => Some(Answered::Skip),
            DecisionKind::Abort => None,
        }
    }

    /// The latest decision on what `node` objects, in these words, to something that it was told at
    /// `told`. A decision answers what it names and nothing that came up after it.
    pub(super) fn on(
        &self,
        node: &NodeName,
        lines: &[String],
        told: Timestamp,
    ) -> Option<Answered> {
        let names_all = |indexed: &&Indexed| {
            indexed.decision.time > told
                && lines
                    .iter()
                    .all(|line| indexed.overrides.contains(line.as_str()))
        };
        let latest = self.decisions.iter().rev().find(names_all)?;
        match &latest.decision.kind {
            DecisionKind::Force { nodes } if nodes.is_empty() || nodes.contains(node) => {
                Some(Answered::Force)
            }
            DecisionKind::Skip | DecisionKind::Force { .. } => Some(Answered::Skip),
            // An abort ends the roll-out, so what becomes of its objections is moot.
            DecisionKind::Abort => None,
        }
    }
}
