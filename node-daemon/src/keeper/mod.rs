//! The keeper: starts processes, waits for them, and outlives the agent.
//!
//! One thread, one `poll`, no network. It takes no decision about what should run: it does what
//! the agent orders and reports what happens. While there is no agent, processes go on, and what
//! becomes of them is kept for the next agent to ask.
//!
//! **Invariant:** no supervised process outlives the keeper. Each asks the kernel to be killed
//! with it, and the next keeper ends whatever slipped through before it starts anything.

mod agent;
mod log;
mod notify;
mod spawn;
mod survivors;
mod table;

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::Fatal;
use crate::arguments::{Reexec, Settings};
use crate::link::{Command, Event};
use agent::{Agent, AgentEnd};
use log::Logs;
use notify::NotifySocket;
use table::Table;

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
    make_folder(&settings.state)?;
    make_folder(&settings.run)?;
    let _state = lock(&settings.state)?;
    let _run = (settings.run != settings.state)
        .then(|| lock(&settings.run))
        .transpose()?;
    let notify = NotifySocket::bind(&settings.run)?;
    survivors::end(notify.path());
    let system = |error: Errno| KeeperError::System(error.into());
    nix::sys::prctl::set_child_subreaper(true).map_err(system)?;
    let signals = block_signals().map_err(system)?;
    let mut keeper = Keeper {
        signals,
        table: Table::new(notify.path()),
        notify,
        logs: Logs::new(settings.state.join("log")),
        agent: Agent::new(reexec)?,
        ending: false,
    };
    tracing::info!(node = %settings.node, state = %settings.state.display(), "keeper starts");
    keeper.run().map_err(Into::into)
}

/// Makes `path` with mode 0700; one that exists stays as it is.
fn make_folder(path: &Path) -> Result<(), KeeperError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| KeeperError::Folder {
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
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(KeeperError::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(fail(source)),
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
    notify: NotifySocket,
    agent: Agent,
    table: Table,
    logs: Logs,
    /// Set by SIGTERM: processes are being stopped, nothing new starts.
    ending: bool,
}

/// Something to read from, or to write to.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Notify,
    Agent,
    Log(u64),
}

impl Keeper {
    fn run(&mut self) -> io::Result<ExitCode> {
        loop {
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
            for source in self.wait(now)? {
                self.serve(source);
            }
            if self.agent.has_given_up() && !self.table.any_alive() && !self.ending {
                return Ok(ExitCode::from(2));
            }
        }
    }

    fn serve(&mut self, source: Source) {
        match source {
            Source::Signals => self.take_signals(),
            Source::Notify => {
                while let Some((pid, notice)) = self.notify.receive() {
                    let event = self.table.notice(pid, notice);
                    for event in event {
                        self.agent.send(&event);
                    }
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

    /// Waits until something happens or time is up.
    fn wait(&self, now: Instant) -> io::Result<Vec<Source>> {
        let mut sources = vec![
            (Source::Signals, self.signals.as_fd(), PollFlags::POLLIN),
            (Source::Notify, self.notify.as_fd(), PollFlags::POLLIN),
        ];
        let agent = self
            .agent
            .poll()
            .map(|(fd, flags)| (Source::Agent, fd, flags));
        sources.extend(agent);
        let log = |(id, fd): (u64, _)| (Source::Log(id), fd, PollFlags::POLLIN);
        sources.extend(self.logs.fds().map(log));
        let deadline = if self.ending {
            self.table.deadline()
        } else {
            self.agent.deadline()
        };
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
                    self.ending = true;
                    self.agent.end();
                }
                _ => {}
            }
        }
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
        table::reap_orphans(|pid| self.table.owns(pid) || self.agent.pid() == Some(pid));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::List => {
                let table = self.table.list();
                self.agent.send(&table);
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
            } => {
                self.table.mark(&process, pid, generation, manifest);
            }
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
        .map(|((source, ..), _)| *source)
        .collect())
}
