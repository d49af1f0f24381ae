//! The embedded home: resources, events and join tokens in one `SQLite` database.
//!
//! People may read the database with `sqlite3` while the controller runs. A transaction is there as
//! a whole or not at all, and is announced to watchers only after it is durable.

mod backup;
mod events;
mod objects;
mod open;
mod tokens;

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use placet_crds::Object;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::Value;
use tokio::sync::broadcast;

pub use backup::{back_up, restore};
pub use events::EVENTS_MAX;

use super::{
    Applied, Changed, Committed, HomeError, Owner, Stored, StoredEvent, WATCH_BUFFER, Write,
};

/// The embedded home. Clones share one database.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    connection: Mutex<Connection>,
    changed: broadcast::Sender<Changed>,
    events: broadcast::Sender<StoredEvent>,
    epoch: u64,
    /// Held for as long as the database is open.
    _lock: File,
}

/// Several reads and writes that become durable together or not at all.
#[derive(Debug)]
pub struct Batch<'home> {
    transaction: rusqlite::Transaction<'home>,
    now: Timestamp,
    changed: Vec<Changed>,
    events: Vec<StoredEvent>,
}

impl Embedded {
    /// Opens the database of the state folder `state`, and makes it where there is none:
    /// `<state>/home/placet.db`, mode 0600 in a folder of mode 0700. Raises the epoch.
    ///
    /// # Errors
    ///
    /// Another controller uses the folder ([`HomeError::InUse`]); the database cannot be read or is
    /// of a newer version.
    pub fn open(state: &Path) -> Result<Self, HomeError> {
        let open::Opened {
            connection,
            epoch,
            lock,
        } = open::open(&state.join("home"))?;
        Ok(Self(Arc::new(Inner {
            connection: Mutex::new(connection),
            changed: broadcast::channel(WATCH_BUFFER).0,
            events: broadcast::channel(WATCH_BUFFER).0,
            epoch,
            _lock: lock,
        })))
    }

    /// How often this database was opened: orders of an earlier controller carry a lower number.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Does `work` in one transaction. When `work` fails, nothing of it is there.
    ///
    /// # Assumptions
    ///
    /// `work` uses its [`Batch`] alone: calling a method of [`Embedded`] inside would wait for ever.
    pub fn transaction<T>(
        &self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, HomeError>,
    ) -> Result<T, HomeError> {
        self.within(TransactionBehavior::Immediate, work)
    }

    /// See [`Home::commit`](super::Home::commit).
    pub fn commit(&self, writes: &[Write]) -> Result<Committed, HomeError> {
        if !writes.is_empty() {
            self.transaction(|batch| writes.iter().try_for_each(|write| batch.write_one(write)))?;
        }
        Ok(Committed::default())
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, HomeError>,
    ) -> Result<T, HomeError> {
        self.within(TransactionBehavior::Deferred, work)
    }

    fn within<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, HomeError>,
    ) -> Result<T, HomeError> {
        let mut connection = self.connection();
        let transaction = connection
            .transaction_with_behavior(behavior)
            .map_err(HomeError::database("begin a transaction"))?;
        let mut batch = Batch {
            transaction,
            now: Timestamp::now(),
            changed: Vec::new(),
            events: Vec::new(),
        };
        let result = work(&mut batch)?;
        let Batch {
            transaction,
            changed,
            events,
            ..
        } = batch;
        transaction
            .commit()
            .map_err(HomeError::database("commit a transaction"))?;
        // Announced under the lock, so that watchers hear in the order of commits. That nobody
        // listens is no failure.
        for it in changed {
            let _ = self.0.changed.send(it);
        }
        for it in events {
            let _ = self.0.events.send(it);
        }
        Ok(result)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back: the connection is as good as before.
        self.0
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// All resources of `kind`, by name.
    pub fn list(&self, kind: &str) -> Result<Vec<Stored>, HomeError> {
        self.read(|batch| batch.list(kind))
    }

    /// One resource.
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Stored>, HomeError> {
        self.read(|batch| batch.get(kind, name))
    }

    /// See [`Batch::apply`].
    pub fn apply(&self, object: &Object, owner: &Owner) -> Result<Applied, HomeError> {
        self.transaction(|batch| batch.apply(object, owner))
    }

    /// See [`Batch::delete`].
    pub fn delete(&self, kind: &str, name: &str) -> Result<bool, HomeError> {
        self.transaction(|batch| batch.delete(kind, name))
    }

    /// See [`Batch::set_status`].
    pub fn set_status(
        &self,
        kind: &str,
        name: &str,
        expected: Option<u64>,
        status: &Value,
    ) -> Result<u64, HomeError> {
        self.transaction(|batch| batch.set_status(kind, name, expected, status))
    }

    /// Tells of every change of a resource after it is durable. Who lags behind reads everything
    /// anew.
    pub fn watch(&self) -> broadcast::Receiver<Changed> {
        self.0.changed.subscribe()
    }

    /// See [`Batch::append_event`].
    pub fn append_event(
        &self,
        event: &str,
        rollout: &str,
        data: &Value,
    ) -> Result<StoredEvent, HomeError> {
        self.transaction(|batch| batch.append_event(event, rollout, data))
    }

    /// The events after number `since`, in order: those of `rollout`, or all where it is empty.
    pub fn events(&self, since: u64, rollout: &str) -> Result<Vec<StoredEvent>, HomeError> {
        self.read(|batch| batch.events(since, rollout))
    }

    /// Tells of every event after it is durable. Who lags behind asks [`Embedded::events`].
    pub fn watch_events(&self) -> broadcast::Receiver<StoredEvent> {
        self.0.events.subscribe()
    }
}

impl Batch<'_> {
    fn write_one(&mut self, write: &Write) -> Result<(), HomeError> {
        match write {
            Write::Put { object, owner } => self.apply(object, owner).map(drop),
            Write::Remove { kind, name } => self.delete(kind, name).map(drop),
            Write::Status { kind, name, status } => {
                self.set_status(kind, name, None, status).map(drop)
            }
            Write::Event {
                name,
                rollout,
                data,
            } => self.append_event(name, rollout, data).map(drop),
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("epoch", &self.0.epoch)
            .finish_non_exhaustive()
    }
}
