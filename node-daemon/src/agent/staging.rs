//! Staging: fetch what is missing, by digest, verified; then lay the generation out (C-D1).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::{Digest, Module, NodeManifest};
use placet_planner::restarts;
use tokio::sync::{OwnedMutexGuard, oneshot, watch};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::core::{Core, Handle, Input};
use super::fetching::{Line, STANDSTILL};
use super::report;
use crate::store::{Depth, Difference, Generation, Staging, Store, StoreError};

/// What travelled for a staging.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) generation: u64,
    pub(super) modules: u64,
    pub(super) bytes: u64,
}

impl Done {
    fn new(generation: u64, bytes: &[u64]) -> Self {
        Self {
            generation,
            modules: bytes.len() as u64,
            bytes: bytes.iter().sum(),
        }
    }
}

/// Why a generation could not be staged.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("failed to make module {digest} of a patch: {why}")]
    Patch { digest: Digest, why: String },
    #[error("failed to fetch module {digest}: {}", placet_model::visible(status.message()))]
    Fetch { digest: Digest, status: Status },
    #[error("failed to fetch module {digest}: there is no connection to the controller")]
    NoConnection { digest: Digest },
    #[error("failed to fetch module {digest}: nothing arrived for {} s", STANDSTILL.as_secs())]
    Standstill { digest: Digest },
    #[error("what was kept of module {digest} from before was damaged; it is thrown away")]
    Kept { digest: Digest },
    #[error(
        "`{}` of generation {number} is damaged ({what}) and could not be fetched again",
        path.display()
    )]
    Drifted {
        number: u64,
        path: PathBuf,
        what: Difference,
    },
    #[error("staging was interrupted")]
    Interrupted,
}

impl StageError {
    /// True if asking again may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoConnection { .. }
            | Self::Standstill { .. }
            | Self::Kept { .. }
            | Self::Patch { .. }
            | Self::Store(StoreError::TooShort { .. }) => true,
            Self::Fetch { status, .. } => !matches!(
                status.code(),
                Code::NotFound
                    | Code::PermissionDenied
                    | Code::FailedPrecondition
                    | Code::InvalidArgument
                    | Code::Unimplemented
            ),
            Self::Store(_) | Self::Drifted { .. } | Self::Interrupted => false,
        }
    }
}

impl Core {
    /// Begins to stage, unless that is under way.
    /// In memory, or to be stored.
    pub(super) fn stage(
        &mut self,
        rollout: String,
        change_digest: Digest,
        manifest: NodeManifest,
        memory: bool,
    ) {
        if self.staging.contains_key(&change_digest) {
            return;
        }
        let note = Staging {
            rollout: rollout.clone(),
            manifest: manifest.digest(),
        };
        if let Err(error) = self.store.note_staging(Some(&note)) {
            tracing::warn!("{}", crate::Chain(&error));
        }
        let task = match self.task_in(memory) {
            Ok(task) => task,
            Err(error) => {
                let error = crate::Chain(&error).to_string();
                self.staging.remove(&change_digest);
                self.note_end_of_staging();
                return self.tell(&report::staged(rollout, change_digest, Err(error)));
            }
        };
        let turn = Arc::clone(&self.staging_turn);
        let handle = task.handle.clone();
        let task = tokio::spawn(async move {
            // Two at a time could fetch one module into one file.
            let turn = Arc::new(turn.lock_owned().await);
            let outcome = task
                .stage(manifest, &turn)
                .await
                .map_err(|error| crate::Chain(&error).to_string());
            handle.send(Input::Staged {
                rollout,
                change_digest,
                outcome,
            });
        });
        self.staging.insert(change_digest, task.abort_handle());
    }

    /// What brings modules into memory, or into the store.
    fn task_in(&self, memory: bool) -> Result<Task, StoreError> {
        let task = self.task();
        let store = if memory {
            self.store.memory()?
        } else {
            self.store.clone()
        };
        Ok(Task { store, ..task })
    }

    /// What brings modules in for this core.
    pub(super) fn task(&self) -> Task {
        Task {
            store: self.store.clone(),
            base: Arc::clone(self.machine.current()),
            channel: self.channel.subscribe(),
            line: Arc::clone(&self.line),
            handle: self.handle.clone(),
        }
    }

    pub(super) fn staged(
        &mut self,
        rollout: String,
        change_digest: Digest,
        outcome: Result<Done, String>,
    ) {
        if self.staging.remove(&change_digest).is_none() {
            // It was released meanwhile.
            return;
        }
        self.note_end_of_staging();
        match &outcome {
            Ok(done) => {
                self.staged.insert(change_digest, done.generation);
                tracing::info!(
                    "generation {} is staged for {rollout}: {} modules, {} bytes fetched",
                    done.generation,
                    done.modules,
                    done.bytes
                );
            }
            Err(error) => tracing::warn!("failed to stage for {rollout}: {error}"),
        }
        self.tell(&report::staged(rollout, change_digest, outcome));
    }
}

impl Core {
    /// Nothing is being staged any more, unless something is.
    pub(super) fn note_end_of_staging(&self) {
        if self.staging.is_empty()
            && let Err(error) = self.store.note_staging(None)
        {
            tracing::warn!("{}", crate::Chain(&error));
        }
    }
}

/// The right to write to the store. Blocking work holds it until it is done, also when the task
/// that began it was stopped.
pub(super) type Turn = Arc<OwnedMutexGuard<()>>;

/// How long the controller is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Whoever ordered it is there.
    Usual,
    /// It may have to come back first: the node goes back to what was before.
    Long,
}

/// What staging needs of the core.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) store: Store,
    pub(super) base: Arc<Generation>,
    pub(super) channel: watch::Receiver<Option<Channel>>,
    pub(super) line: Arc<Line>,
    pub(super) handle: Handle,
}

