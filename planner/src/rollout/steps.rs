//! A step or a reason to wait for every node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use placet_model::{NodeName, Proposal, RolloutPhase};

use super::Moment;
use super::fleet::{Fleet, Node, after};
use super::let_down::LetDown;
use super::standing::Standing;
use super::turns::Turns;
use crate::plan::{Action, Step, WaitingOn};
use crate::{Observed, Presence, RolloutState};

/// How long after staging failed it is tried again: soon enough for a person who waits, rarely
/// enough for a registry that is down.
pub(super) const STAGE_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// What is done, and what waits.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) steps: Vec<Step>,
    pub(super) held: BTreeMap<NodeName, WaitingOn>,
}

/// Who waits for whom, shared by all that wait for the same.
struct Others {
    turns: Turns,
    let_down: LetDown,
    unanswered: Arc<BTreeSet<NodeName>>,
    unstaged: Arc<BTreeSet<NodeName>>,
}

/// True while nodes that agreed have not all fetched. Those that went away after others began to
/// change had fetched before.
pub(super) fn is_staging(fleet: &Fleet, standings: &BTreeMap<NodeName, Standing>) -> bool {
    let agreed = standings
        .iter()
        .filter(|(_, standing)| matches!(standing, Standing::Agreed { .. }));
    agreed.filter_map(|(name, _)| fleet.node(name)).any(|node| {
        if node.is_connected() {
            !node.is_staged()
        } else {
            !fleet.has_begun()
        }
    })
}

impl Outcome {
    /// Tells nodes that were asked and have not begun to change to forget it.
    pub(super) fn release(&mut self, rollout: &RolloutState, observed: &Observed, reason: &str) {
        for (name, state) in &rollout.nodes {
            let seen = observed.nodes.get(name);
            let is_connected = seen.is_some_and(|seen| seen.presence == Presence::Connected);
            if is_connected && state.activating.is_none() && state.released.is_none() {
                self.steps.push(Step {
                    node: name.clone(),
                    action: Action::Release {
                        rollout: rollout.name.clone(),
                        change_digest: state.change_digest,
                        reason: reason.to_owned(),
                    },
                });
            }
        }
    }

    pub(super) fn advance(&mut self, moment: &Moment) {
        let fleet = moment.fleet;
        if let (Some(rollout), Some(abort)) = (fleet.rollout, fleet.decisions.abort()) {
            let reason = format!("given up by {}: {}", abort.author, abort.reason);
            self.release(rollout, fleet.observed, &reason);
        }
        let mut others = Others::of(moment);
        for (name, standing) in &moment.standings {
            match moment.next(name, standing, &mut others) {
                Some(Next::Do(action)) => self.steps.push(Step {
                    node: name.clone(),
                    action,
                }),
                Some(Next::Wait(waiting)) => {
                    self.held.insert(name.clone(), waiting);
                }
                None => {}
            }
        }
    }
}

impl Others {
    fn turn(&mut self, node: &Node, forced: bool) -> Next {
        match self.turns.waiting.remove(node.name) {
            Some(waiting) => Next::Wait(waiting),
            None => activate(node, forced).map_or(Next::Wait(WaitingOn::Observation), Next::Do),
        }
    }
}

enum Next {
    Do(Action),
    Wait(WaitingOn),
}

impl Others {
    fn of(moment: &Moment) -> Self {
        let names = |test: &dyn Fn(&NodeName, &Standing) -> bool| {
            let chosen = moment
                .standings
                .iter()
                .filter(|(name, standing)| test(name, standing));
            Arc::new(chosen.map(|(name, _)| name.clone()).collect())
        };
        let is_staged = |name: &NodeName| {
            moment
                .fleet
                .node(name)
                .is_some_and(|node| node.is_connected() && node.is_staged())
        };
        Self {
            turns: Turns::of(moment),
            let_down: LetDown::of(moment),
            unanswered: names(&|_, it| matches!(it, Standing::Ask { .. } | Standing::Pending(_))),
            unstaged: names(&|name, it| matches!(it, Standing::Agreed { .. }) && !is_staged(name)),
        }
    }
}

