//! The table of processes: what was started, what is held for it, what became of it.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpgid};
use placet_model::{Digest, Limits, ProcessName};

use super::cgroup::{GroupError, Groups};
use super::explain::explain;
use super::held::Held;
use super::log::Logs;
use super::notify::{Message, NotifySockets, Store};
use super::process::{KILL_AGAIN, Process};
use super::sockets::SocketError;
use super::spawn::{Program, SpawnError};
use super::survivors;
use crate::family::parent;
use crate::link::{Event, Exit, Notice, Signal, Start};

/// Messages of one process that are heard before others get their turn.
const TURN: usize = 32;

pub(super) struct Table {
    /// Another one for each life of the keeper.
    pub(super) life: String,
    pub(super) notify: NotifySockets,
    groups: Groups,
    pub(super) held: BTreeMap<ProcessName, Held>,
    pub(super) processes: BTreeMap<ProcessName, Process>,
    /// Standard input of all processes.
    nothing: File,
    /// Open files that a process may have where its package says nothing: the keeper itself needs
    /// more.
    pub(super) open_files: (u64, u64),
}

/// A process that has ended.
pub(super) struct Dead {
    pub(super) process: ProcessName,
    pub(super) pid: u32,
    pub(super) exit: Exit,
    pub(super) log: u64,
}

