//! The notification socket: `sd_notify` messages of all processes (`READY=1` and friends).
//!
//! Who speaks is what the kernel says (`SCM_CREDENTIALS`), never what the datagram says.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt,
};

use crate::link::Notice;

/// Longer datagrams are ignored; those of real services have a few dozen bytes.
const DATAGRAM_MAX: usize = 4_096;

/// Longer status texts are cut.
const STATUS_MAX: usize = 256;

/// The longest path that fits into a socket's address, with its final NUL byte.
const ADDRESS_MAX: usize = 108;

/// The notification socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotifyError {
    #[error(
        "the path of the notification socket `{path}` has {length} bytes and a socket's path may have {most}: name a folder with a shorter path with --run"
    )]
    TooLong {
        path: PathBuf,
        length: usize,
        most: usize,
    },
    #[error("failed to make the notification socket `{path}`")]
    Bind { path: PathBuf, source: io::Error },
}

pub(super) struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl NotifySocket {
    pub(super) fn bind(run: &Path) -> Result<Self, NotifyError> {
        let path = run.join("notify");
        let length = path.as_os_str().len();
        if length >= ADDRESS_MAX {
            return Err(NotifyError::TooLong {
                path,
                length,
                most: ADDRESS_MAX - 1,
            });
        }
        match Self::open(&path) {
            Ok(socket) => Ok(Self { socket, path }),
            Err(source) => Err(NotifyError::Bind { path, source }),
        }
    }

    fn open(path: &Path) -> io::Result<UnixDatagram> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        Ok(socket)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next message and the process that sent it; `None` if there is no more.
    pub(super) fn receive(&self) -> Option<(i32, Vec<Notice>)> {
        loop {
            let mut buffer = [0; DATAGRAM_MAX];
            // Room for the credentials alone: descriptors that somebody sends along do not fit,
            // and the kernel closes them.
            let mut control = cmsg_space!(UnixCredentials);
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                flags,
            )
            .ok()?;
            let pid = message.cmsgs().ok().and_then(|mut parts| {
                parts.find_map(|part| match part {
                    ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
                    _ => None,
                })
            });
            let (bytes, cut) = (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC));
            match pid {
                Some(pid) if !cut => return Some((pid, notices(&buffer[..bytes]))),
                _ => tracing::warn!(
                    ?pid,
                    bytes,
                    "a notification is too long or anonymous: ignored"
                ),
            }
        }
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a datagram says, as far as it is known here. The rest of the protocol is for others.
fn notices(datagram: &[u8]) -> Vec<Notice> {
    let Ok(text) = std::str::from_utf8(datagram) else {
        return Vec::new();
    };
    let notice = |line: &str| match line.split_once('=')? {
        ("READY", "1") => Some(Notice::Ready),
        ("STOPPING", "1") => Some(Notice::Stopping),
        ("STATUS", status) => Some(Notice::Status(status.chars().take(STATUS_MAX).collect())),
        _ => None,
    };
    text.lines().filter_map(notice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_assignments_are_read_and_all_else_is_skipped() {
        assert_eq!(
            notices(b"MAINPID=1\nREADY=1\nSTATUS=3 sessions\nREADY=11\nSTOPPING=1\nnonsense"),
            [
                Notice::Ready,
                Notice::Status("3 sessions".to_owned()),
                Notice::Stopping
            ]
        );
        assert_eq!(notices(b"\xff\nREADY=1"), []);
    }

    #[test]
    fn long_datagrams_and_descriptors_are_dropped_and_the_sender_is_the_kernels_word() {
        let folder = tempfile::tempdir().unwrap();
        let socket = NotifySocket::bind(folder.path()).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client
            .send_to(&[b'A'; DATAGRAM_MAX + 1], socket.path())
            .unwrap();
        client
            .send_to(b"READY=1\nMAINPID=1", socket.path())
            .unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(socket.receive(), Some((own, vec![Notice::Ready])));
        assert_eq!(socket.receive(), None);
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = NotifySocket::bind(&folder.path().join("x".repeat(120)))
            .err()
            .unwrap();
        assert!(error.to_string().contains("--run"), "{error}");
    }
}
