//! An activation on its way: prepare, swap, bring every process in line. The way back is in
//! [`super::back`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use placet_model::{ProcessAction, ProcessName};
use placet_planner::{change_in_place, change_with};

use super::boot::Booting;
use super::converge::{Overridden, Step, Way, steps};
use super::process::Then;
use super::soak::Soak;
use super::test::Test;
use super::{Effect, Machine, Notice, Order};
use crate::link::Signal;
use crate::store::{Activating, Generation};
use crate::vote::Outcome;

/// What is being done to several processes.
#[derive(Debug)]
pub(super) struct Work {
    /// Answers that belong to earlier work, or to the way there when this is the way back, are
    /// told by it.
    pub(super) id: u64,
    /// None when the node only starts what is committed.
    pub(super) activation: Option<Activation>,
    pub(super) phase: Phase,
    /// Processes that were told, started or restarted: their failure fails the activation.
    pub(super) touched: BTreeSet<ProcessName>,
}

#[derive(Debug)]
pub(super) struct Activation {
    pub(super) order: Order,
    pub(super) from: Arc<Generation>,
    /// The test in which that ran.
    pub(super) from_test: Option<Test>,
    /// Processes that were asked to prepare.
    pub(super) prepared: BTreeSet<ProcessName>,
    /// Processes that were told that the change has happened.
    pub(super) told: BTreeSet<ProcessName>,
    /// Why it is given back, if it is.
    pub(super) failure: Option<String>,
    /// True if the node is restarted once it is committed.
    pub(super) restarts: bool,
    /// True if the controller has heard already how it ended.
    pub(super) is_answered: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The boot loader is asked, or the node is about to go down.
    Booting(Booting),
    /// Waiting for these to be prepared.
    Preparing(BTreeSet<ProcessName>),
    /// Waiting for the swap.
    Committing,
    /// Waiting for `waiting`, then come `steps`.
    Bringing {
        steps: VecDeque<Step>,
        waiting: BTreeSet<ProcessName>,
    },
    /// All is done; what was touched is watched for a while.
    Soaking(Soak),
}

impl Work {
    pub(super) fn generations(&self) -> Vec<u64> {
        let activation = self.activation.as_ref();
        activation.map_or_else(Vec::new, |activation| {
            vec![activation.from.number, activation.order.to.number]
        })
    }

    fn is_about(&self, order: &Order) -> bool {
        let activation = self.activation.as_ref();
        activation.is_some_and(|activation| {
            activation.failure.is_none() && activation.order.to.digest == order.to.digest
        })
    }

    fn waiting(&mut self) -> Option<&mut BTreeSet<ProcessName>> {
        match &mut self.phase {
            Phase::Booting(_) | Phase::Preparing(_) | Phase::Committing | Phase::Soaking(_) => None,
            Phase::Bringing { waiting, .. } => Some(waiting),
        }
    }
}

impl Activation {
    pub(super) fn new(order: Order, from: &Arc<Generation>, from_test: Option<Test>) -> Self {
        Self {
            order,
            from: Arc::clone(from),
            from_test,
            prepared: BTreeSet::new(),
            told: BTreeSet::new(),
            failure: None,
            restarts: false,
            is_answered: false,
        }
    }

    /// How the change has ended, whomever it touched.
    pub(super) fn ending(&self, failed: bool) -> Outcome {
        match self.outcome() {
            Outcome::Activated if failed => Outcome::Failed,
            outcome => outcome,
        }
    }

    /// How the change ends, as processes are told when it reaches them.
    fn outcome(&self) -> Outcome {
        if self.failure.is_some() {
            Outcome::Regressed
        } else {
            Outcome::Activated
        }
    }

    pub(super) fn note(&self) -> Activating {
        Activating {
            rollout: self.order.rollout.clone(),
            change_digest: self.order.change_digest,
            from: self.from.number,
            to: self.order.to.number,
            gives_back: self.failure.clone(),
            soak_seconds: self.order.soak.as_secs(),
            soaks: false,
            from_test: self
                .from_test
                .as_ref()
                .map(|test| test.note(self.from.number)),
        }
    }
}

/// The way there.
impl Machine {
    pub(super) fn activate(&mut self, order: Order) {
        if let Some(work) = &mut self.work {
            if work.is_about(&order) {
                // Ordered again after a new session: the answer goes by the latest order.
                if let Some(activation) = &mut work.activation {
                    activation.order.rollout = order.rollout;
                    activation.order.change_digest = order.change_digest;
                }
            } else {
                self.next = Some(order);
            }
            return;
        }
        let Some(order) = self.after_tests(order) else {
            return;
        };
        if order.to.digest == self.current.digest {
            return self.stay(order);
        }
        if order.from != self.current.digest {
            let why = format!(
                "the change starts from manifest {}, but this node runs {} (generation {}): plan again",
                order.from, self.current.digest, self.current.number
            );
            self.answer(&order, Err(why));
            return;
        }
        self.prepare(order);
    }

