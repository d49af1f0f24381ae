//! Calls that look and change nothing: what the service is, and what is known of a change and of a
//! module. Processes of the service may make them, and so may guests: people who look on by hand.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use placet_model::{ModulePath, ProcessName};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::frame::{self, Frames};
use super::listener::{Bucket, Peer};
use super::message::{About, Call, CallError, GetUsers, get_description, get_info, reply};
use super::state::Shared;

/// How long a guest may take to say what it wants before it is sent away unheard.
const GUEST: Duration = Duration::from_secs(2);

/// Calls of one guest a second, and at once.
const CALLS: (f64, f64) = (10.0, 20.0);

/// What a look is answered with.
pub(super) enum Seen {
    Parameters(Value),
    /// Parameters and a file descriptor.
    File(Value, OwnedFd),
}

/// Answers a call that changes nothing.
pub(super) fn look(shared: &Shared, call: Call) -> Result<Seen, CallError> {
    let parameters = match call.method.as_str() {
        "dev.placet.Vote.GetChangeSet" => return change_set(shared, &call.parameters()?),
        "dev.placet.Vote.GetUsers" => {
            let GetUsers { module } = call.parameters()?;
            let module: ModulePath = module
                .parse()
                .map_err(|error| CallError::refused("module", format!("{error}")))?;
            json!({"processes": shared.lock().users(&module)})
        }
        "org.varlink.service.GetInfo" => get_info(),
        "org.varlink.service.GetInterfaceDescription" => get_description(call)?,
        other => return Err(CallError::unknown_method(other)),
    };
    Ok(Seen::Parameters(parameters))
}

/// In the reply where it fits, as a file otherwise.
fn change_set(shared: &Shared, about: &About) -> Result<Seen, CallError> {
    let text = shared.lock().change_set(&about.change_digest)?;
    let size = text.len();
    // What surrounds it in the reply is far shorter than this.
    if size + 256 <= frame::MOST {
        let change_set: Value =
            serde_json::from_slice(&text).expect("we wrote this JSON ourselves");
        return Ok(Seen::Parameters(
            json!({"changeSet": change_set, "size": size}),
        ));
    }
    let file = frame::sealed_file(&text).map_err(|error| {
        let message = format!("the change set has {size} bytes and {error}");
        CallError::refused("changeDigest", message)
    })?;
    let parameters = json!({"size": size, "changeSetFileDescriptor": 0});
    Ok(Seen::File(parameters, file))
}

/// Serves somebody who is no process of the service: anybody may ask what the service is, root and
/// the daemon's own user may look at what it knows. Whoever wants more is told that this is not its
/// socket, and sent away.
pub(super) async fn serve_guest(
    shared: Arc<Shared>,
    process: ProcessName,
    peer: Peer,
    mut stream: UnixStream,
) {
    let (mut frames, mut bucket) = (Frames::default(), Bucket::new(CALLS));
    while bucket.take() {
        let heard = tokio::time::timeout(GUEST, frames.next(&mut stream)).await;
        let Ok(Ok(Some(message))) = heard else {
            return;
        };
        let Ok(call) = serde_json::from_slice::<Call>(&message) else {
            return;
        };
        if !may_look(&call, &peer) {
            let pid = peer.pid;
            tracing::warn!(%process, pid, "refused a vote connection: the process does not belong to the service");
            let error = CallError::of("NotYours", json!({"pid": pid}));
            // It is sent away whether it reads this or not.
            let _ = frame::write(&stream, error.to_message(), None).await;
            return;
        }
        let (message, file) = match look(&shared, call) {
            Ok(Seen::Parameters(parameters)) => (reply(&parameters), None),
            Ok(Seen::File(parameters, file)) => (reply(&parameters), Some(file)),
            Err(error) => (error.to_message(), None),
        };
        if frame::write(&stream, message, file.as_ref()).await.is_err() {
            return;
        }
    }
}

fn may_look(call: &Call, peer: &Peer) -> bool {
    match call.method.as_str() {
        "dev.placet.Vote.GetChangeSet" | "dev.placet.Vote.GetUsers" => peer.is_in_charge(),
        // Methods that do not exist are answered with an error that says so.
        method => !method.starts_with("dev.placet."),
    }
}
