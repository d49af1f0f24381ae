//! Every decision about a process, without I/O: events in, effects out.
//!
//! The machine knows which generation is current, what runs, from which generation each process
//! was started and up to which it has handled changes. From that it derives what to do, in three
//! situations that are one: an activation, giving one back, and starting after a crash.
//!
//! **Invariant:** a process runs for the current generation, or a step of the present [`Work`]
//! will see to it, or it waits for its next start.
//!
//! **Invariant:** nothing is stopped before the swap of the `committed` link is known to be done.

mod back;
mod boot;
mod converge;
mod health;
mod process;
mod renew;
mod soak;
mod suite;
mod test;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use placet_model::{Digest, Module, NodeManifest, ProcessName, ProcessSpec};
use placet_planner::Announcements;

use crate::link::{Exit, Signal};
use crate::store::{self, Activating, Generation};
use crate::vote::Outcome;
pub(super) use boot::BootStep;
use process::Process;
use suite::Suites;
pub(super) use suite::{Outcome as Tested, Suite};
pub(super) use test::Test;
use work::Work;

/// Time since the agent started.
pub(super) type Moment = Duration;

/// Something happened.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// What is committed may be started; an activation may have to be resumed.
    Begin(Option<Box<Resume>>),
    /// The controller orders an activation.
    Activate(Order),
    /// A process is prepared for the change, or will not be.
    Prepared {
        work: u64,
        process: ProcessName,
    },
    /// A process was told of the change, and has handled it or wants to be restarted.
    Told {
        work: u64,
        process: ProcessName,
        handled: bool,
    },
    /// The `committed` link was swapped, or could not be.
    Committed(Result<(), String>),
    Started {
        process: ProcessName,
        pid: u32,
    },
    Ready {
        process: ProcessName,
        pid: u32,
    },
    /// It reads its files again, and is ready once it says so.
    Reloading {
        process: ProcessName,
        pid: u32,
    },
    /// It needs so much more time for what it is doing: starting or ending.
    Extended {
        process: ProcessName,
        pid: u32,
        by: Duration,
    },
    /// Another process of its own speaks for it.
    Main {
        process: ProcessName,
        pid: u32,
        main: u32,
    },
    Exited {
        process: ProcessName,
        pid: u32,
        exit: Exit,
        output: Vec<String>,
    },
    /// A health command has answered: the process is well, or why not.
    Looked {
        process: ProcessName,
        pid: u32,
        answer: Result<(), String>,
    },
    /// The boot loader has done what it was asked, or why not.
    Booted {
        work: u64,
        step: BootStep,
        result: Result<(), String>,
    },
    /// These processes are to be started anew, if they still have these process ids: what they
    /// execute is not what it should be.
    Renew(BTreeMap<ProcessName, u32>),
    /// A person wants the tests of what runs in test mode to run anew.
    Retest,
    /// A person wants what ran before.
    Regress {
        to: Arc<Generation>,
        why: String,
    },
    /// What the change that is watched needs of other nodes does not hold any more.
    GiveBack {
        change_digest: Digest,
        why: String,
    },
    /// Time passed.
    Tick,
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Start {
        process: ProcessName,
        generation: Arc<Generation>,
    },
    Signal {
        process: ProcessName,
        pid: u32,
        signal: Signal,
    },
    /// Remember that a process has handled the change to this generation.
    Mark {
        process: ProcessName,
        pid: u32,
        generation: Arc<Generation>,
    },
    /// Ask a process to prepare; answered by [`Event::Prepared`].
    Prepare(Notice),
    /// Tell a process how the change ended; answered by [`Event::Told`].
    Tell(Notice, Outcome),
    /// Tell those who want to know of every change that one begins, or how it ended.
    GiveNotice {
        rollout: String,
        change_digest: Digest,
        outcome: Option<Outcome>,
    },
    /// Run the health command that a process has in this generation; answered by
    /// [`Event::Looked`].
    Look {
        process: ProcessName,
        pid: u32,
        generation: Arc<Generation>,
    },
    /// Run a command for the boot image of this generation; answered by [`Event::Booted`].
    Boot {
        work: u64,
        step: BootStep,
        generation: Arc<Generation>,
    },
    /// Remember for the boot image of which manifest the node is about to be restarted.
    NoteBoot(Option<Digest>),
    /// A process of this name is not wanted any more.
    Retire(ProcessName),
    /// Write down what is going on, before anything that follows.
    Note(Option<Activating>),
    /// Remember that a manifest failed here, and why.
    Fail { manifest: Digest, reason: String },
    /// Have the `committed` link name `stored`, and another generation run where there is a test;
    /// answered by [`Event::Committed`].
    Commit {
        stored: u64,
        /// Its end is one by this machine's clock.
        test: Option<store::Test>,
    },
    /// Tell the controller how an activation ended.
    Answer {
        rollout: String,
        change_digest: Digest,
        outcome: Result<Arc<Generation>, String>,
    },
    /// Tell the controller what runs.
    Report,
    /// A line for the log.
    Say(String),
}

