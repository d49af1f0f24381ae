//! Join tokens, as both homes keep them.

use jiff::Timestamp;
use placet_model::{Digest, NodeName};
use placet_protocol::TokenRefusal;

use super::HomeError;

/// A join token that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its public part.
    pub id: String,
    /// SHA-256 of its secret part, which itself is kept nowhere.
    pub secret_hash: Digest,
    /// The node that may join with it.
    pub node: NodeName,
    /// When it ceases to work.
    pub expires: Timestamp,
    /// Whether the node may take the place of one that has joined under that name.
    pub replace: bool,
}

/// Why a token was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeTokenError {
    /// It is not good; the client may be told.
    #[error(transparent)]
    Refused(#[from] TokenRefusal),
    /// The home failed.
    #[error(transparent)]
    Home(#[from] HomeError),
}
