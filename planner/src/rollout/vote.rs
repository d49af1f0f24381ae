//! Where a node stands by its vote (V3 to V5).

use jiff::{SignedDuration, Timestamp};
use placet_model::{Activation, NodeState, Verdict, VerdictKind};

use super::decisions::Answered;
use super::fleet::{Fleet, Node, after};
use super::standing::Standing;
use crate::plan::WaitingOn;

/// A connected node about which nothing is decided.
pub(super) fn standing(fleet: &Fleet, node: &Node) -> Standing {
    let state = node.current().filter(|state| {
        // One that was released, or gave up what it had activated, is asked as if for the first time.
        state.released.is_none() && !matches!(state.activation, Some(Activation::Done(_)))
    });
    let Some(state) = state else {
        return Standing::Ask { expired: false };
    };
    if let Some(standing) = by_verdict(fleet, node) {
        return standing;
    }
    // A verdict that does not count was given in another boot, or to another question.
    if state.verdict.is_some() || node.seen.is_newly_connected(state.asked) {
        return Standing::Ask { expired: false };
    }
    if fleet.now() >= after(state.asked, node.patience()) {
        return objects(vec![silence_line(node)]);
    }
    Standing::Pending(WaitingOn::Answer)
}

/// Where a node stands by a verdict that counts: one to this change, in this roll-out, given in the
/// boot that the node is in, as far as that is known.
pub(super) fn by_verdict(fleet: &Fleet, node: &Node) -> Option<Standing> {
    let state = node.current()?;
    let verdict = state.verdict.as_ref()?;
    let boot = &node.seen.boot_id;
    let counts = fleet
        .rollout
        .is_some_and(|rollout| rollout.name == verdict.rollout)
        && verdict.change_digest == state.change_digest
        && (boot.is_empty() || *boot == verdict.boot_id);
    if !counts {
        return None;
    }
    Some(match verdict.verdict {
        VerdictKind::Accept if verdict.expires <= fleet.now() => Standing::Ask { expired: true },
        VerdictKind::Accept => Standing::Agreed { forced: false },
        VerdictKind::Defer => {
            let most = SignedDuration::from_secs(node.target.strategy.max_defer_seconds.into());
            deferred(fleet, state, verdict, most)
        }
        VerdictKind::NoAnswer | VerdictKind::Error | VerdictKind::Veto => {
            objects(lines_of(verdict))
        }
    })
}

/// A defer waits until the time that it names; then the voters are asked again, until they have put
/// it off for as long as they may.
fn deferred(fleet: &Fleet, state: &NodeState, verdict: &Verdict, most: SignedDuration) -> Standing {
    let first = state.deferred_since.unwrap_or(state.asked);
    let limit = after(first, most);
    let named = verdict
        .records
        .iter()
        .filter_map(|record| record.until)
        .max();
    let until = named.unwrap_or(limit).min(limit);
    if fleet.now() >= limit {
        objects(lines_of(verdict))
    } else if fleet.now() >= until {
        Standing::Ask { expired: false }
    } else {
        Standing::Pending(WaitingOn::Deferred(until))
    }
}

/// What was decided about the objection that is on record for a node. Being left out holds for the
/// whole roll-out; force holds for the change that it was about.
pub(super) fn answered(fleet: &Fleet, node: &Node) -> Option<Answered> {
    let on = |lines: Vec<String>, told| fleet.decisions.on(node.name, &lines, told);
    let by_state = node.state.and_then(|state| match &state.verdict {
        Some(verdict) if verdict.verdict == VerdictKind::Accept => None,
        Some(verdict) => on(lines_of(verdict), state.asked),
        None => on(vec![silence_line(node)], state.asked),
    });
    let is_same = node.current().is_some() || node.state.is_none();
    by_state
        .filter(|answered| *answered == Answered::Skip || is_same)
        .or_else(|| on(vec![unreachable_line(node)], Timestamp::MIN))
}

fn objects(lines: Vec<String>) -> Standing {
    Standing::Objects {
        lines,
        failed: None,
        halts: false,
    }
}

fn lines_of(verdict: &Verdict) -> Vec<String> {
    let lines: Vec<_> = verdict.objections().collect();
    if lines.is_empty() {
        vec![format!("node {}: {}", verdict.node, verdict.verdict)]
    } else {
        lines
    }
}

fn silence_line(node: &Node) -> String {
    format!(
        "node {}: no answer within {} s",
        node.name, node.target.strategy.vote_seconds
    )
}

pub(super) fn unreachable_line(node: &Node) -> String {
    format!("node {}: it cannot be reached", node.name)
}