/// A process was not started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("it runs already, as {0}")]
    Runs(Pid),
    #[error("failed to prepare its folder, its output or its notification socket")]
    Prepare(#[source] io::Error),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error("{0}")]
    Executed(String),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl Table {
    pub(super) fn new(notify: NotifySockets, run: &Path) -> io::Result<Self> {
        // Process ids come again, times may be set back: together they do not.
        let life = format!(
            "{}-{}",
            jiff::Timestamp::now().as_microsecond(),
            std::process::id()
        );
        let groups = Groups::find(run);
        let open_files = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, open_files.1, open_files.1)?;
        Ok(Self {
            life,
            notify,
            groups,
            held: BTreeMap::new(),
            processes: BTreeMap::new(),
            nothing: File::options().read(true).write(true).open("/dev/null")?,
            open_files,
        })
    }

    /// Ends what an earlier keeper left behind.
    pub(super) fn end_survivors(&self) {
        self.groups.end_survivors();
        survivors::end(&self.notify.prefix());
        self.groups.remove_all();
    }

    pub(super) fn list(&self) -> Event {
        let processes = self.processes.values().map(Process::entry).collect();
        Event::Table {
            life: self.life.clone(),
            processes,
        }
    }

    pub(super) fn any_alive(&self) -> bool {
        self.processes.values().any(Process::is_alive)
    }

    pub(super) fn owns(&self, pid: Pid) -> bool {
        let mut alive = self.processes.values().filter(|it| it.is_alive());
        alive.any(|process| process.main == pid || (process.is_first && process.pid == pid))
    }

    /// Starts a process and says how that went.
    pub(super) fn start(&mut self, start: Start, logs: &mut Logs) -> Event {
        let process = start.process.clone();
        match self.try_start(start, logs) {
            Ok(pid) => Event::Started { process, pid },
            Err(error) => {
                let why = crate::Chain(&error).to_string();
                tracing::warn!(%process, "failed to start {process}: {why}");
                Event::Exited {
                    process,
                    pid: 0,
                    exit: Exit::NotStarted(why),
                    output: Vec::new(),
                }
            }
        }
    }

    fn try_start(&mut self, start: Start, logs: &mut Logs) -> Result<u32, StartError> {
        let running = self.processes.get(&start.process);
        if let Some(running) = running.filter(|process| process.is_alive()) {
            return Err(StartError::Runs(running.main));
        }
        make_folder(&start).map_err(StartError::Prepare)?;
        self.notify
            .open(&start.process)
            .map_err(StartError::Prepare)?;
        self.held
            .entry(start.process.clone())
            .or_default()
            .open(&start)?;
        let (log, writer) = logs.open(&start.process).map_err(StartError::Prepare)?;
        match self.execute(&start, writer.as_fd()) {
            Ok(pid) => Ok(self.insert(start, pid, log)),
            Err(error) => {
                drop(writer);
                logs.last_lines(log);
                Err(error)
            }
        }
    }

    fn execute(&mut self, start: &Start, output: BorrowedFd<'_>) -> Result<Pid, StartError> {
        let directory = start.working_directory.as_ref();
        let mut program = Program::new(&start.program, directory.unwrap_or(&start.directory))?;
        for argument in &start.arguments {
            program.argument(argument)?;
        }
        for (name, value) in &start.environment {
            program.variable(name, value)?;
        }
        let notify = self.notify.path(&start.process);
        program.variable("NOTIFY_SOCKET", &notify.display().to_string())?;
        if start.watchdog_seconds > 0 {
            let micros = u64::from(start.watchdog_seconds) * 1_000_000;
            program.variable("WATCHDOG_USEC", &micros.to_string())?;
        }
        let held = self.held.entry(start.process.clone()).or_default();
        let (names, descriptors): (Vec<_>, Vec<_>) = held.handed_over(start).into_iter().unzip();
        if !names.is_empty() {
            program.variable("LISTEN_FDS", &names.len().to_string())?;
            program.variable("LISTEN_FDNAMES", &names.join(":"))?;
        }
        program.descriptors = descriptors;
        program.input = Some(self.nothing.as_fd());
        program.output = Some(output);
        program.account = start.account.as_ref();
        program.limits = limits(&start.limits, self.open_files);
        program.groups = self.groups.make(&start.process, &start.limits)?;
        program.start().map_err(|error| match error.of_execution() {
            Some(why) => StartError::Executed(explain(&start.program, why)),
            None => error.into(),
        })
    }

    fn insert(&mut self, start: Start, pid: Pid, log: u64) -> u32 {
        tracing::info!(process = %start.process, pid = pid.as_raw(), generation = start.generation, "{} started", start.process);
        let process = Process::new(pid, start, log);
        let number = process.number();
        self.processes
            .insert(process.start.process.clone(), process);
        number
    }

    fn find(&mut self, process: &ProcessName, pid: u32) -> Option<&mut Process> {
        // A process that was reaped may have given its number to a stranger.
        let process = self.processes.get_mut(process)?;
        (process.number() == pid).then_some(process)
    }

    pub(super) fn signal(&mut self, process: &ProcessName, pid: u32, signal: Signal) {
        let Some(found) = self.find(process, pid).filter(|it| it.is_alive()) else {
            return;
        };
        found.signal(signal);
        if signal == Signal::Kill {
            self.groups.kill(process);
        }
    }

    pub(super) fn mark(&mut self, process: &ProcessName, pid: u32, handled: (u64, Digest)) {
        if let Some(process) = self.find(process, pid) {
            process.handled = handled;
        }
    }

    /// Closes what is held for a process that is not wanted any more.
    pub(super) fn forget(&mut self, process: &ProcessName) {
        let known = self.processes.get(process);
        if known.is_some_and(Process::is_alive) {
            return;
        }
        let known = self.processes.remove(process);
        if let (Some(held), Some(known)) = (self.held.remove(process), known) {
            held.close(&known.start.directory);
        }
        self.notify.close(process);
        self.groups.remove(process);
    }

    /// Hears what has arrived from any process.
    pub(super) fn hear_all(&mut self) -> Vec<Event> {
        let names: Vec<_> = self.processes.keys().cloned().collect();
        names.iter().flat_map(|name| self.hear(name)).collect()
    }

    /// Hears what has arrived on the notification socket of `process`.
    pub(super) fn hear(&mut self, process: &ProcessName) -> Vec<Event> {
        let now = Instant::now();
        let mut events = Vec::new();
        for _ in 0..TURN {
            let why = match self.notify.receive(process) {
                None => break,
                Some(Err(why)) => why,
                Some(Ok(message)) if self.belongs(process, message.sender) => {
                    events.extend(self.take(process, message, now));
                    continue;
                }
                Some(Ok(Message { sender, .. })) => format!(
                    "a notification for {process} of a process that is not its own, {sender}: ignored"
                ),
            };
            if let Some(process) = self.processes.get_mut(process) {
                process.warn(now, &why);
            }
        }
        events
    }

    fn take(&mut self, name: &ProcessName, message: Message, now: Instant) -> Vec<Event> {
        let mut notices = message.notices;
        let is_stranger = |notice: &mut Notice| matches!(notice, Notice::MainPid(pid) if !self.belongs(name, pid.cast_signed()));
        let strangers = notices.extract_if(.., is_stranger).count();
        let Some(process) = self.processes.get_mut(name) else {
            return Vec::new();
        };
        if strangers > 0 {
            process.warn(
                now,
                &format!("{name} names a process that is not its own as its main one: ignored"),
            );
        }
        if let Some(sign) = message.watchdog {
            process.watchdog(sign, now);
        }
        let held = self.held.entry(name.clone()).or_default();
        let stored = match message.store {
            None => Ok(()),
            Some(Store::Remove) => {
                held.remove(message.name.as_deref().unwrap_or_default());
                Ok(())
            }
            Some(Store::Add { watched }) => {
                let name = message.name.as_deref();
                held.store(name, message.files, watched, &process.start)
            }
        };
        if let Err(why) = stored {
            process.warn(now, &format!("a descriptor of {name} is not stored: {why}"));
        }
        let pid = process.number();
        let passed_on = notices
            .into_iter()
            .filter_map(|notice| process.hear(notice, now));
        passed_on
            .map(|notice| Event::Notify {
                process: name.clone(),
                pid,
                notice,
            })
            .collect()
    }

    /// True if a process is `name`'s own: the one that was started, or one that it started.
    fn belongs(&self, name: &ProcessName, pid: i32) -> bool {
        let alive = self.processes.get(name).filter(|it| it.is_alive());
        let Some(process) = alive.filter(|_| pid > 0) else {
            return false;
        };
        let pid = Pid::from_raw(pid);
        pid == process.main
            || getpgid(Some(pid)) == Ok(process.pid)
            || self.groups.holds(name, pid.as_raw())
            || descends_from(pid, process.pid)
    }

    /// Takes the processes that have ended out of the world, each with what is left of its group.
    pub(super) fn reap(&mut self) -> Vec<Dead> {
        let mut dead = Vec::new();
        for (name, process) in &mut self.processes {
            let Some(exit) = process.reap() else {
                continue;
            };
            if !self.groups.kill(name) {
                survivors::kill_all(&self.notify.path(name));
            }
            dead.push(Dead {
                process: name.clone(),
                pid: process.number(),
                exit,
                log: process.log,
            });
        }
        dead
    }

    /// While the keeper ends: stops the processes that are next, last started first, and kills
    /// those whose time is up.
    pub(super) fn stop_next(&mut self, now: Instant) {
        let alive = self.processes.values().filter(|it| it.is_alive());
        let Some(order) = alive.map(|process| process.start.order).max() else {
            return;
        };
        let alive = self.processes.values_mut().filter(|it| it.is_alive());
        for process in alive.filter(|process| process.start.order == order) {
            match process.kill_at {
                None => {
                    process.signal(Signal::Terminate);
                    process.kill_at = Some(now + process.stop_patience());
                }
                Some(at) if at <= now => {
                    process.signal(Signal::Kill);
                    process.kill_at = Some(now + KILL_AGAIN);
                }
                Some(_) => {}
            }
        }
    }

    /// Does what is due; returns what is to be passed on.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        for (name, process) in &mut self.processes {
            process.tick(now);
            let pid = process.number();
            events.extend(process.due_status(now).map(|notice| Event::Notify {
                process: name.clone(),
                pid,
                notice,
            }));
        }
        events
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.processes.values().filter_map(Process::deadline).min()
    }

    /// Forgets stored descriptors whose other end has gone.
    pub(super) fn drop_stored(&mut self, process: &ProcessName, places: &[usize]) {
        if let Some(held) = self.held.get_mut(process) {
            held.drop_at(places);
        }
    }

    /// Stored descriptors that go when their other end does.
    pub(super) fn watched(&self) -> impl Iterator<Item = (&ProcessName, usize, BorrowedFd<'_>)> {
        let all = self.held.iter();
        all.flat_map(|(name, held)| held.watched().map(move |(at, file)| (name, at, file)))
    }
}

