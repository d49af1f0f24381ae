//! What happens to processes on nodes that have one package or the other, and nothing else.

use placet_model::{Architecture, NodeRestart, ProcessChange};
use placet_planner::change;
use serde::Serialize;

use super::PackageSide;
use crate::alone::{architectures, node};

/// What happens to the processes of nodes of one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Impact {
    /// The architecture of the nodes; `neutral` where no module is for a particular one.
    pub architecture: Architecture,
    /// Present if the nodes restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<NodeRestart>,
    /// The processes that are touched, in the order in which they are handled.
    pub processes: Vec<ProcessChange>,
}

pub(super) fn impact(from: PackageSide<'_>, to: PackageSide<'_>) -> Vec<Impact> {
    let impacts = architectures([from.config, to.config]).into_iter();
    let impacts = impacts.map(|architecture| {
        let [from, to] = [from, to].map(|side| node(&[(side.digest, side.config)], &architecture));
        let change = change(&from, &to).change_set;
        Impact {
            architecture,
            restart: change.restart,
            processes: change.processes,
        }
    });
    impacts.collect()
}
