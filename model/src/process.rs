//! How a module is run as a process (B7), and what it has to say about changes (V3).

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::serde_as_text;
use crate::{Mode, Module, ModulePath, ModuleType, ProcessName, VetoRule, visible};

pub use check::{ProcessFault, SocketAddress};

/// Whether a process handles updates by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ProcessKind {
    /// Restarted by the system manager when a change affects it; knows nothing of updates.
    Simple,
    /// Registers, votes, handles its own libraries, signals when it is done.
    SelfManaging,
}

impl fmt::Display for ProcessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Simple => "simple",
            Self::SelfManaging => "self-managing",
        })
    }
}

/// What a self-managing process that does not answer in time is taken to have said.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Silence {
    /// No answer at all: the node's verdict says so, and a person decides.
    #[default]
    NoAnswer,
    /// It agrees.
    Accept,
    /// It objects.
    Veto,
}

/// How a process is run (B7).
///
/// What is left out in the manifest has its default, and defaults are not written: a manifest that
/// uses nothing new is the same to an older version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessSpec {
    /// Its name on the node; the file name of the module where left out by the author.
    pub name: ProcessName,
    /// Simple or self-managing.
    pub kind: ProcessKind,
    /// Arguments after the program's name.
    pub arguments: Vec<String>,
    /// Environment variables beside those that Placet sets (`PATH`, `NOTIFY_SOCKET`,
    /// `PLACET_SOCKET`, `LD_LIBRARY_PATH`).
    pub environment: BTreeMap<String, String>,
    /// Processes start in ascending order, and stop in descending order.
    pub start_order: i32,
    /// True if it says `READY=1` on `NOTIFY_SOCKET`; otherwise it is ready when it was executed.
    pub notify: bool,
    /// Seconds it may take to become ready; for a test, to end.
    pub ready_seconds: u32,
    /// Seconds between the stop signal and SIGKILL.
    pub stop_seconds: u32,
    /// Seconds it may take to vote, to prepare, and to be done with a change.
    pub vote_seconds: u32,
    /// What its silence counts as.
    pub silence: Silence,
    /// The user that it runs as; the node daemon's where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group that it runs as; that of its user, or the node daemon's, where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The folder that it starts in, absolute; its run-time folder where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// What it may use at most.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Sockets that the system manager opens for it and holds while it restarts (`LISTEN_FDS`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<ListenSocket>,
    /// How many descriptors it may have stored (`FDSTORE=1`) beside its saved state; 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub stored_descriptors: u32,
    /// Seconds within which it has to give a sign of life (`WATCHDOG=1`) again and again; 0 for
    /// never.
    #[serde(skip_serializing_if = "is_default")]
    pub watchdog_seconds: u32,
    /// The signal that asks it to end.
    #[serde(skip_serializing_if = "is_default")]
    pub stop_signal: StopSignal,
    /// The signal that asks it to read its files again.
    #[serde(skip_serializing_if = "is_default")]
    pub reload_signal: ReloadSignal,
    /// The command that says whether it does its work, after each change that touches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCommand>,
    /// The formats of saved state that it writes and reads (C-S6).
    #[serde(skip_serializing_if = "StateFormats::is_empty")]
    pub state: StateFormats,
    /// Modules in whose change it has an interest, though it does not map them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub follows: Vec<Follow>,
    /// Rules that object on its behalf.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<VetoRule>,
    /// The command that votes on its behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vote_command: Option<VoteCommand>,
    /// The logic that votes on its behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vote_logic: Option<VoteLogic>,
}

impl Default for ProcessSpec {
    fn default() -> Self {
        Self {
            name: "unnamed".parse().expect("a valid name"),
            kind: ProcessKind::Simple,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            start_order: 0,
            notify: false,
            ready_seconds: 30,
            stop_seconds: 10,
            vote_seconds: 5,
            silence: Silence::NoAnswer,
            user: None,
            group: None,
            working_directory: None,
            limits: Limits::default(),
            sockets: Vec::new(),
            stored_descriptors: 0,
            watchdog_seconds: 0,
            stop_signal: StopSignal::default(),
            reload_signal: ReloadSignal::default(),
            health: None,
            state: StateFormats::default(),
            follows: Vec::new(),
            rules: Vec::new(),
            vote_command: None,
            vote_logic: None,
        }
    }
}

