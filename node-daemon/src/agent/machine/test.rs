//! Test mode: what runs is in memory only, and what is stored stays as it was (C-D2). A restart of
//! the node, or the end of its time, brings back what is stored (C-R1).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use placet_model::Digest;
use placet_planner::{Announcements, change};

use super::work::{Activation, Phase};
use super::{Effect, Machine, Moment, Order};
use crate::store::{self, Generation};

/// When a test is ended again that could not be ended.
const AGAIN: Duration = Duration::from_secs(10);

/// A generation runs in place of the one that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct Test {
    /// What starts when the node starts.
    pub(in crate::agent) stored: Arc<Generation>,
    /// The roll-out that brought it, and its change.
    pub(in crate::agent) rollout: String,
    pub(in crate::agent) change_digest: Digest,
    /// When it ends by itself.
    pub(in crate::agent) ends: Option<Moment>,
}

impl Test {
    /// How much of its time is left.
    pub(in crate::agent) fn left(&self, now: Moment) -> Option<Duration> {
        self.ends.map(|ends| ends.saturating_sub(now))
    }

    /// As it is written down of `generation`, which runs; its end is one by this machine's clock.
    pub(super) fn note(&self, generation: u64) -> store::Test {
        store::Test {
            generation,
            stored: self.stored.number,
            rollout: self.rollout.clone(),
            change_digest: self.change_digest,
            ends: self.ends,
        }
    }
}

impl Activation {
    /// What was stored when it began.
    fn stored(&self) -> &Arc<Generation> {
        let test = self.from_test.as_ref();
        test.map_or(&self.from, |test| &test.stored)
    }

    /// True if no process is touched: what runs goes on running.
    pub(super) fn is_still(&self) -> bool {
        self.from.digest == self.order.to.digest
    }

    /// What is to be committed, and to run, where this goes.
    pub(super) fn swap(&self, now: Moment) -> Effect {
        let (target, test) = self.reached(now);
        let stored = test.as_ref().map_or(&target, |test| &test.stored).number;
        let test = test.map(|test| test.note(target.number));
        Effect::Commit { stored, test }
    }

    /// What runs where this goes.
    pub(super) fn reached(&self, now: Moment) -> (Arc<Generation>, Option<Test>) {
        if self.failure.is_some() {
            return (Arc::clone(&self.from), self.from_test.clone());
        }
        let test = self.order.test.map(|limit| Test {
            stored: Arc::clone(self.stored()),
            rollout: self.order.rollout.clone(),
            change_digest: self.order.change_digest,
            ends: limit.map(|limit| now + limit),
        });
        (Arc::clone(&self.order.to), test)
    }
}

impl Machine {
    pub(in crate::agent) fn test(&self) -> Option<&Test> {
        self.test.as_ref()
    }

    /// When a test ends by itself, as long as nothing else is being done.
    pub(super) fn test_ends(&self) -> Option<Moment> {
        let test = self.test.as_ref().filter(|_| self.work.is_none());
        test.and_then(|test| test.ends)
    }

    /// What is to run runs already: it stays, or gets another time.
    pub(super) fn stay(&mut self, order: Order) {
        if self.test.is_none() {
            // What is stored is not taken away by asking for a test of it.
            let current = Arc::clone(&self.current);
            return self.answer(&order, Ok(current));
        }
        if let Some(why) = self.why_not_stored().filter(|_| order.test.is_none()) {
            self.say(format!("what runs in test mode is not stored: {why}"));
            return self.answer(&order, Err(why));
        }
        let activation = Activation::new(order, &self.current, self.test.clone());
        let swap = activation.swap(self.now);
        self.say(match &activation.order.test {
            None => "what runs in test mode is to stay: it is stored".to_owned(),
            Some(_) => "what runs in test mode gets its time anew".to_owned(),
        });
        self.begin(Phase::Committing, Some(activation));
        self.effects.push(swap);
    }

    /// Goes back to what is stored if the time of the test is over.
    pub(super) fn end_test(&mut self) {
        let is_over = self.test_ends().is_some_and(|ends| ends <= self.now);
        if let Some(test) = self.test.clone().filter(|_| is_over) {
            self.regress(&test.stored, "it ran in test mode, and its time is over");
        }
    }

    /// Goes back to `stored`, which ran before, as from a change that failed.
    pub(super) fn regress(&mut self, stored: &Arc<Generation>, why: &str) {
        if self.work.is_some() {
            return self.say(format!("does not go back now, while it is changing: {why}"));
        }
        let (from, to) = (&stored.manifest, &self.current.manifest);
        let change_digest = change(from, to).digest();
        let rollout = self.test.as_mut().map(|test| {
            // Should the disk refuse, it is tried again.
            test.ends = Some(self.now + AGAIN);
            test.rollout.clone()
        });
        let order = Order {
            rollout: rollout.unwrap_or_default(),
            change_digest,
            from: stored.digest,
            to: Arc::clone(&self.current),
            overridden: BTreeSet::new(),
            announced: Announcements::new(),
            soak: Duration::ZERO,
            test: None,
        };
        let activation = Activation {
            failure: Some(why.to_owned()),
            is_answered: true,
            ..Activation::new(order, stored, None)
        };
        self.begin(Phase::Committing, Some(activation));
        self.give_back();
    }
}