    fn prepare(&mut self, order: Order) {
        self.say(format!(
            "activates generation {} in place of {} for {}",
            order.to.number, self.current.number, order.rollout
        ));
        let activation = Activation::new(order, &self.current, self.test.clone());
        self.effects.push(Effect::Note(Some(activation.note())));
        let changes_image = activation.changes_image();
        self.begin(Phase::Committing, Some(activation));
        if changes_image {
            self.bring_node();
        } else {
            self.prepare_processes();
        }
    }

    /// Tells the processes that are asked that the change comes now.
    pub(super) fn prepare_processes(&mut self) {
        let Some(work) = &mut self.work else { return };
        let (id, Some(activation)) = (work.id, &mut work.activation) else {
            return;
        };
        let order = &activation.order;
        let (from, to) = (&self.current.manifest, &order.to.manifest);
        let change = if activation.restarts {
            change_with(from, to, &order.announced).change_set
        } else {
            change_in_place(from, to, &order.announced)
        };
        let asked = (change.processes.into_iter())
            .filter(|process| process.action == ProcessAction::Ask)
            .filter_map(|process| {
                let known = self.processes.get(&process.name)?;
                known.pid.map(|_| (process.name, known.change_patience()))
            });
        let asked: BTreeMap<_, _> = asked.collect();
        let names: BTreeSet<_> = asked.keys().cloned().collect();
        activation.prepared.clone_from(&names);
        work.phase = Phase::Preparing(names);
        let change_digest = order.change_digest;
        self.effects.push(Effect::GiveNotice {
            rollout: order.rollout.clone(),
            change_digest,
            outcome: None,
        });
        for (process, within) in asked {
            self.effects.push(Effect::Prepare(Notice {
                work: id,
                process,
                change_digest,
                within,
            }));
        }
        self.commit_if_prepared();
    }

    pub(super) fn begin(&mut self, phase: Phase, activation: Option<Activation>) -> u64 {
        self.stop_tests();
        self.works += 1;
        self.work = Some(Work {
            id: self.works,
            activation,
            phase,
            touched: BTreeSet::new(),
        });
        self.works
    }

    pub(super) fn prepared(&mut self, id: u64, name: &ProcessName) {
        if let Some(work) = self.work.as_mut().filter(|work| work.id == id)
            && let Phase::Preparing(waiting) = &mut work.phase
        {
            waiting.remove(name);
            self.commit_if_prepared();
        }
    }

    fn commit_if_prepared(&mut self) {
        if let Some(work) = &mut self.work
            && let Phase::Preparing(waiting) = &work.phase
            && waiting.is_empty()
            && let Some(activation) = &work.activation
        {
            let effect = activation.swap(self.now);
            self.effects.push(effect);
            work.phase = Phase::Committing;
        }
    }

    pub(super) fn swapped(&mut self, result: Result<(), String>) {
        let Some(Work {
            activation: Some(activation),
            phase: Phase::Committing,
            ..
        }) = &self.work
        else {
            return;
        };
        match result {
            Ok(()) => {
                let is_forward = activation.failure.is_none();
                let (restarts, checks) = (activation.restarts, activation.changes_image());
                (self.current, self.test) = activation.reached(self.now);
                match is_forward {
                    true if restarts => self.restart_node(),
                    false if checks => self.bring_node(),
                    _ => self.bring(),
                }
            }
            Err(why) => {
                self.say(format!("failed to switch generations: {why}"));
                self.finish(Some(why));
            }
        }
    }

    /// Computes what is to be done until everything runs for the current generation.
    pub(super) fn bring(&mut self) {
        let nothing = super::Announcements::new();
        let activation = self.work.as_ref().and_then(|work| work.activation.as_ref());
        let announced = activation.map_or(&nothing, |activation| &activation.order.announced);
        let none = BTreeSet::new();
        let overridden = match activation {
            None => Overridden::All,
            Some(Activation {
                failure: Some(_), ..
            }) => Overridden::These(&none),
            Some(activation) => Overridden::These(&activation.order.overridden),
        };
        let steps = steps(&self.current, &self.processes, announced, overridden);
        if let Some(work) = &mut self.work {
            work.phase = Phase::Bringing {
                steps: steps.into(),
                waiting: BTreeSet::new(),
            };
        }
        // Those that wait for their next start and are not wanted any more.
        let current = Arc::clone(&self.current);
        let effects = &mut self.effects;
        self.processes.retain(|name, process| {
            let keep = process.is_alive() || super::find_service(&current.manifest, name).is_some();
            if !keep {
                effects.push(Effect::Retire(name.clone()));
            }
            keep
        });
        self.go_on();
    }
}

