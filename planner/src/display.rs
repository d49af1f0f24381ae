//! The one text of plans, used in logs, events, status, dry runs and golden files.

mod waiting;

use std::collections::BTreeSet;
use std::fmt;

use placet_model::{NodeName, visible, wrapped};

use crate::plan::{Action, NodePlan, Plan, Step, WaitingOn};
use crate::problem::Names;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rollout,
            revision,
            digest: _,
            opens,
            supersedes,
            nodes,
            declared,
            problems,
            notes,
            phase,
            hold,
            steps,
            held,
            wake: _,
        } = self;
        let opens = if *opens { ", opened now" } else { "" };
        writeln!(
            f,
            "roll-out {} of {}: {phase}{opens}",
            visible(rollout),
            visible(revision)
        )?;
        if let Some(older) = supersedes {
            writeln!(f, "supersedes {}", visible(older))?;
        }
        if !nodes.is_empty() {
            writeln!(f, "touches {} of {declared} nodes", nodes.len())?;
        }
        section(f, "problems", problems)?;
        section(f, "notes", notes)?;
        for (members, change) in self.by_change() {
            let names: Vec<_> = members.into_iter().map(NodeName::as_str).collect();
            writeln!(f, "{}", wrapped(&names.join(", "), 0))?;
            write!(f, "{change}")?;
        }
        if let Some(hold) = hold {
            writeln!(f, "hold {}", hold.number)?;
            hold.objections
                .iter()
                .try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        section(f, "now", steps)?;
        let waiting: Vec<_> = held
            .iter()
            .map(|(node, why)| format!("{node:16} {why}"))
            .collect();
        section(f, "waiting", &waiting)
    }
}

fn section<T: fmt::Display>(f: &mut fmt::Formatter<'_>, title: &str, lines: &[T]) -> fmt::Result {
    if !lines.is_empty() {
        writeln!(f, "{title}")?;
    }
    lines
        .iter()
        .try_for_each(|line| writeln!(f, "  {}", wrapped(&line.to_string(), INDENT)))
}

/// Where the lines of a section go on.
const INDENT: usize = 4;

impl fmt::Display for NodePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from: _,
            to: _,
            change_digest,
            change_set,
            rules: _,
        } = self;
        writeln!(f, "  change   {}", change_digest.short())?;
        change_set.fmt(f)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, action } = self;
        write!(f, "{node:16} {action}")
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Propose(proposal) => write!(f, "propose {}", proposal.change_digest.short()),
            Self::Release {
                rollout,
                change_digest,
                reason,
            } => write!(
                f,
                "release {} of {}: {}",
                change_digest.short(),
                visible(rollout),
                visible(reason)
            ),
            Self::Stage {
                change_digest,
                manifest: _,
                memory,
            } => {
                let memory = if *memory { ", in memory" } else { "" };
                write!(f, "stage {}{memory}", change_digest.short())
            }
            Self::Activate {
                change_digest,
                from: _,
                to: _,
                forced,
                soak_seconds: _,
                memory,
            } => {
                let forced = if *forced { ", forced" } else { "" };
                write!(f, "activate {}{forced}", change_digest.short())?;
                match memory {
                    None => Ok(()),
                    Some(0) => f.write_str(", in memory"),
                    Some(seconds) => write!(f, ", in test mode for {seconds} s"),
                }
            }
            Self::GiveBack {
                change_digest,
                reason,
            } => write!(
                f,
                "give back {}: {}",
                change_digest.short(),
                visible(reason)
            ),
        }
    }
}

impl Plan {
    /// In a clause, what the roll-out waits for beside answers and decisions: nodes without a
    /// connection, or else a pause, a window, a wave that is watched; none where it goes on.
    pub fn waits_for(&self) -> Option<String> {
        let away = self.held.iter();
        let away = away.filter(|(_, waiting)| matches!(waiting, WaitingOn::Connection));
        let away: BTreeSet<NodeName> = away.map(|(name, _)| name.clone()).collect();
        if !away.is_empty() {
            return Some(format!("no connection to {}", Names(&away)));
        }
        let first = self.held.iter().find(|(_, waiting)| {
            matches!(
                waiting,
                WaitingOn::Paused
                    | WaitingOn::Window(_)
                    | WaitingOn::Verification(_)
                    | WaitingOn::Requirement(_)
                    | WaitingOn::AfterTests(_)
            )
        });
        first.map(|(name, waiting)| format!("{name} {waiting}"))
    }
}
