//! Programs that are run to hear what they say: vote commands (V3) and health commands of processes,
//! and the commands of boot images (D9).
//!
//! Those of a process are of the generation that it belongs to, and run as its own user, with its
//! environment. Each command is in a process group of its own. Whatever is left of that group when
//! the command has ended, or when its time is up, is killed.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use placet_model::visible;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::link::{Account, Start};

/// What is kept of a command's words, in bytes: more than the longest message of a process.
const WORDS_MAX: u64 = 4_000;

/// The longest message, in characters, as for processes that vote themselves.
const CHARACTERS_MAX: usize = 1_000;

/// A command that is ready to run.
#[derive(Debug, Clone)]
pub(super) struct Spoken {
    pub(super) call: Call,
    /// Variables beside those of the call.
    pub(super) about: Vec<(&'static str, String)>,
    pub(super) within: Duration,
}

/// A program and what it is run with.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    /// Whom it runs as; the daemon's own user where left out.
    pub(super) account: Option<Account>,
}

impl From<Start> for Call {
    fn from(start: Start) -> Self {
        Self {
            program: start.program,
            arguments: start.arguments,
            environment: start.environment,
            account: start.account,
        }
    }
}

/// How a command ended, with what it wrote to standard error as people are shown it.
#[derive(Debug)]
pub(super) enum Ended {
    Exited(ExitStatus, String),
    /// Its time was up.
    Late,
}

impl Spoken {
    /// Runs it with `input` on standard input.
    ///
    /// # Errors
    ///
    /// It cannot be run.
    pub(super) async fn run(&self, input: &[u8]) -> io::Result<Ended> {
        let mut child = self.spawn()?;
        let group = Group(child.id());
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let tell = async {
            if let Some(mut stdin) = stdin {
                // It may answer without reading.
                let _ = stdin.write_all(input).await;
            }
        };
        let all = async {
            let (status, words, ()) = tokio::join!(child.wait(), words(stderr), tell);
            Ok(Ended::Exited(status?, words))
        };
        let ended = tokio::time::timeout(self.within, all).await;
        drop(group);
        ended.unwrap_or(Ok(Ended::Late))
    }

    fn spawn(&self) -> io::Result<Child> {
        let call = &self.call;
        let about = self.about.iter().map(|(name, value)| (*name, value));
        let mut command = std::process::Command::new(&call.program);
        command
            .args(&call.arguments)
            .env_clear()
            .envs(&call.environment)
            .envs(about)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(account) = &call.account {
            become_user(&mut command, account);
        }
        Command::from(command).kill_on_drop(true).spawn()
    }
}

/// Has the command run as another user, with its groups.
fn become_user(command: &mut std::process::Command, account: &Account) {
    let (account, groups) = (account.clone(), account.gids());
    let in_child = move || Ok(account.assume(&groups)?);
    #[expect(
        unsafe_code,
        reason = "the standard library drops no supplementary groups; the closure makes system calls alone"
    )]
    // SAFETY: it runs between fork and exec and does not allocate.
    unsafe {
        command.pre_exec(in_child);
    }
}

/// The process group of a command; killed with the value.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The beginning of what is written, as people are shown it. The rest is read and thrown away, so
/// that the command can go on.
async fn words(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut bytes = Vec::new();
    let _ = (&mut stream).take(WORDS_MAX).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    let text = String::from_utf8_lossy(&bytes);
    let short: String = text.trim().chars().take(CHARACTERS_MAX).collect();
    visible(&short).to_string()
}

/// `status`, with what was said before.
pub(super) fn ended_with(status: ExitStatus, words: &str) -> String {
    let separator = if words.is_empty() { "" } else { ": " };
    format!("ended with {status}{separator}{words}")
}
