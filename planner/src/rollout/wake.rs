//! When time alone may change the plan.

use std::collections::BTreeMap;

use jiff::Timestamp;
use placet_model::NodeName;

use super::fleet::{Fleet, Node, after};
use super::standing::Standing;
use super::steps::STAGE_AGAIN;
use super::waves::Waves;
use crate::plan::WaitingOn;

/// The earliest of the deadlines that are still to come.
pub(super) fn next(
    fleet: &Fleet,
    standings: &BTreeMap<NodeName, Standing>,
    waves: &Waves,
) -> Option<Timestamp> {
    standings
        .iter()
        .filter_map(|(name, standing)| Some((fleet.node(name)?, standing)))
        .flat_map(|(node, standing)| deadlines(&node, standing))
        .flatten()
        .chain(waves.times())
        .filter(|deadline| *deadline > fleet.now())
        .min()
}

fn deadlines(node: &Node, standing: &Standing) -> [Option<Timestamp>; 3] {
    let state = node.current();
    let patient = |since: Timestamp| after(since, node.patience());
    let back = node
        .seen
        .away_since
        .filter(|_| !node.is_connected())
        .map(|since| after(since, node.absence()));
    match standing {
        Standing::Pending(WaitingOn::Deferred(until)) => [Some(*until), None, None],
        Standing::Pending(WaitingOn::Answer) => [state.map(|it| patient(it.asked)), None, None],
        Standing::Agreed { .. } => {
            let verdict = state.and_then(|state| state.verdict.as_ref());
            let failed = state.filter(|state| state.stage_error.is_some());
            let staging = failed.and_then(|state| state.staging);
            [
                verdict.map(|verdict| verdict.expires),
                staging.map(|staging| after(staging, STAGE_AGAIN)),
                back,
            ]
        }
        Standing::Pending(_) | Standing::Changing { .. } => [back, None, None],
        Standing::Arrived
        | Standing::Out(_)
        | Standing::Ask { .. }
        | Standing::Lapsed(_)
        | Standing::Objects { .. } => [None; 3],
    }
}
