//! Hearing of what others write.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::{mpsc, oneshot};

use super::{Inner, Kubernetes, PAGE, lock, stored};
use crate::home::{HomeError, Seen, Stored};

/// Batches that may wait for the loop.
pub(super) const BATCHES: usize = 16;

/// Changes that may wait to be put into a batch.
const CHANGES: usize = 4_096;

/// Many objects that are applied at once should be planned for at once: a batch is complete when
/// nothing came for this long, or after so long.
const QUIET: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_millis(200);

impl Kubernetes {
    /// Watches every kind; returns once everything that is there has been listed.
    pub(super) async fn begin_watches(
        &self,
        batches: mpsc::Sender<Vec<Seen>>,
    ) -> Result<(), HomeError> {
        let (changes, waiting) = mpsc::channel(CHANGES);
        let mut listed = Vec::new();
        for (kind, api) in &self.0.apis {
            let config = watcher::Config::default().page_size(PAGE);
            let events = watcher(api.clone(), config).default_backoff().boxed();
            let (done, is_done) = oneshot::channel();
            listed.push(is_done);
            let watch = Watch {
                // The home ends its watches when it goes; they must not keep it.
                home: std::sync::Arc::downgrade(&self.0),
                kind,
                fresh: BTreeMap::new(),
                first: Some(done),
                changes: changes.clone(),
            };
            lock(&self.0.watches).spawn(watch.follow(events));
        }
        lock(&self.0.watches).spawn(batch(waiting, batches));
        for is_done in listed {
            // Cancel safe: both only wait.
            tokio::select! {
                _ = is_done => {}
                () = self.0.term.ended() => return Err(HomeError::Deposed),
            }
        }
        Ok(())
    }
}

/// Puts changes into batches.
async fn batch(mut changes: mpsc::Receiver<Seen>, batches: mpsc::Sender<Vec<Seen>>) {
    while let Some(first) = changes.recv().await {
        let mut all = vec![first];
        let end = tokio::time::Instant::now() + LONG;
        loop {
            let quiet = (tokio::time::Instant::now() + QUIET).min(end);
            match tokio::time::timeout_at(quiet, changes.recv()).await {
                Ok(Some(next)) => all.push(next),
                Ok(None) | Err(_) => break,
            }
        }
        if batches.send(all).await.is_err() {
            return;
        }
    }
}

/// The watch of one kind.
struct Watch {
    home: std::sync::Weak<Inner>,
    kind: &'static str,
    /// What a list that is under way has brought so far.
    fresh: BTreeMap<String, Stored>,
    /// Told when the first list is complete.
    first: Option<oneshot::Sender<()>>,
    changes: mpsc::Sender<Seen>,
}

impl Watch {
    async fn follow<S>(mut self, mut events: S)
    where
        S: futures_util::Stream<Item = Result<Event<DynamicObject>, watcher::Error>> + Unpin,
    {
        while let Some(event) = events.next().await {
            let Some(home) = self.home.upgrade() else {
                return;
            };
            let seen = match event {
                Ok(event) => self.take(event, &home),
                Err(error) => {
                    tracing::debug!(%error, "the watch of {} is begun anew", self.kind);
                    continue;
                }
            };
            drop(home);
            for one in seen {
                if self.changes.send(one).await.is_err() {
                    return;
                }
            }
        }
    }

    fn take(&mut self, event: Event<DynamicObject>, home: &Inner) -> Vec<Seen> {
        match event {
            Event::Init => {
                self.fresh.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                // Kept without what the API server notes of it, which is most of it.
                if let Some(stored) = stored::stored(self.kind, &object) {
                    self.fresh.insert(stored.name.clone(), stored);
                }
                Vec::new()
            }
            Event::InitDone => self.listed(home),
            Event::Apply(object) => stored::stored(self.kind, &object)
                .and_then(|stored| self.is(stored, home))
                .into_iter()
                .collect(),
            Event::Delete(object) => self.gone(object.name_any(), home).into_iter().collect(),
        }
    }

    /// A whole list is there: the first is kept for whoever recovers from it; of a later one, what
    /// differs is told.
    fn listed(&mut self, home: &Inner) -> Vec<Seen> {
        let fresh = std::mem::take(&mut self.fresh);
        if let Some(first) = self.first.take() {
            let all: Vec<_> = fresh.into_values().collect();
            for stored in &all {
                home.note(self.kind, &stored.name, |known| {
                    known.watched(stored.resource_version)
                });
            }
            lock(&home.first).insert(self.kind, all);
            // Whoever waited may have given up.
            let _ = first.send(());
            return Vec::new();
        }
        let known: BTreeSet<String> = {
            let known = lock(&home.known);
            let of_kind = known.get(self.kind);
            of_kind
                .into_iter()
                .flat_map(BTreeMap::keys)
                .cloned()
                .collect()
        };
        let lost = known.into_iter().filter(|name| !fresh.contains_key(name));
        let mut seen: Vec<Seen> = lost.filter_map(|name| self.gone(name, home)).collect();
        let fresh = fresh.into_values();
        seen.extend(fresh.filter_map(|stored| self.is(stored, home)));
        seen
    }

    fn is(&self, stored: Stored, home: &Inner) -> Option<Seen> {
        let (name, version) = (&stored.name, stored.resource_version);
        let watched = home.note(self.kind, name, |known| known.watched(version));
        if watched.is_newest {
            home.announce(self.kind, name, version, false);
        }
        watched.is_untold.then(|| Seen::Is(Box::new(stored)))
    }

    fn gone(&self, name: String, home: &Inner) -> Option<Seen> {
        let version = home.forget(self.kind, &name)?;
        home.announce(self.kind, &name, version, true);
        Some(Seen::Gone {
            kind: self.kind,
            name,
        })
    }
}
