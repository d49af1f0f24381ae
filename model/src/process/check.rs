//! What the parts of a process specification have to be, each by itself.

use std::net::SocketAddr;

use super::{Follow, ListenSocket, ProcessSpec, SocketType, VoteLogic};
use crate::visible;

/// Far above any process; they bound what a manifest can make a node do.
const SOCKETS_MAX: usize = 64;
const FOLLOWS_MAX: usize = 64;
const PATTERNS_MAX: usize = 64;
const RULES_MAX: usize = 64;
const DESCRIPTORS_MAX: u32 = 65_536;
const COMMAND_MAX: usize = 64;
const TEXT_MAX: usize = 4_096;
/// Several seconds of a slow processor.
const FUEL_MAX: u32 = 1_000_000_000;
const LOGIC_FILES_MAX: usize = 16;
/// One page of WebAssembly, and far more than a vote needs.
const LOGIC_MEMORY: std::ops::RangeInclusive<u32> = 0x1_0000..=0x0400_0000;
/// One day, in seconds.
const SECONDS_MAX: u32 = 86_400;

/// A part of a process specification that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` of process `{process}` cannot be used: {why}")]
pub struct ProcessFault {
    process: String,
    field: &'static str,
    why: String,
}

/// Where a socket listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketAddress {
    /// An address of the Internet protocols.
    Internet(SocketAddr),
    /// An absolute path.
    Path(String),
    /// A file name in the run-time folder of the process.
    Local(String),
}

impl ListenSocket {
    /// Where it listens; `None` if the text is no address.
    pub fn parsed(&self) -> Option<SocketAddress> {
        if let Ok(address) = self.address.parse() {
            return Some(SocketAddress::Internet(address));
        }
        let plain = |text: &str| {
            let good = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
            !text.is_empty() && text.len() <= 100 && text.bytes().all(good)
        };
        let steps_up = self
            .address
            .split('/')
            .any(|part| part == ".." || part == ".");
        if !plain(&self.address) || steps_up {
            return None;
        }
        if self.address.starts_with('/') {
            return Some(SocketAddress::Path(self.address.clone()));
        }
        // What looks like an address of the network and is none is a mistake, not a file.
        (!self.address.contains(['/', ':'])).then(|| SocketAddress::Local(self.address.clone()))
    }
}

impl ProcessSpec {
    /// Checks each part by itself; whether users, programs and folders exist is the node's to see.
    ///
    /// # Errors
    ///
    /// The first part that cannot be used, and why.
    pub fn check(&self) -> Result<(), ProcessFault> {
        let fault = |field, why: String| ProcessFault {
            process: self.name.to_string(),
            field,
            why,
        };
        let texts = [("user", &self.user), ("group", &self.group)];
        for (field, text) in texts {
            if text.as_ref().is_some_and(|text| !is_account(text)) {
                return Err(fault(field, "it is no name of an account".to_owned()));
            }
        }
        if self
            .working_directory
            .as_ref()
            .is_some_and(|text| !is_folder(text))
        {
            let why = "it is no absolute path without `.` and `..`";
            return Err(fault("workingDirectory", why.to_owned()));
        }
        self.check_sockets().map_err(|why| fault("sockets", why))?;
        self.check_commands()
            .map_err(|(field, why)| fault(field, why))?;
        self.check_voting()
            .map_err(|(field, why)| fault(field, why))?;
        let bounds = [
            (
                "storedDescriptors",
                self.stored_descriptors,
                DESCRIPTORS_MAX,
            ),
            ("watchdogSeconds", self.watchdog_seconds, SECONDS_MAX),
            ("readySeconds", self.ready_seconds, SECONDS_MAX),
            ("stopSeconds", self.stop_seconds, SECONDS_MAX),
            ("voteSeconds", self.vote_seconds, SECONDS_MAX),
        ];
        match bounds.into_iter().find(|(_, value, most)| value > most) {
            Some((field, value, most)) => Err(fault(field, format!("{value} is above {most}"))),
            None => Ok(()),
        }
    }

