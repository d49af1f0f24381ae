//! Given the target and what is observed: what happens now, what waits, and for what?
//!
//! Planning has no memory. It looks at each node by itself first (where does it stand?), then at the
//! fleet (which phase follows from all of that?), then gives each node a step or a reason to wait.
//! So a node that joins late, a vote that expires or a node that restarts needs no case of its own:
//! the phase goes back by itself, and nobody else's vote is touched.

mod decisions;
mod fleet;
mod former;
mod history;
mod let_down;
mod note;
mod standing;
mod steps;
mod survey;
mod turns;
mod vote;
mod wake;
mod waves;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_model::{Hold, NodeName, NodeState, RolloutPhase};

pub use self::history::surplus;
pub use self::note::noted;
pub use self::window::window_opens;

use self::fleet::Fleet;
use self::standing::Standing;
use self::steps::Outcome;
use self::waves::Waves;
use crate::plan::{Plan, Target, WaitingOn};
use crate::remote::Mixture;
use crate::{Note, Observed, Presence, RolloutState, Tally};

/// What happens now, what waits, and for what.
///
/// # Guarantees
///
/// * Every declared node that differs from its target is in [`Plan::steps`] or in [`Plan::held`].
/// * Nothing is staged before every node of the roll-out has agreed or was decided about, and
///   nothing is activated before it is staged on all of them.
/// * A node is told to activate only while its accept holds for this change and this boot, or by
///   force of a decision.
/// * When the effects of the steps are noted ([`noted`]) and nothing new is observed, planning again
///   gives no steps.
pub fn plan(target: &Target, observed: &Observed) -> Plan {
    let rollout = observed.rollout.as_ref();
    let current =
        rollout.filter(|it| it.revision == target.revision && it.phase != RolloutPhase::Superseded);
    let older = rollout.filter(|it| current.is_none() && !it.phase.is_over());
    let fleet = Fleet::new(target, observed, current);
    let changing = Arc::new(
        older
            .map(|older| in_the_midst(older, observed))
            .unwrap_or_default(),
    );
    match older {
        Some(older) if !changing.is_empty() => wait_for_older(&fleet, older, &changing),
        _ => go_on(&fleet, older),
    }
}

/// Where the nodes stand with their votes, as [`plan`] counts them.
pub fn tally(target: &Target, observed: &Observed) -> Tally {
    let rollout = observed.rollout.as_ref();
    let fleet = Fleet::new(
        target,
        observed,
        rollout.filter(|it| it.revision == target.revision),
    );
    let mut tally = Tally::default();
    let (standings, _) = fleet.survey();
    for (name, standing) in standings {
        match standing {
            Standing::Agreed { .. } | Standing::Lapsed(_) => {
                tally.agreed.insert(name);
            }
            Standing::Pending(WaitingOn::Deferred(until)) => {
                tally.deferred.insert(name, until);
            }
            Standing::Objects { lines, .. } => {
                tally.objecting.insert(name, lines);
            }
            Standing::Ask { .. } | Standing::Pending(_) => {
                tally.waiting.insert(name);
            }
            Standing::Arrived | Standing::Out(_) | Standing::Changing { .. } => {}
        }
    }
    tally
}

/// The fleet at one moment: where its nodes stand, and what follows from that.
struct Moment<'a> {
    fleet: &'a Fleet<'a>,
    standings: BTreeMap<NodeName, Standing>,
    waves: Waves<'a>,
    phase: RolloutPhase,
    hold: Option<Hold>,
}

/// The plan of the target's own roll-out, which is opened if it is not there yet.
fn go_on(fleet: &Fleet, older: Option<&RolloutState>) -> Plan {
    let (standings, waves) = fleet.survey();
    let hold = hold(fleet, &standings, &waves);
    let phase = phase(fleet, &standings, hold.is_some());
    let moment = Moment {
        fleet,
        standings,
        waves,
        phase,
        hold,
    };
    let mut outcome = Outcome::default();
    if let Some(older) = older {
        let reason = format!("superseded by revision {}", fleet.target.revision);
        outcome.release(older, fleet.observed, &reason);
    }
    outcome.advance(&moment);
    let opens = fleet.rollout.is_none() && (older.is_some() || moment.needs_rollout());
    let mut plan = fleet.bare_plan();
    plan.opens = opens;
    plan.supersedes = older.map(|older| older.name.clone());
    plan.phase = moment.phase;
    plan.wake = wake::next(fleet, &moment.standings, &moment.waves);
    plan.notes.extend(moment.unmet());
    plan.hold = moment.hold;
    plan.steps = outcome.steps;
    plan.held = outcome.held;
    plan
}

