//! Doing what the machine decided: one `match`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use placet_model::{Digest, ProcessName};
use tracing::Instrument as _;

use super::core::{Core, Input};
use super::machine::{Effect, Event, Notice, find_service};
use super::{launch, report};
use crate::link::{Command, Exit, Signal};
use crate::store::{Generation, StoreError};
use crate::vote::{Handled, Outcome, Voters};

/// A process that runs when the agent starts, or that was started a moment ago, registers within
/// this time if it ever does.
pub(super) const REGISTERS_WITHIN: Duration = Duration::from_secs(3);

impl Core {
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.perform_one(effect);
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Start {
                process,
                generation,
            } => self.start_process(&process, &generation),
            Effect::Signal {
                process,
                pid,
                signal,
            } => self.signal(process, pid, signal),
            Effect::Mark {
                process,
                pid,
                generation,
            } => {
                let (generation, manifest) = (generation.number, generation.digest);
                self.order_keeper(Command::Mark {
                    process,
                    pid,
                    generation,
                    manifest,
                });
            }
            Effect::Prepare(notice) => self.prepare(notice),
            Effect::Tell(notice, outcome) => self.tell_process(notice, outcome),
            Effect::GiveNotice {
                rollout,
                change_digest,
                outcome,
            } => self.voters.give_notice(change_digest, &rollout, outcome),
            Effect::Look {
                process,
                pid,
                generation,
            } => self.look_at(process, pid, &generation),
            Effect::Boot {
                work,
                step,
                generation,
            } => self.boot(work, step, generation),
            Effect::NoteBoot(manifest) => self.note_boot(manifest),
            Effect::Retire(process) => {
                self.voters.withdraw(&process);
                self.order_keeper(Command::Forget { process });
            }
            Effect::Note(note) => log(self.note(note)),
            Effect::Fail { manifest, reason } => self.has_failed(manifest, reason),
            Effect::Commit { stored, test } => self.commit(stored, test),
            Effect::Answer {
                rollout,
                change_digest,
                outcome,
            } => {
                self.answer(rollout, change_digest, outcome);
            }
            Effect::Report => self.tell(&report::report(self.report())),
            Effect::Say(text) => tracing::info!("{text}"),
        }
    }

    fn has_failed(&mut self, manifest: Digest, reason: String) {
        self.failed.insert(manifest, reason);
        log(self.store.note_failed(&self.failed));
    }

    fn signal(&self, process: ProcessName, pid: u32, signal: Signal) {
        let what = match signal {
            Signal::Reload => "read its files again",
            Signal::Terminate | Signal::Kill => "end",
        };
        tracing::info!(%process, pid, ?signal, "{process} is told to {what}");
        self.order_keeper(Command::Signal {
            process,
            pid,
            signal,
        });
    }

    fn start_process(&mut self, process: &ProcessName, generation: &Generation) {
        // Simple processes find a socket too: they may follow modules, and hear of changes. A test
        // has no say in anything.
        let is_service = find_service(&generation.manifest, process).is_some();
        let socket = is_service.then(|| self.voters.serve(process)).transpose();
        let place = launch::Place::new(&self.store, generation, &self.settings.run);
        let start = match socket {
            Ok(socket) => launch::start(process, generation, &place, socket.as_deref())
                .map_err(|error| crate::Chain(&error).to_string()),
            Err(error) => Err(crate::Chain(&error).to_string()),
        };
        match start {
            Ok(start) => self.order_keeper(Command::Start(Box::new(start))),
            // As if the keeper had tried.
            Err(why) => self.handle.send(Input::Machine(Event::Exited {
                process: process.clone(),
                pid: 0,
                exit: Exit::NotStarted(why),
                output: Vec::new(),
            })),
        }
    }

    fn prepare(&self, notice: Notice) {
        self.give(notice, |voters, notice| async move {
            let (process, digest) = (notice.process, notice.change_digest);
            let prepared = voters.prepare(&process, &digest, notice.within).await;
            tracing::info!(%process, ?prepared, "{process} was told that the change comes");
            Event::Prepared {
                work: notice.work,
                process,
            }
        });
    }

    fn tell_process(&self, notice: Notice, outcome: Outcome) {
        self.give(notice, move |voters, notice| async move {
            let (process, digest) = (notice.process, notice.change_digest);
            let told = voters.changed(&process, &digest, outcome, notice.within);
            let handled = told.await;
            tracing::info!(%process, ?outcome, ?handled, "{process} was told how the change ended");
            Event::Told {
                work: notice.work,
                process,
                handled: handled == Handled::Done,
            }
        });
    }

    /// Has `tell` give a notice as soon as its process is registered; what becomes of that is news
    /// for the machine.
    fn give<Telling>(
        &self,
        notice: Notice,
        tell: impl FnOnce(Voters, Notice) -> Telling + Send + 'static,
    ) where
        Telling: Future<Output = Event> + Send,
    {
        let (voters, handle) = (self.voters.clone(), self.handle.clone());
        let grace = self.grace(&notice.process);
        let telling = async move {
            registered(&voters, &notice.process, grace).await;
            handle.send(Input::Machine(tell(voters, notice).await));
        };
        tokio::spawn(telling.in_current_span());
    }

    /// For how much longer it may be that `process` has just not registered yet.
    pub(super) fn grace(&self, process: &ProcessName) -> Duration {
        let age = self.machine.age(process, self.now());
        REGISTERS_WITHIN.saturating_sub(age)
    }

    fn answer(
        &mut self,
        rollout: String,
        change_digest: Digest,
        outcome: Result<Arc<Generation>, String>,
    ) {
        let committed = self.machine.current().number;
        let error = match outcome {
            Ok(generation) => {
                tracing::info!("generation {} is active for {rollout}", generation.number);
                if self.failed.remove(&generation.digest).is_some() {
                    log(self.store.note_failed(&self.failed));
                }
                self.staged.remove(&change_digest);
                self.collect();
                String::new()
            }
            Err(error) => {
                tracing::warn!("the change of {rollout} is not active: {error}");
                error
            }
        };
        self.tell_users();
        self.tell(&report::activated(rollout, change_digest, committed, error));
    }

    /// Tells the vote service who uses what from now on.
    pub(super) fn tell_users(&self) {
        self.voters
            .set_users(launch::users(&self.machine.current().manifest));
    }

    /// Removes generations that nobody needs any more.
    fn collect(&self) {
        // Modules that have arrived for a staging under way belong to no generation yet.
        let Ok(_turn) = self.staging_turn.try_lock() else {
            return;
        };
        self.remove_unused(&BTreeSet::new());
    }

    /// Removes generations and modules that nobody needs, but not the modules in `wanted`. Nothing
    /// may be writing to the store.
    pub(super) fn remove_unused(&self, wanted: &BTreeSet<Digest>) {
        let mut keep = self.machine.in_use();
        keep.extend(self.staged.values());
        match self.store.collect(&keep, wanted) {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => tracing::info!("generations {removed:?} are removed"),
            Err(error) => tracing::warn!("{}", crate::Chain(&error)),
        }
    }
}

/// Waits until `process` is registered, for as long as that may just need time.
pub(super) async fn registered(voters: &Voters, process: &ProcessName, grace: Duration) {
    /// Short beside what a process needs to connect.
    const LOOK_EVERY: Duration = Duration::from_millis(10);
    let wait = async {
        while !voters.is_registered(process) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(grace, wait).await;
}

/// What could not be written down is said; the node goes on, since stopping helps nobody.
pub(super) fn log(result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::error!("{}", crate::Chain(&error));
    }
}
