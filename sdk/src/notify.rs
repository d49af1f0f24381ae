//! The notification protocol of systemd, as far as a process needs it.

use std::env;
use std::io;
use std::os::unix::net::UnixDatagram;

use rustix::net::SocketAddrUnix;

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
    notify_with(|socket, address| say(state, socket, address))
}

fn say(state: &str, socket: &UnixDatagram, address: &SocketAddrUnix) -> io::Result<()> {
    let flags = rustix::net::SendFlags::NOSIGNAL;
    let sent = rustix::net::sendto(socket, state.as_bytes(), flags, address)?;
    if sent == state.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Has `send` send something to the socket in `NOTIFY_SOCKET`, where that is set.
pub(crate) fn notify_with(
    send: impl FnOnce(&UnixDatagram, &SocketAddrUnix) -> io::Result<()>,
) -> Result<(), Error> {
    match env::var("NOTIFY_SOCKET") {
        Ok(socket) if !socket.is_empty() => {
            send_to(&socket, send).map_err(|source| Error::Notify { socket, source })
        }
        _ => Ok(()),
    }
}

fn send_to(
    socket: &str,
    send: impl FnOnce(&UnixDatagram, &SocketAddrUnix) -> io::Result<()>,
) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(socket)?,
    };
    send(&UnixDatagram::unbound()?, &address)
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::{say, send_to};

    #[test]
    fn readiness_reaches_an_abstract_socket() {
        let name = format!("placet-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let ready = |socket: &_, address: &_| say("READY=1", socket, address);
        send_to(&format!("@{name}"), ready).unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        assert!(send_to("/nowhere/at/all", ready).is_err());
    }
}
