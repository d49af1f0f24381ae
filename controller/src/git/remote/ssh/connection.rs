//! One run of `ssh`, read and written within limits of time and size.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use placet_model::visible;

use super::Keys;
use crate::git::address::SshAddress;
use crate::git::remote::{Incoming, too_much};
use crate::git::{FetchError, Limits};

/// What `ssh` and the server say on standard error is kept up to here.
const SAID_MAX: usize = 16 << 10;

/// The last so many lines of it are shown.
const LINES_MAX: usize = 8;

/// A pipe that can be written to takes at least this much at once (`PIPE_BUF`).
const PIECE: usize = 4_096;

/// After the end of the output, the end of the error output comes at once, unless something that
/// `ssh` started holds it open.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(in crate::git::remote) struct Connection {
    address: String,
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    errors: Option<ChildStderr>,
    said: Vec<u8>,
    ends: Instant,
    limits: Limits,
    received: u64,
}

impl Connection {
    pub(in crate::git::remote) fn open(
        address: &SshAddress,
        keys: &Keys,
        limits: &Limits,
    ) -> Result<Self, FetchError> {
        let start = |source| FetchError::StartSsh { source };
        let mut child = command(address, keys).spawn().map_err(start)?;
        let pipe = || start(std::io::Error::other("a pipe is missing"));
        let output = child.stdout.take().ok_or_else(pipe)?;
        Ok(Self {
            address: address.to_string(),
            input: child.stdin.take(),
            output,
            errors: child.stderr.take(),
            said: Vec::new(),
            ends: Instant::now() + limits.time,
            limits: limits.clone(),
            received: 0,
            child,
        })
    }

