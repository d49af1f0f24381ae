//! How work ends: an activation that failed is given back, one that a crash interrupted is taken up
//! again, and the controller is answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use placet_model::ProcessName;

use super::work::{Activation, Phase};
use super::{Effect, Machine, Notice, Order, Resume};
use crate::store::Generation;
use crate::vote::Outcome;

/// The way back, and the end.
impl Machine {
    /// A process died or did not become ready. Whatever is done about the process itself is done.
    pub(super) fn failed(&mut self, name: &ProcessName, why: &str) {
        let Some(work) = &mut self.work else {
            return;
        };
        let forward = work.activation.as_ref();
        let is_forward = forward.is_some_and(|activation| activation.failure.is_none());
        let failure = is_forward.then(|| work.fails_by(name, why)).flatten();
        match (&mut work.activation, failure) {
            (Some(activation), Some(failure)) => {
                activation.failure = Some(failure);
                self.give_back();
            }
            // It is started again after a pause; nobody waits for it.
            _ => self.through(name),
        }
    }

    pub(super) fn give_back(&mut self) {
        self.assume_handled();
        self.works += 1;
        let Some(work) = &mut self.work else {
            return;
        };
        work.id = self.works;
        work.phase = Phase::Committing;
        let Some(activation) = &work.activation else {
            return;
        };
        let reason = activation.failure.clone().unwrap_or_default();
        let (from, to) = (activation.from.number, activation.order.to.number);
        let swap = activation.swap(self.now);
        self.effects.push(Effect::Note(Some(activation.note())));
        self.effects.push(Effect::Fail {
            manifest: activation.order.to.digest,
            reason: reason.clone(),
        });
        self.effects.push(Effect::Say(format!(
            "gives generation {to} back for {from}: {reason}"
        )));
        self.effects.push(swap);
    }

    /// A process that was told and has not answered may be anywhere between the generations: it is
    /// treated as one that has handled the change, so that it is told of the way back too.
    fn assume_handled(&mut self) {
        let activation = self.work.as_ref().and_then(|work| work.activation.as_ref());
        let Some(activation) = activation else {
            return;
        };
        for (name, process) in &mut self.processes {
            let pid = process.pid.filter(|_| activation.told.contains(name));
            if let Some(pid) = pid.filter(|_| process.has_handled(activation.from.digest)) {
                let generation = Arc::clone(&activation.order.to);
                process.handled = Arc::clone(&generation);
                self.effects.push(Effect::Mark {
                    process: name.clone(),
                    pid,
                    generation,
                });
            }
        }
    }

    pub(super) fn finish(&mut self, error: Option<String>) {
        let Some(work) = self.work.take() else {
            return;
        };
        let is_new = work
            .activation
            .as_ref()
            .is_some_and(|it| it.failure.is_none())
            && error.is_none();
        if let Some(activation) = work.activation {
            self.effects.push(Effect::Note(None));
            let failure = match (activation.failure.clone(), error) {
                (Some(failure), Some(error)) => {
                    Some(format!("{failure}; and giving it back failed: {error}"))
                }
                (failure, error) => failure.or(error),
            };
            if !activation.is_still() {
                self.effects.push(Effect::GiveNotice {
                    rollout: activation.order.rollout.clone(),
                    change_digest: activation.order.change_digest,
                    outcome: Some(activation.ending(failure.is_some())),
                });
            }
            if failure.is_some() {
                self.tell_in_vain(&activation, &work.touched);
            }
            let outcome = failure.map_or_else(|| Ok(Arc::clone(&self.current)), Err);
            if !activation.is_answered {
                self.answer(&activation.order, outcome);
            }
        }
        self.effects.push(Effect::Report);
        self.schedule_tests(is_new);
        self.do_next();
    }

    /// Tells those that prepared for a change that never reached them.
    fn tell_in_vain(&mut self, activation: &Activation, touched: &BTreeSet<ProcessName>) {
        for process in activation.prepared.difference(touched) {
            let Some(known) = self
                .processes
                .get(process)
                .filter(|process| process.is_alive())
            else {
                continue;
            };
            let notice = Notice {
                work: 0,
                process: process.clone(),
                change_digest: activation.order.change_digest,
                within: known.change_patience(),
            };
            self.effects.push(Effect::Tell(notice, Outcome::Failed));
        }
    }

    pub(super) fn answer(&mut self, order: &Order, outcome: Result<Arc<Generation>, String>) {
        self.effects.push(Effect::Answer {
            rollout: order.rollout.clone(),
            change_digest: order.change_digest,
            outcome,
        });
    }
}

/// After a crash.
impl Machine {
    /// Goes on where the last agent ended.
    pub(super) fn resume(&mut self, resume: Option<Resume>) {
        let Some(resume) = resume else {
            return self.recover();
        };
        let Resume {
            note,
            from,
            from_test,
            to,
            ended,
        } = resume;
        let committed = self.current.number;
        let text = format!(
            "found the activation of generation {} unfinished: generation {committed}",
            note.to
        );
        let order = Order {
            rollout: note.rollout,
            change_digest: note.change_digest,
            from: from.digest,
            to: Arc::clone(&to),
            overridden: BTreeSet::new(),
            announced: placet_planner::Announcements::new(),
            soak: Duration::from_secs(note.soak_seconds),
            test: None,
        };

        let soaks = note.soaks && committed == note.to;
        let died = ended.into_iter().next().filter(|_| soaks);
        let died = died.map(|(name, how)| format!("{name} {how} (within the soak time)"));
        let gives_back = note.gives_back.or(died);
        let back = gives_back.is_some();
        let activation = Activation {
            failure: gives_back,
            ..Activation::new(order, &from, from_test)
        };
        let changes_image = activation.changes_image();
        if committed != note.to && !back {
            self.say(format!("{text} is committed; nothing was changed"));
            self.effects.push(Effect::Note(None));
            self.begin(Phase::Committing, None);
            // The boot loader may have been told of the other image.
            return self.bring_all(changes_image);
        }
        self.say(format!(
            "{text} is committed; it is {}",
            match (back, soaks) {
                (true, _) => "given back",
                (_, true) => "watched anew",
                _ => "completed",
            }
        ));
        self.begin(Phase::Committing, Some(activation));
        if back && committed == note.to {
            self.give_back();
        } else {
            self.bring_all(changes_image);
        }
    }

    /// Brings the processes in line, and the node before them if it may run another image.
    fn bring_all(&mut self, changes_image: bool) {
        if changes_image {
            self.bring_node();
        } else {
            self.bring();
        }
    }

    fn recover(&mut self) {
        // A node that stores nothing is restarted for what it is yet to be given.
        let has_image = self.current.manifest.boot.is_some();
        let restarted = has_image && self.restarted_for.is_some();
        self.begin(Phase::Committing, None);
        self.bring_all(restarted);
    }
}
