//! The home: where everything that matters is kept, durably, before it is acted on.
//!
//! There are two: [`Embedded`], one `SQLite` database for a controller on one machine, and
//! [`Kubernetes`], the custom resources of an API server. Both keep to the words of the API server:
//! a resource has a `generation` that changes with its spec alone, a `resourceVersion` that changes
//! with everything, and a status that is written apart from the spec.
//!
//! **Invariant:** what a method has acknowledged survives `kill -9` and a power cut.
//!
//! All methods block, and are meant for `spawn_blocking` or a thread of their own.

pub mod embedded;
mod error;
pub mod kubernetes;
mod stored;
mod token;
mod write;

use std::collections::BTreeSet;

use jiff::Timestamp;
use placet_crds::Object;
use placet_model::NodeName;
use placet_protocol::TokenRefusal;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc};

pub use embedded::Embedded;
pub use error::HomeError;
pub use kubernetes::Kubernetes;
pub use stored::{Applied, Changed, Owner, Stored, StoredEvent};
pub use token::{NewToken, TakeTokenError, TokenUsage};
pub use write::{Committed, Refused, Write, Written};

/// How many events are read at once.
pub const EVENTS_AT_ONCE: u32 = 256;

/// How many announcements a watcher may be behind before it is told that it lagged.
const WATCH_BUFFER: usize = 4_096;

/// A home of either kind. Clones share it.
#[derive(Debug, Clone)]
pub enum Home {
    /// One database on this machine.
    Embedded(Embedded),
    /// The custom resources of an API server.
    Kubernetes(Kubernetes),
}