/// What a process may use at most; nothing is limited that is left out.
///
/// Those of the first group are limits of the kernel for each process (`setrlimit`); those of the
/// second are for the process with all its children, and need cgroups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// Open files (`RLIMIT_NOFILE`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Bytes of a core file (`RLIMIT_CORE`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_bytes: Option<u64>,
    /// Bytes of a file that it writes (`RLIMIT_FSIZE`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// Bytes locked in memory (`RLIMIT_MEMLOCK`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_bytes: Option<u64>,
    /// Bytes of address space (`RLIMIT_AS`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_bytes: Option<u64>,
    /// Bytes of memory (`memory.max`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processes and threads (`pids.max`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// Processor time in percent of one processor (`cpu.max`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
}

impl Limits {
    /// True if nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True if something is limited that needs a cgroup.
    pub fn need_cgroup(&self) -> bool {
        self.memory_bytes.is_some() || self.tasks.is_some() || self.cpu_percent.is_some()
    }
}

/// A socket that the system manager opens for a process and holds while it restarts, so that no
/// connection is refused meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListenSocket {
    /// The name by which the process finds it (`LISTEN_FDNAMES`).
    pub name: ProcessName,
    /// Where it listens: `192.0.2.1:80`, `[::]:80`, an absolute path, or a file name in the
    /// run-time folder of the process.
    pub address: String,
    /// What kind it is.
    #[serde(rename = "type", default, skip_serializing_if = "is_default")]
    pub kind: SocketType,
    /// How many connections may wait; 4096 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
    /// Permission bits of a socket with a path; `"0666"` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// The kind of a socket.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SocketType {
    /// TCP, or a stream of a path.
    #[default]
    Stream,
    /// UDP, or datagrams of a path.
    Datagram,
    /// Packets in sequence, of a path only.
    SequentialPacket,
}

/// A signal that asks a process to end.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum StopSignal {
    /// SIGTERM.
    #[default]
    Term,
    /// SIGINT.
    Int,
    /// SIGQUIT.
    Quit,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGWINCH.
    Winch,
}

/// A signal that asks a process to read its files again.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ReloadSignal {
    /// SIGHUP.
    #[default]
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

/// A command that says whether a process does its work: it exits with 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HealthCommand {
    /// The program and its arguments. A relative path stands in the process's own generation.
    pub command: Vec<String>,
    /// Seconds between two looks; 10 where left out.
    #[serde(default = "number::<10>", skip_serializing_if = "is_number::<10>")]
    pub every_seconds: u32,
    /// Seconds that it may take; 5 where left out.
    #[serde(default = "number::<5>", skip_serializing_if = "is_number::<5>")]
    pub seconds: u32,
    /// How often in a row it has to fail until the process counts as failed; 3 where left out.
    #[serde(default = "number::<3>", skip_serializing_if = "is_number::<3>")]
    pub failures: u32,
}

/// A command that votes for a process that cannot (V3): of the generation that runs now, run as
/// the process's own user, with the change set as JSON on standard input. It exits with 0 to
/// accept, with 1 to veto with the message on standard error, with 75 to defer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VoteCommand {
    /// The program and its arguments. A relative path stands in the process's own generation.
    pub command: Vec<String>,
    /// Seconds that it may take; 5 where left out.
    #[serde(default = "number::<5>", skip_serializing_if = "is_number::<5>")]
    pub seconds: u32,
}

/// A WebAssembly module that decides how a process votes (M3): that of the generation that runs now.
/// The same bytes decide on the node, in a check and in the simulator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VoteLogic {
    /// The WebAssembly file, a module of the same package.
    pub module: ModulePath,
    /// Modules whose content it is given, as the process's configuration; of any package of the
    /// node.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub files: BTreeSet<ModulePath>,
    /// How much it may compute, about one for each instruction; 50 million where left out.
    #[serde(
        default = "number::<50_000_000>",
        skip_serializing_if = "is_number::<50_000_000>"
    )]
    pub fuel: u32,
    /// Bytes of memory that it may use; 16 MiB where left out.
    #[serde(
        default = "number::<0x0100_0000>",
        skip_serializing_if = "is_number::<0x0100_0000>"
    )]
    pub memory_bytes: u32,
}

/// The formats of saved state that a process writes and reads (C-S6).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StateFormats {
    /// Formats that it writes when it goes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub saves: BTreeSet<StateFormat>,
    /// Formats that it can restore.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub restores: BTreeSet<StateFormat>,
}

impl StateFormats {
    /// True if it neither writes nor reads any.
    pub fn is_empty(&self) -> bool {
        self.saves.is_empty() && self.restores.is_empty()
    }
}

/// A named, versioned format of saved state: `session/3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateFormat {
    /// What is saved.
    pub name: ProcessName,
    /// The version of its format.
    pub version: u32,
}

impl fmt::Display for StateFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

/// A text that is not a state format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no state format; write its name and the version of its format as `session/3`")]
pub struct StateFormatError(String);

