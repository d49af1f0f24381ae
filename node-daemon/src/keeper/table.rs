//! The table of processes: what was started, what became of it.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::{self, PipeWriter};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{self, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpgid};
use placet_model::{Digest, ProcessName};

use super::log::Logs;
use super::spawn::spawn;
use crate::link::{Entry, Event, Exit, Notice, Signal, Start};

/// A process that hangs in the kernel ends when it can; looking more often does not help it.
const KILL_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Table {
    /// Another one for each life of the keeper.
    life: String,
    notify: PathBuf,
    processes: BTreeMap<ProcessName, Process>,
}

struct Process {
    child: Option<Child>,
    pid: u32,
    log: u64,
    start: Start,
    handled: (u64, Digest),
    since: Instant,
    ready: bool,
    exit: Option<Exit>,
    /// While the keeper ends: when patience ends.
    kill_at: Option<Instant>,
}

/// A process that has ended.
pub(super) struct Dead {
    pub(super) process: ProcessName,
    pub(super) pid: u32,
    pub(super) exit: Exit,
    pub(super) log: u64,
}

impl Table {
    pub(super) fn new(notify: &Path) -> Self {
        // Process ids come again, times may be set back: together they do not.
        let life = format!(
            "{}-{}",
            jiff::Timestamp::now().as_microsecond(),
            std::process::id()
        );
        Self {
            life,
            notify: notify.to_owned(),
            processes: BTreeMap::new(),
        }
    }

    pub(super) fn list(&self) -> Event {
        let processes = self.processes.values().map(Process::entry).collect();
        Event::Table {
            life: self.life.clone(),
            processes,
        }
    }

    pub(super) fn any_alive(&self) -> bool {
        self.alive().next().is_some()
    }

    fn alive(&self) -> impl Iterator<Item = &Process> {
        self.processes
            .values()
            .filter(|process| process.child.is_some())
    }

    pub(super) fn owns(&self, pid: i32) -> bool {
        self.alive().any(|process| process.group().as_raw() == pid)
    }

    /// Starts a process and says how that went.
    pub(super) fn start(&mut self, start: Start, logs: &mut Logs) -> Event {
        let process = start.process.clone();
        let running = self
            .processes
            .get(&process)
            .filter(|process| process.child.is_some());
        let outcome = match running {
            Some(running) => Err(io::Error::other(format!(
                "it runs already, as {}",
                running.pid
            ))),
            None => self.try_start(start, logs),
        };
        match outcome {
            Ok(pid) => Event::Started { process, pid },
            Err(error) => {
                tracing::warn!(%process, "failed to start {process}: {error}");
                let exit = Exit::NotStarted(error.to_string());
                Event::Exited {
                    process,
                    pid: 0,
                    exit,
                    output: Vec::new(),
                }
            }
        }
    }

    fn try_start(&mut self, start: Start, logs: &mut Logs) -> io::Result<u32> {
        let (log, writer) = logs.open(&start.process)?;
        match self.execute(&start, writer) {
            Ok(child) => Ok(self.insert(start, child, log)),
            Err(error) => {
                logs.last_lines(log);
                Err(error)
            }
        }
    }

