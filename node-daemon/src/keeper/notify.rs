//! The notification sockets: one for each process, so that one that floods its own delays nobody
//! else's word (`sd_notify`).
//!
//! Who speaks is what the kernel says (`SCM_CREDENTIALS`), never what the datagram says.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt,
};
use placet_model::{Digest, ProcessName};

use crate::link::Notice;

/// Longer datagrams are ignored; those of real services have a few dozen bytes.
const DATAGRAM_MAX: usize = 4_096;

/// Longer status texts are cut.
const STATUS_MAX: usize = 256;

/// The longest path that fits into a socket's address, with its final NUL byte.
const ADDRESS_MAX: usize = 108;

/// `.sock` and the short digest that a long name goes by.
const FILE_MAX: usize = 17;

/// Descriptors that one datagram can carry (`SCM_MAX_FD`).
const FILES_MAX: usize = 253;

/// The folder of the notification sockets cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotifyError {
    #[error(
        "the path of the notification sockets in `{path}` has {length} bytes, and a socket's path may have {most}: name a folder with a shorter path with --run"
    )]
    TooLong {
        path: PathBuf,
        length: usize,
        most: usize,
    },
    #[error("failed to make the folder of the notification sockets, `{path}`")]
    Folder { path: PathBuf, source: io::Error },
}

pub(super) struct NotifySockets {
    folder: PathBuf,
    sockets: BTreeMap<ProcessName, UnixDatagram>,
}

/// What one datagram says.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// Who sent it.
    pub(super) sender: i32,
    /// What the agent is to know.
    pub(super) notices: Vec<Notice>,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) store: Option<Store>,
    /// The name of the descriptors that it is about.
    pub(super) name: Option<String>,
    pub(super) files: Vec<OwnedFd>,
}

/// What is to become of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// They are kept; `watched` ones go when their other end does.
    Add { watched: bool },
    /// Those of this name are forgotten.
    Remove,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watchdog {
    /// It is alive.
    Alive,
    /// It asks to be treated as one that is not.
    Trigger,
    /// From now on it gives a sign of life within so many microseconds.
    Within(u64),
}

impl NotifySockets {
    pub(super) fn new(run: &Path) -> Result<Self, NotifyError> {
        let folder = run.join("notify");
        let length = folder.as_os_str().len() + 1 + FILE_MAX;
        if length >= ADDRESS_MAX {
            let most = ADDRESS_MAX - 1;
            let path = folder;
            return Err(NotifyError::TooLong { path, length, most });
        }
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&folder);
        match made {
            Ok(()) => Ok(Self {
                folder,
                sockets: BTreeMap::new(),
            }),
            Err(source) => Err(NotifyError::Folder {
                path: folder,
                source,
            }),
        }
    }

    /// The folder with a `/` at its end: what all paths of these sockets begin with.
    pub(super) fn prefix(&self) -> PathBuf {
        self.folder.join("")
    }

    /// Where `process` finds its socket.
    pub(super) fn path(&self, process: &ProcessName) -> PathBuf {
        let path = self.folder.join(format!("{process}.sock"));
        if path.as_os_str().len() < ADDRESS_MAX {
            return path;
        }
        let digest = Digest::of(process.as_str().as_bytes());
        self.folder.join(format!("{}.sock", digest.short()))
    }

    /// Listens for a process, if nobody does yet.
    pub(super) fn open(&mut self, process: &ProcessName) -> io::Result<()> {
        if self.sockets.contains_key(process) {
            return Ok(());
        }
        let path = self.path(process);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(&path)?;
        // Processes run as users of their own; whose word counts is decided by who sent it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        self.add(process.clone(), socket)
    }

    /// Takes over a socket that a predecessor opened.
    pub(super) fn add(&mut self, process: ProcessName, socket: UnixDatagram) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        self.sockets.insert(process, socket);
        Ok(())
    }

    pub(super) fn close(&mut self, process: &ProcessName) {
        if self.sockets.remove(process).is_some() {
            let _ = fs::remove_file(self.path(process));
        }
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = (&ProcessName, BorrowedFd<'_>)> {
        self.sockets
            .iter()
            .map(|(process, socket)| (process, socket.as_fd()))
    }

    /// The next message to the socket of `process`, or why it is ignored; `None` if there is no
    /// more.
    pub(super) fn receive(&self, process: &ProcessName) -> Option<Result<Message, String>> {
        let socket = self.sockets.get(process)?;
        let mut buffer = [0; DATAGRAM_MAX];
        let (bytes, cut, sender, files) = receive(socket, &mut buffer)?;
        let Some(sender) = sender else {
            return Some(Err(format!(
                "a notification for {process} says not from whom it is: ignored"
            )));
        };
        if cut {
            let why = format!(
                "a notification for {process} of process {sender} is longer than {DATAGRAM_MAX} bytes: ignored"
            );
            return Some(Err(why));
        }
        let message = read(&buffer[..bytes]);
        Some(Ok(Message {
            sender,
            files,
            ..message
        }))
    }
}

/// Length of a datagram, whether it or what came with it was cut, its sender and its descriptors.
type Received = (usize, bool, Option<i32>, Vec<OwnedFd>);

