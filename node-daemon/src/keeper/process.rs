//! One supervised process, as the keeper knows it.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{self, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgid};
use placet_model::{Digest, ReloadSignal, StopSignal};

use super::notify::Watchdog;
use crate::link::{Entry, Exit, Notice, Signal, Start};

/// Notices of one process that are passed on within a second: one that says more is heard in part.
const NOTICES_MAX: u32 = 64;

/// Warnings about what one process says that are logged within a minute: one that says more that is
/// wrong fills no log.
const WARNINGS_MAX: u32 = 20;

/// How often a status text is passed on at most.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// A process that hangs in the kernel ends when it can; looking more often does not help it.
pub(super) const KILL_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Process {
    /// The process that was started; its group has this number too.
    pub(super) pid: Pid,
    /// The one that speaks for it, if it named another (`MAINPID`).
    pub(super) main: Pid,
    /// False once the process that was started has ended and another goes on for it.
    pub(super) is_first: bool,
    pub(super) log: u64,
    pub(super) start: Start,
    pub(super) handled: (u64, Digest),
    pub(super) since: Instant,
    pub(super) ready: bool,
    /// How it ended, if it has.
    pub(super) exit: Option<Exit>,
    /// When patience ends: while the keeper ends, or after the watchdog's signal.
    pub(super) kill_at: Option<Instant>,
    pub(super) watch: Watch,
    heard: Heard,
}

/// The signs of life that a process owes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Watch {
    /// How often; never if zero.
    pub(super) every: Duration,
    /// When the next one is due at the latest; none before it was ready.
    pub(super) due: Option<Instant>,
    /// True once it was asked to abort.
    pub(super) expired: bool,
}

/// What was passed on of what the process said.
#[derive(Debug, Default)]
struct Heard {
    second: Option<Instant>,
    count: u32,
    /// When the minute began in which so many warnings were logged.
    minute: Option<Instant>,
    warnings: u32,
    /// The status passed on last, and when.
    status: Option<(Instant, String)>,
    /// A status that waits until the next may be passed on, and when that is.
    waiting: Option<(Instant, String)>,
}

