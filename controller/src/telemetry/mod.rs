//! What people who run a fleet look at: metrics, and whether the controller is alive and ready.
//!
//! * `metrics` are counted where things happen; `standing` is how things stand after each turn of
//!   the fleet's loop; `process` is read from the system when somebody asks;
//! * `health` knows whether the loop turns and what this replica is to the others;
//! * `traces` follows each roll-out through its stations;
//! * `api` counts what is asked of an API server; `serve` answers over HTTP.
//!
//! **Invariant:** nothing here holds the loop up, and no label names a node: a fleet of 10,000 has
//! no more series than one of ten.

mod api;
mod health;
mod metrics;
mod process;
mod serve;
mod standing;
mod traces;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use placet_model::TraceParent;
use prometheus_client::registry::Registry;

pub(crate) use self::api::Counted;
use self::health::Health;
pub(crate) use self::health::Role;
use self::metrics::Metrics;
pub(crate) use self::metrics::{Fetch, Happened, Review, decision};
pub(crate) use self::serve::serve;
use self::standing::{Standing, Standings};
use self::traces::Journeys;
pub(crate) use self::traces::{
    Beginnings, Span, TRACEPARENT, Traces, TracesError, ago, begin, child, logged,
};
use crate::fleet::world::World;

/// What is known of a running controller, for whoever looks. Clones share it.
#[derive(Clone)]
pub(crate) struct Telemetry(Arc<Inner>);

struct Inner {
    registry: Registry,
    metrics: Metrics,
    standings: Arc<Standings>,
    health: Health,
    traces: Traces,
    journeys: Journeys,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new(Traces::default())
    }
}

impl Telemetry {
    /// Nothing has happened yet; spans go to `traces`.
    pub(crate) fn new(traces: Traces) -> Self {
        let mut registry = Registry::default();
        let standings = Arc::<Standings>::default();
        let metrics = Metrics::register(registry.sub_registry_with_prefix("placet"));
        registry
            .sub_registry_with_prefix("placet")
            .register_collector(Box::new(Arc::clone(&standings)));
        registry.register_collector(Box::new(process::Process));
        Self(Arc::new(Inner {
            registry,
            metrics,
            standings,
            health: Health::default(),
            traces,
            journeys: Journeys::default(),
        }))
    }

    /// All metrics in the text format of `OpenMetrics`.
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    /// A turn of the loop begins.
    pub(crate) fn turn_begins(&self) -> Turning {
        self.0.health.turn_begins();
        Turning {
            telemetry: self.clone(),
            began: Instant::now(),
        }
    }

    /// Counts what happened, once it is durable.
    pub(crate) fn count(&self, happened: &[Happened]) {
        for one in happened {
            self.0.metrics.count(one);
        }
    }

    /// Counts what was written.
    pub(crate) fn wrote(&self, writes: &[crate::home::Write]) {
        self.0.metrics.wrote(writes);
    }

    /// This is how things stand after a turn, in which so many nodes have a session.
    pub(crate) fn stands(&self, world: &World, sessions: usize) {
        self.0.standings.set(Standing::of(world, sessions));
        if self.0.traces.is_wanted() {
            let ended = self.0.journeys.follow(world, Timestamp::now());
            self.0.traces.send(ended);
        }
    }

    /// Counts a look at a repository.
    pub(crate) fn fetched(&self, source: &str, fetch: Fetch, took: Duration) {
        self.0.metrics.fetched(source, fetch, took);
        let is_good = matches!(fetch, Fetch::Changed | Fetch::Unchanged);
        self.0.standings.looked_at(source, is_good);
    }

    /// Only these repositories are looked at from now on.
    pub(crate) fn keep_sources(&self, is_kept: impl Fn(&str) -> bool) {
        for gone in self.0.standings.keep(is_kept) {
            self.0.metrics.forget_source(&gone);
        }
    }

    /// A certificate of this controller is valid until then.
    pub(crate) fn certificate(&self, name: &'static str, until: Timestamp) {
        self.0.standings.certificate(name, until);
    }

    /// Counts an answered admission review.
    pub(crate) fn reviewed(&self, review: Review, trace: Trace, took: Duration) {
        self.0.metrics.reviewed(review, took);
        if self.0.traces.is_wanted() {
            self.0.traces.send(vec![Span {
                name: "admission review",
                own: trace.own,
                parent: trace.parent,
                is_server: true,
                began: ago(took),
                ended: Timestamp::now(),
                attributes: vec![
                    ("placet.webhook", review.webhook.to_owned()),
                    ("placet.result", review.result.to_owned()),
                ],
                error: None,
            }]);
        }
    }

    /// Sends the spans that still wait, for as long as that may take at the end.
    pub(crate) async fn close(&self) {
        self.0.traces.close().await;
    }

    /// What this replica is to the others from now on.
    pub(crate) fn is(&self, role: Role) {
        self.0.metrics.is(&role);
        if !matches!(role, Role::Leads) {
            self.0.standings.clear();
            self.0.journeys.clear();
            self.0.health.loop_ends();
        }
        self.0.health.is(role);
    }
}

/// The span of something that is answered, and the one of whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) own: TraceParent,
    pub(crate) parent: Option<u64>,
}

impl Trace {
    /// A span in the trace that a `traceparent` names, or else in one of its own.
    pub(crate) fn of(traceparent: Option<&str>) -> Self {
        let parent = traceparent.and_then(|text| text.parse::<TraceParent>().ok());
        Self {
            own: parent.map_or_else(begin, child),
            parent: parent.map(TraceParent::span),
        }
    }
}

/// A turn of the loop that is under way.
pub(crate) struct Turning {
    telemetry: Telemetry,
    began: Instant,
}

impl Drop for Turning {
    fn drop(&mut self) {
        self.telemetry.0.health.turn_ends();
        let took = self.began.elapsed();
        self.telemetry.0.metrics.turned(took);
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("health", &self.0.health)
            .finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
