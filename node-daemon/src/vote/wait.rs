//! Waiting for a process to be prepared for a change, or to be done with one.

use std::collections::BTreeSet;
use std::sync::Arc;

use placet_model::{Digest, ProcessName};
use tokio::sync::Notify;

use super::Outcome;
use super::state::Shared;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// That the process is ready for a change.
    Prepare,
    /// That it has handled one, which ended so.
    Changed(Outcome),
}

/// A wait by what it is for. There is one at a time.
pub(super) type WaitKey = (ProcessName, Digest, StageName);

/// [`Stage`] without what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StageName {
    /// See [`Stage::Prepare`].
    Prepare,
    /// See [`Stage::Changed`].
    Changed,
}

impl From<Stage> for StageName {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Prepare => Self::Prepare,
            Stage::Changed(_) => Self::Changed,
        }
    }
}

/// A wait as the state holds it.
#[derive(Debug)]
pub(super) struct Wait {
    /// Tells it from an earlier wait for the same.
    pub(super) number: u64,
    /// Processes that have not said it.
    pub(super) pending: BTreeSet<u32>,
    /// True if one of them asked for the default.
    pub(super) asks_default: bool,
    /// Rung when one says it.
    pub(super) news: Arc<Notify>,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Every process said it, or is gone.
    Said {
        /// True if one asked for the default.
        asks_default: bool,
    },
    /// Its time is over, or somebody else waits for the same now.
    TimedOut,
    /// There is no process to wait for.
    NotRegistered,
}

/// A wait as the waiter holds it; dropping it ends the wait.
pub(super) struct Waiting {
    pub(super) shared: Arc<Shared>,
    pub(super) key: WaitKey,
    pub(super) number: u64,
    pub(super) news: Arc<Notify>,
}

impl Waiting {
    /// How it ended; `None` while it has not.
    pub(super) fn ended(&self) -> Option<Ended> {
        let state = self.shared.lock();
        match state.waits.get(&self.key) {
            Some(wait) if wait.number == self.number => {
                wait.pending.is_empty().then_some(Ended::Said {
                    asks_default: wait.asks_default,
                })
            }
            _ => Some(Ended::TimedOut),
        }
    }

    /// Returns when it is worth asking [`Self::ended`] again.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state
            .waits
            .get(&self.key)
            .is_some_and(|wait| wait.number == self.number)
        {
            state.waits.remove(&self.key);
        }
    }
}