impl Moment<'_> {
    fn next(&self, name: &NodeName, standing: &Standing, others: &mut Others) -> Option<Next> {
        let wait = |waiting| Some(Next::Wait(waiting));
        match (standing, self.phase) {
            (Standing::Arrived, _) => None,
            (Standing::Out(waiting), _) => wait(waiting.clone()),
            (
                Standing::Changing {
                    repeat: true,
                    forced,
                },
                RolloutPhase::Activating,
            ) => {
                let node = self.fleet.node(name)?;
                Some(Next::Do(activate(&node, *forced)?))
            }
            (Standing::Changing { .. }, _) => {
                let node = self.fleet.node(name)?;
                let order = others.let_down.order(&node);
                Some(order.map_or(Next::Wait(WaitingOn::Activating), Next::Do))
            }
            (_, RolloutPhase::Aborted) => wait(WaitingOn::Aborted),
            (_, RolloutPhase::Blocked) => wait(WaitingOn::Problems),
            (
                Standing::Objects {
                    failed: Some(why), ..
                },
                _,
            ) => wait(WaitingOn::Failed(why.clone())),
            (Standing::Objects { .. }, _)
            | (
                Standing::Ask { expired: true } | Standing::Lapsed(_),
                RolloutPhase::Held | RolloutPhase::Halted,
            ) => wait(self.decision()),
            (Standing::Pending(waiting) | Standing::Lapsed(waiting), _) => wait(waiting.clone()),
            (Standing::Ask { .. }, _) => {
                let node = self.fleet.node(name)?;
                Some(Next::Do(propose(self.fleet, &node)?))
            }
            (Standing::Agreed { forced }, phase) => {
                let node = self.fleet.node(name)?;
                Some(self.go_on_with(&node, *forced, phase, others))
            }
        }
    }

    fn decision(&self) -> WaitingOn {
        WaitingOn::Decision(self.hold.as_ref().map_or(0, |hold| hold.number))
    }

    /// What is next for a node that agreed.
    fn go_on_with(
        &self,
        node: &Node,
        forced: bool,
        phase: RolloutPhase,
        others: &mut Others,
    ) -> Next {
        match phase {
            RolloutPhase::Held | RolloutPhase::Halted => Next::Wait(self.decision()),
            RolloutPhase::Proposing => {
                Next::Wait(WaitingOn::OtherAnswers(Arc::clone(&others.unanswered)))
            }
            _ if !node.is_connected() => Next::Wait(WaitingOn::Connection),
            _ if !node.is_staged() => self.stage(node),
            RolloutPhase::Activating => others.turn(node, forced),
            _ => Next::Wait(WaitingOn::OthersStaging(Arc::clone(&others.unstaged))),
        }
    }

    fn stage(&self, node: &Node) -> Next {
        let told = node
            .current()
            .and_then(|state| Some((state.staging?, state)));
        let is_due = told.is_none_or(|(since, state)| {
            let failed = state.stage_error.is_some();
            node.seen.is_newly_connected(since)
                || (failed && self.fleet.now() >= after(since, STAGE_AGAIN))
        });
        match node.change.filter(|_| is_due) {
            Some(change) => Next::Do(Action::Stage {
                change_digest: change.change_digest,
                manifest: Arc::clone(&node.target.manifest),
                memory: node.memory().is_some(),
            }),
            None => Next::Wait(WaitingOn::Staging),
        }
    }
}

fn activate(node: &Node, forced: bool) -> Option<Action> {
    node.change.map(|change| Action::Activate {
        change_digest: change.change_digest,
        from: change.from,
        to: change.to,
        forced,
        soak_seconds: node.target.strategy.soak_seconds,
        memory: node.memory(),
    })
}

fn propose(fleet: &Fleet, node: &Node) -> Option<Action> {
    let change = node.change?;
    let rollout = fleet.rollout;
    let strategy = &node.target.strategy;
    Some(Action::Propose(Box::new(Proposal {
        rollout: fleet.name(),
        plan_digest: rollout.map_or(fleet.digest, |rollout| rollout.plan_digest),
        revision: fleet.target.revision.clone(),
        node: node.name.clone(),
        from: change.from,
        manifest: Arc::clone(&node.target.manifest),
        change_digest: change.change_digest,
        dry_run: false,
        about: Some(node.target.described(node.name)),
        vote_seconds: strategy.vote_seconds,
        promise_seconds: strategy.promise_seconds,
    })))
}
