//! What is known of a class.

use std::collections::BTreeMap;

use jiff::Timestamp;
use placet_crds::{NodeClassStatus, NodeCounts, Reason, State, conditions};
use placet_model::{Digest, NodeName};
use placet_planner::{Presence, Target};

use super::counted;
use crate::fleet::world::Node;

/// The nodes of a class, counted, and what they are to run where that is the same for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Count {
    nodes: NodeCounts,
    manifest: Option<Digest>,
    is_mixed: bool,
}

/// Counts the nodes of every class.
pub(crate) fn counts(target: &Target, nodes: &BTreeMap<NodeName, Node>) -> BTreeMap<String, Count> {
    let mut counts = BTreeMap::<String, Count>::new();
    for (name, wanted) in &target.nodes {
        let count = counts.entry(wanted.class.clone()).or_default();
        count.nodes.total += 1;
        count.is_mixed |= count
            .manifest
            .is_some_and(|digest| digest != wanted.manifest_digest);
        count.manifest = Some(wanted.manifest_digest);
        let Some(node) = nodes.get(name) else {
            continue;
        };
        let seen = &node.seen;
        let runs = seen.running.as_ref().map(placet_planner::Running::digest);
        count.nodes.connected += u32::from(seen.presence == Presence::Connected);
        count.nodes.up_to_date += u32::from(runs == Some(wanted.manifest_digest));
        count.nodes.failed += u32::from(seen.failed.contains(&wanted.manifest_digest));
    }
    counts
}

/// The status of a class.
pub(crate) fn status(
    old: &NodeClassStatus,
    count: &Count,
    generation: i64,
    now: Timestamp,
) -> NodeClassStatus {
    let NodeCounts {
        total,
        up_to_date,
        failed,
        ..
    } = count.nodes;
    let text = format!(
        "{up_to_date} of {} run what is declared",
        counted(total, "node")
    );
    let state = if failed > 0 {
        State::Stalled(
            Reason::ChangeFailed,
            format!("{text}, {failed} failed to change"),
        )
    } else if up_to_date < total {
        State::Reconciling(Reason::OutOfDate, text)
    } else {
        State::Ready(Reason::Succeeded, text)
    };
    let manifest_digest = count.manifest.filter(|_| !count.is_mixed);
    let is_same = old.nodes == count.nodes && old.manifest_digest == manifest_digest;
    NodeClassStatus {
        observed_generation: Some(generation),
        nodes: count.nodes,
        manifest_digest,
        counted: old.counted.filter(|_| is_same).or(Some(now)),
        last_handled_reconcile_at: old.last_handled_reconcile_at.clone(),
        conditions: conditions(&old.conditions, &state, Some(generation), now),
    }
}