impl Moment<'_> {
    /// Remote requirements that do not hold where the roll-out has come to rest halfway (C-A8).
    fn unmet(&self) -> Vec<Note> {
        let rests = matches!(
            self.phase,
            RolloutPhase::Halted | RolloutPhase::Aborted | RolloutPhase::Done
        );
        // Where every node runs its target, all holds: nothing else is planned for.
        if !rests || (self.fleet.is_all_there() && self.fleet.target.problems.is_empty()) {
            return Vec::new();
        }
        let mixture = Mixture::new(self.fleet.target, self.fleet.observed);
        let unmet = mixture.unmet(&BTreeSet::new()).into_iter();
        unmet.map(Note::Unmet).collect()
    }

    /// True if something is known that a roll-out has to see to.
    fn needs_rollout(&self) -> bool {
        let is_known = |name: &NodeName| self.fleet.changes().contains_key(name);
        !self.fleet.target.problems.is_empty()
            || self.standings.iter().any(|(name, standing)| {
                !matches!(standing, Standing::Arrived | Standing::Out(_)) && is_known(name)
            })
    }
}

/// The phase that follows from where the nodes stand.
fn phase(fleet: &Fleet, standings: &BTreeMap<NodeName, Standing>, is_held: bool) -> RolloutPhase {
    let any = |test: fn(&Standing) -> bool| standings.values().any(test);
    if fleet.decisions.aborted() {
        RolloutPhase::Aborted
    } else if !fleet.target.problems.is_empty() {
        RolloutPhase::Blocked
    } else if any(|it| matches!(it, Standing::Objects { halts: true, .. })) {
        RolloutPhase::Halted
    } else if is_held {
        RolloutPhase::Held
    } else if any(|it| matches!(it, Standing::Ask { .. } | Standing::Pending(_))) {
        RolloutPhase::Proposing
    } else if steps::is_staging(fleet, standings) {
        RolloutPhase::Staging
    } else if any(|it| {
        matches!(
            it,
            Standing::Agreed { .. } | Standing::Lapsed(_) | Standing::Changing { .. }
        )
    }) {
        RolloutPhase::Activating
    } else {
        RolloutPhase::Done
    }
}

/// The hold that unanswered objections make: the open one while there is one, or the next.
fn hold(fleet: &Fleet, standings: &BTreeMap<NodeName, Standing>, waves: &Waves) -> Option<Hold> {
    if fleet.decisions.aborted() || !fleet.target.problems.is_empty() {
        return None;
    }
    // Whether so many nodes were meant is asked by itself, before anybody's objection.
    let mut objections = survey::unconfirmed(fleet, waves);
    let mut nodes = BTreeSet::new();
    if objections.is_empty() {
        for (name, standing) in standings {
            if let Standing::Objects { lines, .. } = standing {
                nodes.insert(name.clone());
                objections.extend_from_slice(lines);
            }
        }
    }
    if objections.is_empty() {
        return None;
    }
    let open = fleet.rollout.and_then(|rollout| rollout.hold.as_ref());
    let open = open.filter(|hold| !fleet.decisions.answer(hold.number));
    let holds = fleet.rollout.map_or(0, |rollout| rollout.holds);
    Some(Hold {
        number: open.map_or(holds + 1, |hold| hold.number),
        since: open.map_or(fleet.observed.now, |hold| hold.since),
        nodes,
        objections,
    })
}

/// Nodes that were told to activate and can still say how it ended.
fn in_the_midst(older: &RolloutState, observed: &Observed) -> BTreeSet<NodeName> {
    let is_changing = |(name, state): &(&NodeName, &NodeState)| {
        let Some(since) = state.activating.filter(|_| state.activation.is_none()) else {
            return false;
        };
        observed.nodes.get(*name).is_some_and(|seen| {
            let hears = seen.changing || !seen.is_newly_connected(since);
            seen.presence == Presence::Connected && hears
        })
    };
    let changing = older.nodes.iter().filter(is_changing);
    changing.map(|(name, _)| name.clone()).collect()
}

/// The roll-out before is taken down, but nodes of it are in the midst of their change.
fn wait_for_older(fleet: &Fleet, older: &RolloutState, changing: &Arc<BTreeSet<NodeName>>) -> Plan {
    let mut outcome = Outcome::default();
    let reason = format!("superseded by revision {}", fleet.target.revision);
    outcome.release(older, fleet.observed, &reason);
    let (standings, _) = fleet.survey();
    for name in changing.iter().filter(|name| fleet.is_declared(name)) {
        outcome.held.insert(name.clone(), WaitingOn::Activating);
    }
    for (name, standing) in standings {
        let waiting = match standing {
            _ if changing.contains(&name) => continue,
            Standing::Arrived => continue,
            Standing::Out(waiting) => waiting,
            _ => WaitingOn::OlderRollout(Arc::clone(changing)),
        };
        outcome.held.insert(name, waiting);
    }
    let mut plan = fleet.bare_plan();
    plan.rollout.clone_from(&older.name);
    plan.phase = older.phase;
    plan.hold.clone_from(&older.hold);
    plan.steps = outcome.steps;
    plan.held = outcome.held;
    plan
}
