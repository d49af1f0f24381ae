//! Traces: which work belongs together, from a commit to running processes.
//!
//! Each roll-out has a trace of its own. Its `traceparent` stands in an annotation of the Rollout,
//! so that a controller which takes over goes on with the same one; it travels in every order, and
//! stands in the log lines of controller and nodes. Where a collector is named, the stations of the
//! roll-out are sent there as spans.
//!
//! **Invariant:** a collector that is slow or away costs memory for a bounded number of spans, and
//! nothing else.

mod export;
mod journey;
mod sender;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use placet_model::TraceParent;

pub(crate) use self::export::{Span, Traces, TracesError};
pub(crate) use self::journey::Beginnings;
pub(super) use self::journey::Journeys;

/// The annotation of a Rollout with its trace.
pub(crate) const TRACEPARENT: &str = "placet.dev/traceparent";

/// A trace that nobody has, and the span that begins it.
pub(crate) fn begin() -> TraceParent {
    loop {
        if let Some(parent) = TraceParent::new(rand::random(), rand::random()) {
            return parent;
        }
    }
}

/// Another span in the trace of `parent`.
pub(crate) fn child(parent: TraceParent) -> TraceParent {
    loop {
        if let Some(child) = TraceParent::new(parent.trace(), rand::random()) {
            return child;
        }
    }
}

/// The span of log lines that belong to a trace.
pub(crate) fn logged(parent: Option<TraceParent>) -> tracing::Span {
    parent.map_or_else(tracing::Span::none, |parent| {
        // Of the highest level, so that no filter takes it from a line that it lets through.
        tracing::error_span!("trace", trace_id = %parent.trace_id())
    })
}

fn system(time: Timestamp) -> SystemTime {
    SystemTime::from(time)
}

/// So long ago.
pub(crate) fn ago(time: Duration) -> Timestamp {
    let now = Timestamp::now();
    now.checked_sub(time).unwrap_or(now)
}
