//! The agent as the keeper sees it: a child that is started again whenever it ends.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::KeeperError;
use super::spawn::{advice, spawn};
use crate::arguments::Reexec;
use crate::link::{Command, Event, LINE_MAX, line};

/// An agent that leaves more than this unread hangs; the next one asks for the table anyway.
const UNREAD_MAX: usize = 8 << 20;

/// Pause before the first new start; doubles with each, up to `PAUSE_MAX`.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// An agent that lived so long was healthy: the pause begins anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// The exit code by which the agent says that starting it again is of no use.
const GAVE_UP: i32 = 2;

pub(super) struct Agent {
    program: PathBuf,
    reexec: Reexec,
    running: Option<Running>,
    pause: Duration,
    start_at: Option<Instant>,
    gave_up: bool,
}

struct Running {
    child: Child,
    /// None once it broke.
    link: Option<Link>,
    since: Instant,
}

struct Link {
    socket: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// What becomes of an agent that ended.
pub(super) enum AgentEnd {
    WillRestart { after: Duration, how: ExitStatus },
    GaveUp,
}

impl Agent {
    pub(super) fn new(reexec: Reexec) -> Result<Self, KeeperError> {
        Ok(Self {
            // By its path, so that an agent after an update of the file is the new one.
            program: std::env::current_exe().map_err(KeeperError::System)?,
            reexec,
            running: None,
            pause: PAUSE,
            start_at: Some(Instant::now()),
            gave_up: false,
        })
    }

    pub(super) fn pid(&self) -> Option<i32> {
        self.running
            .as_ref()
            .and_then(|running| running.child.id().try_into().ok())
    }

    pub(super) fn has_given_up(&self) -> bool {
        self.gave_up
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.start_at
    }

    pub(super) fn start_if_due(&mut self, now: Instant) {
        if self.start_at.is_none_or(|at| at > now) {
            return;
        }
        match self.start() {
            Ok(running) => {
                self.start_at = None;
                tracing::info!(pid = running.child.id(), "agent started");
                self.running = Some(running);
            }
            Err(error) => {
                tracing::error!(program = %self.program.display(), "failed to start the agent{}: {error}", advice(&error));
                self.start_later(now);
            }
        }
    }

    fn start(&self) -> io::Result<Running> {
        let (own, theirs) = UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.reexec.arguments)
            .args(["--agent-fd", "0"]);
        command.envs(
            self.reexec
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
        // The system manager above hears the keeper alone.
        command.env_remove("NOTIFY_SOCKET");
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = spawn(&mut command)?;
        let link = Link {
            socket: own,
            incoming: Vec::new(),
            outgoing: Vec::new(),
        };
        Ok(Running {
            child,
            link: Some(link),
            since: Instant::now(),
        })
    }

    /// What became of the agent, if it has ended.
    pub(super) fn reap(&mut self, now: Instant) -> Option<AgentEnd> {
        let running = self.running.as_mut()?;
        let how = running.child.try_wait().ok()??;
        let lived = now.saturating_duration_since(running.since);
        self.running = None;
        if how.code() == Some(GAVE_UP) && lived < HEALTHY_AFTER {
            self.gave_up = true;
        }
        if lived >= HEALTHY_AFTER {
            self.pause = PAUSE;
        }
        let after = self.start_later(now);
        Some(if self.gave_up {
            AgentEnd::GaveUp
        } else {
            AgentEnd::WillRestart { after, how }
        })
    }

    fn start_later(&mut self, now: Instant) -> Duration {
        let pause = self.pause;
        self.start_at = Some(now + pause);
        self.pause = PAUSE_MAX.min(pause * 2);
        pause
    }

    /// Ends the agent for good. It loses nothing: everything that it does can be repeated.
    pub(super) fn end(&mut self) {
        self.start_at = None;
        if let (Some(pid), Some(running)) = (self.pid(), &mut self.running) {
            running.link = None;
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Ends the agent and waits until it is gone, which takes no time.
    pub(super) fn end_and_wait(&mut self) {
        self.end();
        if let Some(mut running) = self.running.take() {
            let _ = running.child.wait();
        }
    }

    /// After [`Self::end`]: starts it at once.
    pub(super) fn start_again(&mut self) {
        self.start_at = Some(Instant::now());
    }

    /// The own program, by its path, and its arguments.
    pub(super) fn program(&self) -> (&Path, &Reexec) {
        (&self.program, &self.reexec)
    }

    pub(super) fn poll(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let link = self.running.as_ref()?.link.as_ref()?;
        let write = if link.outgoing.is_empty() {
            PollFlags::empty()
        } else {
            PollFlags::POLLOUT
        };
        Some((link.socket.as_fd(), PollFlags::POLLIN | write))
    }

    pub(super) fn send(&mut self, event: &Event) {
        if let Some(link) = self
            .running
            .as_mut()
            .and_then(|running| running.link.as_mut())
        {
            link.outgoing.extend(line(event));
        }
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let good = running
            .link
            .as_mut()
            .is_none_or(|link| link.flush().is_ok());
        if !good {
            running.break_off("it does not listen");
        }
    }

    /// Orders that have arrived.
    pub(super) fn receive(&mut self) -> Vec<Command> {
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        let Some(link) = &mut running.link else {
            return Vec::new();
        };
        link.receive().unwrap_or_else(|why| {
            running.break_off(&why.to_string());
            Vec::new()
        })
    }
}

impl Running {
    /// An agent without its link is of no use; it is killed, and started again when it is reaped.
    fn break_off(&mut self, why: &str) {
        tracing::warn!(pid = self.child.id(), "connection to the agent ends: {why}");
        self.link = None;
        let _ = self.child.kill();
    }
}

impl Link {
    fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.outgoing.len() > UNREAD_MAX {
            return Err(io::Error::other("it leaves too much unread"));
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Vec<Command>> {
        let mut buffer = vec![0; 64 << 10];
        let count = match self.socket.read(&mut buffer) {
            Ok(0) => return Err(io::Error::other("it hung up")),
            Ok(count) => count,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                0
            }
            Err(error) => return Err(error),
        };
        self.incoming.extend_from_slice(&buffer[..count]);
        let end = self
            .incoming
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if self.incoming.len() - end > LINE_MAX {
            return Err(io::Error::other("it sent a line that is too long"));
        }
        let lines: Vec<u8> = self.incoming.drain(..end).collect();
        let lines = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).map_err(io::Error::other))
            .collect()
    }
}
