//! What the keeper tells the system manager that started it, if that wants to know (`sd_notify`).

use std::env;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The system manager above the keeper; silent where there is none.
#[derive(Debug)]
pub(super) struct Manager(Option<SocketAddr>);

impl Manager {
    /// That of `NOTIFY_SOCKET`.
    pub(super) fn from_environment() -> Self {
        let socket = env::var("NOTIFY_SOCKET").unwrap_or_default();
        let address = match socket.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&socket),
        };
        Self(address.ok().filter(|_| !socket.is_empty()))
    }

    /// Says something; that nobody hears it is no reason to do anything else.
    pub(super) fn tell(&self, state: &str) {
        if let Some(address) = &self.0 {
            let socket = UnixDatagram::unbound();
            let _ = socket.and_then(|socket| socket.send_to_addr(state.as_bytes(), address));
        }
    }
}
