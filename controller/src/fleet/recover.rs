//! After a start: the world as the home remembers it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::Timestamp;
use placet_crds::{FleetNodeStatus, Presence, RolloutStatus, kinds};
use placet_model::{NodeName, NodeState, RolloutPhase};
use placet_planner::{self as planner, RolloutState};

use super::world::{Node, Told, World};
use crate::home::{Home, HomeError};

impl World {
    /// The world as the home remembers it. No node is connected; what each runs comes with its
    /// Hello.
    pub(super) fn recover(home: &Home, now: Timestamp) -> Result<Self, HomeError> {
        let mut world = Self::default();
        for info in kinds() {
            for stored in home.list(&info.kind)? {
                if let Err(error) = world.objects.restore(&stored) {
                    tracing::error!(kind = stored.kind, name = stored.name, %error, "a resource cannot be read and is left out");
                }
            }
        }
        let members = home.members()?;
        for name in world.objects.node_names().collect::<Vec<_>>() {
            let status = world.objects.node(&name).map(|(entry, _)| entry.status());
            let mut node = Node::remembered(status.unwrap_or_default());
            if node.seen.presence == planner::Presence::NeverSeen && members.contains(&name) {
                node.seen.presence = planner::Presence::Away;
            }
            world.nodes.insert(name, node.forgotten(now));
        }
        world.recover_rollout();
        world.declared = 1;
        world.all_touched = true;
        // The change is as old as its roll-out, which is not told in milliseconds.
        world.heard = None::<Instant>;
        Ok(world)
    }

    fn recover_rollout(&mut self) {
        let numbers = self
            .objects
            .of("Rollout")
            .filter_map(|(name, _)| number(name));
        let Some(newest) = numbers.max() else { return };
        self.rollouts = newest;
        let name = format!("ro-{newest}");
        let Some((entry, rollout)) = self.objects.rollout(&name) else {
            return;
        };
        let Some(plan_digest) = rollout.spec.plan_digest else {
            return;
        };
        let status: RolloutStatus = entry.status();
        let parts = self.nodes.iter().filter_map(|(node, known)| {
            let part = known.rollout.as_ref().filter(|part| part.name == name)?;
            Some((node.clone(), part.state.clone()))
        });
        let state = RolloutState {
            revision: rollout.spec.to.clone(),
            plan_digest,
            phase: status.phase.unwrap_or(RolloutPhase::Proposing),
            holds: status.holds,
            hold: status.hold,
            decisions: status.decisions,
            paused: rollout.spec.paused,
            nodes: parts.collect(),
            name,
        };
        self.told = told(&state);
        self.unheard = Some(state.name.clone());
        self.rollout = Some(state);
    }

    /// The latest time that anything is noted for: the next turn comes after it, even if the clock
    /// was set back.
    pub(super) fn latest(&self) -> Timestamp {
        let states = self
            .rollout
            .iter()
            .flat_map(|rollout| rollout.nodes.values());
        let of_state = |state: &NodeState| [Some(state.asked), state.staging, state.activating];
        let decisions = self.rollout.iter().flat_map(|rollout| &rollout.decisions);
        let times = states.flat_map(of_state).flatten();
        times
            .chain(decisions.map(|decision| decision.time))
            .max()
            .unwrap_or(Timestamp::MIN)
    }
}

/// The number of a roll-out, by its name.
pub(super) fn number(rollout: &str) -> Option<u64> {
    rollout.strip_prefix("ro-")?.parse().ok()
}

/// What the feed was told of a roll-out before the controller ended, as far as can be known.
fn told(rollout: &RolloutState) -> Told {
    let changes: BTreeMap<NodeName, _> = rollout
        .nodes
        .iter()
        .map(|(name, state)| (name.clone(), state.change_digest))
        .collect();
    Told {
        planned: true,
        changes,
        problems: Vec::new(),
        tallied: rollout.phase != RolloutPhase::Proposing,
    }
}

impl Node {
    fn remembered(status: FleetNodeStatus) -> Self {
        let mut node = Self {
            generation: status.generation,
            processes: status.processes,
            suites: status.suites,
            last_seen: status.last_seen,
            last_verdict: status.last_verdict,
            rollout: status.rollout,
            boot: status.boot,
            last_order: status.last_order,
            stored: (status.committed_generation).map(|stored| (stored, status.test_ends)),
            ..Self::default()
        };
        node.seen.presence = match status.presence {
            Presence::NeverSeen => planner::Presence::NeverSeen,
            Presence::Away => planner::Presence::Away,
            Presence::Connected => planner::Presence::Connected,
        };
        node.seen.announced = status.facts;
        node.seen.boot_id = status.boot_id.unwrap_or_default();
        node.seen.failed = status.failed;
        node.seen.kept = status.kept;
        node.seen.staged = BTreeSet::new();
        node
    }
}