    fn execute(&self, start: &Start, writer: PipeWriter) -> io::Result<Child> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&start.directory)?;
        let mut command = Command::new(&start.program);
        command
            .args(&start.arguments)
            .env_clear()
            .envs(&start.environment);
        command
            .env("NOTIFY_SOCKET", &self.notify)
            .current_dir(&start.directory);
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        spawn(&mut command)
    }

    fn insert(&mut self, start: Start, child: Child, log: u64) -> u32 {
        let pid = child.id();
        tracing::info!(process = %start.process, pid, generation = start.generation, "{} started", start.process);
        let process = Process {
            child: Some(child),
            pid,
            log,
            handled: (start.generation, start.manifest),
            since: Instant::now(),
            ready: false,
            exit: None,
            kill_at: None,
            start,
        };
        self.processes
            .insert(process.start.process.clone(), process);
        pid
    }

    pub(super) fn signal(&self, process: &ProcessName, pid: u32, signal: Signal) {
        let process = self.processes.get(process);
        // A process that was reaped may have given its number to a stranger.
        if let Some(process) = process.filter(|process| process.pid == pid) {
            process.signal(signal);
        }
    }

    pub(super) fn mark(
        &mut self,
        process: &ProcessName,
        pid: u32,
        generation: u64,
        manifest: Digest,
    ) {
        let process = self.processes.get_mut(process);
        if let Some(process) = process.filter(|process| process.pid == pid) {
            process.handled = (generation, manifest);
        }
    }

    /// What a notification of the process `pid` means. Only members of the process group of a
    /// supervised process are heard.
    pub(super) fn notice(&mut self, pid: i32, notices: Vec<Notice>) -> Vec<Event> {
        let group = getpgid(Some(Pid::from_raw(pid))).ok();
        let speaker =
            |process: &&mut Process| process.child.is_some() && Some(process.group()) == group;
        let Some(process) = self.processes.values_mut().find(speaker) else {
            tracing::warn!(
                pid,
                "a notification of a process that is not supervised: ignored"
            );
            return Vec::new();
        };
        process.ready |= notices.contains(&Notice::Ready);
        let event = |notice| Event::Notify {
            process: process.start.process.clone(),
            pid: process.pid,
            notice,
        };
        notices.into_iter().map(event).collect()
    }

    /// Takes the processes that have ended out of the world, each with what is left of its group.
    pub(super) fn reap(&mut self) -> Vec<Dead> {
        self.processes
            .values_mut()
            .filter_map(Process::reap)
            .collect()
    }

    /// While the keeper ends: stops the processes that are next, last started first, and kills
    /// those whose time is up.
    pub(super) fn stop_next(&mut self, now: Instant) {
        let Some(order) = self.alive().map(|process| process.start.order).max() else {
            return;
        };
        let alive = self
            .processes
            .values_mut()
            .filter(|process| process.child.is_some());
        for process in alive.filter(|process| process.start.order == order) {
            match process.kill_at {
                None => {
                    process.signal(Signal::Terminate);
                    let patience = Duration::from_secs(process.start.stop_seconds.into());
                    process.kill_at = Some(now + patience);
                }
                Some(at) if at <= now => {
                    process.signal(Signal::Kill);
                    process.kill_at = Some(now + KILL_AGAIN);
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.alive().filter_map(|process| process.kill_at).min()
    }
}

impl Process {
    fn group(&self) -> Pid {
        Pid::from_raw(
            self.pid
                .try_into()
                .expect("process ids are positive and fit"),
        )
    }

    fn signal(&self, signal: Signal) {
        if self.child.is_some() {
            let signal = match signal {
                Signal::Terminate => signal::Signal::SIGTERM,
                Signal::Kill => signal::Signal::SIGKILL,
            };
            // It may be a zombie by now, which is as good.
            let _ = killpg(self.group(), signal);
        }
    }

    fn reap(&mut self) -> Option<Dead> {
        let child = self.child.as_mut()?;
        let pid = Pid::from_raw(child.id().try_into().ok()?);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        if waitid(Id::Pid(pid), flags) == Ok(WaitStatus::StillAlive) {
            return None;
        }
        // Before the number is free for others: children that it left in its group end with it.
        let _ = killpg(pid, signal::Signal::SIGKILL);
        let exit = exit_of(child);
        self.child = None;
        self.ready = false;
        self.exit = Some(exit.clone());
        Some(Dead {
            process: self.start.process.clone(),
            pid: self.pid,
            exit,
            log: self.log,
        })
    }

    fn entry(&self) -> Entry {
        Entry {
            process: self.start.process.clone(),
            pid: self.pid,
            generation: self.start.generation,
            manifest: self.start.manifest,
            handled_generation: self.handled.0,
            handled_manifest: self.handled.1,
            age: self
                .since
                .elapsed()
                .as_millis()
                .try_into()
                .unwrap_or(u64::MAX),
            ready: self.ready,
            exit: self.exit.clone(),
        }
    }
}

fn exit_of(child: &mut Child) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    match child.wait() {
        Ok(status) => match status.code() {
            Some(code) => Exit::Code(code),
            None => Exit::Signal(status.signal().unwrap_or_default()),
        },
        Err(_) => Exit::Signal(0),
    }
}

/// Reaps grandchildren whose parents are gone: as the subreaper, the keeper inherits them.
pub(super) fn reap_orphans(is_own: impl Fn(i32) -> bool) {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, flags) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                if is_own(pid.as_raw()) {
                    // It ended just now; its own signal is pending.
                    return;
                }
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            }
            // Ended by a real-time signal, for which nix has no name: reaped all the same.
            Err(Errno::EINVAL) => {
                let _ = waitpid(None, Some(WaitPidFlag::WNOHANG));
            }
            _ => return,
        }
    }
}
