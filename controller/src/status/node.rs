//! What is known of a node.

use jiff::{SignedDuration, Timestamp};
use placet_crds::{
    ConditionStatus, ConditionType, FleetNodeStatus, Presence, Reason, State, conditions,
};
use placet_model::{NodeName, NodeState};
use placet_planner::{self as planner, Plan, Problem, Target, WaitingOn};

use crate::fleet::suites;
use crate::fleet::world::Node;

/// What the status is taken from.
pub(crate) struct View<'a> {
    pub(crate) name: &'a NodeName,
    pub(crate) node: &'a Node,
    pub(crate) target: Option<&'a Target>,
    pub(crate) plan: Option<&'a Plan>,
}

/// The status of a node.
pub(crate) fn status(
    old: &FleetNodeStatus,
    view: &View<'_>,
    generation: i64,
    now: Timestamp,
) -> FleetNodeStatus {
    let node = view.node;
    let seen = &node.seen;
    let wanted = view.target.and_then(|target| target.nodes.get(view.name));
    FleetNodeStatus {
        observed_generation: Some(generation),
        presence: match seen.presence {
            planner::Presence::NeverSeen => Presence::NeverSeen,
            planner::Presence::Away => Presence::Away,
            planner::Presence::Connected => Presence::Connected,
        },
        last_seen: node.last_seen,
        class: wanted.map(|wanted| wanted.class.clone()),
        facts: seen.announced.clone(),
        boot_id: (!seen.boot_id.is_empty()).then(|| seen.boot_id.clone()),
        boot: node.boot.clone(),
        generation: node.generation,
        committed_generation: node.stored.map(|(generation, _)| generation),
        test_ends: node.stored.and_then(|(_, ends)| ends),
        suites: node.suites.clone(),
        // While a node has not been heard, what it ran last is the best there is.
        manifest_digest: seen
            .running
            .as_ref()
            .map_or(old.manifest_digest, |running| Some(running.digest())),
        preferred_digest: wanted.map(|wanted| wanted.manifest_digest),
        failed: seen.failed.clone(),
        last_order: node.last_order.clone(),
        kept: seen.kept,
        rollout: node.rollout.clone(),
        processes: node.processes.clone(),
        last_verdict: node.last_verdict.clone(),
        last_handled_reconcile_at: old.last_handled_reconcile_at.clone(),
        conditions: conditions(&old.conditions, &view.condition(), Some(generation), now),
    }
}

/// What somebody may wait for that looks at a node, where there is no hurry.
const SOON: SignedDuration = SignedDuration::from_secs(15);

/// Words alone change with every answer of any other node.
const SOME_TIME: SignedDuration = SignedDuration::from_secs(60);

/// How long `new` may wait to be written in place of `old`; none where it has to be written before
/// anything is done on account of it, or where people look for it.
///
/// That a node was asked, or told to stage, is such news: should the controller be killed, it is
/// asked and told again, and answers the same.
pub(crate) fn may_wait(old: &FleetNodeStatus, new: &FleetNodeStatus) -> Option<SignedDuration> {
    let identity = |status: &FleetNodeStatus| {
        (
            status.observed_generation,
            status.presence,
            status.class.clone(),
            status.boot_id.clone(),
            status.failed.clone(),
            (status.last_order.clone(), status.kept),
            (status.committed_generation, status.test_ends),
            suites::failure(&status.suites),
            status.suites.iter().map(|it| it.state).collect::<Vec<_>>(),
            status.last_verdict.clone(),
        )
    };
    let has_happened = steps(new).is_some_and(|now| steps(old).as_ref() != Some(&now));
    let settles = |status: &FleetNodeStatus| {
        status.conditions.iter().any(|it| match it.kind {
            ConditionType::Ready => it.status == ConditionStatus::True,
            ConditionType::Stalled => true,
            ConditionType::Reconciling => false,
        })
    };
    let is_settled = settles(new) && reason(old) != reason(new);
    if identity(old) != identity(new) || has_happened || is_settled {
        return None;
    }
    let is_only_words = reason(old) == reason(new) && old.rollout == new.rollout;
    Some(if is_only_words { SOME_TIME } else { SOON })
}

fn reason(status: &FleetNodeStatus) -> Option<Reason> {
    let ready = status
        .conditions
        .iter()
        .find(|it| it.kind == ConditionType::Ready);
    ready.map(|condition| condition.reason)
}