impl Task {
    /// Nothing is fetched unless there is room for all, and nothing stays of what did not fit.
    async fn stage(&self, manifest: NodeManifest, turn: &Turn) -> Result<Done, StageError> {
        Store::check(&manifest)?;
        let brings_image =
            restarts(&self.base.manifest, &manifest) && manifest.has_transient_image();
        if brings_image {
            self.store.memory()?.check_image_room(&manifest)?;
        }
        let (generation, mut bytes) = self.make(manifest, turn).await?;
        if brings_image {
            let brought = self.bring_image(&generation, Patience::Usual, turn);
            bytes.extend(brought.await?);
        }
        Ok(Done::new(generation.number, &bytes))
    }

    /// Makes the generation, or finds it; says for each module that was fetched how much travelled.
    async fn make(
        &self,
        manifest: NodeManifest,
        turn: &Turn,
    ) -> Result<(Arc<Generation>, Vec<u64>), StageError> {
        if let Some(generation) = self.store.find(manifest.digest())? {
            return self.go_back_to(Arc::new(generation), turn).await;
        }
        match self.store.check_room(&manifest, &self.base) {
            Err(StoreError::NoRoom { .. }) => {
                let wanted = self.store.modules(&manifest, &self.base);
                self.make_room(wanted).await;
                self.store.check_room(&manifest, &self.base)?;
            }
            checked => checked?,
        }
        let outcome = self.bring_in(manifest, turn).await;
        if let Err(StageError::Store(StoreError::Full { .. })) = &outcome {
            self.make_room(BTreeSet::new()).await;
        }
        outcome
    }

    /// A generation that is there already is looked at: it may have lain there for long.
    async fn go_back_to(
        &self,
        generation: Arc<Generation>,
        turn: &Turn,
    ) -> Result<(Arc<Generation>, Vec<u64>), StageError> {
        let number = generation.number;
        let base = Some(Arc::clone(&self.base));
        let there = Arc::clone(&generation);
        let (looked, bytes) = self.mend(there, Depth::Full, base, turn).await?;
        if let Some(drift) = looked.drifts.first().filter(|_| !looked.is_repaired) {
            let (path, what) = (drift.path.clone(), drift.what);
            return Err(StageError::Drifted { number, path, what });
        }
        Ok((generation, bytes))
    }

    /// Brings a boot image that the node does not keep into memory, unless it is there; says for
    /// each module that was fetched how much travelled.
    pub(super) async fn bring_image(
        &self,
        generation: &Arc<Generation>,
        patience: Patience,
        turn: &Turn,
    ) -> Result<Vec<u64>, StageError> {
        if !generation.manifest.has_transient_image() {
            return Ok(Vec::new());
        }
        let task = Self {
            store: self.store.memory()?,
            ..self.clone()
        };
        let mut bytes = Vec::new();
        for missing in task.store.missing_image(&generation.manifest) {
            if patience == Patience::Long {
                task.wait_for_controller(generation).await;
            }
            let of = |module: &&Module| module.digest == missing.digest;
            let module = generation.manifest.transient_image().find(of);
            if let Some(module) = module {
                bytes.push(task.fetch(missing, module, turn).await?);
            }
        }
        task.store.hold_image(generation)?;
        Ok(bytes)
    }

    /// Waits for the controller as long as a restart of the node may take.
    async fn wait_for_controller(&self, generation: &Generation) {
        let boot = generation.manifest.boot.as_ref();
        let within = boot.map_or(0, |boot| boot.commands.restart_seconds);
        let mut channel = self.channel.clone();
        let connected = channel.wait_for(Option::is_some);
        // Fetching says what is wrong, if nobody comes.
        let _ = tokio::time::timeout(Duration::from_secs(within.into()), connected).await;
    }

    /// Has everything removed that nobody needs.
    async fn make_room(&self, wanted: BTreeSet<Digest>) {
        let (done, is_done) = oneshot::channel();
        self.handle.send(Input::MakeRoom { wanted, done });
        // An agent that ends removes nothing.
        let _ = is_done.await;
    }

    async fn bring_in(
        &self,
        manifest: NodeManifest,
        turn: &Turn,
    ) -> Result<(Arc<Generation>, Vec<u64>), StageError> {
        let manifest = Arc::new(manifest);
        self.remove_damaged(&manifest, turn).await?;
        let missing = self.store.missing(&manifest, &self.base);
        let modules: BTreeMap<Digest, &Module> = manifest
            .stored_modules()
            .map(|module| (module.digest, module))
            .collect();
        let mut fetches = Vec::new();
        for missing in missing {
            if let Some(module) = modules.get(&missing.digest) {
                fetches.push(self.fetch(missing, module, turn));
            }
        }
        let bytes: Vec<u64> = stream::iter(fetches)
            .buffer_unordered(self.line.at_once())
            .try_collect()
            .await?;
        let (store, base, turn) = (self.store.clone(), Arc::clone(&self.base), Arc::clone(turn));
        let lay_out = move || (store.lay_out(&manifest, &base), turn).0;
        let generation = tokio::task::spawn_blocking(lay_out)
            .await
            .map_err(|_| StageError::Interrupted)??;
        Ok((Arc::new(generation), bytes))
    }

    async fn remove_damaged(
        &self,
        manifest: &Arc<NodeManifest>,
        turn: &Turn,
    ) -> Result<(), StageError> {
        let (store, base) = (self.store.clone(), Arc::clone(&self.base));
        let (manifest, turn) = (Arc::clone(manifest), Arc::clone(turn));
        let remove = move || (store.remove_damaged(&manifest, &base), turn).0;
        let removed = tokio::task::spawn_blocking(remove).await;
        Ok(removed.map_err(|_| StageError::Interrupted)??)
    }
}
