//! The socket through which the command line reaches the controller on its own machine.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Uid, User};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Uri};

use crate::accept::Patience;
use crate::files::{FileError, private_dir};
use crate::grpc;

/// What may go wrong with the admin socket.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Its folder could not be made.
    #[error(transparent)]
    Folder(#[from] FileError),
    /// Somebody listens there.
    #[error(
        "a controller is running already: it answers on `{}`; stop it first, or choose another state folder",
        .0.display()
    )]
    InUse(PathBuf),
    /// There is something that is not a socket.
    #[error("`{}` is in the way: it is not a socket; remove it", .0.display())]
    InTheWay(PathBuf),
    /// The socket could not be made.
    #[error("failed to listen on `{}`", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error(
        "no controller is running here: nobody answers on `{}`; start one with `placet up`, or name its socket",
        path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket is another user's.
    #[error(
        "the controller's socket `{}` is open to the user who started it alone; run this as that user",
        path.display()
    )]
    NotAllowed {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be connected to for another reason.
    #[error("failed to connect to the controller on `{}`", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// HTTP/2 could not be started.
    #[error("failed to start the session with the controller")]
    Channel(#[source] tonic::transport::Error),
}

/// The person at the other end: `request.extensions().get::<AdminPeer>()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminPeer {
    /// As the kernel knows it.
    pub uid: u32,
    /// The name of that user on this machine, or the number where it has none.
    pub user: String,
}

/// Connections to a new socket at `path`, for tonic's `serve_with_incoming`.
///
/// # Guarantees
///
/// The socket has mode 0600 from its first moment; its folder is made with mode 0700 if there is
/// none. A socket that a dead controller left behind is replaced, one that answers is not. The
/// stream never ends and never fails; dropping it removes the socket.
///
/// # Assumptions
///
/// Called within a tokio runtime. That two controllers do not start at once in one folder is seen
/// to by the lock of their store.
pub fn admin_incoming(path: &Path) -> Result<AdminIncoming, AdminError> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        private_dir(parent)?;
    }
    remove_stale(path)?;
    let failed = |source| AdminError::Listen {
        path: path.to_owned(),
        source,
    };
    let listener = listen(path).map_err(failed)?;
    let made = fs::symlink_metadata(path).map_err(failed)?;
    let (sender, connections) = mpsc::channel(1);
    let accepting = tokio::spawn(accept(listener, sender));
    Ok(AdminIncoming {
        connections,
        accepting: accepting.abort_handle(),
        path: path.to_owned(),
        inode: (made.dev(), made.ino()),
    })
}

/// A channel to the controller that listens at `path`.
pub async fn admin_connect(path: &Path) -> Result<Channel, AdminError> {
    // Tried once by itself, so that its error can be told precisely.
    UnixStream::connect(path)
        .await
        .map_err(|source| explain(source, path.to_owned()))?;
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    grpc::endpoint()
        .connect_with_connector(connector)
        .await
        .map_err(AdminError::Channel)
}

/// See [`admin_incoming`].
#[derive(Debug)]
pub struct AdminIncoming {
    connections: mpsc::Receiver<AdminConnection>,
    accepting: AbortHandle,
    path: PathBuf,
    inode: (u64, u64),
}

impl Stream for AdminIncoming {
    type Item = io::Result<AdminConnection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections
            .poll_recv(context)
            .map(|connection| connection.map(Ok))
    }
}

impl Drop for AdminIncoming {
    fn drop(&mut self) {
        self.accepting.abort();
        // A successor's socket may have taken the name.
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), AdminError> {
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(AdminError::InTheWay(path.to_owned()));
        }
        Ok(_) => {}
    }
    let failed = |source| AdminError::Listen {
        path: path.to_owned(),
        source,
    };
    match knock(path) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).map_err(failed),
        // A listener whose queue is full is one that listens.
        Ok(()) | Err(Errno::EAGAIN) => Err(AdminError::InUse(path.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

/// Connects without waiting.
fn knock(path: &Path) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // On Linux the file gets the mode of the socket that is bound to it (unix(7)), so that it is
    // never open to others, not even for a moment.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(path)?;
    socket.listen(128)
}

async fn accept(listener: UnixListener, sender: mpsc::Sender<AdminConnection>) {
    let mut patience = Patience::default();
    loop {
        let Some((stream, _)) = patience.take(listener.accept().await).await else {
            continue;
        };
        let Ok(credentials) = stream.peer_cred() else {
            continue;
        };
        let peer = AdminPeer {
            uid: credentials.uid(),
            user: user(credentials.uid()).await,
        };
        if sender.send(AdminConnection { stream, peer }).await.is_err() {
            return;
        }
    }
}

/// Looked up beside the runtime: the answer may come from a directory server.
async fn user(uid: u32) -> String {
    let found = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
    match found {
        Ok(Ok(Some(user))) => user.name,
        _ => uid.to_string(),
    }
}

fn explain(source: io::Error, path: PathBuf) -> AdminError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AdminError::NotRunning { path, source }
        }
        io::ErrorKind::PermissionDenied => AdminError::NotAllowed { path, source },
        _ => AdminError::Connect { path, source },
    }
}

/// A connection of the command line.
#[derive(Debug)]
pub struct AdminConnection {
    stream: UnixStream,
    peer: AdminPeer,
}

impl Connected for AdminConnection {
    type ConnectInfo = AdminPeer;

    fn connect_info(&self) -> AdminPeer {
        self.peer.clone()
    }
}

impl AsyncRead for AdminConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for AdminConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
