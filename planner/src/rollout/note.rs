//! What carrying out a plan leaves in the roll-out's state.

use jiff::Timestamp;
use placet_model::{NodeState, VerdictKind};

use crate::plan::{Action, Plan, Step};
use crate::{Observed, RolloutState};

/// The roll-out after `plan`, which was made for `observed`: what the controller stores before it
/// carries out the steps. None if there is no roll-out and the plan opens none.
///
/// Where the plan opens a roll-out, the result is the new one; the one that it
/// [supersedes](Plan::supersedes) goes to phase `Superseded` and stays as it is otherwise.
///
/// # Assumptions
///
/// The rest of the state is the controller's to keep, from what it hears: `verdict`, if it is to the
/// node's `change_digest` and this roll-out; `stage_error`; `activation`; and the decisions, each
/// with the objections of the hold that it answers, word for word, as what it overrides.
pub fn noted(plan: &Plan, observed: &Observed) -> Option<RolloutState> {
    let mut rollout = if plan.opens {
        open(plan)
    } else {
        observed.rollout.clone()?
    };
    if rollout.name != plan.rollout {
        // An older roll-out that has ended: this plan has no part in it.
        return Some(rollout);
    }
    rollout.phase = plan.phase;
    rollout.holds = plan
        .hold
        .as_ref()
        .map_or(rollout.holds, |hold| rollout.holds.max(hold.number));
    rollout.hold.clone_from(&plan.hold);
    for step in &plan.steps {
        note(step, &mut rollout, observed.now);
    }
    Some(rollout)
}

fn open(plan: &Plan) -> RolloutState {
    RolloutState {
        name: plan.rollout.clone(),
        revision: plan.revision.clone(),
        plan_digest: plan.digest,
        phase: plan.phase,
        holds: 0,
        hold: None,
        decisions: Vec::new(),
        paused: false,
        nodes: std::collections::BTreeMap::new(),
    }
}

fn note(step: &Step, rollout: &mut RolloutState, now: Timestamp) {
    let nodes = &mut rollout.nodes;
    match &step.action {
        Action::Propose(proposal) => {
            let mut state = NodeState::asked(proposal.change_digest, now);
            state.deferred_since = nodes
                .get(&step.node)
                .and_then(|former| deferred_since(former, &state));
            nodes.insert(step.node.clone(), state);
        }
        Action::Release { rollout: of, .. } => {
            if let Some(state) = nodes.get_mut(&step.node).filter(|_| *of == rollout.name) {
                state.released = Some(now);
            }
        }
        Action::Stage { change_digest, .. } => {
            let state = nodes.entry(step.node.clone());
            let state = state.or_insert_with(|| NodeState::asked(*change_digest, now));
            state.staging = Some(now);
            state.stage_error = None;
        }
        Action::Activate { change_digest, .. } => {
            let state = nodes.entry(step.node.clone());
            let state = state.or_insert_with(|| NodeState::asked(*change_digest, now));
            state.activating = Some(now);
            state.activation = None;
            state.giving_back = None;
            state.ended = None;
        }
        Action::GiveBack { .. } => {
            if let Some(state) = nodes.get_mut(&step.node) {
                state.giving_back = Some(now);
            }
        }
    }
}

/// Since when a node that is asked the same once more has been putting off its answer.
fn deferred_since(former: &NodeState, next: &NodeState) -> Option<Timestamp> {
    let verdict = former.verdict.as_ref()?;
    let again = former.change_digest == next.change_digest && verdict.verdict == VerdictKind::Defer;
    again.then(|| former.deferred_since.unwrap_or(former.asked))
}
