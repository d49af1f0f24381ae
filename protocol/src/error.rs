//! What may go wrong between a node and its controller, as the node sees it.

use std::io;

use placet_model::{NodeName, visible};

use crate::authority::AuthorityError;
use crate::identity::IdentityError;
use crate::{Pin, TokenRefusal};

/// Why a node could not join, connect or renew.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to connect to.
    #[error("no address of a controller is given; name one as HOST:PORT")]
    NoAddress,
    /// An address that is none.
    #[error("`{0}` is not an address; write HOST:PORT or [IPv6]:PORT")]
    Address(String),
    /// No connection.
    #[error("failed to connect to the controller at `{address}`")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The handshake failed in a way that has no variant of its own.
    #[error("failed to set up TLS with `{address}`; is a Placet controller listening there?")]
    Handshake {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The controller's key is not vouched for by the expected authority.
    #[error(
        "the controller at `{address}` has the authority {presented}, not {expected}; nothing secret was sent to it. \
         Check the address; if the controller was set up anew, make a token there (`placet node token`) and join again"
    )]
    OtherAuthority {
        /// Where.
        address: String,
        /// The authority that the token or the identity names.
        expected: Pin,
        /// The one that the controller shows, as far as it can be read.
        presented: String,
    },
    /// The controller's certificate is for other names than the one that was dialled.
    #[error(
        "the certificate of the controller at `{address}` is not for that name; use an address that the controller was started with, or start it with this name too"
    )]
    OtherName {
        /// Where.
        address: String,
        /// What it is for.
        source: io::Error,
    },
    /// The controller does not take this node's certificate.
    #[error(
        "the controller at `{address}` refused this node's certificate; if it has expired or the node was removed, join again with a new token (`placet node token`)"
    )]
    CertificateRefused {
        /// Where.
        address: String,
        /// What it said.
        source: io::Error,
    },
    /// None of several addresses works.
    #[error("failed to reach a controller at any address: {}", attempts.join("; "))]
    Unreachable {
        /// What happened at each.
        attempts: Vec<String>,
    },
    /// HTTP/2 could not be started over the connection.
    #[error("failed to start the session with the controller")]
    Channel(#[source] tonic::transport::Error),
    /// The controller refused the join token.
    #[error(
        "node `{node}` cannot join: {refusal}; a new token is made by `placet node token {node}`"
    )]
    Token {
        /// The name that was asked for.
        node: NodeName,
        /// Why.
        refusal: TokenRefusal,
    },
    /// A call failed for another reason.
    #[error("failed to {what}: the controller answered: {}", visible(status.message()))]
    Call {
        /// What was attempted.
        what: &'static str,
        /// What the controller said.
        status: tonic::Status,
    },
    /// The controller did not answer in time.
    #[error("failed to {what}: the controller did not answer within {seconds} s")]
    Silent {
        /// What was attempted.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] AuthorityError),
    /// TLS could not be set up.
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
    /// The certificate that came back cannot be used, or not be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// An error with all its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
