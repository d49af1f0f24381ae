//! Target, observation and roll-out together, with what each node's change is.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use placet_model::{Activation, Digest, NodeChange, NodeName, NodeState, RolloutPhase, digest_of};

use super::decisions::Decisions;
use super::former::problems;
use super::standing::Standing;
use crate::beside::Beside;
use crate::change::{Announcements, change_set};
use crate::observed::memory;
use crate::plan::{NodePlan, Plan, Target, TargetNode, WaitingOn};
use crate::{Observed, ObservedNode, Presence, RolloutState, Rules};

pub(super) struct Fleet<'a> {
    pub(super) target: &'a Target,
    pub(super) observed: &'a Observed,
    /// The roll-out of the target's revision, if there is one.
    pub(super) rollout: Option<&'a RolloutState>,
    pub(super) decisions: Decisions<'a>,
    pub(super) digest: Digest,
    /// Nodes that have a target and are not at rest.
    lively: Vec<&'a NodeName>,
    changes: BTreeMap<NodeName, NodePlan>,
}

/// One node that has a target and has joined.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) name: &'a NodeName,
    pub(super) target: &'a TargetNode,
    pub(super) seen: &'a ObservedNode,
    pub(super) state: Option<&'a NodeState>,
    /// None while it is not known to differ.
    pub(super) change: Option<&'a NodePlan>,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(
        target: &'a Target,
        observed: &'a Observed,
        rollout: Option<&'a RolloutState>,
    ) -> Self {
        let lively = lively(target, observed, rollout);
        Self {
            target,
            observed,
            rollout,
            changes: changes(target, observed, &lively),
            lively,
            decisions: Decisions::new(rollout.map_or(&[], |rollout| &rollout.decisions)),
            digest: target.digest.unwrap_or_else(|| digest_of(&target.revision)),
        }
    }

    /// Where each node stands, looked at by itself. Nodes at rest are left out: they have arrived,
    /// and take no part in the roll-out.
    pub(super) fn standings(&self) -> BTreeMap<NodeName, Standing> {
        let awaited = self.target.awaited.iter();
        let awaited = awaited.map(|name| (name.clone(), self.standing_of_awaited(name)));
        let misfits = self.target.misfits.iter();
        let misfits = misfits.map(|(name, why)| {
            let waiting = WaitingOn::Facts(why.to_string());
            (name.clone(), Standing::Out(waiting))
        });
        let lively = self.lively.iter().copied();
        lively
            .map(|name| (name.clone(), self.standing_of(name)))
            .chain(awaited)
            .chain(misfits)
            .collect()
    }

    pub(super) fn node(&self, name: &NodeName) -> Option<Node<'_>> {
        let (name, target) = self.target.nodes.get_key_value(name)?;
        let seen = self.observed.nodes.get(name)?;
        Some(Node {
            name,
            target,
            seen,
            state: self.rollout.and_then(|rollout| rollout.nodes.get(name)),
            change: self.changes.get(name),
        })
    }

    /// True if every node is known to run its target.
    pub(super) fn is_all_there(&self) -> bool {
        let mut lively = self.lively.iter().map(|name| self.node(name));
        self.target.awaited.is_empty()
            && self.target.misfits.is_empty()
            && lively.all(|node| node.is_some_and(|node| node.runs_its_target()))
    }

    pub(super) fn changes(&self) -> &BTreeMap<NodeName, NodePlan> {
        &self.changes
    }

    pub(super) fn is_declared(&self, name: &NodeName) -> bool {
        let target = self.target;
        target.nodes.contains_key(name)
            || target.awaited.contains(name)
            || target.misfits.contains_key(name)
    }

    /// How many nodes are declared.
    pub(super) fn declared(&self) -> usize {
        let target = self.target;
        target.nodes.len() + target.awaited.len() + target.misfits.len()
    }

    /// True once a node of the class was told to activate.
    pub(super) fn has_begun_in(&self, class: &str) -> bool {
        let nodes = self.rollout.iter().flat_map(|rollout| &rollout.nodes);
        nodes
            .filter(|(_, state)| state.activating.is_some())
            .any(|(name, _)| (self.target.nodes.get(name)).is_some_and(|of| of.class == class))
    }

    /// True once a node of the roll-out was told to activate.
    pub(super) fn has_begun(&self) -> bool {
        let mut nodes = self
            .rollout
            .iter()
            .flat_map(|rollout| rollout.nodes.values());
        nodes.any(|state| state.activating.is_some())
    }

    /// True if the roll-out had come to its end: not knowing what a node runs does not reopen it.
    pub(super) fn was_done(&self) -> bool {
        self.rollout
            .is_some_and(|rollout| rollout.phase == RolloutPhase::Done)
    }

    /// Of the roll-out that there is, or that would be opened.
    pub(super) fn name(&self) -> String {
        self.rollout.map_or_else(
            || format!("r-{}", self.digest.short()),
            |rollout| rollout.name.clone(),
        )
    }

    pub(super) fn now(&self) -> Timestamp {
        self.observed.now
    }

    /// A plan that says what differs and leaves all as it is.
    pub(super) fn bare_plan(&self) -> Plan {
        Plan {
            rollout: self.name(),
            revision: self.target.revision.clone(),
            digest: self.digest,
            opens: false,
            supersedes: None,
            nodes: self.changes.clone(),
            declared: self.declared(),
            problems: problems(self.target, self.observed),
            notes: self.target.notes.clone(),
            phase: RolloutPhase::Done,
            hold: None,
            steps: Vec::new(),
            held: BTreeMap::new(),
            wake: None,
        }
    }
}

