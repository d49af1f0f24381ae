//! Staging: fetch what is missing, by digest, verified; then lay the generation out (C-D1).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use placet_model::{Digest, Module, NodeManifest};
use placet_protocol::nodes_client;
use placet_protocol::wire::FetchRequest;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::core::{Core, Input};
use super::report;
use crate::store::{Generation, Incoming, Missing, Staging, Store, StoreError};

/// Modules fetched at the same time.
const AT_ONCE: usize = 4;

/// How often a module is asked for again when nothing of it arrives.
const ATTEMPTS: u32 = 6;

/// Pause before the second attempt; doubles with each.
const PAUSE: Duration = Duration::from_millis(200);

/// A stream that stands still for so long is given up and begun again.
const STANDSTILL: Duration = Duration::from_secs(30);

/// What travelled for a staging.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) generation: u64,
    pub(super) modules: u64,
    pub(super) bytes: u64,
}

/// Why a generation could not be staged.
#[derive(Debug, thiserror::Error)]
enum StageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("failed to fetch module {digest}: {}", placet_model::visible(status.message()))]
    Fetch { digest: Digest, status: Status },
    #[error("failed to fetch module {digest}: there is no connection to the controller")]
    NoConnection { digest: Digest },
    #[error("failed to fetch module {digest}: nothing arrived for {} s", STANDSTILL.as_secs())]
    Standstill { digest: Digest },
    #[error("staging was interrupted")]
    Interrupted,
}

impl StageError {
    /// True if asking again may help.
    fn may_pass(&self) -> bool {
        match self {
            Self::NoConnection { .. }
            | Self::Standstill { .. }
            | Self::Store(StoreError::TooShort { .. }) => true,
            Self::Fetch { status, .. } => !matches!(
                status.code(),
                Code::NotFound
                    | Code::PermissionDenied
                    | Code::FailedPrecondition
                    | Code::InvalidArgument
                    | Code::Unimplemented
            ),
            Self::Store(_) | Self::Interrupted => false,
        }
    }
}

impl Core {
    /// Begins to stage, unless that is under way.
    pub(super) fn stage(&mut self, rollout: String, change_digest: Digest, manifest: NodeManifest) {
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
        let task = Task {
            store: self.store.clone(),
            base: Arc::clone(self.machine.committed()),
            channel: self.channel.subscribe(),
        };
        let handle = self.handle.clone();
        let task = tokio::spawn(async move {
            let outcome = task
                .stage(manifest)
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
        if self.staging.is_empty()
            && let Err(error) = self.store.note_staging(None)
        {
            tracing::warn!("{}", crate::Chain(&error));
        }
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

/// What staging needs of the core.
struct Task {
    store: Store,
    base: Arc<Generation>,
    channel: watch::Receiver<Option<Channel>>,
}

impl Task {
    async fn stage(&self, manifest: NodeManifest) -> Result<Done, StageError> {
        Store::check(&manifest)?;
        let missing = match self.store.find(manifest.digest())? {
            Some(_) => Vec::new(),
            None => self.store.missing(&manifest, &self.base),
        };
        let modules: BTreeMap<Digest, &Module> = manifest
            .modules
            .iter()
            .map(|entry| (entry.module.digest, &entry.module))
            .collect();
        let mut fetches = Vec::new();
        for missing in missing {
            if let Some(module) = modules.get(&missing.digest) {
                fetches.push(self.fetch(missing, module));
            }
        }
        let bytes: Vec<u64> = stream::iter(fetches)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let (store, base) = (self.store.clone(), Arc::clone(&self.base));
        let laid_out = move || store.lay_out(&manifest, &base);
        let generation = tokio::task::spawn_blocking(laid_out)
            .await
            .map_err(|_| StageError::Interrupted)??;
        let modules = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Done {
            generation: generation.number,
            modules,
            bytes: bytes.iter().sum(),
        })
    }

    /// Fetches one module; returns how many bytes travelled for it.
    async fn fetch(&self, missing: Missing, module: &Module) -> Result<u64, StageError> {
        let mut travelled = 0;
        let mut attempt = 0;
        loop {
            let before = travelled;
            match self.fetch_once(missing, module, &mut travelled).await {
                Ok(()) => return Ok(travelled),
                Err(error) if !error.may_pass() => return Err(error),
                Err(error) => {
                    // Progress earns new patience.
                    attempt = if travelled > before { 0 } else { attempt + 1 };
                    if attempt >= ATTEMPTS {
                        return Err(error);
                    }
                    tracing::debug!("{}; tries again", crate::Chain(&error));
                    tokio::time::sleep(PAUSE * (1 << attempt)).await;
                }
            }
        }
    }

    async fn fetch_once(
        &self,
        missing: Missing,
        module: &Module,
        travelled: &mut u64,
    ) -> Result<(), StageError> {
        let digest = missing.digest;
        let mut incoming = self.store.incoming(missing)?;
        if !incoming.is_whole() {
            self.receive(&mut incoming, digest, travelled).await?;
        }
        let module = module.clone();
        let finished = tokio::task::spawn_blocking(move || incoming.finish(&module)).await;
        Ok(finished.map_err(|_| StageError::Interrupted)??)
    }

    async fn receive(
        &self,
        incoming: &mut Incoming,
        digest: Digest,
        travelled: &mut u64,
    ) -> Result<(), StageError> {
        let channel = self
            .channel
            .borrow()
            .clone()
            .ok_or(StageError::NoConnection { digest })?;
        let failed = |status| StageError::Fetch { digest, status };
        let request = FetchRequest {
            digest: digest.to_string(),
            offset: incoming.offset(),
        };
        let mut client = nodes_client(channel);
        let answer = within(digest, client.fetch(request))
            .await?
            .map_err(failed)?;
        let mut chunks = answer.into_inner();
        while let Some(chunk) = within(digest, chunks.message()).await?.map_err(failed)? {
            *travelled += chunk.data.len() as u64;
            incoming.add(&chunk.data)?;
        }
        Ok(())
    }
}

async fn within<T>(digest: Digest, call: impl Future<Output = T>) -> Result<T, StageError> {
    tokio::time::timeout(STANDSTILL, call)
        .await
        .map_err(|_| StageError::Standstill { digest })
}
