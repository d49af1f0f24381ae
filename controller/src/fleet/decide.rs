//! A person's word on a hold.

use placet_crds::{DecisionAction, DecisionRequest, Object, RolloutStatus};
use placet_model::{Decision, DecisionKind, Hold, NodeName, RolloutPhase};
use placet_planner::RolloutState;

use super::feed;
use super::news::Ruling;
use super::refusal::Refusal;
use super::turn::Turn;
use super::world::World;
use crate::home::{Applied, Owner, Write};
use crate::telemetry::{self, Happened};

/// As long as the field of the resource allows.
const REASON_MOST: usize = 1_024;

impl World {
    /// Records a decision on the hold that is open. Each hold is decided once.
    pub(crate) fn decide(&mut self, ruling: Ruling, turn: &mut Turn) -> Result<Decision, Refusal> {
        check_reason(&ruling.reason)?;
        let (_, hold) = self.hold_of(&ruling)?;
        check_nodes(&ruling.kind, &hold)?;
        check_overrides(&ruling.overrides, &hold)?;
        let decision = Decision {
            hold: hold.number,
            kind: ruling.kind,
            author: ruling.author,
            reason: ruling.reason,
            time: turn.now,
            overrides: hold.objections,
        };
        self.check_requirements(&decision, turn)?;
        let name = ruling.rollout;
        if let Some(rollout) = &mut self.rollout {
            rollout.decisions.push(decision.clone());
        }
        self.put_decision(&name, &decision, turn);
        turn.tell("decision", feed::decision(&name, &decision));
        turn.count(Happened::Decided(telemetry::decision(&decision.kind)));
        Ok(decision)
    }

    /// What a decision leaves behind has to hold together (D7).
    fn check_requirements(&self, decision: &Decision, turn: &Turn) -> Result<(), Refusal> {
        let Some(target) = &self.target else {
            return Ok(());
        };
        placet_planner::check_decision(target, &self.observed(turn.now), decision)
            .map_err(|refusal| Refusal::untimely(refusal.to_string()))
    }

    /// The roll-out and the open hold that a ruling is about.
    fn hold_of(&mut self, ruling: &Ruling) -> Result<(&mut RolloutState, Hold), Refusal> {
        let name = &ruling.rollout;
        let exists = self.objects.rollout(name).is_some();
        let newest = self
            .rollout
            .as_mut()
            .filter(|rollout| rollout.name == *name);
        let Some(rollout) = newest else {
            return Err(if exists {
                Refusal::untimely(format!(
                    "roll-out {name} is over: a newer one took its place, and there is nothing to decide"
                ))
            } else {
                Refusal::absent(format!(
                    "there is no roll-out `{}`; `placet get rollouts` lists them",
                    placet_model::visible(name)
                ))
            });
        };
        let hold = open_hold(
            name,
            rollout.phase,
            rollout.hold.as_ref(),
            &rollout.decisions,
            ruling.hold,
        )?;
        Ok((rollout, hold))
    }

    /// Writes the decision into the spec too, where the rules of the kind keep it from being taken
    /// back.
    fn put_decision(&mut self, name: &str, decision: &Decision, turn: &mut Turn) {
        let Some(entry) = self.objects.get("Rollout", name) else {
            return;
        };
        let (mut object, owner) = (entry.object.clone(), entry.owner.clone());
        let is_there = |request: &DecisionRequest| request.hold == decision.hold;
        if matches!(&object, Object::Rollout(it) if it.spec.decision.as_ref().is_some_and(is_there))
        {
            // That is where it was read.
            return;
        }
        if let Object::Rollout(rollout) = &mut object {
            rollout.spec.decision = Some(request(decision));
            rollout.metadata.resource_version = None;
        }
        self.put(object, owner, turn);
    }

    /// Puts an object of which nobody else can be the owner.
    pub(super) fn put(&mut self, object: Object, owner: Owner, turn: &mut Turn) {
        let applied = self.objects.put(object.clone(), owner.clone());
        if applied.is_ok_and(|applied| applied != Applied::Unchanged) {
            let object = Box::new(object);
            turn.writes.push(Write::Put { object, owner });
        }
    }
}

