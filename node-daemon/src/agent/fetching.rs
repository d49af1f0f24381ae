//! Fetching one module: resumed, within the rate, as a patch where that is less.

use std::sync::Arc;
use std::time::Duration;

use placet_model::{Digest, Module};
use placet_protocol::nodes_client;
use placet_protocol::wire::FetchRequest;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tonic::Streaming;

use super::staging::{StageError, Task, Turn};
use crate::arguments::Fetches;
use crate::store::{Incoming, Missing, StoreError};

/// How often a module is asked for again when nothing of it arrives.
const ATTEMPTS: u32 = 6;

/// Pause before the second attempt; doubles with each.
const PAUSE: Duration = Duration::from_millis(200);

/// A stream that stands still for so long is given up and begun again.
pub(super) const STANDSTILL: Duration = Duration::from_secs(30);

/// Modules of which patches are taken: below there is nothing to gain, and above it takes too much
/// memory, since the old and the new bytes are in it at once.
const PATCHED: std::ops::RangeInclusive<u64> = (4 << 10)..=(64 << 20);

/// Modules that are made of patches at the same time have together at most so many KiB.
const PATCHED_KIB: u32 = 64 << 10;

/// What all fetches of a node share.
#[derive(Debug)]
pub(super) struct Line {
    limits: Fetches,
    /// When the bytes that arrived so far will have been due at the rate.
    due: Mutex<Instant>,
    patching: Semaphore,
}

impl Line {
    pub(super) fn new(limits: Fetches) -> Self {
        Self {
            limits,
            due: Mutex::new(Instant::now()),
            patching: Semaphore::new(PATCHED_KIB as usize),
        }
    }

    /// Modules to fetch at the same time.
    pub(super) fn at_once(&self) -> usize {
        self.limits.at_once
    }

    /// Waits as long as `bytes` that have arrived take at the rate. Who waits does not read on, so
    /// that the controller soon sends no faster.
    async fn take(&self, bytes: usize) {
        let Some(rate) = self.limits.rate else {
            return;
        };
        let until = {
            let mut due = self.due.lock().await;
            let cost = Duration::from_nanos(bytes as u64 * 1_000_000_000 / rate);
            *due = (*due).max(Instant::now()) + cost;
            *due
        };
        tokio::time::sleep_until(until).await;
    }
}

impl Task {
    /// Fetches one module; returns how many bytes travelled for it.
    pub(super) async fn fetch(
        &self,
        missing: Missing,
        module: &Module,
        turn: &Turn,
    ) -> Result<u64, StageError> {
        let mut travelled = 0;
        let mut attempt = 0;
        let mut base = self.base_for(missing, module);
        loop {
            let before = travelled;
            let once = self.fetch_once((missing, module), base, turn, &mut travelled);
            match once.await {
                Ok(()) => return Ok(travelled),
                Err(error @ StageError::Patch { .. }) => {
                    tracing::warn!("{}; the whole is fetched", crate::Chain(&error));
                    base = None;
                }
                Err(error) if !error.may_pass() => return Err(error),
                Err(error) => {
                    // Progress earns new patience.
                    let goes_on = travelled > before && !matches!(error, StageError::Kept { .. });
                    attempt = if goes_on { 0 } else { attempt + 1 };
                    if attempt >= ATTEMPTS {
                        return Err(error);
                    }
                    tracing::debug!("{}; tries again", crate::Chain(&error));
                    tokio::time::sleep(PAUSE * (1 << attempt)).await;
                }
            }
        }
    }

    /// The module that stands where this one will, if a patch against it may be taken.
    fn base_for(&self, missing: Missing, module: &Module) -> Option<Digest> {
        let old = &self.base.manifest.get(&module.path)?.module;
        let may_be = old.link.is_none()
            && PATCHED.contains(&old.size)
            && PATCHED.contains(&missing.size)
            // The controller has no other bytes than those of the manifest.
            && self.base.held(old) == old.digest
            && self.store.has(old.digest);
        may_be.then_some(old.digest)
    }

    async fn fetch_once(
        &self,
        (missing, module): (Missing, &Module),
        base: Option<Digest>,
        turn: &Turn,
        travelled: &mut u64,
    ) -> Result<(), StageError> {
        let digest = missing.digest;
        let incoming = self.store.incoming(missing)?;
        let is_kept = incoming.offset() > 0;
        let base = base.filter(|_| !is_kept);
        let (incoming, is_patched) = if incoming.is_whole() {
            (incoming, false)
        } else {
            self.receive(incoming, missing, base, travelled).await?
        };
        let (module, turn) = (module.clone(), Arc::clone(turn));
        let finish = move || (incoming.finish(&module), turn).0;
        let finished = tokio::task::spawn_blocking(finish).await;
        match finished.map_err(|_| StageError::Interrupted)? {
            // A power cut may leave a part that was never written.
            Err(StoreError::WrongDigest { .. }) if is_kept => Err(StageError::Kept { digest }),
            Err(error @ StoreError::WrongDigest { .. }) if is_patched => {
                let why = error.to_string();
                Err(StageError::Patch { digest, why })
            }
            finished => Ok(finished?),
        }
    }