impl Process {
    pub(super) fn new(pid: Pid, start: Start, log: u64) -> Self {
        Self {
            pid,
            main: pid,
            is_first: true,
            log,
            handled: (start.generation, start.manifest),
            since: Instant::now(),
            ready: false,
            exit: None,
            kill_at: None,
            watch: Watch {
                every: Duration::from_secs(start.watchdog_seconds.into()),
                ..Watch::default()
            },
            heard: Heard::default(),
            start,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.exit.is_none()
    }

    pub(super) fn number(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    pub(super) fn signal(&self, signal: Signal) {
        if !self.is_alive() {
            return;
        }
        match signal {
            Signal::Terminate => self.signal_all(stop_signal(self.start.stop_signal)),
            Signal::Kill => self.signal_all(signal::Signal::SIGKILL),
            Signal::Reload => {
                let _ = kill(self.main, reload_signal(self.start.reload_signal));
            }
        }
    }

    /// Sends a signal to its group, and to its main process where that has left the group.
    fn signal_all(&self, signal: signal::Signal) {
        let is_member = getpgid(Some(self.main)) == Ok(self.pid);
        // Once the first process was reaped, its number may be that of a stranger's group.
        if self.is_first || is_member {
            // It may be a zombie by now, which is as good.
            let _ = killpg(self.pid, signal);
        }
        if self.main != self.pid && !is_member {
            let _ = kill(self.main, signal);
        }
    }

    /// How it ended, if it has: the process that was started, or the one that goes on for it.
    /// Nothing that belongs to it is left then but what its group holds.
    pub(super) fn reap(&mut self) -> Option<Exit> {
        if !self.is_alive() {
            return None;
        }
        if self.is_first {
            if !has_ended(self.pid) {
                return None;
            }
            if self.main != self.pid && kill(self.main, None).is_ok() {
                self.is_first = false;
                wait(self.pid);
                return None;
            }
        } else if !has_ended(self.main) {
            return None;
        }
        // Before the number is free for others: children that it left in its group end with it.
        self.signal_all(signal::Signal::SIGKILL);
        let ended = if self.is_first { self.pid } else { self.main };
        let exit = wait(ended).unwrap_or(Exit::Code(0));
        let exit = if self.watch.expired {
            Exit::Silent(u32::try_from(self.watch.every.as_secs()).unwrap_or(u32::MAX))
        } else {
            exit
        };
        self.ready = false;
        self.watch.due = None;
        self.kill_at = None;
        self.exit = Some(exit.clone());
        Some(exit)
    }

    /// Takes note of a notice; returns what is to be passed on.
    pub(super) fn hear(&mut self, notice: Notice, now: Instant) -> Option<Notice> {
        match &notice {
            Notice::Ready if self.ready => return None,
            Notice::Ready => {
                self.ready = true;
                self.alive(now);
            }
            Notice::Reloading if !self.ready => return None,
            Notice::Reloading => self.ready = false,
            Notice::Status(text) => return self.hear_status(text.clone(), now),
            Notice::MainPid(pid) => {
                self.main = Pid::from_raw(pid.cast_signed());
            }
            Notice::Stopping | Notice::ExtendTimeout(_) => {}
        }
        self.may_pass(now).then_some(notice)
    }

    fn may_pass(&mut self, now: Instant) -> bool {
        let heard = &mut self.heard;
        let is_new = |second: Instant| now.saturating_duration_since(second).as_secs() > 0;
        if heard.second.is_none_or(is_new) {
            (heard.second, heard.count) = (Some(now), 0);
        }
        heard.count += 1;
        if heard.count == NOTICES_MAX {
            tracing::warn!(process = %self.start.process, "{} gives more than {NOTICES_MAX} notices a second: the rest is ignored", self.start.process);
        }
        heard.count < NOTICES_MAX
    }

    /// Logs what is wrong with what it said, unless there were many such warnings in this minute.
    pub(super) fn warn(&mut self, now: Instant, why: &str) {
        let heard = &mut self.heard;
        let is_new = |minute: Instant| now.saturating_duration_since(minute).as_secs() >= 60;
        if heard.minute.is_none_or(is_new) {
            (heard.minute, heard.warnings) = (Some(now), 0);
        }
        heard.warnings = heard.warnings.saturating_add(1);
        let process = &self.start.process;
        match heard.warnings.cmp(&WARNINGS_MAX) {
            Ordering::Less => tracing::warn!(%process, "{why}"),
            Ordering::Equal => {
                tracing::warn!(%process, "{why}; more such warnings about {process} are left out for a minute");
            }
            Ordering::Greater => {}
        }
    }

    /// A status text is passed on at once if none was for a while, and later otherwise.
    fn hear_status(&mut self, text: String, now: Instant) -> Option<Notice> {
        let last = self.heard.status.as_ref();
        let at = last.map_or(now, |(at, _)| *at + STATUS_PAUSE);
        self.heard.waiting = last
            .is_none_or(|(_, last)| *last != text)
            .then_some((at, text));
        self.due_status(now)
    }

    /// The status text that may be passed on now.
    pub(super) fn due_status(&mut self, now: Instant) -> Option<Notice> {
        let (_, text) = self.heard.waiting.take_if(|(at, _)| *at <= now)?;
        self.heard.status = Some((now, text.clone()));
        Some(Notice::Status(text))
    }

    /// A sign of life.
    pub(super) fn watchdog(&mut self, sign: Watchdog, now: Instant) {
        match sign {
            Watchdog::Alive => self.alive(now),
            Watchdog::Within(micros) => {
                self.watch.every = Duration::from_micros(micros);
                self.alive(now);
            }
            Watchdog::Trigger => self.watch.due = Some(now),
        }
    }

    fn alive(&mut self, now: Instant) {
        if !self.watch.every.is_zero() && !self.watch.expired {
            self.watch.due = now.checked_add(self.watch.every);
        }
    }

    /// When something is to be done about it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let status = self.heard.waiting.as_ref().map(|(at, _)| *at);
        let own = [self.watch.due, self.kill_at, status];
        own.into_iter().flatten().filter(|_| self.is_alive()).min()
    }

    /// Asks one that gave no sign of life to abort, and kills it when its time is up.
    pub(super) fn tick(&mut self, now: Instant) {
        if !self.is_alive() {
            return;
        }
        if self.watch.due.take_if(|due| *due <= now).is_some() {
            self.watch.expired = true;
            tracing::warn!(process = %self.start.process, "{} gave no sign of life: it is aborted", self.start.process);
            let _ = kill(self.main, signal::Signal::SIGABRT);
            self.kill_at = Some(now + self.stop_patience());
        } else if self.watch.expired && self.kill_at.is_some_and(|at| at <= now) {
            self.signal(Signal::Kill);
            self.kill_at = Some(now + KILL_AGAIN);
        }
    }

    pub(super) fn stop_patience(&self) -> Duration {
        Duration::from_secs(self.start.stop_seconds.into())
    }

    pub(super) fn entry(&self) -> Entry {
        let age = self.since.elapsed().as_millis();
        Entry {
            process: self.start.process.clone(),
            pid: self.number(),
            main: self.main.as_raw().unsigned_abs(),
            generation: self.start.generation,
            manifest: self.start.manifest,
            handled_generation: self.handled.0,
            handled_manifest: self.handled.1,
            age: age.try_into().unwrap_or(u64::MAX),
            ready: self.ready,
            exit: self.exit.clone(),
        }
    }
}

fn stop_signal(signal: StopSignal) -> signal::Signal {
    match signal {
        StopSignal::Term => signal::Signal::SIGTERM,
        StopSignal::Int => signal::Signal::SIGINT,
        StopSignal::Quit => signal::Signal::SIGQUIT,
        StopSignal::Usr1 => signal::Signal::SIGUSR1,
        StopSignal::Usr2 => signal::Signal::SIGUSR2,
        StopSignal::Winch => signal::Signal::SIGWINCH,
    }
}

fn reload_signal(signal: ReloadSignal) -> signal::Signal {
    match signal {
        ReloadSignal::Hup => signal::Signal::SIGHUP,
        ReloadSignal::Usr1 => signal::Signal::SIGUSR1,
        ReloadSignal::Usr2 => signal::Signal::SIGUSR2,
    }
}

/// True for a child that has ended and was not waited for, and for what is no process any more.
fn has_ended(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(pid), flags) {
        Ok(WaitStatus::StillAlive) => false,
        // Not, or not yet, a child of ours: its parent is one of its own.
        Err(Errno::ECHILD) => kill(pid, None).is_err(),
        _ => true,
    }
}

/// Takes a child that has ended out of the world.
pub(super) fn wait(pid: Pid) -> Option<Exit> {
    let mut status = 0;
    #[expect(
        unsafe_code,
        reason = "nix has no name for real-time signals, by which a child may have ended"
    )]
    // SAFETY: the pointer is to a local.
    let waited = unsafe { libc::waitpid(pid.as_raw(), &raw mut status, libc::WNOHANG) };
    if waited != pid.as_raw() {
        return None;
    }
    Some(if libc::WIFEXITED(status) {
        Exit::Code(libc::WEXITSTATUS(status))
    } else {
        Exit::Signal(libc::WTERMSIG(status))
    })
}
