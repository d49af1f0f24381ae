//! The keeper: starts processes, waits for them, and outlives the agent.
//!
//! One thread, one `poll`, no network. It takes no decision about what should run: it does what
//! the agent orders and reports what happens. While there is no agent, processes go on, and what
//! becomes of them is kept for the next agent to ask.
//!
//! **Invariant:** no supervised process outlives the keeper. Each asks the kernel to be killed
//! with it, and the next keeper ends whatever slipped through before it starts anything.

mod agent;
mod cgroup;
mod explain;
mod handover;
mod held;
mod log;
mod manager;
mod notify;
mod process;
mod sockets;
mod spawn;
mod survivors;
mod table;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use placet_model::ProcessName;

use crate::Fatal;
use crate::arguments::{Reexec, Settings};
use crate::link::{Command, Event};
use crate::rest::Rest;
use agent::{Agent, AgentEnd};
use handover::State;
use log::Logs;
use manager::Manager;
use notify::NotifySockets;
use table::Table;

/// For how long a lock is waited for that an earlier keeper may have left behind.
const LOCKED_WITHIN: Duration = Duration::from_secs(1);

/// The keeper cannot start.
#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error("failed to make the folder `{path}`")]
    Folder { path: PathBuf, source: io::Error },
    #[error("failed to lock `{path}`")]
    Lock { path: PathBuf, source: io::Error },
    #[error("`{path}` is in use by another placetd; give each node folders of its own")]
    InUse { path: PathBuf },
    #[error("failed to prepare for supervising processes")]
    System(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT. Returns 2 if the agent gave up for good while nothing ran.
pub(crate) fn main(settings: &Settings, reexec: Reexec) -> Result<ExitCode, Fatal> {
    let signals = block_signals().map_err(|error| KeeperError::System(error.into()))?;
    make_folder(&settings.state)?;
    make_folder(&settings.run)?;
    let mut locks = vec![lock(&settings.state)?];
    if settings.run != settings.state {
        locks.push(lock(&settings.run)?);
    }
    let table = new_table(settings)?;
    table.end_survivors();
    let mut keeper = Keeper::new(settings, reexec, signals, locks, table)?;
    tracing::info!(node = %settings.node, state = %settings.state.display(), "keeper starts");
    keeper.run().map_err(Into::into)
}

/// Goes on where a predecessor, which was this process until now, has ended: with the descriptors
/// of which descriptor `handover` holds a list.
pub(crate) fn succeed(
    settings: &Settings,
    reexec: Reexec,
    handover: i32,
) -> Result<ExitCode, Fatal> {
    let signals = block_signals().map_err(|error| KeeperError::System(error.into()))?;
    let file = handover::own(handover).map_err(KeeperError::System)?;
    let state = State::read(file.into())?;
    let locks = state.locks.iter().map(|lock| handover::own(*lock));
    let locks = locks
        .map(|lock| lock.map(File::from))
        .collect::<Result<_, _>>();
    let mut table = new_table(settings)?;
    table.life.clone_from(&state.life);
    table.open_files = state.open_files;
    let locks = locks.map_err(KeeperError::System)?;
    let mut keeper = Keeper::new(settings, reexec, signals, locks, table)?;
    state.take_over(&mut keeper).map_err(KeeperError::System)?;
    tracing::info!(node = %settings.node, version = env!("CARGO_PKG_VERSION"), "keeper goes on as this version");
    // What ended in between is reaped now: its signal may have come before this one was ready.
    keeper.reap();
    keeper.run().map_err(Into::into)
}

/// Says whether this version could [`succeed`] with what standard input describes.
pub(crate) fn check_handover() -> Result<ExitCode, Fatal> {
    let file = io::stdin().as_fd().try_clone_to_owned()?;
    State::read(file.into())?;
    Ok(ExitCode::SUCCESS)
}

fn new_table(settings: &Settings) -> Result<Table, Fatal> {
    let notify = NotifySockets::new(&settings.run)?;
    let table = Table::new(notify, &settings.run);
    table.map_err(|error| KeeperError::System(error).into())
}

/// Makes `path`, which others may pass through to what they are given in it, and no more: processes
/// run as users of their own.
fn make_folder(path: &Path) -> Result<(), KeeperError> {
    let made = DirBuilder::new().recursive(true).mode(0o711).create(path);
    let opened = made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o711)));
    opened.map_err(|source| KeeperError::Folder {
        path: path.to_owned(),
        source,
    })
}

