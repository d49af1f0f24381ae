//! What runs, where that is not what is stored (C-D2).

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use placet_model::Digest;
use placet_protocol::wire::{self, InMemory};

use super::core::Core;
use super::drift;
use super::effects::log;
use super::machine::{Event, Limit, Moment, Test};
use crate::store::{self, Activating, Generation, Store, StoreError, since_boot};

/// A class may ask for a week.
const LIMIT_MOST: u32 = 604_800;

/// Where processes find the files of whatever generation runs, below the runtime folder.
pub(super) const RUNNING: &str = "running";

/// The store with its part in memory, which belongs to the keeper's `life`. What is left of an
/// earlier life is removed: a test ends with the processes that ran in it.
pub(super) fn with_memory(store: Store, root: &Path, life: &str) -> Store {
    match store.clone().with_memory(root, life) {
        Ok((store, None)) => store,
        Ok((store, Some(ended))) => {
            let generation = ended.generation;
            tracing::info!(
                "generation {generation} ran in test mode, which has ended with the restart: what is stored starts"
            );
            if ended.was_limited {
                log(forbid(&store, ended.manifest));
            }
            store
        }
        Err(error) => {
            tracing::warn!("nothing can run from memory only: {}", crate::Chain(&error));
            store
        }
    }
}

/// A test that came to its end is not begun again until somebody says so.
fn forbid(store: &Store, manifest: Digest) -> Result<(), StoreError> {
    let mut failed = store.failed()?;
    let why = "it ran in test mode, which ended with a restart of the node".to_owned();
    failed.insert(manifest, why);
    store.note_failed(&failed)
}

/// What runs, or is to be started, and the test that it runs in.
pub(super) fn running(store: &Store) -> Result<(Arc<Generation>, Option<Test>), StoreError> {
    let stored = Arc::new(drift::committed(store)?);
    let Some(test) = store.test() else {
        return Ok((stored, None));
    };
    match store.load(test.generation) {
        Ok(generation) => {
            let test = of_note(test, stored, Moment::ZERO);
            Ok((Arc::new(generation), Some(test)))
        }
        Err(error) => {
            tracing::error!(
                "what runs in test mode cannot be used, so that what is stored runs: {}",
                crate::Chain(&error)
            );
            store.end_test()?;
            Ok((stored, None))
        }
    }
}

/// A test as it was written down, seen at `now`.
pub(super) fn of_note(note: store::Test, stored: Arc<Generation>, now: Moment) -> Test {
    let left = |ends: Duration| ends.saturating_sub(since_boot());
    Test {
        stored,
        rollout: note.rollout,
        change_digest: note.change_digest,
        ends: note.ends.map(|ends| now + left(ends)),
    }
}

/// For how long an order has something run in test mode, if it does.
pub(super) fn limit(memory: Option<wire::Memory>) -> Option<Limit> {
    let limit = |seconds: u32| Duration::from_secs(seconds.min(LIMIT_MOST).into());
    memory.map(|it| (it.seconds > 0).then(|| limit(it.seconds)))
}

impl Core {
    /// Notes what is going on; the end of a test is written down by the clock of the machine.
    pub(super) fn note(&self, note: Option<Activating>) -> Result<(), StoreError> {
        let note = note.map(|note| Activating {
            from_test: note.from_test.map(|test| self.by_boot(test)),
            ..note
        });
        self.store.note_activating(note.as_ref())
    }

    /// A test as it is written down, its end by the clock that outlives this agent.
    fn by_boot(&self, test: store::Test) -> store::Test {
        let started = since_boot().saturating_sub(self.now());
        store::Test {
            ends: test.ends.map(|ends| ends + started),
            ..test
        }
    }

    /// Makes `stored` the committed generation, and has that of the test run.
    pub(super) fn commit(&mut self, stored: u64, test: Option<store::Test>) {
        let old = self.machine.current().number;
        let new = test.as_ref().map_or(stored, |test| test.generation);
        let result = self
            .swap(stored, test)
            .map_err(|error| crate::Chain(&error).to_string());
        if result.is_ok() {
            let what = if new == stored {
                "is committed"
            } else {
                "runs in test mode"
            };
            tracing::info!("generation {new} {what} in place of {old}");
            point(&self.store, new, &self.settings.run);
        }
        self.decide(Event::Committed(result));
        self.tell_users();
    }

    fn swap(&self, stored: u64, test: Option<store::Test>) -> Result<(), StoreError> {
        if self.store.committed_number()? != stored {
            self.store.commit(stored)?;
        }
        match test {
            None => self.store.end_test(),
            Some(test) => self.store.begin_test(&self.by_boot(test)),
        }
    }

    /// What the controller is told of a test.
    pub(super) fn in_memory(&self) -> Option<InMemory> {
        let test = self.machine.test()?;
        // What is left of the last second counts.
        let left = test.left(self.now()).map(|left| left.as_secs() + 1);
        Some(InMemory {
            stored_generation: test.stored.number,
            stored_digest: test.stored.digest.to_string(),
            seconds_left: left.unwrap_or(0),
        })
    }
}

/// Has the link for processes lead to this generation. They get on without it.
pub(super) fn point(store: &Store, number: u64, run: &Path) {
    let link = run.join(RUNNING);
    let new = run.join(".running-new");
    let tree = store.tree(number);
    let folder = tree.parent().unwrap_or(&tree);
    let remove = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let pointed = if number == 0 {
        remove(&link)
    } else {
        remove(&new)
            .and_then(|()| symlink(folder, &new))
            .and_then(|()| fs::rename(&new, &link))
    };
    if let Err(error) = pointed {
        tracing::warn!("`{}` does not lead to what runs: {error}", link.display());
    }
}
