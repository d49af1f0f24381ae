//! Sockets that the keeper opens for processes, and holds while they restart.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use placet_model::{ListenSocket, SocketAddress, SocketType};

use crate::link::Start;

/// Connections that may wait where the package says nothing; the kernel's own bound (`somaxconn`)
/// is lower on most systems.
const BACKLOG: u32 = 4_096;

/// Permission bits of a socket with a path where the package says nothing: who may connect is
/// decided by its folder.
const MODE: u32 = 0o666;

/// A socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error(
        "failed to listen at `{address}` for socket `{name}`; see who does with `ss -lp`, end it, or give the socket another address"
    )]
    Taken {
        name: String,
        address: String,
        source: io::Error,
    },
    #[error(
        "failed to listen at `{address}` for socket `{name}`: something that is no socket is there; remove it, or give the socket another address"
    )]
    Occupied { name: String, address: String },
    #[error(
        "failed to listen at `{address}` for socket `{name}`{}",
        advice(source)
    )]
    Open {
        name: String,
        address: String,
        source: io::Error,
    },
    #[error("`{address}` of socket `{name}` is no address")]
    Address { name: String, address: String },
}

/// Opens what `socket` describes, for the process of `start`.
pub(super) fn open(socket: &ListenSocket, start: &Start) -> Result<OwnedFd, SocketError> {
    let (name, address) = (socket.name.to_string(), socket.address.clone());
    let opened = match socket.parsed() {
        None => return Err(SocketError::Address { name, address }),
        Some(SocketAddress::Internet(address)) => open_internet(socket, address),
        Some(SocketAddress::Path(path)) => open_path(socket, Path::new(&path), start),
        Some(SocketAddress::Local(file)) => open_path(socket, &start.directory.join(file), start),
    };
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => SocketError::Occupied { name, address },
        io::ErrorKind::AddrInUse => SocketError::Taken {
            name,
            address,
            source,
        },
        _ => SocketError::Open {
            name,
            address,
            source,
        },
    })
}

/// What to do where nobody else is in the way.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; its folder is not there: make it, or choose another address",
        io::ErrorKind::PermissionDenied => {
            "; placetd may not, and is not root: choose another address"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this node has no such address: add it, or choose another"
        }
        _ => "",
    }
}

fn open_internet(socket: &ListenSocket, address: SocketAddr) -> io::Result<OwnedFd> {
    if socket.kind == SocketType::Datagram {
        return Ok(UdpSocket::bind(address)?.into());
    }
    let listener = TcpListener::bind(address)?;
    // Again, for the number of connections that may wait.
    listen(&listener, backlog(socket))?;
    Ok(listener.into())
}

fn open_path(socket: &ListenSocket, path: &Path, start: &Start) -> io::Result<OwnedFd> {
    make_way(path)?;
    if std::fs::symlink_metadata(path).is_ok_and(|it| !it.file_type().is_socket()) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let opened = match socket.kind {
        SocketType::Datagram => UnixDatagram::bind(path)?.into(),
        SocketType::Stream => bind_path(path, SockType::Stream)?,
        SocketType::SequentialPacket => bind_path(path, SockType::SeqPacket)?,
    };
    if socket.kind != SocketType::Datagram {
        listen(&opened, backlog(socket))?;
    }
    let mode = socket.mode.map_or(MODE, placet_model::Mode::bits);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    if let Some(account) = &start.account {
        chown(path, Some(account.user), Some(account.group))?;
    }
    Ok(opened)
}

fn bind_path(path: &Path, kind: SockType) -> io::Result<OwnedFd> {
    let opened = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    bind(opened.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(opened)
}

/// Removes a socket on which nobody listens any more. Anything else at the path stays.
fn make_way(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        // Of another type: whether somebody listens is seen when it is bound.
        _ => Ok(()),
    }
}

fn backlog(socket: &ListenSocket) -> Backlog {
    let wanted = socket.backlog.unwrap_or(BACKLOG);
    let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
    Backlog::new(wanted).unwrap_or(Backlog::MAXCONN)
}

/// A file by device and inode.
pub(super) type FileId = (u64, u64);

/// The file at a path, and not what a link there leads to.
pub(super) fn file_at(path: &Path) -> Option<FileId> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The path that a socket leaves behind, if it has one.
pub(super) fn path(socket: &ListenSocket, directory: &Path) -> Option<PathBuf> {
    match socket.parsed()? {
        SocketAddress::Internet(_) => None,
        SocketAddress::Path(path) => Some(path.into()),
        SocketAddress::Local(file) => Some(directory.join(file)),
    }
}
