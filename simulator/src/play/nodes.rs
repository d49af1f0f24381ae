//! What nodes do when they are told to.

use std::sync::Arc;

use jiff::Timestamp;
use placet_model::{Activation, Digest, NodeName, NodeState, Verdict};
use placet_planner::{Action, Presence, Running};

use super::script::Fails;
use super::world::World;

/// Something that a node will do or say.
#[derive(Debug, Clone)]
pub(super) enum Coming {
    /// It answers.
    Verdict(Box<Verdict>),
    /// It has fetched all that it lacked, or says why not.
    Staged(Digest, Digest),
    /// It swaps what it runs.
    Swap(Box<Order>),
    /// It has watched what it runs for long enough.
    Soaked(Box<Order>, Option<Running>),
    /// It says how its change ended.
    Ended(Digest, Activation, Timestamp),
}

/// An order to change.
#[derive(Debug, Clone)]
pub(super) struct Order {
    change_digest: Digest,
    from: Digest,
    to: Digest,
    soak_seconds: u32,
    memory: bool,
}

impl World<'_> {
    /// A node is told something; it takes a while.
    pub(super) fn obey(&mut self, node: &NodeName, action: &Action) {
        match action {
            Action::Propose(proposal) => {
                self.forget(node, |it| matches!(it, Coming::Verdict(_)));
                let (verdict, seconds) = self.answer(node, proposal);
                self.later(node, seconds, Coming::Verdict(Box::new(verdict)));
            }
            Action::Release { .. } => {
                self.forget(node, |it| {
                    matches!(it, Coming::Verdict(_) | Coming::Staged(..))
                });
            }
            Action::Stage {
                change_digest,
                manifest,
                ..
            } => {
                let seconds = self.a_while();
                let to = manifest.digest();
                self.later(node, seconds, Coming::Staged(*change_digest, to));
            }
            Action::Activate {
                change_digest,
                from,
                to,
                soak_seconds,
                memory,
                ..
            } => {
                let order = Order {
                    change_digest: *change_digest,
                    from: *from,
                    to: *to,
                    soak_seconds: *soak_seconds,
                    memory: memory.is_some(),
                };
                let seconds = self.a_while();
                self.later(node, seconds, Coming::Swap(Box::new(order)));
            }
            Action::GiveBack { reason, .. } => self.give_back(node, reason),
        }
    }

    /// Something comes about.
    pub(super) fn happen(&mut self, node: &NodeName, coming: Coming) {
        match coming {
            Coming::Verdict(verdict) => self.hear(*verdict),
            Coming::Staged(change_digest, to) => self.staged(node, change_digest, to),
            Coming::Swap(order) => self.swap(node, order),
            Coming::Soaked(order, before) => match self.failure(node, Fails::Health) {
                Some(why) => self.fail(node, &order, before, why),
                None => self.done(node, &order),
            },
            Coming::Ended(change_digest, ended, when) => {
                self.report(node, change_digest, ended, when);
            }
        }
    }

    fn hear(&mut self, verdict: Verdict) {
        let words: Vec<_> = verdict.objections().collect();
        if words.is_empty() {
            self.say(format!("node {}: placet", verdict.node));
        }
        for line in words {
            self.say(line);
        }
        let rollout = self.observed.rollout.as_mut();
        let Some(rollout) = rollout.filter(|it| it.name == verdict.rollout) else {
            return;
        };
        let state = rollout.nodes.get_mut(&verdict.node);
        if let Some(state) = state.filter(|it| it.change_digest == verdict.change_digest) {
            state.verdict = Some(verdict);
        }
    }

    fn staged(&mut self, node: &NodeName, change_digest: Digest, to: Digest) {
        let failure = self.failure(node, Fails::Fetch);
        match &failure {
            Some(why) => self.say(format!("node {node}: cannot fetch: {why}")),
            None => self.say(format!("node {node}: has fetched")),
        }
        if failure.is_none() {
            self.node(node).staged.insert(to);
        }
        if let Some(state) = self.state(node, change_digest) {
            state.stage_error = failure;
        }
    }

    fn swap(&mut self, node: &NodeName, order: Box<Order>) {
        let manifest = self.manifests.get(&order.to).cloned();
        let running = self.node(node).running.clone();
        let (from, to) = (order.from, order.to);
        let is_planned = running
            .as_ref()
            .is_some_and(|it| [from, to].contains(&it.digest()));
        if !is_planned {
            let why = "planned against another manifest".to_owned();
            return self.fail(node, &order, running, why);
        }
        if let Some(why) = self.failure(node, Fails::Start) {
            return self.fail(node, &order, running, why);
        }
        let soak = order.soak_seconds;
        let seen = self.node(node);
        seen.running = manifest.map(Into::into);
        if soak == 0 {
            return self.done(node, &order);
        }
        seen.changing = true;
        self.say(format!("node {node}: has changed, watches for {soak} s"));
        self.later(node, soak, Coming::Soaked(order, running));
    }

    fn done(&mut self, node: &NodeName, order: &Order) {
        let to = order.to;
        let seen = self.node(node);
        seen.changing = false;
        seen.stored = order.memory.then(|| seen.stored.unwrap_or(order.from));
        seen.staged.remove(&to);
        seen.failed.remove(&to);
        self.end(node, order.change_digest, Activation::Done(1));
    }

    fn fail(&mut self, node: &NodeName, order: &Order, before: Option<Running>, why: String) {
        let seen = self.node(node);
        seen.changing = false;
        seen.failed.insert(order.to);
        seen.running = before;
        self.end(node, order.change_digest, Activation::Failed(why));
    }

    fn give_back(&mut self, node: &NodeName, reason: &str) {
        let soaking = self
            .coming
            .iter()
            .find_map(|(key, (name, coming))| match coming {
                Coming::Soaked(order, before) if name == node => {
                    Some((*key, order.clone(), before.clone()))
                }
                _ => None,
            });
        if let Some((key, order, before)) = soaking {
            self.coming.remove(&key);
            self.fail(node, &order, before, reason.to_owned());
        }
    }

    /// A change has ended; the controller hears of it if there is a connection.
    fn end(&mut self, node: &NodeName, change_digest: Digest, ended: Activation) {
        let now = self.now();
        if self.node(node).presence == Presence::Connected {
            return self.report(node, change_digest, ended, now);
        }
        let unheard = self.unheard.entry(node.clone()).or_default();
        unheard.push(Coming::Ended(change_digest, ended, now));
    }

    fn report(
        &mut self,
        node: &NodeName,
        change_digest: Digest,
        ended: Activation,
        when: Timestamp,
    ) {
        match &ended {
            Activation::Done(_) => self.say(format!("node {node}: has changed")),
            Activation::Failed(why) => self.say(format!("node {node}: has given back: {why}")),
        }
        if let Some(state) = self.state(node, change_digest) {
            state.activation = Some(ended);
            state.ended = Some(when);
        }
    }

    /// A node loses its connection: what it was about to say is lost, what it does goes on.
    pub(super) fn lose(&mut self, node: &NodeName) {
        self.forget(node, |it| {
            matches!(it, Coming::Verdict(_) | Coming::Staged(..))
        });
        let now = self.now();
        let seen = self.node(node);
        seen.presence = Presence::Away;
        seen.connected_since = None;
        seen.away_since = Some(now);
        self.say(format!("node {node}: has lost its connection"));
    }

    /// A node has its connection again, in another boot if it was started anew.
    pub(super) fn back(&mut self, node: &NodeName, is_anew: bool) {
        let now = self.now();
        let seen = self.node(node);
        seen.presence = Presence::Connected;
        seen.connected_since = Some(now);
        seen.away_since = None;
        if is_anew {
            seen.boot_id.push('+');
        }
        let anew = if is_anew { ", started anew" } else { "" };
        self.say(format!("node {node}: has a connection again{anew}"));
        for coming in self.unheard.remove(node).into_iter().flatten() {
            self.happen(node, coming);
        }
    }

    pub(super) fn node(&mut self, node: &NodeName) -> &mut placet_planner::ObservedNode {
        self.observed.nodes.entry(node.clone()).or_default()
    }

    /// The part of a node in the roll-out, if that is about this change.
    fn state(&mut self, node: &NodeName, change_digest: Digest) -> Option<&mut NodeState> {
        let rollout = self.observed.rollout.as_mut()?;
        let state = rollout.nodes.get_mut(node)?;
        (state.change_digest == change_digest).then_some(state)
    }

    fn forget(&mut self, node: &NodeName, what: impl Fn(&Coming) -> bool) {
        self.coming
            .retain(|_, (name, coming)| name != node || !what(coming));
    }

    /// Why this fails on a node, if it does.
    fn failure(&self, node: &NodeName, what: Fails) -> Option<String> {
        let mut failures = self.failures.iter().rev();
        let found = failures.find(|it| it.what == what && it.nodes.contains(node))?;
        Some(found.message.clone())
    }

    /// Of nodes that run their target from the start.
    pub(super) fn settle(&mut self) {
        let target = Arc::clone(&self.target);
        for (name, node) in &target.nodes {
            self.node(name).running = Some(Arc::clone(&node.manifest).into());
        }
    }
}
