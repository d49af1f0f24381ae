//! One running command: its end, its time, and what it leaves behind.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// How often progress is told, and cancellation asked for.
const TICK: Duration = Duration::from_millis(100);
/// What a process group has between SIGTERM and SIGKILL: somebody may wait for the end.
const GRACE: Duration = Duration::from_millis(500);
/// How much of a failed command's output is shown: the end, where compilers sum up.
const OUTPUT_MAX: u64 = 16 << 10;
/// Far more than a line that can be shown.
const LINE_MAX: u64 = 1 << 10;

/// How a command came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Status(ExitStatus),
    /// Its time was over.
    Overtime,
    /// The build was cancelled.
    Cancelled,
}

/// A command in a process group of its own, with its output in a file.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    group: Pid,
    output: File,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let output = tempfile::tempfile()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .process_group(0)
            .spawn()?;
        let group = i32::try_from(child.id()).map(Pid::from_raw);
        Ok(Self {
            child,
            group: group.map_err(io::Error::other)?,
            output,
        })
    }

    /// Waits until the command ends, or has to: after `limit`, or once `goes_on`, which is told of
    /// the last line of output every now and then, says no. Whatever the command left running in
    /// its process group ends too.
    pub(crate) fn wait(
        &mut self,
        limit: Duration,
        mut goes_on: impl FnMut(&str) -> bool,
    ) -> io::Result<End> {
        let started = Instant::now();
        let (sender, ended) = mpsc::channel();
        let group = self.group;
        // The process stays a zombie until `reap`, so that its number is not given to another.
        let waiter = thread::spawn(move || {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(group), flags) == Err(Errno::EINTR) {}
            let _ = sender.send(());
        });
        let stopped = loop {
            match ended.recv_timeout(TICK) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if started.elapsed() >= limit {
                break Some(End::Overtime);
            }
            if !goes_on(&self.last_line()) {
                break Some(End::Cancelled);
            }
        };
        if stopped.is_some() {
            self.signal(Signal::SIGTERM);
            let _ = ended.recv_timeout(GRACE);
        }
        self.signal(Signal::SIGKILL);
        let _ = waiter.join();
        let status = self.child.wait()?;
        Ok(stopped.unwrap_or(End::Status(status)))
    }

    /// The group may be gone, which is what is wanted.
    fn signal(&self, signal: Signal) {
        let _ = killpg(self.group, signal);
    }

    /// The end of what the command wrote.
    pub(crate) fn tail(&self) -> io::Result<String> {
        self.read_end(OUTPUT_MAX)
    }

    fn last_line(&self) -> String {
        let text = self.read_end(LINE_MAX).unwrap_or_default();
        let line = text.lines().rfind(|line| !line.trim().is_empty());
        line.unwrap_or_default().to_owned()
    }

    /// At a position, since a seek would move the end at which the command writes.
    fn read_end(&self, most: u64) -> io::Result<String> {
        let size = self.output.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(size.min(most)).unwrap_or(0)];
        let count = self.output.read_at(&mut bytes, size.saturating_sub(most))?;
        Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }
}
