//! The life of one process: starting, up, stopping, waiting to be started again.

use std::sync::Arc;
use std::time::Duration;

use placet_model::{Digest, ProcessName, ProcessSpec, visible};

use super::{Effect, Known, Machine, Moment, Running, find, find_service};
use crate::link::{Exit, Signal};
use crate::store::Generation;

/// A process that does not say when it is ready has to live so long to count as ready: one that
/// cannot load its libraries is dead by then.
const SETTLE: Duration = Duration::from_millis(200);

/// Pause before a process that died is started again; doubles with each time, up to `PAUSE_MAX`.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A process that was up for so long has recovered: the pause begins anew.
const RECOVERED_AFTER: Duration = Duration::from_secs(30);

/// A process that asks for more time gets no more than this, from when it began.
const EXTENSION_MAX: Duration = Duration::from_mins(10);

/// SIGKILL is repeated, in case it was lost together with an agent.
pub(super) const KILL_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Process {
    /// None until the keeper has said it.
    pub(super) pid: Option<u32>,
    /// The process that speaks for it, if it named another.
    main: Option<u32>,
    /// How it is run, in the generation that it was started from.
    pub(super) spec: ProcessSpec,
    /// The generation that it was started from.
    origin: Arc<Generation>,
    /// The generation up to which it has handled changes.
    pub(super) handled: Arc<Generation>,
    pub(super) state: State,
    /// Deaths in a row.
    deaths: u32,
    /// How much longer than usual it may take to start, or to end.
    extension: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not ready yet.
    Starting { since: Moment },
    /// Ready.
    Up { since: Moment },
    /// It has got its signal.
    Stopping {
        since: Moment,
        kill_at: Moment,
        then: Then,
    },
    /// It died; it is started again.
    Waiting { until: Moment },
}

/// What happens when a process that is being stopped has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing, for now.
    Rest,
    /// It is started at once.
    Start,
    /// It is started after a pause.
    Pause,
}

impl Process {
    pub(super) fn known(known: Known, now: Moment) -> (ProcessName, Self) {
        let spec = find(&known.origin.manifest, &known.process).map(|(_, spec)| spec.clone());
        let state = if known.ready {
            State::Up { since: now }
        } else {
            State::Starting { since: now }
        };
        let process = Self {
            pid: Some(known.pid),
            main: Some(known.main),
            // One whose generation is lost is treated with default patience.
            spec: spec.unwrap_or_default(),
            origin: known.origin,
            handled: known.handled,
            state,
            deaths: 0,
            extension: Duration::ZERO,
        };
        (known.process, process)
    }

    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, State::Waiting { .. })
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.state, State::Stopping { .. })
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    /// True if it died and has not recovered since.
    pub(super) fn is_unsteady(&self) -> bool {
        self.deaths > 0
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    pub(super) fn since(&self) -> Option<Moment> {
        match self.state {
            State::Starting { since } | State::Up { since } => Some(since),
            State::Stopping { .. } | State::Waiting { .. } => None,
        }
    }

    pub(super) fn has_handled(&self, manifest: Digest) -> bool {
        self.handled.digest == manifest
    }

    pub(super) fn running(&self, name: &ProcessName) -> Option<Running> {
        Some(Running {
            process: name.clone(),
            pid: self.main.or(self.pid)?,
            generation: self.origin.number,
            ready: self.is_up(),
        })
    }

    pub(super) fn generations(&self) -> [u64; 2] {
        [self.origin.number, self.handled.number]
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Starting { since } => Some(since + self.patience()),
            State::Stopping { kill_at, .. } => Some(kill_at),
            State::Waiting { until } => Some(until),
            State::Up { .. } => None,
        }
    }

    /// How long it may be starting.
    fn patience(&self) -> Duration {
        if self.spec.notify {
            Duration::from_secs(self.spec.ready_seconds.into()).max(self.extension)
        } else {
            SETTLE
        }
    }

    /// How long it may take to prepare for a change, and to handle one.
    pub(super) fn change_patience(&self) -> Duration {
        Duration::from_secs(self.spec.vote_seconds.into())
    }
}

