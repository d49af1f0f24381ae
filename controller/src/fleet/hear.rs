//! What nodes say, taken into the world.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use placet_crds::{NodeBoot, NodeRollout};
use placet_model::{Activation, Answer, Digest, NodeName, NodeState, Verdict, VoteRecord, visible};
use placet_planner::{Presence, RolloutState, Running, verdict_of};

use super::feed;
use super::news::{Announcement, InMemory, Reported, Said};
use super::turn::Turn;
use super::world::{Node, World};
use crate::telemetry::Happened;

impl World {
    /// A node bought its certificate: it is known from now on, whether declared or not.
    pub(super) fn join(&mut self, name: &NodeName, turn: &mut Turn) {
        self.touched.insert(name.clone());
        let node = self.nodes.entry(name.clone()).or_default();
        if node.seen.presence == Presence::NeverSeen {
            node.seen.presence = Presence::Away;
            node.seen.away_since = Some(turn.now);
            turn.tell_joined(name);
        }
    }

    /// A node opened a session; says whether it is one to talk in.
    pub(super) fn hello(
        &mut self,
        name: &NodeName,
        session: u64,
        announcement: Announcement,
        turn: &mut Turn,
    ) -> bool {
        self.touched.insert(name.clone());
        let node = self.nodes.entry(name.clone()).or_default();
        if node.session.is_some_and(|current| current > session) {
            return false;
        }
        let was_seen = node.seen.presence != Presence::NeverSeen;
        let facts_changed =
            node.seen.announced != announcement.facts || node.seen.boot_id.is_empty();
        node.session = Some(session);
        node.apart = None;
        node.policy = None;
        if node.boot.is_none() || node.seen.boot_id != announcement.boot_id {
            node.boot = Some(NodeBoot::at(turn.now));
        }
        let seen = &mut node.seen;
        seen.presence = Presence::Connected;
        seen.connected_since = Some(turn.now);
        seen.away_since = None;
        seen.announced = announcement.facts;
        seen.boot_id = announcement.boot_id;
        seen.staged = announcement.staged;
        seen.has_memory = announcement.memory;
        seen.failed = announcement.failed.keys().copied().collect();
        node.run(self.manifests.shared(announcement.manifest));
        node.last_seen = Some(turn.now);
        node.take_report(name, announcement.report, turn);
        self.failed_unheard(name, &announcement.failed, turn);
        if facts_changed {
            self.facts_changed.insert(name.clone());
        }
        self.hails.hear(name);
        if !was_seen && self.objects.node(name).is_some() {
            turn.tell_joined(name);
        }
        true
    }

    /// A node wanted a session and does not speak what this controller does.
    pub(super) fn apart(&mut self, name: &NodeName, why: String, turn: &mut Turn) {
        if self.objects.node(name).is_none() && !self.nodes.contains_key(name) {
            return;
        }
        self.join(name, turn);
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        if node.apart.as_ref() != Some(&why) {
            turn.tell("nodeRefused", feed::refused_node(name, &why));
            node.apart = Some(why);
        }
    }

    /// The outcome of a change may be lost with a session: the next Hello tells why it failed.
    fn failed_unheard(
        &mut self,
        name: &NodeName,
        failed: &BTreeMap<Digest, String>,
        turn: &mut Turn,
    ) {
        let wanted = self.target.as_ref().and_then(|it| it.nodes.get(name));
        let reason = wanted.and_then(|wanted| failed.get(&wanted.manifest_digest));
        let state = self.rollout.as_ref().and_then(|it| {
            let state = it.nodes.get(name)?;
            let is_unheard = state.activating.is_some() && state.activation.is_none();
            is_unheard.then(|| (it.name.clone(), state.change_digest))
        });
        if let (Some(reason), Some((rollout, change_digest))) = (reason, state) {
            let outcome = Err(reason.clone());
            self.activated(name, (&rollout, change_digest), outcome, turn);
        }
    }