/// Something to tell a self-managing process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    /// The work that waits for its answer.
    pub(super) work: u64,
    pub(super) process: ProcessName,
    pub(super) change_digest: Digest,
    /// How long it may take to answer.
    pub(super) within: Duration,
}

/// An activation as ordered, with what it needs looked up.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) rollout: String,
    pub(super) change_digest: Digest,
    /// The manifest that the node has to run now.
    pub(super) from: Digest,
    pub(super) to: Arc<Generation>,
    /// Processes whose vote a person has overridden: they are told and then restarted.
    pub(super) overridden: BTreeSet<ProcessName>,
    pub(super) announced: Announcements,
    /// For how long what it touches has to run well before it counts as made.
    pub(super) soak: Duration,
    /// Present if what is committed stays committed.
    pub(super) test: Option<Limit>,
}

/// For how long a generation runs in test mode; until the next start of the node if there is none.
pub(super) type Limit = Option<Duration>;

/// A process that the keeper has when the agent starts.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) process: ProcessName,
    pub(super) pid: u32,
    /// The one that speaks for it.
    pub(super) main: u32,
    pub(super) origin: Arc<Generation>,
    pub(super) handled: Arc<Generation>,
    pub(super) ready: bool,
}

/// An activation that was under way when the last agent ended.
#[derive(Debug, Clone)]
pub(super) struct Resume {
    pub(super) note: Activating,
    pub(super) from: Arc<Generation>,
    /// The test in which that ran.
    pub(super) from_test: Option<Test>,
    pub(super) to: Arc<Generation>,
    /// Processes of the new generation that ended while no agent was there, and how.
    pub(super) ended: BTreeMap<ProcessName, String>,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Machine {
    /// What runs, or is to: what is committed, or a test in its place.
    current: Arc<Generation>,
    test: Option<Test>,
    /// The tests of what runs in test mode.
    suites: Option<Suites>,
    processes: BTreeMap<ProcessName, Process>,
    work: Option<Work>,
    /// An order that came while other work, or a test, was going on.
    next: Option<Order>,
    works: u64,
    /// The manifest for whose boot image the node was restarted, until it is clear what came of it.
    restarted_for: Option<Digest>,
    now: Moment,
    /// True before [`Event::Begin`].
    waits: bool,
    effects: Vec<Effect>,
}

/// What is known of a running process, for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) process: ProcessName,
    /// Its main process.
    pub(super) pid: u32,
    /// The generation that it was started from.
    pub(super) generation: u64,
    pub(super) ready: bool,
}

/// What an agent finds when it starts.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) current: Arc<Generation>,
    /// What runs in place of what is committed.
    pub(super) test: Option<Test>,
    /// The processes that run.
    pub(super) known: Vec<Known>,
    /// The change that the agent before was at.
    pub(super) resume: Option<Resume>,
    /// The manifest for whose boot image the node was restarted.
    pub(super) restarted_for: Option<Digest>,
}

impl Machine {
    /// Takes over from an agent that ended: brings what runs in line with what is committed.
    pub(super) fn start(found: Beginning, now: Moment) -> (Self, Vec<Effect>) {
        let known = found.known.into_iter();
        let mut machine = Self {
            processes: known.map(|known| Process::known(known, now)).collect(),
            test: found.test,
            now,
            waits: false,
            ..Self::waiting(found.current, found.restarted_for)
        };
        machine.resume(found.resume);
        let effects = std::mem::take(&mut machine.effects);
        (machine, effects)
    }

