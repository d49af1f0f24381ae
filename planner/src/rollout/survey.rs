//! Where the nodes stand among each other: what follows from their class's strategy.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::NodeName;

use super::decisions::{Answered, class_prefix};
use super::fleet::{Fleet, Node};
use super::standing::Standing;
use super::waves::Waves;
use crate::plan::WaitingOn;

impl Fleet<'_> {
    /// Where the nodes stand, and whose turn it is.
    pub(super) fn survey(&self) -> (BTreeMap<NodeName, Standing>, Waves<'_>) {
        let mut standings = self.standings();
        let waves = Waves::new(self, &standings);
        let spared = self.spared(&standings, &waves);
        let skipped: BTreeSet<&str> = waves
            .members()
            .map(|(class, ..)| class)
            .filter(|class| self.decisions.on_class(class) == Some(Answered::Skip))
            .collect();
        for (name, standing) in &mut standings {
            let Some(node) = self.node(name) else {
                continue;
            };
            let class = node.target.class.as_str();
            if skipped.contains(class) && may_be_left_out(&node, standing) {
                *standing = Standing::Out(WaitingOn::Skipped);
                continue;
            }
            match standing {
                Standing::Objects {
                    halts: true,
                    failed: Some(why),
                    ..
                } if spared.contains(class) => {
                    *standing = Standing::Out(WaitingOn::Failed(std::mem::take(why)));
                }
                Standing::Ask { expired: true } if node.is_staged() => {
                    if let Some(waiting) = waves.gate(class, name) {
                        *standing = Standing::Lapsed(waiting);
                    }
                }
                _ => {}
            }
        }
        (standings, waves)
    }

    /// Classes in which fewer nodes failed than it takes to halt them. A canary is there to fail
    /// for all.
    fn spared<'a>(
        &'a self,
        standings: &BTreeMap<NodeName, Standing>,
        waves: &Waves,
    ) -> BTreeSet<&'a str> {
        let mut failed = BTreeMap::<&str, (u32, u32)>::new();
        for (name, standing) in standings {
            if let (Standing::Objects { halts: true, .. }, Some(target)) =
                (standing, self.target.nodes.get(name))
            {
                let entry = failed.entry(target.class.as_str());
                let entry = entry.or_insert((0, target.strategy.halt_threshold));
                entry.0 += 1;
                if waves.is_canary(&target.class, name) {
                    entry.1 = 0;
                }
            }
        }
        let spared = failed
            .into_iter()
            .filter(|(_, (failed, most))| failed < most);
        spared.map(|(class, _)| class).collect()
    }
}

/// True for a node that has not begun to change, and would.
fn may_be_left_out(node: &Node, standing: &Standing) -> bool {
    let has_begun = node.state.is_some_and(|state| state.activating.is_some());
    !has_begun && !matches!(standing, Standing::Arrived | Standing::Out(_))
}

/// What a person has to confirm before it goes on: changes of classes that reach further than their
/// strategy lets pass by itself.
pub(super) fn unconfirmed(fleet: &Fleet, waves: &Waves) -> Vec<String> {
    let declared = fleet.declared();
    let far = waves.members().filter_map(|(class, strategy, touched)| {
        let most = strategy.confirm_above_percent?;
        let share = usize::try_from(most).unwrap_or(usize::MAX);
        let is_open = touched * 100 > share.saturating_mul(declared)
            && !fleet.has_begun_in(class)
            && fleet.decisions.on_class(class).is_none();
        is_open.then(|| {
            format!(
                "{}the change touches {touched} of {declared} nodes, more than {most} % of the fleet: `force` confirms it, `skip` leaves the class as it is",
                class_prefix(class)
            )
        })
    });
    far.collect()
}