/// Whether a decision could be taken by the status that the roll-out has, in the words in which it
/// would be refused.
pub(crate) fn check_status(
    name: &str,
    status: &RolloutStatus,
    request: &DecisionRequest,
) -> Result<(), String> {
    let check = || {
        check_reason(&request.reason)?;
        let phase = status.phase.unwrap_or(RolloutPhase::Proposing);
        let (hold, decisions) = (status.hold.as_ref(), &status.decisions);
        let hold = open_hold(name, phase, hold, decisions, Some(request.hold))?;
        check_nodes(&request.kind(), &hold)?;
        check_overrides(&request.overrides, &hold)
    };
    check().map_err(|refusal: Refusal| refusal.to_string())
}

/// The hold that is open, if it is the one that somebody means.
fn open_hold(
    name: &str,
    phase: RolloutPhase,
    hold: Option<&Hold>,
    decisions: &[Decision],
    asked: Option<u32>,
) -> Result<Hold, Refusal> {
    let Some(hold) = hold else {
        let why = match phase {
            RolloutPhase::Blocked => {
                "its problems are solved in the declarations and packages, and no decision overrides them"
            }
            _ => "there is nothing to decide",
        };
        return Err(Refusal::untimely(format!(
            "roll-out {name} is not held (its phase is {phase}): {why}"
        )));
    };
    if let Some(asked) = asked
        && asked != hold.number
    {
        return Err(Refusal::untimely(format!(
            "hold {asked} of roll-out {name} is not open; hold {} is: look at it, then decide that one",
            hold.number
        )));
    }
    let mut earlier = decisions.iter();
    if let Some(earlier) = earlier.find(|decision| decision.hold == hold.number) {
        return Err(Refusal::untimely(format!(
            "hold {} of roll-out {name} has just been decided by {}: {}",
            hold.number, earlier.author, earlier.kind
        )));
    }
    Ok(hold.clone())
}

/// The decision as it stands in the spec of the roll-out.
fn request(decision: &Decision) -> DecisionRequest {
    let (action, nodes) = match &decision.kind {
        DecisionKind::Skip => (DecisionAction::Skip, &[][..]),
        DecisionKind::Force { nodes } => (DecisionAction::Force, &nodes[..]),
        DecisionKind::Abort => (DecisionAction::Abort, &[][..]),
    };
    DecisionRequest {
        hold: decision.hold,
        action,
        nodes: nodes.iter().cloned().collect(),
        overrides: Vec::new(),
        reason: decision.reason.clone(),
        author: Some(decision.author.clone()),
    }
}

fn check_reason(reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() {
        return Err(Refusal::malformed(
            "a decision needs a reason, for those who read the history",
        ));
    }
    if reason.chars().count() > REASON_MOST || reason.chars().any(char::is_control) {
        return Err(Refusal::malformed(format!(
            "the reason of a decision is one line of at most {REASON_MOST} characters"
        )));
    }
    Ok(())
}

/// Only nodes that object can be forced.
fn check_nodes(kind: &DecisionKind, hold: &Hold) -> Result<(), Refusal> {
    let DecisionKind::Force { nodes } = kind else {
        return Ok(());
    };
    match nodes.iter().find(|node| !hold.nodes.contains(node)) {
        None => Ok(()),
        Some(_) if hold.nodes.is_empty() => Err(Refusal::malformed(format!(
            "hold {} is about a class as a whole: force it without naming nodes, or skip it",
            hold.number
        ))),
        Some(other) => Err(Refusal::malformed(format!(
            "node {other} does not object in hold {}; those that do: {}",
            hold.number,
            names(hold)
        ))),
    }
}

/// Where a person said what is overridden, nothing else is.
fn check_overrides(overrides: &[String], hold: &Hold) -> Result<(), Refusal> {
    if overrides.is_empty() {
        return Ok(());
    }
    let mut objections = hold.objections.iter();
    match objections.find(|objection| !overrides.contains(objection)) {
        None => Ok(()),
        Some(more) => Err(Refusal::untimely(format!(
            "hold {} has an objection that the decision does not name: {more}",
            hold.number
        ))),
    }
}

fn names(hold: &Hold) -> String {
    let names: Vec<_> = hold.nodes.iter().map(NodeName::as_str).collect();
    names.join(", ")
}
