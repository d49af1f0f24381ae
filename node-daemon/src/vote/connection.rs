//! One connection: reads calls, writes replies and events, and ends whoever breaks the rules.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use placet_model::{ProcessName, visible};
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::ballot::{End, Key};
use super::frame::{self, FrameError, Frames};
use super::listener::{Bucket, Peer};
use super::look::{Seen, look};
use super::message::{About, Call, CallError, Done, Event, FollowCall, Opened, Register, reply};
use super::state::Shared;

/// Calls of one connection a second, and at once. A process makes a handful for each change.
const CALLS: (f64, f64) = (100.0, 200.0);

/// The longest name that a client may give itself, in characters.
const MOST_CLIENT: usize = 64;

struct Connection {
    shared: Arc<Shared>,
    key: Key,
    id: u64,
    stream: UnixStream,
    frames: Frames,
    bucket: Bucket,
    end: End,
}

/// What a call is answered with.
enum Reply {
    Seen(Seen),
    /// Events from now on.
    Events(mpsc::Receiver<Event>),
}

/// Serves a process until either side ends it.
pub(super) async fn serve(
    shared: Arc<Shared>,
    process: ProcessName,
    peer: Peer,
    stream: UnixStream,
) {
    let id = shared.lock().number();
    let mut connection = Connection {
        id,
        shared,
        key: (process, peer.pid),
        stream,
        frames: Frames::default(),
        bucket: Bucket::new(CALLS),
        end: End::Gone,
    };
    let end = tokio::select! {
        end = connection.run() => end,
        () = has_ended(peer.pidfd) => End::Gone,
    };
    connection.end = end;
}

/// Returns when the process has ended; never, where the kernel cannot tell.
async fn has_ended(pidfd: Option<OwnedFd>) {
    match pidfd.and_then(watched) {
        Some(pidfd) if pidfd.readable().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

#[expect(
    unsafe_code,
    reason = "a pidfd becomes readable; tokio has no type of its own for it"
)]
fn watched(pidfd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` has the same descriptor, open, for as long as it lives.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.ok()
}

impl Connection {
    async fn run(&mut self) -> End {
        loop {
            let call = match self.frames.next(&mut self.stream).await {
                Ok(Some(message)) => self.parse(&message),
                Ok(None) => return End::Gone,
                Err(error) => return self.failed(&error),
            };
            let call = match call {
                Ok(call) => call,
                Err(why) => return self.broken(why),
            };
            let oneway = call.oneway;
            let (message, file) = match self.handle(call) {
                Ok(Reply::Events(events)) => return self.stream_events(events).await,
                Ok(Reply::Seen(Seen::Parameters(parameters))) => (reply(&parameters), None),
                Ok(Reply::Seen(Seen::File(parameters, file))) => (reply(&parameters), Some(file)),
                Err(error) => {
                    let (process, pid) = &self.key;
                    tracing::debug!(%process, pid, error = error.name(), "refused a call");
                    (error.to_message(), None)
                }
            };
            if oneway {
                continue;
            }
            if let Err(error) = frame::write(&self.stream, message, file.as_ref()).await {
                return self.failed(&error);
            }
        }
    }

    /// Writes events until the process hangs up, stops reading, or says anything.
    async fn stream_events(&mut self, mut events: mpsc::Receiver<Event>) -> End {
        loop {
            // Both arms are cancel safe.
            let event = tokio::select! {
                event = events.recv() => event,
                said = self.frames.next(&mut self.stream) => return match said {
                    Ok(None) => End::Gone,
                    Ok(Some(_)) => self.broken("it made a call on the connection that it watches".to_owned()),
                    Err(error) => self.failed(&error),
                },
            };
            let Some(event) = event else {
                self.log("it does not read its events, or watches on another connection");
                return End::Silent;
            };
            if let Err(error) = frame::write(&self.stream, event.to_message(), None).await {
                return self.failed(&error);
            }
        }
    }

    fn parse(&mut self, message: &[u8]) -> Result<Call, String> {
        if !self.bucket.take() {
            let (rate, burst) = CALLS;
            return Err(format!(
                "it made more than {rate} calls a second, or {burst} at once"
            ));
        }
        serde_json::from_slice(message).map_err(|error| {
            let error = error.to_string();
            format!(
                "it sent something that is not a varlink call: {}",
                visible(&error)
            )
        })
    }

    fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let state = || self.shared.lock();
        let parameters = match call.method.as_str() {
            "dev.placet.Vote.Register" => self.register(call.parameters()?)?,
            "dev.placet.Vote.Watch" if !call.more => return Err(CallError::expected_more()),
            "dev.placet.Vote.Watch" => {
                return state().watch(&self.key, self.id).map(Reply::Events);
            }
            "dev.placet.Vote.Vote" => {
                let vote = call.parameters()?;
                state().vote(&self.key, vote)?;
                json!({})
            }
            "dev.placet.Vote.Ready" => {
                let About { change_digest } = call.parameters()?;
                state().ready(&self.key, &change_digest)?;
                json!({})
            }
            "dev.placet.Vote.Done" => {
                let done: Done = call.parameters()?;
                state().done(&self.key, &done.change_digest, done.outcome)?;
                json!({})
            }
            "dev.placet.Vote.Opened" => {
                let Opened { libraries } = call.parameters()?;
                state().add(&self.key, self.id, &libraries, Vec::new())?;
                json!({})
            }
            "dev.placet.Vote.Follow" => {
                let FollowCall { modules } = call.parameters()?;
                state().add(&self.key, self.id, &[], modules)?;
                json!({})
            }
            _ => return look(&self.shared, call).map(Reply::Seen),
        };
        Ok(Reply::Seen(Seen::Parameters(parameters)))
    }

    fn register(&self, parameters: Register) -> Result<Value, CallError> {
        let client = parameters.client.unwrap_or_default();
        if client.chars().count() > MOST_CLIENT {
            let message = format!("expected at most {MOST_CLIENT} characters");
            return Err(CallError::refused("client", message));
        }
        let (process, pid) = &self.key;
        let mut state = self.shared.lock();
        state.register(&self.key, self.id);
        let opened = parameters.opened.unwrap_or_default();
        let follows = parameters.follows.unwrap_or_default();
        state.add(&self.key, self.id, &opened, follows)?;
        if let Some(notices) = parameters.notices {
            state.set_notices(&self.key, self.id, notices)?;
        }
        drop(state);
        tracing::debug!(%process, pid, client = %visible(&client), "registered");
        Ok(json!({"process": process, "pid": pid}))
    }

    fn failed(&self, error: &FrameError) -> End {
        match error {
            FrameError::Socket(_) => End::Gone,
            FrameError::Unread => {
                self.log(error);
                End::Silent
            }
            FrameError::TooLong => self.broken(error.to_string()),
        }
    }

    fn broken(&self, why: String) -> End {
        self.log(&why);
        End::Broken(why)
    }

    fn log(&self, why: impl std::fmt::Display) {
        let (process, pid) = &self.key;
        tracing::warn!(%process, pid, "closed a vote connection: {why}");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.disconnected(&self.key, self.id, &self.end);
    }
}
