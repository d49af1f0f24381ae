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
    /// What it is good for.
    pub usage: TokenUsage,
}

/// What a join token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenUsage {
    /// It works once.
    Once {
        /// Whether the node may take the place of one that has joined under that name.
        replace: bool,
    },
    /// It works whenever the node starts, for nodes that store nothing and so come without a
    /// certificate (S1).
    EveryBoot,
}

impl TokenUsage {
    /// What people ask for; a token for every boot replaces the node anyway.
    pub fn of(replace: bool, every_boot: bool) -> Self {
        if every_boot {
            Self::EveryBoot
        } else {
            Self::Once { replace }
        }
    }

    /// True if a node of that name may have joined before.
    pub(super) fn may_replace(self) -> bool {
        matches!(self, Self::Once { replace: true } | Self::EveryBoot)
    }

    /// For how long a token is good that nobody asked a time for.
    fn seconds(self) -> u32 {
        const HOUR: u32 = 3_600;
        match self {
            Self::Once { .. } => HOUR,
            Self::EveryBoot => 365 * 24 * HOUR,
        }
    }
}

impl NewToken {
    /// A token for the controller with this pin, and what a home keeps of it. It can be used for
    /// `seconds`; if 0, for an hour, and for a year if it works more than once.
    pub fn make(pin: Pin, node: NodeName, seconds: u32, usage: TokenUsage) -> (Token, Self) {
        let seconds = if seconds == 0 {
            usage.seconds()
        } else {
            seconds
        };
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
            usage,
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