impl Machine {
    /// Starts a process from the current generation, if that has it.
    pub(super) fn launch(&mut self, name: &ProcessName) {
        let old = self.processes.remove(name);
        let Some(spec) = find_service(&self.current.manifest, name) else {
            // It died on the way to a generation that does not have it, and is not missed.
            self.effects.push(Effect::Retire(name.clone()));
            return;
        };
        let process = Process {
            pid: None,
            main: None,
            spec: spec.clone(),
            origin: Arc::clone(&self.current),
            handled: Arc::clone(&self.current),
            state: State::Starting { since: self.now },
            deaths: old.map_or(0, |process| process.deaths),
            extension: Duration::ZERO,
        };
        self.processes.insert(name.clone(), process);
        let generation = Arc::clone(&self.current);
        self.effects.push(Effect::Start {
            process: name.clone(),
            generation,
        });
    }

    /// Asks a process to end, unless it was asked already.
    pub(super) fn stop(&mut self, name: &ProcessName, then: Then) {
        let Some(process) = self.processes.get_mut(name) else {
            // It is gone already.
            return self.through(name);
        };
        match &mut process.state {
            State::Stopping { then: planned, .. } => *planned = then,
            State::Waiting { .. } => self.after_stop(name, then),
            State::Starting { .. } | State::Up { .. } => {
                let kill_at = self.now + Duration::from_secs(process.spec.stop_seconds.into());
                process.state = State::Stopping {
                    since: self.now,
                    kill_at,
                    then,
                };
                let signal = process.signal(name, Signal::Terminate);
                self.effects.extend(signal);
            }
        }
    }

    /// A process that was to end is gone.
    fn after_stop(&mut self, name: &ProcessName, then: Then) {
        match then {
            Then::Rest => {
                self.processes.remove(name);
                self.ended(name);
            }
            Then::Start => self.launch(name),
            Then::Pause => self.pause(name),
        }
    }

    pub(super) fn started(&mut self, name: &ProcessName, pid: u32) {
        let now = self.now;
        if self.test_started(name, pid) {
            return;
        }
        let Some(process) = self.processes.get_mut(name) else {
            return;
        };
        process.pid = Some(pid);
        match &mut process.state {
            State::Starting { since } => *since = now,
            // It was to be stopped before its number was known.
            State::Stopping { .. } => {
                let signal = process.signal(name, Signal::Terminate);
                self.effects.extend(signal);
            }
            State::Up { .. } | State::Waiting { .. } => {}
        }
    }

    pub(super) fn ready(&mut self, name: &ProcessName, pid: u32) {
        let process = self
            .processes
            .get_mut(name)
            .filter(|process| process.pid == Some(pid));
        let Some(process) = process else {
            return;
        };
        if matches!(process.state, State::Starting { .. }) {
            process.state = State::Up { since: self.now };
            self.effects.push(Effect::Report);
            self.came_up(name);
        }
    }

    fn alive(&mut self, name: &ProcessName, pid: u32) -> Option<&mut Process> {
        let process = self.processes.get_mut(name)?;
        (process.pid == Some(pid)).then_some(process)
    }

    /// A process reads its files again: it is not ready until it says so.
    pub(super) fn reloading(&mut self, name: &ProcessName, pid: u32) {
        let now = self.now;
        if let Some(process) = self.alive(name, pid).filter(|process| process.is_up()) {
            process.extension = Duration::ZERO;
            process.state = State::Starting { since: now };
            self.effects.push(Effect::Report);
        }
    }

    /// A process asks for more time, counted from now: never for less than it has.
    pub(super) fn extended(&mut self, name: &ProcessName, pid: u32, by: Duration) {
        let now = self.now;
        let Some(process) = self.alive(name, pid) else {
            return;
        };
        let by = by.min(EXTENSION_MAX);
        match &mut process.state {
            State::Starting { since } => {
                let needs = (now + by).saturating_sub(*since);
                process.extension = process.extension.max(needs.min(EXTENSION_MAX));
            }
            State::Stopping { kill_at, since, .. } => {
                *kill_at = (*kill_at).max(now + by).min(*since + EXTENSION_MAX);
            }
            State::Up { .. } | State::Waiting { .. } => {}
        }
    }

