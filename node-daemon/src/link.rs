//! What keeper and agent say to each other: JSON lines over a socket pair.
//!
//! The agent orders, the keeper reports. The keeper's table of processes is the truth about what
//! runs; an agent that starts asks for it first.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use placet_model::{
    Digest, Limits, ListenSocket, ProcessName, ReloadSignal, StateFormats, StopSignal, visible,
};
use serde::{Deserialize, Serialize};

/// Longer lines end the connection: something is badly wrong on the other side.
pub(crate) const LINE_MAX: usize = 1 << 20;

/// From the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
pub(crate) enum Command {
    /// Say what runs: answered by [`Event::Table`].
    List,
    /// Start a process: answered by [`Event::Started`] or [`Event::Exited`].
    Start(Box<Start>),
    /// Send a signal to the group of a process, unless that has another process id by now.
    Signal {
        process: ProcessName,
        pid: u32,
        signal: Signal,
    },
    /// Remember that a process has handled the change to another generation by itself.
    Mark {
        process: ProcessName,
        pid: u32,
        generation: u64,
        manifest: Digest,
    },
    /// A process of this name is not wanted any more: what is held for it is closed.
    Forget { process: ProcessName },
}

/// A process to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Start {
    pub(crate) process: ProcessName,
    /// The generation that it is started from, and its manifest's digest.
    pub(crate) generation: u64,
    pub(crate) manifest: Digest,
    /// Absolute path.
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// The environment; the keeper adds `NOTIFY_SOCKET`, `LISTEN_FDS` and the like.
    pub(crate) environment: BTreeMap<String, String>,
    /// The run-time folder of the process.
    pub(crate) directory: PathBuf,
    /// Where it starts, if not there.
    pub(crate) working_directory: Option<PathBuf>,
    /// Whom it runs as; the daemon's own user where left out.
    pub(crate) account: Option<Account>,
    pub(crate) limits: Limits,
    pub(crate) sockets: Vec<ListenSocket>,
    pub(crate) stored_descriptors: u32,
    pub(crate) state: StateFormats,
    /// 0 for none.
    pub(crate) watchdog_seconds: u32,
    pub(crate) stop_signal: StopSignal,
    pub(crate) reload_signal: ReloadSignal,
    /// Processes are stopped in descending order when the keeper ends.
    pub(crate) order: i32,
    pub(crate) stop_seconds: u32,
}

/// A user with its groups, looked up by the agent: the keeper asks no name service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
}

impl Account {
    /// Its supplementary groups, as [`Account::assume`] wants them.
    pub(crate) fn gids(&self) -> Vec<Gid> {
        self.groups.iter().copied().map(Gid::from_raw).collect()
    }

    /// Makes this process one of the user's. Allocates nothing, so that it may be called between
    /// fork and exec.
    pub(crate) fn assume(&self, groups: &[Gid]) -> nix::Result<()> {
        setgroups(groups)?;
        setgid(Gid::from_raw(self.group))?;
        setuid(Uid::from_raw(self.user))
    }
}

/// A signal that the agent may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Signal {
    /// The signal by which this process is asked to end.
    Terminate,
    Kill,
    /// The signal by which this process is asked to read its files again.
    Reload,
}

/// From the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
pub(crate) enum Event {
    /// What runs, and what ended since it was started and was not started anew.
    #[serde(rename_all = "camelCase")]
    Table {
        /// Another one for each life of the keeper.
        life: String,
        processes: Vec<Entry>,
    },
    Started {
        process: ProcessName,
        pid: u32,
    },
    Notify {
        process: ProcessName,
        pid: u32,
        notice: Notice,
    },
    Exited {
        process: ProcessName,
        /// 0 if it could not be started.
        pid: u32,
        exit: Exit,
        /// The last lines that it wrote.
        output: Vec<String>,
    },
}

/// A line of the keeper's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) process: ProcessName,
    pub(crate) pid: u32,
    /// The process that it named as its main one (`MAINPID`); otherwise the same as `pid`.
    pub(crate) main: u32,
    /// The generation that it was started from, and its manifest's digest.
    pub(crate) generation: u64,
    pub(crate) manifest: Digest,
    /// The generation up to which it has handled changes, and its manifest's digest.
    pub(crate) handled_generation: u64,
    pub(crate) handled_manifest: Digest,
    /// Milliseconds for which it has been running.
    pub(crate) age: u64,
    /// True if it has said that it is ready.
    pub(crate) ready: bool,
    /// How it ended, if it has.
    pub(crate) exit: Option<Exit>,
}

/// What a process said on its notification socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Notice {
    Ready,
    /// It reads its files again, and will say that it is ready.
    Reloading,
    Stopping,
    Status(String),
    /// It needs so many more microseconds for what it is doing.
    ExtendTimeout(u64),
    /// Another process of its own speaks for it from now on.
    MainPid(u32),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Exit {
    /// It could not be executed.
    NotStarted(String),
    Code(i32),
    Signal(i32),
    /// It was ended because it gave no sign of life for so many seconds.
    Silent(u32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(why) => write!(f, "could not be started: {}", visible(why)),
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Silent(seconds) => {
                write!(f, "gave no sign of life for {seconds} s and was ended")
            }
        }
    }
}

/// A message as one line.
pub(crate) fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages serialise to JSON");
    line.push(b'\n');
    line
}