/// A resource as a home that others write to has it now.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// It is there, like this.
    Is(Box<Stored>),
    /// It is gone.
    Gone {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl Home {
    /// Raised with every controller that comes to act: orders of an earlier one carry a lower
    /// number, and nodes refuse them.
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Embedded(home) => home.epoch(),
            Self::Kubernetes(home) => home.epoch(),
        }
    }

    /// Makes all of `writes` durable, in order; of the statuses of one object the last one counts.
    ///
    /// # Guarantees
    ///
    /// The embedded home does all or nothing. On Kubernetes, where there are no transactions, the
    /// order is such that a controller which is killed in between leaves nothing behind that its
    /// successor would misread: objects, then what nodes said, then what follows from it. A write
    /// that the API server refuses for good is reported, and the others go on.
    pub fn commit(&self, writes: &[Write]) -> Result<Committed, HomeError> {
        match self {
            Self::Embedded(home) => home.commit(writes),
            Self::Kubernetes(home) => home.commit(writes),
        }
    }

    /// All resources of `kind`, by name.
    pub fn list(&self, kind: &str) -> Result<Vec<Stored>, HomeError> {
        match self {
            Self::Embedded(home) => home.list(kind),
            Self::Kubernetes(home) => home.list(kind),
        }
    }

    /// One resource.
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Stored>, HomeError> {
        match self {
            Self::Embedded(home) => home.get(kind, name),
            Self::Kubernetes(home) => home.get(kind, name),
        }
    }

    /// Makes a resource or changes its spec, labels and annotations; its status is left alone.
    /// What is there already as it is, is not written.
    ///
    /// # Errors
    ///
    /// [`HomeError::Conflict`] where `object` carries a `resourceVersion` that is not the one of
    /// the resource; [`HomeError::OwnedElsewhere`] where another repository declares it;
    /// [`HomeError::Refused`] where a rule of the kind is broken.
    pub fn apply(&self, object: &Object, owner: &Owner) -> Result<Applied, HomeError> {
        match self {
            Self::Embedded(home) => home.apply(object, owner),
            Self::Kubernetes(home) => home.apply(object, owner),
        }
    }

    /// Writes the status of a resource and returns the version that it has then; what is there
    /// already as it is, is not written. With `expected`, only if the resource has that version.
    ///
    /// # Errors
    ///
    /// [`HomeError::NotFound`], [`HomeError::Conflict`].
    pub fn set_status(
        &self,
        kind: &str,
        name: &str,
        expected: Option<u64>,
        status: &Value,
    ) -> Result<u64, HomeError> {
        match self {
            Self::Embedded(home) => home.set_status(kind, name, expected, status),
            Self::Kubernetes(home) => home.set_status(kind, name, expected, status),
        }
    }

    /// Deletes a resource; false where there is none.
    pub fn delete(&self, kind: &str, name: &str) -> Result<bool, HomeError> {
        match self {
            Self::Embedded(home) => home.delete(kind, name),
            Self::Kubernetes(home) => home.delete(kind, name),
        }
    }

    /// Tells of every change of a resource after it is durable. Who lags behind reads everything
    /// anew.
    pub fn watch(&self) -> broadcast::Receiver<Changed> {
        match self {
            Self::Embedded(home) => home.watch(),
            Self::Kubernetes(home) => home.watch(),
        }
    }

    /// What others than this controller write, from the time that it was listed; none for a home
    /// that nobody else writes to, and none for the second who asks.
    pub fn seen(&self) -> Option<mpsc::Receiver<Vec<Seen>>> {
        match self {
            Self::Embedded(_) => None,
            Self::Kubernetes(home) => home.seen(),
        }
    }

    /// The first [`EVENTS_AT_ONCE`] events after number `since` that are kept, in order: those of
    /// `rollout`, or all where it is empty. Whoever wants more asks again from the last one on, so
    /// that those who write are not kept waiting by those who read.
    pub fn events(&self, since: u64, rollout: &str) -> Result<Vec<StoredEvent>, HomeError> {
        match self {
            Self::Embedded(home) => home.events(since, rollout),
            Self::Kubernetes(home) => Ok(home.events(since, rollout)),
        }
    }

    /// Tells of every event after it is durable. Who lags behind asks [`Home::events`].
    pub fn watch_events(&self) -> broadcast::Receiver<StoredEvent> {
        match self {
            Self::Embedded(home) => home.watch_events(),
            Self::Kubernetes(home) => home.watch_events(),
        }
    }

    /// Keeps a token that was just made.
    ///
    /// # Errors
    ///
    /// [`HomeError::NameTaken`] where a node of that name has joined and the token does not
    /// replace it.
    pub fn create_token(&self, token: &NewToken) -> Result<(), HomeError> {
        match self {
            Self::Embedded(home) => home.create_token(token),
            Self::Kubernetes(home) => home.create_token(token),
        }
    }

    /// Takes a token in exchange for a certificate: of all who show it, one gets an `Ok`, ever.
    /// What is refused is not used up.
    pub fn take_token(
        &self,
        id: &str,
        secret: &str,
        node: &NodeName,
        now: Timestamp,
    ) -> Result<(), TakeTokenError> {
        match self {
            Self::Embedded(home) => home.take_token(id, secret, node, now),
            Self::Kubernetes(home) => home.take_token(id, secret, node, now),
        }
    }

    /// Whether a service account's token is that of a pod of the node daemon on the cluster node
    /// of this name.
    ///
    /// # Errors
    ///
    /// It is not; on the embedded home no token is.
    pub fn review(&self, token: &str, node: &NodeName) -> Result<(), TakeTokenError> {
        match self {
            Self::Embedded(_) => Err(TokenRefusal::Wrong.into()),
            Self::Kubernetes(home) => home.review(token, node),
        }
    }

    /// Nodes that bought a certificate and of which nothing else may be known yet.
    pub fn members(&self) -> Result<BTreeSet<NodeName>, HomeError> {
        match self {
            Self::Embedded(home) => home.members(),
            // A node that bought its certificate at the very end of a controller says Hello soon.
            Self::Kubernetes(_) => Ok(BTreeSet::new()),
        }
    }
}

impl From<Embedded> for Home {
    fn from(home: Embedded) -> Self {
        Self::Embedded(home)
    }
}

impl From<Kubernetes> for Home {
    fn from(home: Kubernetes) -> Self {
        Self::Kubernetes(home)
    }
}