    /// Reads what is there; 0 is the good end.
    pub(in crate::git::remote) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        self.wait(Side::Output, self.limits.silence)?;
        let count = self.output.read(buffer);
        let count = count.map_err(|error| self.failed(error.to_string()))?;
        self.received += count as u64;
        if self.received > self.limits.fetch_bytes {
            return Err(too_much(&self.address, &self.limits));
        }
        if count == 0 && !buffer.is_empty() {
            self.end()?;
        }
        Ok(count)
    }

    pub(in crate::git::remote) fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        for piece in bytes.chunks(PIECE) {
            self.wait(Side::Input, self.limits.silence)?;
            let written = match &mut self.input {
                Some(input) => input.write_all(piece).map_err(|error| error.to_string()),
                None => Err("the connection is closed".to_owned()),
            };
            if let Err(why) = written {
                // `ssh` has ended, and its own words say more.
                self.end()?;
                return Err(self.failed(why));
            }
        }
        Ok(())
    }

    fn failed(&self, why: String) -> FetchError {
        FetchError::Connection {
            address: self.address.clone(),
            why,
        }
    }

    /// Waits for one side to be ready, and takes in error output meanwhile.
    fn wait(&mut self, side: Side, silence: Duration) -> Result<(), FetchError> {
        let until = self.ends.min(Instant::now() + silence);
        loop {
            let (ready, errors) = self.poll(side, until)?;
            if errors {
                self.listen();
            }
            if ready {
                return Ok(());
            }
        }
    }

    fn poll(&self, side: Side, until: Instant) -> Result<(bool, bool), FetchError> {
        let mut waited = match (side, &self.input) {
            (Side::Output, _) => vec![PollFd::new(self.output.as_fd(), PollFlags::POLLIN)],
            (Side::Input, Some(input)) => vec![PollFd::new(input.as_fd(), PollFlags::POLLOUT)],
            _ => vec![],
        };
        let sides = waited.len();
        if let Some(errors) = &self.errors {
            waited.push(PollFd::new(errors.as_fd(), PollFlags::POLLIN));
        }
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, lest the last millisecond be spent in a busy loop.
        let left = left + Duration::from_millis(u64::from(!left.is_zero()));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut waited, timeout) {
            Ok(0) | Err(Errno::EINTR) if Instant::now() >= until => Err(self.too_late()),
            Ok(_) | Err(Errno::EINTR) => {
                let any = |part: &[PollFd<'_>]| part.iter().any(|it| it.any() == Some(true));
                Ok((any(&waited[..sides]), any(&waited[sides..])))
            }
            Err(error) => Err(self.failed(error.desc().to_owned())),
        }
    }

    fn too_late(&self) -> FetchError {
        let why = if Instant::now() >= self.ends {
            format!(
                "it took longer than {} seconds",
                self.limits.time.as_secs_f32()
            )
        } else {
            let silence = self.limits.silence.as_secs_f32();
            format!("nothing was heard for {silence} seconds")
        };
        self.failed(why)
    }

    /// Takes in error output that is there.
    fn listen(&mut self) {
        let mut piece = [0; 1_024];
        let count = match &mut self.errors {
            Some(errors) => errors.read(&mut piece).unwrap_or(0),
            None => return,
        };
        if count == 0 {
            self.errors = None;
        }
        // The last words say why it ended, so that the oldest go first.
        self.said.extend_from_slice(&piece[..count]);
        let excess = self.said.len().saturating_sub(SAID_MAX);
        self.said.drain(..excess);
    }

    /// The end of the output was reached: good, or as the error output says.
    fn end(&mut self) -> Result<(), FetchError> {
        self.input = None;
        let until = self.ends.min(Instant::now() + LAST_WORDS);
        while self.errors.is_some() && self.poll(Side::Neither, until).is_ok() {
            self.listen();
        }
        match self.stop() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                let why = self.last_words(status);
                Err(self.failed(why))
            }
            Err(error) => Err(self.failed(error.to_string())),
        }
    }

    fn last_words(&self, status: ExitStatus) -> String {
        let said = String::from_utf8_lossy(&self.said);
        let shown = |line: &&str| line.chars().any(char::is_alphanumeric);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(shown).collect();
        let lines = &lines[lines.len().saturating_sub(LINES_MAX)..];
        let end = match (status.code(), status.signal()) {
            (Some(code), _) => format!("`ssh` ended with exit code {code}"),
            (None, signal) => format!("`ssh` ended by signal {}", signal.unwrap_or_default()),
        };
        if lines.is_empty() {
            end
        } else {
            format!("{} ({end})", visible(&lines.join("; ")))
        }
    }

    /// Ends `ssh` and whatever it started, if they have not ended yet.
    fn stop(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        // `ssh` leads its own group. That the group is gone already is as good.
        let group = i32::try_from(self.child.id()).map(Pid::from_raw);
        if let Ok(group) = group {
            let _ = killpg(group, Signal::SIGKILL);
        }
        self.child.wait()
    }
}

impl Incoming for Connection {
    fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), FetchError> {
        while !buffer.is_empty() {
            let count = self.read(buffer)?;
            if count == 0 {
                return Err(self.failed("the answer ended early".to_owned()));
            }
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    fn refuse(&self, why: String) -> FetchError {
        FetchError::Answer {
            address: self.address.clone(),
            why,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Input,
    Output,
    Neither,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Nobody is left who could be told.
        let _ = self.stop();
    }
}

fn command(address: &SshAddress, keys: &Keys) -> Command {
    let mut command = Command::new("ssh");
    command.args(["-T", "-a", "-x"]);
    let fixed = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ClearAllForwardings=yes",
        "ControlMaster=no",
        "PermitLocalCommand=no",
    ];
    let options = fixed.into_iter().map(str::to_owned);
    for option in options.chain(keys.options()) {
        command.args(["-o", &option]);
    }
    if let Some(port) = address.port {
        command.args(["-p", &port.to_string()]);
    }
    command
        .args(["--", &address.destination(), &address.command()])
        .env_remove("GIT_PROTOCOL")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}
