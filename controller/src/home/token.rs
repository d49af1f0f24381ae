//! Join tokens, as both homes keep them.

use jiff::{SignedDuration, Timestamp};
use placet_model::{Digest, NodeName};
use placet_protocol::{Pin, Token, TokenRefusal};

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

/// A token that nobody asked a time for is good for an hour.
const TOKEN_SECONDS: u32 = 3_600;

impl NewToken {
    /// A token for the controller with this pin, and what a home keeps of it. It can be used for
    /// `seconds`, an hour if 0.
    pub fn make(pin: Pin, node: NodeName, seconds: u32, replace: bool) -> (Token, Self) {
        let seconds = if seconds == 0 { TOKEN_SECONDS } else { seconds };
        let valid = SignedDuration::from_secs(seconds.into());
        let token = Token::generate(pin);
        let kept = Self {
            id: token.id.clone(),
            secret_hash: token.secret.hash(),
            node,
            // The calendar goes on for longer than any number of seconds here.
            expires: Timestamp::now()
                .saturating_add(valid)
                .unwrap_or(Timestamp::MAX),
            replace,
        };
        (token, kept)
    }
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