/// Step by step.
impl Machine {
    pub(super) fn go_on(&mut self) {
        while let Some(work) = &mut self.work
            && let Phase::Bringing { steps, waiting } = &mut work.phase
            && waiting.is_empty()
        {
            match steps.pop_front() {
                None => return self.brought(),
                Some(Step::Stop(names)) => {
                    waiting.clone_from(&names);
                    for name in &names {
                        self.stop(name, Then::Rest);
                    }
                }
                Some(Step::Bring(ways)) => {
                    waiting.extend(ways.keys().cloned());
                    work.touched.extend(ways.keys().cloned());
                    for (name, way) in &ways {
                        self.bring_one(name, *way);
                    }
                }
            }
        }
    }

    fn bring_one(&mut self, name: &ProcessName, way: Way) {
        let Some(process) = self
            .processes
            .get(name)
            .filter(|process| process.is_alive())
        else {
            return self.launch(name);
        };
        if process.has_handled(self.current.digest) {
            // It was started anew in the meantime.
            if process.is_up() {
                self.through(name);
            }
        } else {
            match way {
                Way::Start | Way::Tell => self.tell(name),
                Way::Reload => self.leave_running(name, true),
                Way::Notify => self.leave_running(name, false),
            }
        }
    }

    /// A process goes on as it is, and reads its files again if it has to. It is told, if it
    /// listens; nobody waits for what it says.
    fn leave_running(&mut self, name: &ProcessName, reloads: bool) {
        let Some((pid, within)) = self.take_as_handled(name) else {
            return;
        };
        if reloads {
            self.effects.push(Effect::Signal {
                process: name.clone(),
                pid,
                signal: Signal::Reload,
            });
        }
        let activation = self.work.as_ref().and_then(|work| work.activation.as_ref());
        if let Some(activation) = activation {
            let notice = Notice {
                work: 0,
                process: name.clone(),
                change_digest: activation.order.change_digest,
                within,
            };
            self.effects
                .push(Effect::Tell(notice, activation.outcome()));
        }
        self.through(name);
    }

    /// Takes a process for one that has handled the change; its number and patience.
    fn take_as_handled(&mut self, name: &ProcessName) -> Option<(u32, Duration)> {
        let process = self.processes.get_mut(name)?;
        process.handled = Arc::clone(&self.current);
        let (pid, within) = (process.pid?, process.change_patience());
        let generation = Arc::clone(&self.current);
        self.effects.push(Effect::Mark {
            process: name.clone(),
            pid,
            generation,
        });
        Some((pid, within))
    }

    fn tell(&mut self, name: &ProcessName) {
        let Some(work) = &mut self.work else {
            return;
        };
        let Some(activation) = &mut work.activation else {
            return self.stop(name, Then::Start);
        };
        activation.told.insert(name.clone());
        let outcome = activation.outcome();
        let notice = Notice {
            work: work.id,
            process: name.clone(),
            change_digest: activation.order.change_digest,
            within: self.processes[name].change_patience(),
        };
        self.effects.push(Effect::Tell(notice, outcome));
    }

    pub(super) fn told(&mut self, id: u64, name: &ProcessName, handled: bool) {
        let digest = self.current.digest;
        let waits = self
            .work
            .as_mut()
            .filter(|work| work.id == id)
            .is_some_and(|work| work.waiting().is_some_and(|waiting| waiting.contains(name)));
        let process = self.processes.get_mut(name);
        let Some(process) =
            process.filter(|process| waits && process.is_alive() && !process.has_handled(digest))
        else {
            // It ended meanwhile, and runs from the new generation or is about to.
            return;
        };
        if process.is_stopping() {
            return;
        }
        if handled {
            self.take_as_handled(name);
            self.say(format!("{name} has handled the change by itself"));
            self.through(name);
        } else {
            self.say(format!(
                "{name} leaves the change to the supervisor: it is restarted"
            ));
            self.stop(name, Then::Start);
        }
    }

    /// True if the end of this process is its way to handle the change it was told of.
    pub(super) fn restarts_itself(&mut self, name: &ProcessName) -> bool {
        let digest = self.current.digest;
        let stale = self
            .processes
            .get(name)
            .is_some_and(|process| !process.has_handled(digest));
        let waiting = self.work.as_mut().and_then(Work::waiting);
        stale && waiting.is_some_and(|waiting| waiting.contains(name))
    }

    /// A process that was being brought is where it should be, or one that was stopped is gone.
    pub(super) fn through(&mut self, name: &ProcessName) {
        if let Some(waiting) = self.work.as_mut().and_then(Work::waiting) {
            waiting.remove(name);
        }
        self.go_on();
    }

    pub(super) fn came_up(&mut self, name: &ProcessName) {
        if self
            .processes
            .get(name)
            .is_some_and(|process| process.has_handled(self.current.digest))
        {
            self.through(name);
        }
    }

    pub(super) fn ended(&mut self, name: &ProcessName) {
        if super::find_service(&self.current.manifest, name).is_none() {
            self.effects.push(Effect::Retire(name.clone()));
        }
        self.through(name);
    }
}