    fn check_sockets(&self) -> Result<(), String> {
        if self.sockets.len() > SOCKETS_MAX {
            return Err(format!(
                "{} are more than {SOCKETS_MAX}",
                self.sockets.len()
            ));
        }
        for (index, socket) in self.sockets.iter().enumerate() {
            let name = &socket.name;
            if self.sockets[..index]
                .iter()
                .any(|other| other.name == *name)
            {
                return Err(format!("`{name}` is there twice"));
            }
            match socket.parsed() {
                None => {
                    let address = visible(&socket.address);
                    return Err(format!(
                        "`{address}` of `{name}` is neither `address:port` nor a path or file name"
                    ));
                }
                Some(SocketAddress::Internet(_)) if socket.kind == SocketType::SequentialPacket => {
                    return Err(format!("`{name}` can be of this type only with a path"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn check_commands(&self) -> Result<(), (&'static str, String)> {
        let health = self.health.as_ref();
        let vote = self.vote_command.as_ref();
        let commands = [
            ("health", health.map(|it| (&it.command, it.seconds))),
            ("voteCommand", vote.map(|it| (&it.command, it.seconds))),
        ];
        for (field, command) in commands {
            if let Some((command, seconds)) = command {
                check_command(command, seconds).map_err(|why| (field, why))?;
            }
        }
        let beat = health.map_or(1, |it| it.every_seconds.min(it.failures));
        if beat == 0 {
            return Err((
                "health",
                "`everySeconds` and `failures` are at least 1".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_voting(&self) -> Result<(), (&'static str, String)> {
        if self.rules.len() > RULES_MAX {
            return Err(("rules", format!("more than {RULES_MAX}")));
        }
        if self.follows.len() > FOLLOWS_MAX {
            return Err(("follows", format!("more than {FOLLOWS_MAX}")));
        }
        if let Some(logic) = &self.vote_logic {
            logic.check().map_err(|why| ("voteLogic", why))?;
        }
        let mut follows = self.follows.iter();
        follows.try_for_each(|follow| follow.check().map_err(|why| ("follows", why)))
    }
}

impl Follow {
    /// Checks that it names something, and not too much.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub fn check(&self) -> Result<(), String> {
        if self.paths.is_empty() && self.types.is_empty() && self.functions.is_empty() {
            return Err("one names neither paths nor types nor functions".to_owned());
        }
        let mut texts = self.paths.iter().chain(&self.functions);
        let many = self.paths.len() + self.functions.len() > PATTERNS_MAX;
        if many || texts.any(|text| !is_text(text)) {
            return Err(format!(
                "at most {PATTERNS_MAX} texts of printable characters each"
            ));
        }
        Ok(())
    }
}

impl VoteLogic {
    /// Checks what it is allowed to use.
    ///
    /// # Errors
    ///
    /// Why it cannot be used.
    pub fn check(&self) -> Result<(), String> {
        if self.files.len() > LOGIC_FILES_MAX {
            return Err(format!("more than {LOGIC_FILES_MAX} `files`"));
        }
        if self.fuel == 0 || self.fuel > FUEL_MAX {
            return Err(format!("`fuel` is 1 to {FUEL_MAX}"));
        }
        if !LOGIC_MEMORY.contains(&self.memory_bytes) {
            let (least, most) = (LOGIC_MEMORY.start(), LOGIC_MEMORY.end());
            return Err(format!("`memoryBytes` is {least} to {most}"));
        }
        Ok(())
    }
}

fn check_command(command: &[String], seconds: u32) -> Result<(), String> {
    match command.first() {
        None => return Err("it names no program".to_owned()),
        Some(program) if program.split('/').any(|part| part == "..") => {
            return Err("its program's path contains `..`".to_owned());
        }
        Some(_) => {}
    }
    if command.len() > COMMAND_MAX {
        return Err(format!("it has more than {COMMAND_MAX} arguments"));
    }
    if !command.iter().all(|argument| is_text(argument)) {
        return Err("an argument is empty, too long, or has control characters".to_owned());
    }
    if seconds == 0 || seconds > SECONDS_MAX {
        return Err(format!("`seconds` is 1 to {SECONDS_MAX}"));
    }
    Ok(())
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_MAX && !text.chars().any(char::is_control)
}

fn is_account(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.len() <= 32 && text.bytes().all(good) && !text.starts_with('-')
}

fn is_folder(text: &str) -> bool {
    let normal = |part: &str| part != ".." && part != ".";
    is_text(text) && text.starts_with('/') && text.split('/').all(normal)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::HealthCommand;

    fn socket(name: &str, address: &str) -> ListenSocket {
        ListenSocket {
            name: name.parse().unwrap(),
            address: address.to_owned(),
            kind: SocketType::Stream,
            backlog: None,
            mode: None,
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut ProcessSpec), expected: &str) {
        let mut spec = ProcessSpec::default();
        change(&mut spec);
        let error = spec.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn addresses_are_of_the_network_paths_or_names() {
        let parsed = |address| socket("s", address).parsed();
        assert!(matches!(
            parsed("[::]:80"),
            Some(SocketAddress::Internet(_))
        ));
        assert!(matches!(
            parsed("/run/s.sock"),
            Some(SocketAddress::Path(_))
        ));
        assert!(matches!(parsed("s.sock"), Some(SocketAddress::Local(_))));
        for bad in [
            "",
            "localhost:80",
            "1.2.3.4:99999",
            "../s",
            "/run/../s",
            "a/b",
            "a\nb",
        ] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn each_part_is_refused_by_name() {
        assert_eq!(ProcessSpec::default().check(), Ok(()));
        refused(|it| it.user = Some("a b".to_owned()), "`user`");
        refused(
            |it| it.working_directory = Some("var".to_owned()),
            "`workingDirectory`",
        );
        refused(|it| it.sockets = vec![socket("a", "x:y")], "`x:y` of `a`");
        refused(|it| it.sockets = vec![socket("a", "1.2.3.4:5"); 2], "twice");
        refused(|it| it.stored_descriptors = u32::MAX, "above 65536");
        refused(|it| it.follows = vec![Follow::default()], "neither paths");
        let health = HealthCommand {
            command: vec!["../x".to_owned()],
            every_seconds: 1,
            seconds: 1,
            failures: 1,
        };
        refused(|it| it.health = Some(health), "`..`");
        let logic = |fuel, memory_bytes| VoteLogic {
            module: "may-i.wasm".parse().unwrap(),
            files: BTreeSet::new(),
            fuel,
            memory_bytes,
        };
        refused(|it| it.vote_logic = Some(logic(0, 65_536)), "`fuel`");
        refused(|it| it.vote_logic = Some(logic(1, 65_535)), "`memoryBytes`");
    }
}