    /// A session ended.
    pub(super) fn gone(&mut self, name: &NodeName, session: u64, turn: &mut Turn) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        if node.session != Some(session) {
            return;
        }
        self.touched.insert(name.clone());
        self.hails.forget(name);
        node.session = None;
        node.last_seen = Some(turn.now);
        node.seen.presence = Presence::Away;
        node.seen.connected_since = None;
        node.seen.away_since = Some(turn.now);
        turn.tell("nodeLost", feed::node(name));
        if self.objects.node(name).is_none() {
            self.nodes.remove(name);
        }
    }

    /// A node said something in its session.
    pub(super) fn said(&mut self, name: &NodeName, session: u64, what: Said, turn: &mut Turn) {
        let is_current = self
            .nodes
            .get(name)
            .is_some_and(|node| node.session == Some(session));
        if !is_current {
            return;
        }
        self.touched.insert(name.clone());
        match what {
            Said::Verdict(verdict) => self.verdict(name, verdict, turn),
            Said::Staged {
                rollout,
                change_digest,
                modules,
                bytes,
                error,
            } => {
                let travelled = (modules, bytes);
                if self.staged(name, (&rollout, change_digest), error, turn) {
                    let (modules, bytes) = travelled;
                    turn.count(Happened::Staged { bytes });
                    turn.tell("fetched", feed::fetched(&rollout, name, modules, bytes));
                }
            }
            Said::Activated {
                rollout,
                change_digest,
                outcome,
            } => self.activated(name, (&rollout, change_digest), outcome, turn),
            Said::Report(report) => self.report(name, report, turn),
        }
    }

    fn verdict(&mut self, name: &NodeName, mut verdict: Verdict, turn: &mut Turn) {
        let rules = self.rules_on(name, &verdict);
        let (Some(node), Some(rollout)) = (self.nodes.get_mut(name), &mut self.rollout) else {
            tracing::warn!("node {name}: a verdict to no roll-out is not counted");
            return;
        };
        let state = match weigh(&verdict, node, rollout) {
            Ok(state) => state,
            Err(why) => {
                let of = visible(&verdict.rollout);
                tracing::warn!("node {name}: a verdict to {of} is not counted: {why}");
                return;
            }
        };
        let Some(objections) = rules else {
            // Whoever came back since it was asked is asked again by the next plan.
            tracing::warn!("node {name}: a verdict is not counted before there is a plan");
            return;
        };
        verdict.records.extend(objections);
        // The node's own word may only be stricter than what its voters said.
        verdict.verdict = verdict.verdict.max(verdict_of(&verdict.records));
        if state.verdict.as_ref() == Some(&verdict) {
            return;
        }
        turn.tell("verdict", feed::verdict(&verdict));
        turn.count(Happened::Verdict {
            kind: verdict.verdict,
            vetoes: vetoes(&verdict),
        });
        state.verdict = Some(verdict.clone());
        node.last_verdict = Some(verdict);
    }

    /// What the rules of the node's class and of its processes say of the change that a verdict
    /// answers to; nothing if that change is not in the plan.
    fn rules_on(&self, name: &NodeName, verdict: &Verdict) -> Option<Vec<VoteRecord>> {
        let wanted = self.target.as_ref()?.nodes.get(name)?;
        let change = self.plan.as_ref().and_then(|plan| plan.nodes.get(name));
        if wanted.rules.is_empty() && change.is_none_or(|change| change.rules.is_empty()) {
            return Some(Vec::new());
        }
        let change = change?;
        (change.change_digest == verdict.change_digest)
            .then(|| wanted.objections(name, change, verdict.time))
    }

    /// Notes how staging went; true if all is there that was not there before.
    fn staged(
        &mut self,
        name: &NodeName,
        (rollout, change_digest): (&str, Digest),
        error: Option<String>,
        turn: &mut Turn,
    ) -> bool {
        let Some((node, state)) = self.part_of(name, rollout, change_digest) else {
            return false;
        };
        if let Some(error) = error {
            let error = visible(&error).to_string();
            if node.stage_error.as_ref() != Some(&error) {
                turn.tell("failed", feed::failed(rollout, name, &error));
                turn.count(Happened::NotStaged);
            }
            node.stage_error = Some(error.clone());
            state.stage_error = Some(error);
            return false;
        }
        let ordered = node.ordered.as_ref();
        let Some(ordered) = ordered.filter(|ordered| ordered.change_digest == change_digest) else {
            return false;
        };
        state.stage_error = None;
        node.stage_error = None;
        node.seen.staged.insert(ordered.manifest.digest())
    }

    fn activated(
        &mut self,
        name: &NodeName,
        (rollout, change_digest): (&str, Digest),
        outcome: Result<u64, String>,
        turn: &mut Turn,
    ) {
        let Some((node, state)) = self.part_of(name, rollout, change_digest) else {
            return;
        };
        if state.activating.is_none() {
            tracing::warn!("node {name} reports a change that it was not told to make");
            return;
        }
        let activation = match outcome {
            Ok(generation) => Activation::Done(generation),
            Err(reason) => Activation::Failed(visible(&reason).to_string()),
        };
        if state.activation.as_ref() == Some(&activation) {
            return;
        }
        turn.count(match &activation {
            Activation::Done(_) => Happened::Activated,
            Activation::Failed(_) => Happened::Regressed,
        });
        if let Activation::Failed(reason) = &activation {
            turn.tell("failed", feed::failed(rollout, name, reason));
            if let Some(ordered) = &node.ordered {
                node.seen.failed.insert(ordered.manifest.digest());
                // It may have gone with the attempt: before another one it is staged anew.
                node.seen.staged.remove(&ordered.manifest.digest());
                state.staging = None;
            }
        }
        state.activation = Some(activation);
        state.ended = Some(turn.now);
    }

    fn report(&mut self, name: &NodeName, report: Reported, turn: &mut Turn) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let Some(running) = node.manifest(report.manifest_digest) else {
            // Its Hello will say what it is.
            turn.cut.push((
                name.clone(),
                "the node runs a manifest that it has not announced; say Hello again",
            ));
            return;
        };
        node.seen.failed.remove(&running.digest());
        let runs = node.seen.running.as_ref().map(Running::digest);
        if report.in_memory.is_none() || runs != Some(running.digest()) {
            // What runs is not staged any more: a way back to it is staged anew. What runs from
            // memory may be staged to be stored.
            node.seen.staged.remove(&running.digest());
        }
        node.run(running);
        node.take_report(name, report, turn);
    }

    /// A node and its part in the newest roll-out, if that is the one meant.
    fn part_of(
        &mut self,
        name: &NodeName,
        rollout: &str,
        change_digest: Digest,
    ) -> Option<(&mut Node, &mut NodeState)> {
        let current = self.rollout.as_mut().filter(|it| it.name == rollout)?;
        let state = current.nodes.get_mut(name)?;
        if state.change_digest != change_digest {
            return None;
        }
        Some((self.nodes.get_mut(name)?, state))
    }

    /// Writes the parts of the newest roll-out down at the nodes that have one.
    pub(super) fn spread_states(&mut self) {
        let Some(rollout) = &self.rollout else { return };
        for (name, state) in &rollout.nodes {
            if let Some(node) = self.nodes.get_mut(name) {
                let is_same = node
                    .rollout
                    .as_ref()
                    .is_some_and(|part| part.name == rollout.name && part.state == *state);
                if !is_same {
                    self.touched.insert(name.clone());
                    node.rollout = Some(NodeRollout {
                        name: rollout.name.clone(),
                        state: state.clone(),
                    });
                }
            }
        }
    }
}

