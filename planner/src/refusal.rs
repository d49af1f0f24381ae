//! Why a decision is not taken (V5, D7).

use std::collections::BTreeSet;
use std::fmt;

use placet_model::{Decision, DecisionKind, NodeName};

use crate::plan::{Plan, WaitingOn};
use crate::problem::Names;
use crate::remote::Mixture;
use crate::{Observed, Target, Unmet, plan};

/// Why a decision is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It answers a hold that is not open; the number is that of the open one.
    Hold(Option<u32>),
    /// The hold was decided before.
    Decided(Box<Decision>),
    /// It would leave a fleet in which requirements on other nodes do not hold.
    Requirements {
        /// What the decision is.
        kind: DecisionKind,
        /// The nodes that it would leave as they are.
        left: BTreeSet<NodeName>,
        /// What would not hold.
        unmet: Vec<Unmet>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(None) => f.write_str("no hold is open: there is nothing to decide"),
            Self::Hold(Some(open)) => {
                write!(f, "hold {open} is open: look at it, then decide that one")
            }
            Self::Decided(earlier) => write!(
                f,
                "hold {} has just been decided by {}: {}",
                earlier.hold, earlier.author, earlier.kind
            ),
            Self::Requirements { kind, left, unmet } => {
                write!(
                    f,
                    "`{kind}` would leave {} unchanged, and then requirements would not hold: ",
                    Names(left)
                )?;
                for (index, unmet) in unmet.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{unmet}")?;
                }
                f.write_str("; force what is left out too, or abort")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Whether a decision may be taken: it answers the open hold, which nobody has decided, and the
/// fleet that it would leave satisfies every remote requirement that holds now (D7).
///
/// A decision answers votes, failures and absences alone. Whatever it says, signatures, digests and
/// dependencies are checked as before: they are problems of the target, and while there is one,
/// there is no hold to decide.
///
/// # Errors
///
/// The reason why not.
pub fn check_decision(
    target: &Target,
    observed: &Observed,
    decision: &Decision,
) -> Result<(), Refusal> {
    let rollout = observed.rollout.as_ref();
    let open = rollout.and_then(|rollout| rollout.hold.as_ref());
    if open.is_none_or(|open| open.number != decision.hold) {
        return Err(Refusal::Hold(open.map(|open| open.number)));
    }
    let mut decisions = rollout.into_iter().flat_map(|it| &it.decisions);
    if let Some(earlier) = decisions.find(|earlier| earlier.hold == decision.hold) {
        return Err(Refusal::Decided(Box::new(earlier.clone())));
    }
    if decision.kind == DecisionKind::Abort {
        // Nothing changes by it: where the fleet is, it has come to.
        return Ok(());
    }
    let mixture = Mixture::new(target, observed);
    if !mixture.has_requirements() {
        return Ok(());
    }
    let mut after = observed.clone();
    if let Some(rollout) = &mut after.rollout {
        rollout.decisions.push(decision.clone());
    }
    let decided = plan(target, &after);
    let left: BTreeSet<NodeName> = left_out(&decided).cloned().collect();
    let changed: BTreeSet<NodeName> = target
        .nodes
        .keys()
        .filter(|it| !left.contains(*it))
        .cloned()
        .collect();
    let before = mixture.unmet(&BTreeSet::new());
    let unmet: Vec<Unmet> = mixture
        .unmet(&changed)
        .into_iter()
        .filter(|unmet| !before.contains(unmet))
        .collect();
    if unmet.is_empty() {
        return Ok(());
    }
    let kind = decision.kind.clone();
    Err(Refusal::Requirements { kind, left, unmet })
}

/// Nodes that the roll-out does without.
fn left_out(plan: &Plan) -> impl Iterator<Item = &NodeName> {
    let held = plan.held.iter().filter(|(_, waiting)| {
        matches!(
            waiting,
            WaitingOn::Skipped
                | WaitingOn::Failed(_)
                | WaitingOn::Suspended
                | WaitingOn::Maintenance(_)
                | WaitingOn::FirstContact
                | WaitingOn::Facts(_)
        )
    });
    held.map(|(name, _)| name)
}
