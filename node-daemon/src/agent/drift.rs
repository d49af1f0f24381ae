//! Drift: what is no longer as it was laid out is found by schedule, put right where good bytes are
//! at hand or can be fetched, and reported (C-R2).

use std::sync::Arc;
use std::time::Duration;

use placet_model::{Digest, Module};

use super::core::{Core, Handle, Input};
use super::staging::{StageError, Task, Turn};
use crate::arguments::Looks;
use crate::store::{Depth, Drift, Generation, Store, StoreError};

/// What was found at one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) drifts: Vec<Drift>,
    /// True if all was put right.
    pub(super) is_repaired: bool,
}

/// The committed generation as the agent starts with it. One that cannot be read is replaced by the
/// last that can: a node that runs what it ran before is better than one that runs nothing.
pub(super) fn committed(store: &Store) -> Result<Generation, StoreError> {
    let error = match store.committed() {
        Ok(committed) => return Ok(committed),
        Err(error) => error,
    };
    let mut earlier = store.before().into_iter();
    let Some(earlier) = earlier.find_map(|number| store.load(number).ok()) else {
        return Err(error);
    };
    tracing::error!(
        "the committed generation cannot be used: {}; the node goes back to generation {}",
        crate::Chain(&error),
        earlier.number
    );
    store.commit(earlier.number)?;
    Ok(earlier)
}

/// Looks at the committed generation before anything is started from it. At a boot all bytes are
/// looked at, and what is wrong and cannot be put right is taken away: it must not be run.
pub(super) fn at_start(store: &Store, committed: &Generation, is_boot: bool) -> Looked {
    let depth = if is_boot { Depth::Full } else { Depth::Quick };
    let store = store.owner(committed.number);
    let look = || {
        let drifts = store.verify(committed, depth, &|_| true)?;
        let lacking = store.repair(committed, &drifts)?;
        if is_boot {
            store.take_away(committed, &lacking)?;
        }
        let is_repaired = lacking.is_empty();
        Ok(Looked {
            drifts,
            is_repaired,
        })
    };
    let looked = look().unwrap_or_else(|error: StoreError| {
        tracing::error!("{}", crate::Chain(&error));
        Looked::default()
    });
    say(committed, &looked);
    looked
}

/// Asks for looks by the clock that no one sets.
pub(super) fn schedule(looks: Looks, handle: &Handle) {
    for (every, depth) in [(looks.quick, Depth::Quick), (looks.full, Depth::Full)] {
        if every.is_zero() {
            continue;
        }
        let handle = handle.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                handle.send(Input::Look(depth));
            }
        });
    }
}

impl Core {
    /// Looks at the committed generation, unless something else is being done.
    pub(super) fn look(&mut self, depth: Depth) {
        let Ok(turn) = Arc::clone(&self.staging_turn).try_lock_owned() else {
            // It is looked at again soon enough.
            return;
        };
        let task = self.task();
        let committed = Arc::clone(self.machine.current());
        tokio::spawn(async move {
            let turn = Arc::new(turn);
            let looked = task.mend(committed.clone(), depth, None, &turn);
            let looked = tokio::time::timeout(PATIENCE, looked).await;
            match looked {
                Ok(Ok((looked, _))) => task.handle.send(Input::Looked(committed, looked)),
                Ok(Err(error)) => tracing::warn!("{}", crate::Chain(&error)),
                Err(_) => tracing::warn!(
                    "putting generation {} right takes too long: it is tried again",
                    committed.number
                ),
            }
        });
    }

    /// Reports what was found, if it is news.
    pub(super) fn looked(&mut self, generation: &Generation, looked: Looked) {
        if looked == self.drift {
            return;
        }
        say(generation, &looked);
        self.drift = looked;
        let report = super::report::report(self.report());
        self.tell(&report);
    }
}

/// Modules that are missing are fetched within this; a controller that is away is not waited for.
const PATIENCE: Duration = Duration::from_mins(10);

impl Task {
    /// Looks at a generation and puts it right, with bytes from the controller where it has to be.
    /// With a `base`, only files that are not the base's are looked at. Also returns how many
    /// modules and bytes travelled.
    pub(super) async fn mend(
        &self,
        generation: Arc<Generation>,
        depth: Depth,
        base: Option<Arc<Generation>>,
        turn: &Turn,
    ) -> Result<(Looked, Vec<u64>), StageError> {
        let task = self.at(&generation);
        task.mend_own(generation, depth, base, turn).await
    }

    /// The same, with the part of the store that has the generation.
    fn at(&self, generation: &Generation) -> Self {
        Self {
            store: self.store.owner(generation.number).clone(),
            ..self.clone()
        }
    }

    async fn mend_own(
        &self,
        generation: Arc<Generation>,
        depth: Depth,
        base: Option<Arc<Generation>>,
        turn: &Turn,
    ) -> Result<(Looked, Vec<u64>), StageError> {
        let (drifts, lacking) = self.look(&generation, depth, base, turn).await?;
        let mut bytes = Vec::new();
        for missing in &lacking {
            let of = |module: &&Module| module.digest == missing.digest;
            let mut modules = generation
                .manifest
                .modules
                .iter()
                .map(|entry| &entry.module);
            let Some(module) = modules.find(of) else {
                continue;
            };
            match self.fetch(*missing, module, turn).await {
                Ok(travelled) => bytes.push(travelled),
                Err(error) => tracing::warn!("{}", crate::Chain(&error)),
            }
        }
        let mut is_repaired = lacking.is_empty();
        if !bytes.is_empty() {
            let (store, turn, drifts) = (self.store.clone(), Arc::clone(turn), drifts.clone());
            let repair = move || (store.repair(&generation, &drifts), turn).0;
            let left = tokio::task::spawn_blocking(repair).await;
            is_repaired = left.map_err(|_| StageError::Interrupted)??.is_empty();
        }
        let looked = Looked {
            drifts,
            is_repaired,
        };
        Ok((looked, bytes))
    }

    async fn look(
        &self,
        generation: &Arc<Generation>,
        depth: Depth,
        base: Option<Arc<Generation>>,
        turn: &Turn,
    ) -> Result<(Vec<Drift>, Vec<crate::store::Missing>), StageError> {
        let (store, generation) = (self.store.clone(), Arc::clone(generation));
        let turn = Arc::clone(turn);
        let look = move || {
            let running = base.map(|base| store.modules(&base.manifest, &base));
            let is_meant = |module: &Module| {
                let held: Digest = generation.held(module);
                running
                    .as_ref()
                    .is_none_or(|running| !running.contains(&held))
            };
            let drifts = store.verify(&generation, depth, &is_meant)?;
            let lacking = store.repair(&generation, &drifts)?;
            drop(turn);
            Ok::<_, StoreError>((drifts, lacking))
        };
        let looked = tokio::task::spawn_blocking(look).await;
        Ok(looked.map_err(|_| StageError::Interrupted)??)
    }
}

fn say(generation: &Generation, looked: &Looked) {
    let what = if looked.is_repaired {
        "it is put right"
    } else {
        "it is to be fetched again"
    };
    for drift in looked.drifts.iter().take(20) {
        let path = drift.path.display().to_string();
        tracing::warn!(
            "`{}` of generation {} has drifted: {}; {what}",
            placet_model::visible(&path),
            generation.number,
            drift.what
        );
    }
}