impl Node {
    /// It runs this now.
    fn run(&mut self, running: Running) {
        let is_same = |old: &Running| old.digest() == running.digest();
        if !self.seen.running.as_ref().is_some_and(is_same) {
            self.before = self.seen.running.take();
        }
        self.seen.running = Some(running);
    }

    fn take_report(&mut self, name: &NodeName, report: Reported, turn: &mut Turn) {
        let pids = |processes: &[placet_crds::NodeProcess]| -> BTreeSet<_> {
            let running = processes.iter().filter(|process| process.pid != 0);
            running
                .map(|process| (process.name.clone(), process.pid))
                .collect()
        };
        let is_news = self.generation != Some(report.generation)
            || pids(&self.processes) != pids(&report.processes);
        self.generation = Some(report.generation);
        self.take_memory(report.in_memory, turn.now);
        if let Some(failed) = report.failed {
            self.seen.failed = failed.into_keys().collect();
        }
        self.seen.changing = report.changing;
        self.processes = report.processes;
        self.take_suites(name, report.suites, turn);
        let drifts = std::mem::replace(&mut self.drifts, report.drifts);
        if drifts != self.drifts && !self.drifts.is_empty() {
            turn.tell(
                "nodeDrift",
                feed::node_drift(name, report.generation, &self.drifts),
            );
        }
        self.judge_processes();
        if is_news {
            turn.tell(
                "processes",
                feed::processes(name, report.generation, &self.processes),
            );
        }
    }