/// Keeps a second daemon off the folder for as long as the file lives.
fn lock(folder: &Path) -> Result<File, KeeperError> {
    let path = folder.join("keeper.lock");
    let fail = |source| KeeperError::Lock {
        path: path.clone(),
        source,
    };
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = file.map_err(fail)?;
    // A child that an earlier keeper was just forking holds the lock until it is executed.
    let until = Instant::now() + LOCKED_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(KeeperError::InUse {
                    path: folder.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
    }
}

fn block_signals() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
    ] {
        mask.add(signal);
    }
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

struct Keeper {
    signals: SignalFd,
    agent: Agent,
    table: Table,
    logs: Logs,
    /// Set by SIGTERM: processes are being stopped, nothing new starts.
    ending: bool,
    /// Set by SIGHUP: the program at the own path is to take over.
    hands_over: bool,
    locks: Vec<File>,
    manager: Manager,
    rest: Rest,
}

/// Something to read from, or to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Signals,
    Notify(ProcessName),
    Agent,
    Log(u64),
    /// A stored descriptor whose other end may have gone.
    Stored(ProcessName, usize),
}

impl Keeper {
    fn new(
        settings: &Settings,
        reexec: Reexec,
        signals: SignalFd,
        locks: Vec<File>,
        table: Table,
    ) -> Result<Self, KeeperError> {
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(|error| KeeperError::System(error.into()))?;
        Ok(Self {
            signals,
            table,
            logs: Logs::new(settings.state.join("log")),
            agent: Agent::new(reexec)?,
            ending: false,
            hands_over: false,
            locks,
            manager: Manager::from_environment(),
            rest: Rest::after(Instant::now()),
        })
    }

    fn run(&mut self) -> io::Result<ExitCode> {
        loop {
            if std::mem::take(&mut self.hands_over) && !self.ending {
                self.hand_over();
            }
            let now = Instant::now();
            if self.ending {
                self.table.stop_next(now);
                if !self.table.any_alive() {
                    tracing::info!("keeper ends: all processes are stopped");
                    return Ok(ExitCode::SUCCESS);
                }
            } else {
                self.agent.start_if_due(now);
            }
            for event in self.table.tick(now) {
                self.agent.send(&event);
            }
            let sources = self.wait(now)?;
            if sources.is_empty() {
                self.rest.take(Instant::now());
            } else {
                self.rest = Rest::after(now);
            }
            self.serve(sources);
            if self.agent.has_given_up() && !self.table.any_alive() && !self.ending {
                return Ok(ExitCode::from(2));
            }
        }
    }

    fn serve(&mut self, sources: Vec<Source>) {
        // First, since what processes say next changes what stands where.
        self.drop_stored(&sources);
        for source in sources {
            match source {
                Source::Stored(..) => {}
                Source::Signals => self.take_signals(),
                Source::Notify(process) => {
                    for event in self.table.hear(&process) {
                        self.agent.send(&event);
                    }
                }
                Source::Agent => {
                    self.agent.flush();
                    for command in self.agent.receive() {
                        self.obey(command);
                    }
                }
                Source::Log(id) => self.logs.read(id),
            }
        }
    }

    fn drop_stored(&mut self, sources: &[Source]) {
        let mut gone: BTreeMap<&ProcessName, Vec<usize>> = BTreeMap::new();
        for source in sources {
            if let Source::Stored(process, at) = source {
                gone.entry(process).or_default().push(*at);
            }
        }
        for (process, places) in gone {
            self.table.drop_stored(process, &places);
        }
    }