/// The nodes that have a target and are not at rest, in order. Most of a fleet is at rest most of the
/// time: this is all that planning costs for such a node. Those that took part in the roll-out count
/// in its waves as long as it is not over.
fn lively<'a>(
    target: &'a Target,
    observed: &Observed,
    rollout: Option<&RolloutState>,
) -> Vec<&'a NodeName> {
    let nobody = BTreeMap::new();
    let mut seen = Beside::of(&observed.nodes);
    let mut states = Beside::of(rollout.map_or(&nobody, |rollout| &rollout.nodes));
    let mut is_over = rollout.is_some_and(|rollout| rollout.phase == RolloutPhase::Done);
    let nodes = target.nodes.iter().filter(|(name, node)| {
        let rests = seen.at(name).is_some_and(|seen| rests(node, seen));
        is_over &= rests;
        let state = states.at(name);
        !rests || state.is_some_and(|state| state.activating.is_some())
    });
    let lively: Vec<_> = nodes.map(|(name, _)| name).collect();
    if is_over { Vec::new() } else { lively }
}

/// True if it runs what it should, and nothing is on its way there.
fn rests(node: &TargetNode, seen: &ObservedNode) -> bool {
    seen.presence != Presence::NeverSeen
        && runs_target(node, seen)
        && (seen.presence == Presence::Connected || !seen.changing)
}

/// What the change is on each node that is known to differ. Computed once for each pair of
/// manifests.
fn changes(
    target: &Target,
    observed: &Observed,
    lively: &[&NodeName],
) -> BTreeMap<NodeName, NodePlan> {
    let mut computed = BTreeMap::<(Digest, Digest), NodePlan>::new();
    let mut changes = BTreeMap::new();
    for name in lively {
        let node = &target.nodes[*name];
        let seen = observed
            .nodes
            .get(*name)
            .filter(|seen| seen.presence != Presence::NeverSeen);
        let Some(running) = seen.and_then(|seen| seen.running.as_ref()) else {
            continue;
        };
        let (from, to) = (running.digest(), node.manifest_digest);
        if from == to && !seen.is_some_and(|seen| is_to_be_stored(node, seen)) {
            continue;
        }
        let plan = computed.entry((from, to)).or_insert_with(|| {
            let change_set = change_set(running.manifest(), &node.manifest, &Announcements::new());
            let change = NodeChange {
                from,
                to,
                change_set,
            };
            let change_digest = change.digest();
            NodePlan {
                from,
                to,
                change_digest,
                rules: Arc::new(Rules::of_processes(&change.change_set)),
                change_set: Arc::new(change.change_set),
            }
        });
        changes.insert((*name).clone(), plan.clone());
    }
    changes
}