    /// Takes what the controller sends; says whether that was a patch.
    async fn receive(
        &self,
        mut incoming: Incoming,
        missing: Missing,
        base: Option<Digest>,
        travelled: &mut u64,
    ) -> Result<(Incoming, bool), StageError> {
        let digest = missing.digest;
        let _room = self.room_for_patch(missing, base).await;
        let request = FetchRequest {
            digest: digest.to_string(),
            offset: incoming.offset(),
            base: base.map(|base| base.to_string()).unwrap_or_default(),
        };
        let mut chunks = self.open(request, digest).await?;
        let mut patch = Vec::new();
        let failed = |status| StageError::Fetch { digest, status };
        while let Some(chunk) = within(digest, chunks.message()).await?.map_err(failed)? {
            *travelled += chunk.data.len() as u64;
            self.line.take(chunk.data.len()).await;
            if !chunk.patch {
                incoming.add(&chunk.data)?;
            } else if base.is_some() && (patch.len() + chunk.data.len()) as u64 <= missing.size {
                patch.extend_from_slice(&chunk.data);
            } else {
                let why = "it was not asked for, or is larger than the module".to_owned();
                return Err(StageError::Patch { digest, why });
            }
        }
        let Some(base) = base.filter(|_| !patch.is_empty()) else {
            return Ok((incoming, false));
        };
        let store = self.store.clone();
        let apply = move || {
            let old = store.content(base).map_err(|error| error.to_string())?;
            let new = apply(&old, &patch, missing.size)?;
            incoming.add(&new).map_err(|error| error.to_string())?;
            Ok(incoming)
        };
        let applied = tokio::task::spawn_blocking(apply).await;
        let applied = applied.map_err(|_| StageError::Interrupted)?;
        let incoming = applied.map_err(|why| StageError::Patch { digest, why })?;
        Ok((incoming, true))
    }

    async fn open(
        &self,
        request: FetchRequest,
        digest: Digest,
    ) -> Result<Streaming<placet_protocol::wire::Chunk>, StageError> {
        let channel = self.channel.borrow().clone();
        let channel = channel.ok_or(StageError::NoConnection { digest })?;
        let mut client = nodes_client(channel);
        let answer = within(digest, client.fetch(request)).await?;
        let answer = answer.map_err(|status| StageError::Fetch { digest, status })?;
        Ok(answer.into_inner())
    }

    /// Waits until a module of this size may be made of a patch.
    async fn room_for_patch(
        &self,
        missing: Missing,
        base: Option<Digest>,
    ) -> Option<SemaphorePermit<'_>> {
        base?;
        let kib = u32::try_from(missing.size >> 10).unwrap_or(PATCHED_KIB);
        let permits = self.line.patching.acquire_many(kib.clamp(1, PATCHED_KIB));
        permits.await.ok()
    }
}

/// What `patch` makes of `old`: exactly `size` bytes.
fn apply(old: &[u8], patch: &[u8], size: u64) -> Result<Vec<u8>, String> {
    let failed = |code| zstd_safe::get_error_name(code).to_owned();
    let size = usize::try_from(size).map_err(|error| error.to_string())?;
    let mut new = Vec::with_capacity(size);
    let mut context = zstd_safe::DCtx::create();
    context.ref_prefix(old).map_err(failed)?;
    context.decompress(&mut new, patch).map_err(failed)?;
    if new.len() == size {
        Ok(new)
    } else {
        Err(format!("it makes {} of {size} bytes", new.len()))
    }
}

async fn within<T>(digest: Digest, call: impl Future<Output = T>) -> Result<T, StageError> {
    tokio::time::timeout(STANDSTILL, call)
        .await
        .map_err(|_| StageError::Standstill { digest })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_fetches_together_keep_to_the_rate() {
        let rate = NonZeroU64::new(1_000);
        let line = Line::new(Fetches { rate, at_once: 4 });
        let begun = Instant::now();
        let fetch = async || {
            for _ in 0..10 {
                line.take(500).await;
            }
        };
        tokio::join!(fetch(), fetch(), fetch());
        assert_eq!(begun.elapsed().as_secs(), 15);
        // What was not used before is not made up for.
        tokio::time::sleep(Duration::from_mins(1)).await;
        let begun = Instant::now();
        line.take(2_000).await;
        assert_eq!(begun.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nobody_waits() {
        let line = Line::new(Fetches {
            rate: None,
            at_once: 4,
        });
        let begun = Instant::now();
        line.take(1 << 30).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[test]
    fn patches_that_are_none_or_too_large_are_refused() {
        assert!(apply(b"old", b"no patch", 10).is_err());
        let mut patch = Vec::with_capacity(1_000);
        let mut context = zstd_safe::CCtx::create();
        let new = vec![7; 100_000];
        context.compress2(&mut patch, &new).unwrap();
        assert!(apply(b"old", &patch, 1_000).is_err(), "it makes more");
        assert!(apply(b"old", &patch, 200_000).is_err(), "it makes less");
        assert_eq!(apply(b"old", &patch, 100_000).unwrap(), new);
    }
}