    /// Waits until something happens or time is up.
    fn wait(&self, now: Instant) -> io::Result<Vec<Source>> {
        let mut sources = vec![(Source::Signals, self.signals.as_fd(), PollFlags::POLLIN)];
        let notify = self.table.notify.fds();
        sources.extend(
            notify.map(|(process, fd)| (Source::Notify(process.clone()), fd, PollFlags::POLLIN)),
        );
        let agent = self
            .agent
            .poll()
            .map(|(fd, flags)| (Source::Agent, fd, flags));
        sources.extend(agent);
        let log = |(id, fd): (u64, _)| (Source::Log(id), fd, PollFlags::POLLIN);
        sources.extend(self.logs.fds().map(log));
        // Hanging up is told without being asked for.
        let stored = self.table.watched().map(|(process, at, fd)| {
            let source = Source::Stored(process.clone(), at);
            (source, fd, PollFlags::empty())
        });
        sources.extend(stored);
        let deadlines = [
            self.table.deadline(),
            self.agent.deadline().filter(|_| !self.ending),
            self.rest.due(),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        ready(
            &sources,
            deadline.map(|at| at.saturating_duration_since(now)),
        )
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGCHLD)) => self.reap(),
                Ok(Ok(Signal::SIGTERM | Signal::SIGINT)) if !self.ending => {
                    tracing::info!("keeper is told to end: stops all processes");
                    self.manager.tell("STOPPING=1");
                    self.ending = true;
                    self.agent.end();
                }
                Ok(Ok(Signal::SIGHUP)) => self.hands_over = true,
                _ => {}
            }
        }
    }

    /// Has the program at the own path take over. Comes back only if it does not.
    fn hand_over(&mut self) {
        tracing::info!("keeper is told to make room for a successor");
        self.agent.end_and_wait();
        let state = State::of(self);
        let (program, reexec) = self.agent.program();
        let Err(error) = handover::hand_over(&state, program, reexec);
        tracing::error!("the keeper goes on itself: {}", crate::Chain(&error));
        self.agent.start_again();
    }

    fn reap(&mut self) {
        match self.agent.reap(Instant::now()) {
            Some(AgentEnd::WillRestart { after, how }) => {
                tracing::warn!(
                    ?after,
                    "agent ended ({how}); processes go on, it is started again"
                );
            }
            Some(AgentEnd::GaveUp) => tracing::error!("agent cannot work with these settings"),
            None => {}
        }
        // What a process said before it ended counts: that another goes on for it, for one.
        for event in self.table.hear_all() {
            self.agent.send(&event);
        }
        for dead in self.table.reap() {
            let output = self.logs.last_lines(dead.log);
            tracing::info!(process = %dead.process, pid = dead.pid, "{} {}", dead.process, dead.exit);
            self.agent.send(&Event::Exited {
                process: dead.process,
                pid: dead.pid,
                exit: dead.exit,
                output,
            });
        }
        let agent = self.agent.pid();
        table::reap_orphans(|pid| self.table.owns(pid) || agent == Some(pid.as_raw()));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::List => {
                let table = self.table.list();
                self.agent.send(&table);
                // The first thing that an agent asks: the daemon is whole.
                self.manager.tell("READY=1");
            }
            Command::Start(_) if self.ending => {}
            Command::Start(start) => {
                let event = self.table.start(*start, &mut self.logs);
                self.agent.send(&event);
            }
            Command::Signal {
                process,
                pid,
                signal,
            } => self.table.signal(&process, pid, signal),
            Command::Mark {
                process,
                pid,
                generation,
                manifest,
            } => self.table.mark(&process, pid, (generation, manifest)),
            Command::Forget { process } => self.table.forget(&process),
        }
    }
}

/// Those of `sources` that are ready, after `within` at the latest.
fn ready(
    sources: &[(Source, BorrowedFd<'_>, PollFlags)],
    within: Option<Duration>,
) -> io::Result<Vec<Source>> {
    let mut fds: Vec<_> = sources
        .iter()
        .map(|(_, fd, flags)| PollFd::new(*fd, *flags))
        .collect();
    // Rounded up, so that it does not spin through the last millisecond.
    let timeout = within.map_or(PollTimeout::NONE, |within| {
        PollTimeout::try_from(within + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let is_ready = |fd: &PollFd<'_>| fd.revents().is_none_or(|flags| !flags.is_empty());
    let pairs = sources.iter().zip(&fds);
    Ok(pairs
        .filter(|(_, fd)| is_ready(fd))
        .map(|((source, ..), _)| source.clone())
        .collect())
}