impl<'a> Node<'a> {
    /// The change that it is or was asked about; what it is asked about now, where that is known.
    pub(super) fn change_digest(&self) -> Option<Digest> {
        let known = self.change.map(|change| change.change_digest);
        known.or_else(|| self.state.map(|state| state.change_digest))
    }

    /// What happened so far of the change at hand.
    pub(super) fn current(&self) -> Option<&'a NodeState> {
        self.state
            .filter(|state| Some(state.change_digest) == self.change_digest())
    }

    pub(super) fn is_connected(&self) -> bool {
        self.seen.presence == Presence::Connected
    }

    /// How long to wait for its answer, and for it to come back.
    pub(super) fn patience(&self) -> SignedDuration {
        SignedDuration::from_secs(self.target.strategy.vote_seconds.into())
    }

    /// How long it may be away before the policy for that takes hold: one that was told to change,
    /// and restarts for it, has the time of its class for that.
    pub(super) fn absence(&self) -> SignedDuration {
        let boot = self.target.manifest.boot.as_ref();
        let restart = boot.filter(|_| self.may_restart());
        let seconds = restart.map_or(0, |boot| boot.commands.restart_seconds);
        self.patience()
            .max(SignedDuration::from_secs(seconds.into()))
    }

    /// True if it was told to change, has not said how that ended, and may restart on the way.
    fn may_restart(&self) -> bool {
        let restarts = match self.change {
            Some(change) => change.change_set.restart.is_some(),
            // It had the new generation when it was last heard; what was before is forgotten.
            None => self.target.manifest.boot.is_some(),
        };
        self.is_told() && restarts
    }

    /// True if it went away while it was about a change for which it may restart.
    pub(super) fn has_gone_to_restart(&self) -> bool {
        !self.is_connected() && self.seen.changing && self.may_restart()
    }

    /// True if it was told to make the change at hand, and has not said how that ended.
    pub(super) fn is_told(&self) -> bool {
        self.current()
            .is_some_and(|state| state.activating.is_some() && state.activation.is_none())
    }

    /// True if it is known to run what it should, and to have stored it if it should.
    pub(super) fn runs_its_target(&self) -> bool {
        runs_target(self.target, self.seen)
    }

    /// True while it runs what it was told to, and it is not known how the change ends.
    pub(super) fn is_soaking(&self) -> bool {
        let is_open = self.state.is_some_and(|state| state.activation.is_none());
        is_open && self.is_connected() && self.seen.changing
    }

    /// For how long what it is given runs from memory only, if it does.
    pub(super) fn memory(&self) -> Option<u32> {
        memory(self.target, self.seen)
    }

    /// True if something of what it is given is in memory only.
    pub(super) fn needs_memory(&self) -> bool {
        self.memory().is_some() || self.target.manifest.has_transient_image()
    }

    /// True if it ran what it should and has gone back, as at the end of a test.
    pub(super) fn has_given_back(&self) -> bool {
        let ended = self.current().and_then(|state| state.activation.as_ref());
        let was_made = match ended {
            Some(Activation::Done(_)) => true,
            Some(Activation::Failed(_)) => false,
            None => self.target.memory.is_some(),
        };
        was_made && self.seen.failed.contains(&self.target.manifest_digest)
    }

    pub(super) fn is_staged(&self) -> bool {
        self.seen.staged.contains(&self.target.manifest_digest)
    }
}

/// True if it is known to run what it should, and to have stored it if it should.
fn runs_target(target: &TargetNode, seen: &ObservedNode) -> bool {
    let running = seen.running.as_ref();
    running.is_some_and(|running| running.digest() == target.manifest_digest)
        && !is_to_be_stored(target, seen)
}

/// True if what it runs is in memory only, and is not to be.
fn is_to_be_stored(target: &TargetNode, seen: &ObservedNode) -> bool {
    memory(target, seen).is_none() && seen.stored.is_some()
}

/// The time after so long, or the end of time.
pub(super) fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}
