//! The one text of plans, used in logs, events, status, dry runs and golden files.

use std::collections::{BTreeMap, BTreeSet};
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
        for (members, change) in by_change(nodes) {
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

/// Nodes with the same change are shown together.
fn by_change(nodes: &BTreeMap<NodeName, NodePlan>) -> Vec<(BTreeSet<&NodeName>, &NodePlan)> {
    let mut groups = BTreeMap::<_, (BTreeSet<_>, _)>::new();
    for (name, plan) in nodes {
        let group = groups
            .entry(plan.change_digest)
            .or_insert((BTreeSet::new(), plan));
        group.0.insert(name);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|(left, _), (right, _)| left.cmp(right));
    groups
}

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

const NO_MEMORY: &str = "is not to store all that it is given, and cannot have it in memory only: its placetd is too old, or its --memory is not on a tmpfs";

impl fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems => f.write_str("waits until the problems are solved"),
            Self::FirstContact => f.write_str("has never joined"),
            Self::Observation => f.write_str("has not yet said what it is or runs"),
            Self::Connection => f.write_str("has no connection"),
            Self::OlderRollout(nodes) => {
                write!(
                    f,
                    "waits until the roll-out before has ended on {}",
                    Few(nodes)
                )
            }
            Self::Answer => f.write_str("is asked"),
            Self::OtherAnswers(nodes) => write!(f, "agrees, waits for {}", Few(nodes)),
            Self::Decision(hold) => write!(f, "waits for a decision on hold {hold}"),
            Self::Deferred(until) => write!(f, "wants to be asked again at {until}"),
            Self::Staging => f.write_str("is fetching"),
            Self::OthersStaging(nodes) => {
                write!(f, "has fetched, waits for {}", Few(nodes))
            }
            Self::Budget { unavailable } => {
                write!(
                    f,
                    "waits for its turn: {unavailable} of its class are changing"
                )
            }
            Self::Activating => f.write_str("is changing"),
            Self::Skipped => f.write_str("is left out by decision"),
            Self::Aborted => f.write_str("is left as it is: the roll-out was given up"),
            Self::NoMemory => f.write_str(NO_MEMORY),
            Self::GivenBack => {
                f.write_str("ran it and has given it back: `placet node retry` has it tried again")
            }
            Self::Failed(why) => {
                write!(
                    f,
                    "failed and is not tried again by itself: {}",
                    visible(why)
                )
            }
            Self::Suspended => f.write_str("is suspended"),
            Self::Maintenance(why) => {
                write!(f, "is in maintenance, and left out: {}", visible(why))
            }
            Self::Facts(why) => write!(f, "is left as it is: {}", visible(why)),
            Self::Paused => f.write_str("waits: the roll-out is paused"),
            Self::Window(Some(opens)) => write!(f, "waits for its window, which opens at {opens}"),
            Self::Window(None) => f.write_str("waits for a window, of which none ever opens"),
            Self::Wave { earlier, left } => write!(
                f,
                "waits for its wave: {left} left in wave {}",
                visible(earlier)
            ),
            Self::Verification(until) => {
                write!(f, "waits: the wave before is watched until {until}")
            }
            Self::Requirement(unmet) => write!(f, "cannot change by itself: {unmet}"),
            Self::AfterTests(unmet) => write!(f, "cannot stand the end of a test: {unmet}"),
        }
    }
}

/// The first names of a group, and how many more there are.
struct Few<'a>(&'a BTreeSet<NodeName>);

const FEW: usize = 3;

impl fmt::Display for Few<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().take(FEW).map(NodeName::as_str).collect();
        f.write_str(&names.join(", "))?;
        match self.0.len().saturating_sub(FEW) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
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