/// What happened on the node in its roll-out; none while it was only asked, or told to stage.
fn steps(status: &FleetNodeStatus) -> Option<NodeState> {
    let state = &status.rollout.as_ref()?.state;
    let lasting = NodeState {
        staging: None,
        ..state.clone()
    };
    (lasting != NodeState::asked(state.change_digest, state.asked)).then_some(lasting)
}

impl View<'_> {
    fn condition(&self) -> State {
        let seen = &self.node.seen;
        if seen.presence == planner::Presence::NeverSeen {
            return State::Reconciling(Reason::NeverSeen, "the node has never joined".to_owned());
        }
        if let Some(why) = &self.node.apart {
            return State::Stalled(Reason::ProtocolMismatch, why.clone());
        }
        if let Some((reason, text)) = self.problem() {
            return State::Stalled(reason, text);
        }
        if let Some(waiting) = self.plan.and_then(|plan| plan.held.get(self.name)) {
            return waiting_state(waiting);
        }
        if seen.presence == planner::Presence::Away {
            return State::Reconciling(Reason::Away, "the node has no connection".to_owned());
        }
        if self
            .plan
            .is_some_and(|plan| plan.nodes.contains_key(self.name))
        {
            return State::Reconciling(Reason::OutOfDate, "the node is about to change".to_owned());
        }
        if !seen.not_ready.is_empty() {
            let names: Vec<_> = seen.not_ready.iter().map(String::as_str).collect();
            let text = format!("not ready: {}", names.join(", "));
            return State::Reconciling(Reason::ProcessesNotReady, text);
        }
        if self
            .target
            .is_none_or(|target| !target.nodes.contains_key(self.name))
        {
            let text = "no class claims the node, and nothing is declared for it to run";
            return State::Reconciling(Reason::ClassUnclear, text.to_owned());
        }
        if let Some(failure) = suites::failure(&self.node.suites) {
            return State::Stalled(Reason::TestsFailed, failure);
        }
        let generation = self.node.generation.unwrap_or(0);
        let mut text = format!("generation {generation} runs as declared");
        if let Some(running) = suites::running(&self.node.suites) {
            text = format!("{text}; {running}");
        }
        State::Ready(Reason::Succeeded, text)
    }

    /// A problem of the target that is about this node alone.
    fn problem(&self) -> Option<(Reason, String)> {
        let misfits = self.target.map(|target| &target.misfits);
        if let Some(misfit) = misfits.and_then(|misfits| misfits.get(self.name)) {
            return Some((Reason::FactsMismatch, misfit.to_string()));
        }
        let problems = self.target.into_iter().flat_map(|target| &target.problems);
        let mut own = problems.filter_map(|problem| match problem {
            Problem::Class { node, .. } if node == self.name => {
                Some((Reason::ClassUnclear, problem.to_string()))
            }
            _ => None,
        });
        own.next()
    }
}

fn waiting_state(waiting: &WaitingOn) -> State {
    let text = format!("the node {waiting}");
    match waiting {
        WaitingOn::Problems | WaitingOn::Requirement(_) | WaitingOn::AfterTests(_) => {
            State::Stalled(Reason::Blocked, text)
        }
        WaitingOn::FirstContact => State::Reconciling(Reason::NeverSeen, text),
        WaitingOn::Observation => State::Reconciling(Reason::Progressing, text),
        WaitingOn::Connection => State::Reconciling(Reason::Away, text),
        WaitingOn::Answer | WaitingOn::OtherAnswers(_) | WaitingOn::Deferred(_) => {
            State::Reconciling(Reason::Proposing, text)
        }
        WaitingOn::Decision(_) => State::Stalled(Reason::Held, text),
        WaitingOn::Staging | WaitingOn::OthersStaging(_) => {
            State::Reconciling(Reason::Staging, text)
        }
        WaitingOn::Budget { .. }
        | WaitingOn::Activating
        | WaitingOn::OlderRollout(_)
        | WaitingOn::Window(_)
        | WaitingOn::Wave { .. }
        | WaitingOn::Verification(_) => State::Reconciling(Reason::Activating, text),
        WaitingOn::Skipped | WaitingOn::GivenBack | WaitingOn::NoMemory => {
            State::Stalled(Reason::OutOfDate, text)
        }
        WaitingOn::Aborted => State::Stalled(Reason::Aborted, text),
        WaitingOn::Failed(_) => State::Stalled(Reason::ChangeFailed, text),
        WaitingOn::Facts(_) => State::Stalled(Reason::FactsMismatch, text),
        WaitingOn::Paused | WaitingOn::Suspended | WaitingOn::Maintenance(_) => {
            State::Stalled(Reason::Suspended, text)
        }
    }
}
