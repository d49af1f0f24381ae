//! tallyd - a self-managing server in Rust that can be replaced while it serves; the same as
//! `processes/tallyd.c`.
//!
//! Whoever connects to the socket `tally` of its package and sends a number gets the sum of all
//! numbers sent on this connection so far. An update is noticed by nobody: the node holds the
//! listening socket, so that no connection is refused; the old server leaves its connections and
//! their sums behind; the new one goes on where it ended.
//!
//! ```text
//! cargo build -p placet-examples --example tallyd
//! ```
#![expect(clippy::print_stdout, reason = "this is what it does")]

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::{error, fmt::Write as _};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use placet_sdk::{Event, Handed, Handling, Outcome, Placet, Vote};

/// The format of the saved state: a line for each connection, in the order of the descriptors.
const STATE: &str = "sessions/1";

struct Session {
    stream: TcpStream,
    sum: i64,
    /// What of the next number has arrived.
    line: String,
}

fn main() -> Result<(), Box<dyn error::Error>> {
    let stop = on_stop()?;
    let mut handed = Handed::take();
    let listener = handed.descriptor("tally");
    let listener = TcpListener::from(listener.ok_or("the node hands no socket `tally` to it")?);
    listener.set_nonblocking(true)?;
    let mut sessions = restore(&mut handed)?;
    let mut placet = Placet::from_env()?;
    placet_sdk::notify_ready()?;
    loop {
        let ready = wait(&stop, &listener, placet.as_ref(), &sessions)?;
        if ready[0] {
            return Ok(save(&sessions)?);
        }
        if let Some(node) = placet.as_mut()
            && hear(node).is_err()
        {
            // The node daemon may be away for a moment, while it is updated.
            let _ = node.reconnect();
        }
        let mut ready = ready[3..].iter();
        sessions.retain_mut(|session| ready.next() != Some(&true) || serve(session).is_ok());
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            let (sum, line) = (0, String::new());
            sessions.push(Session { stream, sum, line });
        }
    }
}

/// A descriptor that can be read once the process is asked to end.
fn on_stop() -> nix::Result<SignalFd> {
    let stop = SigSet::from(Signal::SIGTERM);
    stop.thread_block()?;
    SignalFd::new(&stop)
}

/// Which can be read: the stop signal, the listener, the node, and then the sessions.
fn wait(
    stop: &impl AsFd,
    listener: &TcpListener,
    placet: Option<&Placet>,
    sessions: &[Session],
) -> nix::Result<Vec<bool>> {
    let node = placet.map_or_else(|| listener.as_fd(), AsFd::as_fd);
    let sessions = sessions.iter().map(|session| session.stream.as_fd());
    let all = [stop.as_fd(), listener.as_fd(), node].into_iter();
    let mut fds: Vec<_> = all
        .chain(sessions)
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error),
    }
    Ok(fds.iter().map(|fd| fd.any() == Some(true)).collect())
}

/// It always agrees: an update costs nothing. It asks to be restarted when the change is made.
fn hear(node: &mut Placet) -> Result<(), placet_sdk::Error> {
    while let Some(event) = node.next_event(Some(std::time::Duration::ZERO))? {
        match event {
            Event::Proposed(proposal) => node.vote(&proposal, Vote::accept())?,
            Event::Prepare { change_digest, .. } => node.ready(&change_digest)?,
            Event::Changed {
                change_digest,
                outcome,
                ..
            } => {
                let handling = match outcome {
                    Outcome::Failed => Handling::Handled,
                    Outcome::Activated | Outcome::Regressed => Handling::Default,
                };
                node.done(&change_digest, handling)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn serve(session: &mut Session) -> io::Result<()> {
    let mut bytes = [0; 512];
    let count = match session.stream.read(&mut bytes) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    for byte in &bytes[..count] {
        if *byte == b'\n' {
            let number: i64 = session.line.parse().unwrap_or(0);
            session.sum = session.sum.saturating_add(number);
            session.line.clear();
            session
                .stream
                .write_all(format!("{}\n", session.sum).as_bytes())?;
        } else if session.line.len() < 20 {
            session.line.push(char::from(*byte));
        }
    }
    Ok(())
}

/// Leaves everything to the successor. A connection that has arrived in between waits in line.
fn save(sessions: &[Session]) -> Result<(), placet_sdk::Error> {
    let mut text = String::new();
    for session in sessions {
        placet_sdk::store("session", &session.stream)?;
        let _ = writeln!(text, "{} {}", session.sum, session.line);
    }
    placet_sdk::save_state(STATE, text.as_bytes())
}

/// Takes up what a predecessor has left.
fn restore(handed: &mut Handed) -> Result<Vec<Session>, placet_sdk::Error> {
    let Some((_, state)) = handed.state(&[STATE])? else {
        return Ok(Vec::new());
    };
    let state = String::from_utf8_lossy(&state);
    let streams = handed.descriptors("session").into_iter();
    let session = |(line, stream): (&str, _)| {
        let (sum, line) = line.split_once(' ').unwrap_or_default();
        Session {
            stream: TcpStream::from(stream),
            sum: sum.parse().unwrap_or(0),
            line: line.to_owned(),
        }
    };
    let sessions: Vec<_> = state.lines().zip(streams).map(session).collect();
    // They are this process's again.
    placet_sdk::forget("session")?;
    placet_sdk::forget(&format!("state/{STATE}"))?;
    println!("goes on with {} sessions", sessions.len());
    Ok(sessions)
}
