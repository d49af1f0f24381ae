//! What every gRPC client and server of Placet has in common: limits, keepalive, envelopes.

use std::time::Duration;

use placet_model::{NodeName, visible};
use serde::de::DeserializeOwned;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};

use crate::Peer;
use crate::wire::admin_client::AdminClient;
use crate::wire::admin_server::{Admin, AdminServer};
use crate::wire::join_server::{Join, JoinServer};
use crate::wire::nodes_client::NodesClient;
use crate::wire::nodes_server::{Nodes, NodesServer};

/// The largest message that either end takes. The largest there is carries the manifest of a node:
/// some 300 bytes for each of its modules.
pub const MESSAGE_MOST: usize = 16 * 1024 * 1024;

/// Whoever joins is a stranger; a request takes less than 1 kB.
const JOIN_MOST: usize = 64 * 1024;

/// A connection that is silent for this long is asked whether it is still there …
const KEEPALIVE: Duration = Duration::from_secs(5);

/// … and has this long to answer: a lost connection is noticed within 10 s.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);

/// A node has one session and fetches a few modules at a time.
const STREAMS: u32 = 128;

const HEADERS_MOST: u32 = 16 * 1024;

/// A server with keepalive and limits set; add services to it, then serve [`crate::incoming`] or
/// [`crate::admin_incoming`].
pub fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .http2_max_header_list_size(HEADERS_MOST)
        .max_concurrent_streams(STREAMS)
}

/// Says that a controller does not lead.
const NOT_LEADER: &str = "placet-not-leader";

/// What a controller answers that does not lead: whoever asks tries the next address.
pub fn not_leader() -> Status {
    let mut status = Status::unavailable("this controller does not lead; another one does");
    status
        .metadata_mut()
        .insert(NOT_LEADER, tonic::metadata::MetadataValue::from_static("1"));
    status
}

/// True for the answer of [`not_leader`].
pub fn is_not_leader(status: &Status) -> bool {
    status.metadata().contains_key(NOT_LEADER)
}

pub(crate) fn endpoint() -> Endpoint {
    // Whom one speaks to is settled by the connector; HTTP/2 just wants a name.
    Endpoint::from_static("http://placet")
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .keep_alive_while_idle(true)
}

/// `service` as a server with the limit for strangers.
pub fn join_server<S: Join>(service: S) -> JoinServer<S> {
    JoinServer::new(service).max_decoding_message_size(JOIN_MOST)
}

/// `service` as a server with [`MESSAGE_MOST`].
pub fn nodes_server<S: Nodes>(service: S) -> NodesServer<S> {
    NodesServer::new(service)
        .max_decoding_message_size(MESSAGE_MOST)
        .max_encoding_message_size(MESSAGE_MOST)
}

/// `service` as a server with [`MESSAGE_MOST`].
pub fn admin_server<S: Admin>(service: S) -> AdminServer<S> {
    AdminServer::new(service)
        .max_decoding_message_size(MESSAGE_MOST)
        .max_encoding_message_size(MESSAGE_MOST)
}

/// A client of the service for nodes with [`MESSAGE_MOST`].
pub fn nodes_client(channel: Channel) -> NodesClient<Channel> {
    NodesClient::new(channel)
        .max_decoding_message_size(MESSAGE_MOST)
        .max_encoding_message_size(MESSAGE_MOST)
}

/// A client of the service for the command line with [`MESSAGE_MOST`].
pub fn admin_client(channel: Channel) -> AdminClient<Channel> {
    AdminClient::new(channel)
        .max_decoding_message_size(MESSAGE_MOST)
        .max_encoding_message_size(MESSAGE_MOST)
}

/// The node that makes the request, by its certificate: the only name that a node can speak for.
pub fn peer_node<T>(request: &Request<T>) -> Result<NodeName, Status> {
    request
        .extensions()
        .get::<Peer>()
        .and_then(|peer| peer.node.clone())
        .ok_or_else(|| {
            Status::unauthenticated(
                "this needs the client certificate of a node; join first, with a token made by `placet node token`",
            )
        })
}

/// The value that an envelope carries as JSON; `what` names it for whoever reads the error.
pub fn json<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Status> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        Status::invalid_argument(format!("the {what} cannot be read: {}", visible(&text)))
    })
}

#[cfg(test)]
mod tests {
    use super::json;
    use placet_model::NodeName;

    #[test]
    fn json_is_checked_as_the_model_checks_it() {
        assert!(json::<NodeName>(b"\"core-1\"", "name").is_ok());
        for bytes in [&b""[..], b"\"Core\"", b"\xff", b"\"a\" b", b"null"] {
            let status = json::<NodeName>(bytes, "name").expect_err("refused");
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().starts_with("the name cannot be read: "));
        }
        let deep = "[".repeat(100_000);
        assert!(json::<serde_json::Value>(deep.as_bytes(), "value").is_err());
    }
}