fn receive(socket: &UnixDatagram, buffer: &mut [u8]) -> Option<Received> {
    let mut control = cmsg_space!(UnixCredentials, [RawFd; FILES_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags).ok()?;
    let (mut sender, mut files) = (None, Vec::new());
    for part in message.cmsgs().ok()? {
        match part {
            ControlMessageOwned::ScmCredentials(credentials) => sender = Some(credentials.pid()),
            ControlMessageOwned::ScmRights(numbers) => files.extend(numbers.into_iter().map(own)),
            _ => {}
        }
    }
    let cut = message
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
    Some((message.bytes, cut, sender, files))
}

fn own(number: RawFd) -> OwnedFd {
    #[expect(unsafe_code, reason = "the kernel has just made this number for us")]
    // SAFETY: nobody else has it.
    unsafe {
        OwnedFd::from_raw_fd(number)
    }
}

/// What a datagram says, as far as it is known here. The rest of the protocol is for others.
/// `BARRIER=1` asks for no more than that its descriptor is closed, once what came before was heard.
fn read(datagram: &[u8]) -> Message {
    let mut message = Message::default();
    let Ok(text) = std::str::from_utf8(datagram) else {
        return message;
    };
    let (mut adds, mut removes, mut watched) = (false, false, true);
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let notice = match (key, value) {
            ("READY", "1") => Some(Notice::Ready),
            ("RELOADING", "1") => Some(Notice::Reloading),
            ("STOPPING", "1") => Some(Notice::Stopping),
            ("STATUS", status) => Some(Notice::Status(status.chars().take(STATUS_MAX).collect())),
            ("EXTEND_TIMEOUT_USEC", time) => time.parse().ok().map(Notice::ExtendTimeout),
            ("MAINPID", pid) => pid.parse().ok().map(Notice::MainPid),
            _ => None,
        };
        message.notices.extend(notice);
        match (key, value) {
            ("WATCHDOG", "1") => message.watchdog = Some(Watchdog::Alive),
            ("WATCHDOG", "trigger") => message.watchdog = Some(Watchdog::Trigger),
            ("WATCHDOG_USEC", time) => {
                message.watchdog = time.parse().ok().map(Watchdog::Within).or(message.watchdog);
            }
            ("FDSTORE", "1") => adds = true,
            ("FDSTOREREMOVE", "1") => removes = true,
            ("FDPOLL", "0") => watched = false,
            ("FDNAME", name) => message.name = Some(name.to_owned()),
            _ => {}
        }
    }
    message.store = match (adds, removes) {
        (_, true) => Some(Store::Remove),
        (true, false) => Some(Store::Add { watched }),
        (false, false) => None,
    };
    message
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use nix::sys::socket::{ControlMessage, UnixAddr, sendmsg};

    use super::*;

    fn name() -> ProcessName {
        "talker".parse().unwrap()
    }

    fn sockets() -> (tempfile::TempDir, NotifySockets) {
        let folder = tempfile::tempdir().unwrap();
        let mut sockets = NotifySockets::new(folder.path()).unwrap();
        sockets.open(&name()).unwrap();
        (folder, sockets)
    }

    #[test]
    fn known_assignments_are_read_and_all_else_is_skipped() {
        let message = read(
            b"MAINPID=7\nREADY=1\nSTATUS=3 sessions\nREADY=11\nSTOPPING=1\nnonsense\nWATCHDOG=1\nMAINPID=-1",
        );
        assert_eq!(
            message.notices,
            [
                Notice::MainPid(7),
                Notice::Ready,
                Notice::Status("3 sessions".to_owned()),
                Notice::Stopping
            ]
        );
        assert_eq!(message.watchdog, Some(Watchdog::Alive));
        assert_eq!(message.store, None);
        let message = read(b"FDSTORE=1\nFDNAME=listener\nFDPOLL=0");
        assert_eq!(message.store, Some(Store::Add { watched: false }));
        assert_eq!(message.name.as_deref(), Some("listener"));
        assert!(read(b"\xff\nREADY=1").notices.is_empty());
    }

    #[test]
    fn descriptors_arrive_and_the_sender_is_the_kernels_word() {
        let (_folder, sockets) = sockets();
        let path = sockets.path(&name());
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(&[b'x'; DATAGRAM_MAX + 1], &path).unwrap();
        let (file, _other) = io::pipe().unwrap();
        let numbers = [file.as_raw_fd(), file.as_raw_fd()];
        sendmsg(
            client.as_raw_fd(),
            &[IoSlice::new(b"FDSTORE=1\nFDNAME=pipe")],
            &[ControlMessage::ScmRights(&numbers)],
            MsgFlags::empty(),
            Some(&UnixAddr::new(&path).unwrap()),
        )
        .unwrap();
        let why = sockets.receive(&name()).unwrap().unwrap_err();
        assert!(why.contains("longer than 4096 bytes"), "{why}");
        let message = sockets.receive(&name()).unwrap().unwrap();
        assert_eq!(message.sender, std::process::id().cast_signed());
        assert_eq!(message.files.len(), 2);
        assert_eq!(message.store, Some(Store::Add { watched: true }));
        assert!(sockets.receive(&name()).is_none());
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = NotifySockets::new(&folder.path().join("x".repeat(120)))
            .err()
            .unwrap();
        assert!(error.to_string().contains("--run"), "{error}");
    }
}