    /// Starts nothing until [`Event::Begin`]: for a node on which nothing runs.
    pub(super) fn waiting(current: Arc<Generation>, restarted_for: Option<Digest>) -> Self {
        Self {
            current,
            test: None,
            suites: None,
            processes: BTreeMap::new(),
            work: None,
            next: None,
            works: 0,
            restarted_for,
            now: Moment::ZERO,
            waits: true,
            effects: Vec::new(),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waits
    }

    /// Takes note of an event; says what is to be done about it.
    pub(super) fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Begin(resume) => {
                self.waits = false;
                self.resume(resume.map(|resume| *resume));
            }
            Event::Activate(order) => self.activate(order),
            Event::Prepared { work, process } => self.prepared(work, &process),
            Event::Told {
                work,
                process,
                handled,
            } => self.told(work, &process, handled),
            Event::Committed(result) => self.swapped(result),
            Event::Started { process, pid } => self.started(&process, pid),
            Event::Ready { process, pid } => self.ready(&process, pid),
            Event::Reloading { process, pid } => self.reloading(&process, pid),
            Event::Extended { process, pid, by } => self.extended(&process, pid, by),
            Event::Main { process, pid, main } => self.main_is(&process, pid, main),
            Event::Exited {
                process,
                pid,
                exit,
                output,
            } => self.exited(&process, pid, &exit, &output),
            Event::Looked {
                process,
                pid,
                answer,
            } => self.looked(&process, pid, &answer),
            Event::Booted { work, step, result } => self.booted(work, step, result),
            Event::Renew(processes) => self.renew(&processes),
            Event::Retest => self.retest(),
            Event::Regress { to, why } => self.regress(&to, &why),
            Event::GiveBack { change_digest, why } => self.let_down(change_digest, &why),
            Event::Tick => self.tick(),
        }
        std::mem::take(&mut self.effects)
    }

    /// When [`Event::Tick`] is due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let processes = self.processes.values().filter_map(Process::deadline);
        let looks = self.work.as_ref().and_then(|work| work.looks_at(self.now));
        let down = self.work.as_ref().and_then(Work::is_down_by);
        let tests = self.suites.as_ref().and_then(Suites::deadline);
        let others = looks.into_iter().chain(down).chain(self.test_ends());
        processes.chain(others).chain(tests).min()
    }

    pub(super) fn current(&self) -> &Arc<Generation> {
        &self.current
    }

    /// True while processes are being changed.
    pub(super) fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// True while it is open how a change ends.
    pub(super) fn is_changing(&self) -> bool {
        let work = self.work.as_ref();
        work.is_some_and(|work| work.activation.is_some())
    }

    pub(super) fn running(&self) -> impl Iterator<Item = Running> {
        self.processes
            .iter()
            .filter_map(|(name, process)| process.running(name))
    }

    /// For how long `process` has been starting, or up.
    pub(super) fn age(&self, process: &ProcessName, now: Moment) -> Duration {
        let since = self.processes.get(process).and_then(Process::since);
        now.saturating_sub(since.unwrap_or(now))
    }

    /// Generations that must stay on disk.
    pub(super) fn in_use(&self) -> BTreeSet<u64> {
        let by_processes = self.processes.values().flat_map(Process::generations);
        let by_work = self.work.iter().flat_map(Work::generations);
        let stored = self.test.iter().map(|test| test.stored.number);
        by_processes
            .chain(by_work)
            .chain(stored)
            .chain([self.current.number])
            .collect()
    }

    fn say(&mut self, text: impl Into<String>) {
        self.effects.push(Effect::Say(text.into()));
    }
}

/// The module that runs as `process`, be it a service or a test, and how it is run.
pub(super) fn find<'a>(
    manifest: &'a NodeManifest,
    process: &ProcessName,
) -> Option<(&'a Module, &'a ProcessSpec)> {
    let mut modules = manifest.modules.iter().map(|entry| &entry.module);
    modules.find_map(|module| {
        let spec = module
            .process
            .as_ref()
            .filter(|spec| spec.name == *process)?;
        Some((module, spec))
    })
}

/// How the service `process` is run, which is to be kept running.
pub(super) fn find_service<'a>(
    manifest: &'a NodeManifest,
    process: &ProcessName,
) -> Option<&'a ProcessSpec> {
    let mut services = manifest.services().map(|(_, spec)| spec);
    services.find(|spec| spec.name == *process)
}

#[cfg(test)]
mod tests;