    pub(super) fn main_is(&mut self, name: &ProcessName, pid: u32, main: u32) {
        if let Some(process) = self.alive(name, pid) {
            process.main = Some(main);
            self.effects.push(Effect::Report);
        }
    }

    pub(super) fn exited(&mut self, name: &ProcessName, pid: u32, exit: &Exit, output: &[String]) {
        if self.is_test(name, pid) {
            return self.test_ended(exit, output);
        }
        let Some(process) = self.processes.get_mut(name) else {
            return;
        };
        // A process that could not be executed never had a number.
        if process.pid.unwrap_or(0) != pid {
            return;
        }
        process.pid = None;
        process.main = None;
        match process.state {
            State::Waiting { .. } => {}
            State::Stopping { then, .. } => self.after_stop(name, then),
            State::Starting { .. } | State::Up { .. } => {
                self.died(name, &death(&exit.to_string(), output));
            }
        }
        self.effects.push(Effect::Report);
    }

    /// A process is gone that nobody stopped.
    fn died(&mut self, name: &ProcessName, how: &str) {
        if self.restarts_itself(name) {
            self.say(format!(
                "{name} {how} after it was told of the change: it is started anew"
            ));
            self.launch(name);
            return;
        }
        self.say(format!("{name} {how}"));
        self.pause(name);
        self.failed(name, &format!("{name} {how}"));
    }

    /// Has a process started again, later with each death in a row.
    fn pause(&mut self, name: &ProcessName) {
        let Some(process) = self.processes.get_mut(name) else {
            return;
        };
        if let State::Up { since } = process.state
            && self.now.saturating_sub(since) >= RECOVERED_AFTER
        {
            process.deaths = 0;
        }
        let factor = 1 << process.deaths.min(16);
        let pause = PAUSE_MAX.min(PAUSE * factor);
        process.deaths += 1;
        process.pid = None;
        process.state = State::Waiting {
            until: self.now + pause,
        };
    }

    pub(super) fn tick(&mut self) {
        let now = self.now;
        let due = |process: &Process| process.deadline().is_some_and(|at| at <= now);
        let names: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, process)| due(process))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            // What was done for one may have changed another.
            if self.processes.get(&name).is_some_and(due) {
                self.time_is_up(&name);
            }
        }
        self.look();
        self.end_soak();
        self.end_boot();
        self.end_late_test();
        self.end_test();
    }

    fn time_is_up(&mut self, name: &ProcessName) {
        let is_booting = self.is_booting();
        let Some(process) = self.processes.get_mut(name) else {
            return;
        };
        match &mut process.state {
            // What it would be started from may not fit the image that runs.
            State::Waiting { until } if is_booting => *until = self.now + PAUSE_MAX,
            State::Waiting { .. } => self.launch(name),
            State::Stopping { kill_at, .. } => {
                *kill_at = self.now + KILL_AGAIN;
                let signal = process.signal(name, Signal::Kill);
                self.effects.extend(signal);
            }
            State::Starting { .. } if process.spec.notify => {
                let seconds = process.patience().as_secs();
                let text = format!("{name} did not become ready within {seconds} s");
                self.say(text.clone());
                self.stop(name, Then::Pause);
                self.failed(name, &text);
            }
            // The keeper has not said yet that it was executed.
            State::Starting { since } if process.pid.is_none() => *since = self.now,
            State::Starting { .. } => {
                process.state = State::Up { since: self.now };
                self.effects.push(Effect::Report);
                self.came_up(name);
            }
            State::Up { .. } => {}
        }
    }
}

impl Process {
    fn signal(&self, name: &ProcessName, signal: Signal) -> Option<Effect> {
        let pid = self.pid?;
        Some(Effect::Signal {
            process: name.clone(),
            pid,
            signal,
        })
    }
}

/// How a process ended, with the end of what it wrote.
pub(super) fn death(how: &str, output: &[String]) -> String {
    /// Enough to see an error message, little enough for a status field.
    const LINES: usize = 5;
    let from = output.len().saturating_sub(LINES);
    let lines: Vec<_> = output[from..]
        .iter()
        .map(|line| visible(line).to_string())
        .collect();
    if lines.is_empty() {
        how.to_owned()
    } else {
        format!("{how}; it wrote: {}", lines.join(" / "))
    }
}
