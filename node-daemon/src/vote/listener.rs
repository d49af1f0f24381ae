//! One socket for each service, and who may speak on it.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use std::{fs, io::ErrorKind};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;
use placet_model::{Digest, ProcessName};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::connection;
use super::look;
use super::state::Shared;

/// Connections of one service at a time: two for each of its processes, and some for people who
/// look on by hand. Strangers, who are told so and sent away, have as many of their own.
const MOST_CONNECTIONS: usize = 8;

/// New connections of one service a second, and at once, so that what a connection's own limit
/// cuts off does not come back at full speed.
const CONNECTIONS: (f64, f64) = (20.0, 40.0);

/// The longest path that fits a socket address, without its NUL byte.
const MOST_PATH: usize = 107;

/// How long to wait when the kernel cannot give another descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// A service's socket; dropping it closes the socket and every connection.
pub(super) struct Listener {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        // Failing leaves a socket that nobody listens on, which the next `serve` replaces.
        let _ = fs::remove_file(&self.path);
    }
}

/// The process at the other end, as the kernel knows it.
pub(super) struct Peer {
    pub(super) pid: u32,
    uid: u32,
    /// Becomes readable when the process ends; missing on kernels before 6.5.
    pub(super) pidfd: Option<OwnedFd>,
}

/// Permits so many a second, and so many at once.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

/// See [`super::Voters::serve`].
pub(super) fn serve(
    shared: &Arc<Shared>,
    process: &ProcessName,
) -> Result<PathBuf, (PathBuf, io::Error)> {
    let listeners = &shared.listeners;
    let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(listener) = listeners.get(process) {
        return Ok(listener.path.clone());
    }
    let path = socket_path(&shared.dir, process);
    let socket = bind(&shared.dir, &path).map_err(|error| (path.clone(), error))?;
    let task = tokio::spawn(accept(shared.clone(), process.clone(), socket));
    let listener = Listener {
        path: path.clone(),
        task,
    };
    listeners.insert(process.clone(), listener);
    Ok(path)
}

/// See [`super::Voters::withdraw`].
pub(super) fn withdraw(shared: &Shared, process: &ProcessName) {
    let listeners = &shared.listeners;
    let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
    listeners.remove(process);
}

/// A name that does not fit goes by its digest.
fn socket_path(dir: &Path, process: &ProcessName) -> PathBuf {
    let path = dir.join(format!("{process}.sock"));
    if path.as_os_str().len() <= MOST_PATH {
        return path;
    }
    let digest = Digest::of(process.as_str().as_bytes());
    dir.join(format!("{}.sock", digest.short()))
}

/// Anybody may connect, since processes run as users of their own; who may speak is decided by the
/// kernel's word on who connected.
fn bind(dir: &Path, path: &Path) -> io::Result<UnixListener> {
    fs::create_dir_all(dir)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(socket)
}

/// Accepts connections until it is aborted; its connections end with it.
async fn accept(shared: Arc<Shared>, process: ProcessName, socket: UnixListener) {
    let members = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let strangers = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut bucket = Bucket::new(CONNECTIONS);
    let mut tasks = JoinSet::new();
    // Who finds no place tries again and again: it is said once.
    let mut is_full = false;
    loop {
        // Cancel safe: `accept` loses no connection, `join_next` no task.
        let accepted = tokio::select! {
            Some(_) = tasks.join_next() => continue,
            accepted = socket.accept() => accepted,
        };
        let peer = accepted.and_then(|(stream, _)| Ok((Peer::of(&stream)?, stream)));
        let (peer, stream) = match peer {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%process, %error, "failed to accept a vote connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let pid = peer.pid;
        let is_member = peer.belongs_to(&process, &shared);
        let places = if is_member { &members } else { &strangers };
        if let Ok(place) = places.clone().try_acquire_owned() {
            is_full = false;
            let (shared, process) = (shared.clone(), process.clone());
            tasks.spawn(async move {
                let _place = place;
                if is_member {
                    connection::serve(shared, process, peer, stream).await;
                } else {
                    look::serve_guest(shared, process, peer, stream).await;
                }
            });
        } else if !std::mem::replace(&mut is_full, true) {
            tracing::warn!(%process, pid, "closed a vote connection: there are {MOST_CONNECTIONS} already");
        }
        if !bucket.take() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Peer {
    fn of(stream: &UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred()?;
        Ok(Self {
            pid: u32::try_from(peer.pid().unwrap_or(0)).unwrap_or(0),
            uid: peer.uid(),
            pidfd: getsockopt(stream, sockopt::PeerPidfd).ok(),
        })
    }

    /// True if it is a process of the service. It is asked for before the look at whether it
    /// lives, so that a process id that was given to another since cannot deceive.
    fn belongs_to(&self, process: &ProcessName, shared: &Shared) -> bool {
        let pid = i32::try_from(self.pid).unwrap_or(0);
        pid > 0 && (shared.who)(pid).as_ref() == Some(process) && !self.has_ended()
    }

    /// True if it may look at everything that the daemon knows: root, and the daemon's own user.
    pub(super) fn is_in_charge(&self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }

    fn has_ended(&self) -> bool {
        self.pidfd.as_ref().is_some_and(|pidfd| {
            let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            poll(&mut ended, PollTimeout::ZERO).is_ok_and(|count| count > 0)
        })
    }
}

impl Bucket {
    pub(super) fn new((rate, burst): (f64, f64)) -> Self {
        Self {
            rate,
            burst,
            tokens: burst,
            filled: Instant::now(),
        }
    }

    /// True if one more is permitted now.
    pub(super) fn take(&mut self) -> bool {
        let now = Instant::now();
        let since = now.duration_since(self.filled).as_secs_f64();
        self.tokens = since.mul_add(self.rate, self.tokens).min(self.burst);
        self.filled = now;
        let permitted = self.tokens >= 1.0;
        if permitted {
            self.tokens -= 1.0;
        }
        permitted
    }
}