    /// What it has stored, where that is not what it runs. The end of a test is told in seconds
    /// from now: another one than before only where it is no matter of rounding.
    fn take_memory(&mut self, stored: Option<InMemory>, now: Timestamp) {
        const ROUNDING: SignedDuration = SignedDuration::from_secs(5);
        self.seen.stored = stored.map(|stored| stored.manifest_digest);
        let known = self.seen.falls_back_to.take();
        self.seen.falls_back_to = self.seen.stored.and_then(|digest| {
            let known = known.filter(|known| known.digest() == digest);
            known.or_else(|| self.manifest(digest))
        });
        let known = self.stored.and_then(|(_, ends)| ends);
        self.stored = stored.map(|stored| {
            let left = stored.seconds_left.and_then(|it| i64::try_from(it).ok());
            let ends = left.and_then(|left| now.checked_add(SignedDuration::from_secs(left)).ok());
            let is_same = |ends: Timestamp| {
                known.is_some_and(|known| ends.duration_since(known).abs() < ROUNDING)
            };
            let ends = if ends.is_some_and(is_same) {
                known
            } else {
                ends
            };
            (stored.generation, ends)
        });
    }

    /// What a node is while it has not been heard since the controller started.
    pub(super) fn forgotten(mut self, now: Timestamp) -> Self {
        self.session = None;
        self.seen.connected_since = None;
        self.seen.running = None::<Running>;
        self.seen.changing = false;
        if self.seen.presence != Presence::NeverSeen {
            self.seen.presence = Presence::Away;
            self.seen.away_since = Some(now);
        }
        self
    }
}

/// Objections of processes.
fn vetoes(verdict: &Verdict) -> usize {
    let records = verdict.records.iter();
    records.filter(|it| it.answer == Answer::Veto).count()
}

/// The state that a verdict counts for, or why it does not count.
fn weigh<'r>(
    verdict: &Verdict,
    node: &Node,
    rollout: &'r mut RolloutState,
) -> Result<&'r mut NodeState, &'static str> {
    if rollout.name != verdict.rollout || rollout.plan_digest != verdict.plan_digest {
        return Err("it answers to another plan");
    }
    if rollout.phase.is_over() {
        return Err("the roll-out is over");
    }
    if node.seen.boot_id != verdict.boot_id {
        return Err("it was given in another boot");
    }
    let state = rollout
        .nodes
        .get_mut(&verdict.node)
        .ok_or("the node was not asked")?;
    if state.change_digest != verdict.change_digest {
        return Err("it answers to another change");
    }
    if state.released.is_some() {
        return Err("the question was withdrawn");
    }
    if state.activating.is_some() {
        return Err("the node has begun to change");
    }
    Ok(state)
}
