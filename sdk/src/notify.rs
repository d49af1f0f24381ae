//! The notification protocol of systemd, as far as a process needs it.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::Error;

/// Says that the process is up (`READY=1`). Does nothing where `NOTIFY_SOCKET` is not set.
///
/// # Errors
///
/// If the message cannot be sent.
pub fn notify_ready() -> Result<(), Error> {
    notify("READY=1")
}

/// Sends `state` to the socket in `NOTIFY_SOCKET`, which is a path or, with a leading `@`, an
/// abstract name. Does nothing where it is not set.
///
/// # Errors
///
/// If the message cannot be sent.
pub fn notify(state: &str) -> Result<(), Error> {
    match env::var("NOTIFY_SOCKET") {
        Ok(socket) if !socket.is_empty() => {
            send(&socket, state).map_err(|source| Error::Notify { socket, source })
        }
        _ => Ok(()),
    }
}

fn send(socket: &str, state: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sent = UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    if sent == state.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::send;

    #[test]
    fn readiness_reaches_an_abstract_socket() {
        let name = format!("placet-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        send(&format!("@{name}"), "READY=1").unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        assert!(send("/nowhere/at/all", "READY=1").is_err());
    }
}
