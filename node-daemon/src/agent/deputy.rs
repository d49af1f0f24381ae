//! Vote commands: programs that vote for processes that know nothing of Placet (V3).
//!
//! The command is that of the generation which runs now, never of the proposed one. It runs as the
//! process's own user in a process group of its own, reads the change set from standard input, and
//! says what it thinks by its exit code: 0 accepts, 1 vetoes with the message on standard error, 75
//! defers. Whatever is left of its group when it has ended, or when its time is up, is killed.

use std::os::unix::process::CommandExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use placet_model::{Answer, Digest, ModulePath, ProcessName, Silence, VoteRecord, Voter, visible};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::link::{Account, Start};

/// Exit codes, the last one as `EX_TEMPFAIL` of sysexits.h.
const ACCEPTS: i32 = 0;
const VETOES: i32 = 1;
const DEFERS: i32 = 75;

/// When to ask again what was put off.
const ASK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// What is kept of a command's message, in bytes: more than the longest message of a process.
const MESSAGE_MAX: u64 = 4_000;

/// The longest message, in characters, as for processes that vote themselves.
const CHARACTERS_MAX: usize = 1_000;

/// A command that is to vote for a process.
#[derive(Debug, Clone)]
pub(super) struct Deputy {
    pub(super) process: ProcessName,
    /// Its main process.
    pub(super) pid: u32,
    /// The modules of the change that touch it.
    pub(super) modules: Vec<ModulePath>,
    /// How the command is run, or why it cannot be.
    pub(super) start: Result<Start, String>,
    /// Variables beside those of the process itself.
    pub(super) about: [(&'static str, String); 6],
    pub(super) within: Duration,
    /// What its silence counts as.
    pub(super) silence: Silence,
}

/// What deputies are asked about.
#[derive(Debug, Clone)]
pub(super) struct Matter {
    pub(super) change_digest: Digest,
    /// The change set as JSON.
    pub(super) text: Arc<[u8]>,
}

/// What a command said, and its words for people.
type Said = (Answer, String);

impl Deputy {
    /// Runs the command; says what it voted.
    pub(super) async fn vote(self, matter: Matter) -> VoteRecord {
        let (answer, message) = match self.start() {
            Ok(child) => self.hear(child, &matter.text).await,
            Err(why) => (Answer::Error, why),
        };
        let until = (answer == Answer::Defer)
            .then(|| Timestamp::now().saturating_add(ASK_AGAIN).ok())
            .flatten();
        VoteRecord {
            voter: Voter::Command,
            process: self.process,
            pid: self.pid,
            modules: self.modules,
            answer,
            code: String::new(),
            message,
            until,
            time: Timestamp::now(),
            change_digest: matter.change_digest,
        }
    }

    fn start(&self) -> Result<Child, String> {
        let start = self.start.as_ref().map_err(Clone::clone)?;
        let about = self.about.iter().map(|(name, value)| (*name, value));
        let mut command = std::process::Command::new(&start.program);
        command
            .args(&start.arguments)
            .env_clear()
            .envs(&start.environment)
            .envs(about)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(account) = &start.account {
            become_user(&mut command, account);
        }
        let spawned = Command::from(command).kill_on_drop(true).spawn();
        let program = start.program.display();
        spawned.map_err(|error| format!("its vote command `{program}` cannot be run: {error}"))
    }

    /// Tells the command of the change and waits for what it says.
    async fn hear(&self, mut child: Child, text: &[u8]) -> Said {
        let group = Group(child.id());
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let tell = async {
            if let Some(mut stdin) = stdin {
                // It may vote without reading.
                let _ = stdin.write_all(text).await;
            }
        };
        let all = async {
            let (status, words, ()) = tokio::join!(child.wait(), words(stderr), tell);
            (status, words)
        };
        let ended = tokio::time::timeout(self.within, all).await;
        drop(group);
        match ended {
            Ok((Ok(status), words)) => self.meaning(status, words),
            Ok((Err(error), _)) => (Answer::Error, error.to_string()),
            Err(_) => {
                let seconds = self.within.as_secs();
                self.silent(format!("its vote command said nothing within {seconds} s"))
            }
        }
    }

    fn meaning(&self, status: ExitStatus, words: String) -> Said {
        let ended = |words: &str| {
            let separator = if words.is_empty() { "" } else { ": " };
            format!("its vote command ended with {status}{separator}{words}")
        };
        match status.code() {
            Some(ACCEPTS) => (Answer::Accept, String::new()),
            Some(VETOES) => (Answer::Veto, words),
            Some(DEFERS) => (Answer::Defer, words),
            _ => self.silent(ended(&words)),
        }
    }

    /// What no answer counts as, by the process's policy.
    fn silent(&self, why: String) -> Said {
        let answer = match self.silence {
            Silence::NoAnswer => Answer::NoAnswer,
            Silence::Accept => Answer::Accept,
            Silence::Veto => Answer::Veto,
        };
        (answer, why)
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
    let _ = (&mut stream)
        .take(MESSAGE_MAX)
        .read_to_end(&mut bytes)
        .await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    let text = String::from_utf8_lossy(&bytes);
    let short: String = text.trim().chars().take(CHARACTERS_MAX).collect();
    visible(&short).to_string()
}
