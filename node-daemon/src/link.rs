//! What keeper and agent say to each other: JSON lines over a socket pair.
//!
//! The agent orders, the keeper reports. The keeper's table of processes is the truth about what
//! runs; an agent that starts asks for it first.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use placet_model::{Digest, ProcessName, visible};
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
    /// The whole environment; `NOTIFY_SOCKET` is added by the keeper.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) directory: PathBuf,
    /// Processes are stopped in descending order when the keeper ends.
    pub(crate) order: i32,
    pub(crate) stop_seconds: u32,
}

/// A signal that the agent may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Signal {
    Terminate,
    Kill,
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
    Stopping,
    Status(String),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Exit {
    /// It could not be executed.
    NotStarted(String),
    Code(i32),
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(why) => write!(f, "could not be started: {}", visible(why)),
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// A message as one line.
pub(crate) fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages serialise to JSON");
    line.push(b'\n');
    line
}
