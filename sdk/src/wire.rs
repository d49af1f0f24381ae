//! Events as they travel.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::{Event, Outcome, Proposal};

/// An event as it travels.
#[derive(Deserialize)]
#[serde(
    tag = "event",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(crate) enum Wire {
    Watching,
    Proposed(Proposal),
    Released {
        change_digest: String,
        reason: String,
    },
    Prepare {
        change_digest: String,
        seconds: u64,
    },
    Changed {
        change_digest: String,
        outcome: Outcome,
        seconds: u64,
    },
    Began {
        change_digest: String,
        rollout: String,
    },
    Ended {
        change_digest: String,
        outcome: Outcome,
    },
    /// Of a later version of the interface.
    #[serde(other)]
    Other,
}

impl Wire {
    /// What of it the process has to know of.
    pub(crate) fn event(self) -> Option<Event> {
        Some(match self {
            Self::Watching | Self::Other => return None,
            Self::Proposed(proposal) => Event::Proposed(proposal),
            Self::Released {
                change_digest,
                reason,
            } => Event::Released {
                change_digest,
                reason,
            },
            Self::Prepare {
                change_digest,
                seconds,
            } => Event::Prepare {
                change_digest,
                within: Duration::from_secs(seconds),
            },
            Self::Changed {
                change_digest,
                outcome,
                seconds,
            } => Event::Changed {
                change_digest,
                outcome,
                within: Duration::from_secs(seconds),
            },
            Self::Began {
                change_digest,
                rollout,
            } => Event::Began {
                change_digest,
                rollout,
            },
            Self::Ended {
                change_digest,
                outcome,
            } => Event::Ended {
                change_digest,
                outcome,
            },
        })
    }
}

/// A time that travels in whole seconds.
pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}