impl FromStr for StateFormat {
    type Err = StateFormatError;

    fn from_str(text: &str) -> Result<Self, StateFormatError> {
        let parts = text.split_once('/').and_then(|(name, version)| {
            let plain = version.bytes().all(|byte| byte.is_ascii_digit());
            let version = plain.then(|| version.parse().ok()).flatten()?;
            Some(Self {
                name: name.parse().ok()?,
                version,
            })
        });
        parts
            // One way only to write each.
            .filter(|format| format.to_string() == text)
            .ok_or_else(|| StateFormatError(visible(text).to_string()))
    }
}

serde_as_text!(StateFormat);

/// An interest of a process in modules that it does not map (V3). Parts that are left out do not
/// restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Follow {
    /// Paths of modules; `*` stands for anything but `/`, `**` for anything.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub paths: BTreeSet<String>,
    /// Module types.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub types: BTreeSet<ModuleType>,
    /// Functions of modules.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub functions: BTreeSet<String>,
    /// What happens to the process when one of them is added, changed or removed.
    pub action: FollowAction,
}

impl Follow {
    /// True if it is an interest in this module.
    pub fn covers(&self, module: &Module) -> bool {
        let path = module.path.as_str();
        let by_path = self.paths.is_empty() || self.paths.iter().any(|it| matches(it, path));
        let by_type = self.types.is_empty() || self.types.contains(&module.kind);
        let by_function = self.functions.is_empty()
            || (module.function.as_ref()).is_some_and(|it| self.functions.contains(it));
        by_path && by_type && by_function
    }
}

/// True if `text` is as `pattern` says: `*` stands for anything but `/`, `**` for anything.
///
/// Linear in the pattern for each character of the text, whatever the pattern.
fn matches(pattern: &str, text: &str) -> bool {
    #[derive(Clone, Copy)]
    enum Part {
        Byte(u8),
        Name,
        Any,
    }
    let mut parts = Vec::new();
    let mut bytes = pattern.bytes().peekable();
    while let Some(byte) = bytes.next() {
        parts.push(match byte {
            b'*' if bytes.next_if_eq(&b'*').is_some() => Part::Any,
            b'*' => Part::Name,
            byte => Part::Byte(byte),
        });
    }
    // Where in the pattern one may be: before part N, for each N that is true.
    let skip = |at: &mut Vec<bool>| {
        for (index, part) in parts.iter().enumerate() {
            if at[index] && !matches!(part, Part::Byte(_)) {
                at[index + 1] = true;
            }
        }
    };
    let mut at = vec![false; parts.len() + 1];
    at[0] = true;
    skip(&mut at);
    for byte in text.bytes() {
        let mut next = vec![false; parts.len() + 1];
        for (index, part) in parts.iter().enumerate().filter(|(index, _)| at[*index]) {
            match part {
                Part::Byte(wanted) => next[index + 1] |= *wanted == byte,
                Part::Name => next[index] |= byte != b'/',
                Part::Any => next[index] = true,
            }
        }
        skip(&mut next);
        at = next;
    }
    at[parts.len()]
}

/// What happens to a process when a module that it follows changes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum FollowAction {
    /// Nothing: it is told, if it listens.
    Nothing,
    /// It gets its reload signal.
    #[default]
    Reload,
    /// It is restarted.
    Restart,
}

fn number<const NUMBER: u32>() -> u32 {
    NUMBER
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference to the field"
)]
fn is_number<const NUMBER: u32>(number: &u32) -> bool {
    *number == NUMBER
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_formats_are_a_name_and_a_version() {
        let format: StateFormat = "session/3".parse().unwrap();
        assert_eq!(format.to_string(), "session/3");
        for bad in [
            "session",
            "session/",
            "/3",
            "session/x",
            "session/03",
            "a/b/3",
            "session/+3",
        ] {
            assert!(bad.parse::<StateFormat>().is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match_within_names_and_across_folders() {
        for (pattern, text, expected) in [
            ("etc/*.conf", "etc/a.conf", true),
            ("etc/*.conf", "etc/a/b.conf", false),
            ("etc/**.conf", "etc/a/b.conf", true),
            ("**", "anything/at/all", true),
            ("etc/a", "etc/ab", false),
            ("*", "", true),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxbxx", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        let many = "*a".repeat(2_000);
        assert!(!matches(&many, &"a".repeat(1_000)));
    }

    #[test]
    fn what_is_left_out_is_not_written() {
        let written = serde_json::to_value(ProcessSpec::default()).unwrap();
        assert_eq!(written.as_object().unwrap().len(), 10);
    }
}