/// Makes the run-time folder of a process, which is its user's own.
fn make_folder(start: &Start) -> io::Result<()> {
    let parent = start.directory.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(parent)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&start.directory)?;
    let (user, group) = match &start.account {
        Some(account) => (account.user, account.group),
        None => (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        ),
    };
    chown(&start.directory, Some(user), Some(group))
}

/// The limits of the kernel for each process, soft and hard.
fn limits(limits: &Limits, open_files: (u64, u64)) -> Vec<(Resource, u64, u64)> {
    let both = |limit: Option<u64>| limit.map(|limit| (limit, limit));
    let wanted = [
        (
            Resource::RLIMIT_NOFILE,
            both(limits.open_files).or(Some(open_files)),
        ),
        (Resource::RLIMIT_CORE, both(limits.core_bytes)),
        (Resource::RLIMIT_FSIZE, both(limits.file_bytes)),
        (Resource::RLIMIT_MEMLOCK, both(limits.locked_bytes)),
        (Resource::RLIMIT_AS, both(limits.address_bytes)),
    ];
    let given = wanted.into_iter();
    given
        .filter_map(|(resource, limit)| limit.map(|(soft, hard)| (resource, soft, hard)))
        .collect()
}

fn descends_from(pid: Pid, ancestor: Pid) -> bool {
    /// Deeper trees than any service has.
    const DEPTH_MAX: usize = 64;
    let above = |pid: &Pid| parent(*pid).filter(|parent| parent.as_raw() > 1);
    std::iter::successors(Some(pid), above)
        .take(DEPTH_MAX)
        .any(|pid| pid == ancestor)
}

/// Reaps grandchildren whose parents are gone: as the subreaper, the keeper inherits them.
pub(super) fn reap_orphans(is_own: impl Fn(Pid) -> bool) {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, flags) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                if is_own(pid) {
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
