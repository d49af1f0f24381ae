//! What the fleet's loop and those around it share.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use placet_crds::GitSource;
use placet_model::{Digest, NodeManifest, NodeName};
use placet_planner::Running;

use crate::catalog::WantedPackage;
use crate::fleet::world::{Ordered, World};
use crate::host::Telling;
use crate::sessions::Patches;
use crate::telemetry::Telemetry;

/// What the loop publishes for those who serve nodes.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    permits: RwLock<Permits>,
    fetched: Mutex<BTreeMap<NodeName, u64>>,
    pub(crate) patches: Patches,
    pub(crate) telemetry: Telemetry,
}

/// What nodes may fetch.
#[derive(Debug, Default)]
struct Permits {
    /// What they were told to stage.
    ordered: BTreeMap<NodeName, Ordered>,
    /// What they run.
    running: BTreeMap<NodeName, Running>,
    /// What they ran before, and may go back to.
    before: BTreeMap<NodeName, Running>,
}

impl Shared {
    /// Nothing is published yet; `telemetry` is told what happens.
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self {
            telemetry,
            ..Self::default()
        }
    }

    pub(crate) fn set_permits(
        &self,
        ordered: BTreeMap<NodeName, Ordered>,
        running: BTreeMap<NodeName, Running>,
        before: BTreeMap<NodeName, Running>,
    ) {
        let permits = Permits {
            ordered,
            running,
            before,
        };
        *self.permits.write().unwrap_or_else(PoisonError::into_inner) = permits;
    }

    /// True if the node was told to stage a manifest with a module of this digest, or runs one, or
    /// goes back to a boot image that it does not keep.
    pub(crate) fn may_fetch(&self, node: &NodeName, digest: &Digest) -> bool {
        let permits = self.permits.read().unwrap_or_else(PoisonError::into_inner);
        let ordered = permits
            .ordered
            .get(node)
            .map(|ordered| ordered.manifest.manifest());
        let running = permits.running.get(node).map(Running::manifest);
        let before = permits.before.get(node).map(Running::manifest);
        let manifests = ordered.into_iter().chain(running);
        let stored = manifests.clone().flat_map(NodeManifest::stored_modules);
        let images = manifests.chain(before);
        let mut modules = stored.chain(images.flat_map(NodeManifest::transient_image));
        modules.any(|module| module.digest == *digest)
    }

    /// True if the node has a module of this digest.
    pub(crate) fn runs(&self, node: &NodeName, digest: &Digest) -> bool {
        let permits = self.permits.read().unwrap_or_else(PoisonError::into_inner);
        permits.running.get(node).is_some_and(|running| {
            let mut modules = running.manifest().stored_modules();
            modules.any(|module| module.digest == *digest)
        })
    }

    /// Counts bytes of modules that were sent to a node.
    pub(crate) fn count(&self, node: &NodeName, bytes: u64) {
        *self.counters().entry(node.clone()).or_default() += bytes;
    }

    /// Bytes of modules sent to each node since the controller started.
    pub(crate) fn fetched(&self) -> BTreeMap<NodeName, u64> {
        self.counters().clone()
    }

    fn counters(&self) -> MutexGuard<'_, BTreeMap<NodeName, u64>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the loop wants to have looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wanted {
    /// Raised when packages have to be looked up.
    pub(crate) declared: u64,
    pub(crate) references: Vec<WantedPackage>,
    pub(crate) sources: BTreeMap<String, WantedSource>,
    /// What git hosts are to be told, by source.
    pub(crate) tellings: BTreeMap<String, Telling>,
    /// Dry runs that are declared and not over.
    pub(crate) dry_runs: BTreeMap<Begun, WantedDryRun>,
}

/// A dry run that is declared: its name, and when it began. Another one may come to have its name.
pub(crate) type Begun = (String, Timestamp);

/// A revision to try out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WantedDryRun {
    /// Follows the commit that is tried out, and nothing else.
    pub(crate) source: GitSource,
    /// What that commit is called.
    pub(crate) revision: String,
    pub(crate) limit: Duration,
}

/// A repository to look at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WantedSource {
    pub(crate) source: GitSource,
    pub(crate) generation: i64,
    /// The revision in force.
    pub(crate) revision: Option<String>,
    /// Another value means: look now, whatever was found last.
    pub(crate) poke: (u64, Option<String>),
}

/// With this annotation people ask for a look now.
pub(crate) const REQUESTED_AT: &str = "reconcile.placet.dev/requestedAt";

impl Wanted {
    pub(crate) fn of(world: &World) -> Self {
        let sources = world.objects.sources().filter_map(|(name, entry, source)| {
            if source.spec.suspend {
                return None;
            }
            let wanted = WantedSource {
                source: source.clone(),
                generation: entry.generation,
                revision: entry.status["revision"].as_str().map(str::to_owned),
                poke: (world.pokes, entry.requested_at().map(str::to_owned)),
            };
            Some((name.to_owned(), wanted))
        });
        Self {
            declared: world.declared,
            references: if world.catalog.is_none() {
                world.objects.references()
            } else {
                Vec::new()
            },
            sources: sources.collect(),
            tellings: world
                .objects
                .sources()
                .filter_map(|(name, ..)| Some((name.to_owned(), Telling::of(world, name)?)))
                .collect(),
            dry_runs: world.wanted_dry_runs(),
        }
    }
}
