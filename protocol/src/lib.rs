//! The wire between controller, nodes and command line: gRPC messages and mutual TLS.
//!
//! A node dials the controller. At first contact it has a join token ([`Token`]) and no
//! certificate: [`join`] finds the controller's authority by the pin in the token, within the TLS
//! handshake, and only then shows the secret. What it gets is an [`Identity`], a short-lived client
//! certificate that names the node; with it the node [`connect`]s and [`renew`]s. The controller
//! has an [`Authority`], serves [`incoming`] connections and knows who calls by [`peer_node`]. The
//! command line uses a socket that only its owner can open ([`admin_connect`]).
//!
//! Envelopes are thin: what they carry is canonical JSON of the model's types, read with [`json`].
//!
//! **Invariant:** a node's name is read from its certificate, never from a message. **Invariant:**
//! a connection ends when the certificate of its client does. **Invariant:** a private key never
//! leaves the machine that made it.

mod accept;
mod admin;
mod authority;
mod certificate;
mod client;
mod dial;
mod error;
mod files;
mod grpc;
mod identity;
mod pemfile;
mod refusal;
mod server;
mod spoken;
mod tls;
mod token;

pub use admin::{
    AdminConnection, AdminError, AdminIncoming, AdminPeer, admin_connect, admin_incoming,
};
pub use authority::{Authority, AuthorityError};
pub use client::{connect, join, join_as_pod, renew};
pub use error::Error;
pub use files::FileError;
pub use grpc::{
    MESSAGE_MOST, admin_client, admin_server, is_not_leader, join_server, json, nodes_client,
    nodes_server, not_leader, peer_node, server,
};
pub use identity::{Identity, IdentityError};
pub use refusal::TokenRefusal;
pub use server::{Incoming, Limits, Peer, TlsConnection, incoming, incoming_with};
pub use spoken::{Apart, SPOKEN, Side, Spoken};
pub use token::{Pin, PinError, Secret, Token, TokenError, same_digest, secret_hash};

/// The messages and services of `proto/placet.proto`.
#[expect(
    missing_docs,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the .proto file documents it"
)]
pub mod wire {
    tonic::include_proto!("placet.v1");
}
