//! Nodes that watch a change whose requirement on others has failed: they give it back (C-A8).

use std::collections::BTreeMap;

use placet_model::NodeName;

use super::Moment;
use super::fleet::Node;
use super::standing::Standing;
use crate::plan::Action;
use crate::remote::Mixture;

/// The nodes that are to give back what they watch, each with the requirement.
#[derive(Default)]
pub(super) struct LetDown(BTreeMap<NodeName, String>);

impl LetDown {
    /// A node is let down once another, which would have satisfied its requirement, has failed in
    /// this roll-out. While the other is still changing, nothing is decided.
    pub(super) fn of(moment: &Moment) -> Self {
        if !moment.standings.values().any(has_failed) {
            return Self::default();
        }
        let mixture = Mixture::new(moment.fleet.target, moment.fleet.observed);
        Self(mixture.let_down(|name| moment.standings.get(name).is_some_and(has_failed)))
    }

    /// The order to a node that was not given it yet, or not since it came back.
    pub(super) fn order(&self, node: &Node) -> Option<Action> {
        let reason = self.0.get(node.name).filter(|_| node.is_soaking())?;
        let state = node.state?;
        let is_told = (state.giving_back).is_some_and(|told| !node.seen.is_newly_connected(told));
        (!is_told).then(|| Action::GiveBack {
            change_digest: state.change_digest,
            reason: reason.clone(),
        })
    }
}

/// True for a node that was told to change in this roll-out, and gave that back.
fn has_failed(standing: &Standing) -> bool {
    matches!(
        standing,
        Standing::Objects {
            failed: Some(_),
            halts: true,
            ..
        }
    )
}
