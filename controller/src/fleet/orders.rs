//! Sessions of nodes, and orders given through them.

use std::sync::Arc;

use placet_model::{NodeName, TraceParent, canonical_json};
use placet_planner::Action;
use placet_protocol::wire::to_node::Order as Wire;
use placet_protocol::wire::{Activate, GiveBack, Memory, Release, Stage, ToNode, Welcome};
use tokio::sync::mpsc::error::TrySendError;
use tonic::Status;

use super::Fleet;
use super::turn::Order;
use crate::telemetry::logged;

impl Fleet {
    /// Every session begins with it; a node of which nothing could be said gets a second one.
    pub(super) fn welcome(&mut self, node: &NodeName, welcome: Welcome) {
        self.send(node, Wire::Welcome(welcome), None);
    }

    pub(super) fn end_session(&mut self, node: &NodeName, why: &'static str) {
        if let Some(session) = self.sessions.remove(node) {
            tracing::warn!("session of node {node} is ended: {why}");
            // Whether there is room for the reason or not, the session ends.
            let _ = session.orders.try_send(Err(Status::aborted(why)));
        }
    }

    pub(super) fn give(&mut self, order: Order) {
        let Order { rollout, step } = order;
        let trace = self.world.trace(&rollout);
        logged(trace).in_scope(|| tracing::debug!("roll-out {rollout}: {step}"));
        let order = Content::Planned {
            rollout,
            action: step.action,
        };
        self.send(&step.node, order, trace);
    }

    /// Never waits: a node that takes no orders is ended, and asked again when it is back.
    pub(super) fn send(
        &mut self,
        node: &NodeName,
        content: impl Into<Content>,
        trace: Option<TraceParent>,
    ) {
        let order = Outgoing {
            epoch: self.home.epoch(),
            content: content.into(),
            trace,
        };
        let Some(session) = self.sessions.get(node) else {
            return;
        };
        if let Err(TrySendError::Full(_)) = session.orders.try_send(Ok(order)) {
            self.end_session(node, "the node does not take its orders");
        }
    }
}

/// An order on its way to a node.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) epoch: u64,
    content: Content,
    trace: Option<TraceParent>,
}

/// What a node is told.
#[derive(Debug)]
pub(crate) enum Content {
    Said(Wire),
    /// What has a manifest in it is written out when the node takes it: until then a whole fleet
    /// shares the manifest, and the fleet's loop does not wait for it.
    Planned {
        rollout: Arc<str>,
        action: Action,
    },
}

impl From<Wire> for Content {
    fn from(order: Wire) -> Self {
        Self::Said(order)
    }
}

impl Outgoing {
    /// As the node gets it.
    pub(crate) fn into_wire(self) -> ToNode {
        let order = match self.content {
            Content::Said(order) => order,
            Content::Planned { rollout, action } => wire(&rollout, &action),
        };
        let trace = self.trace;
        ToNode {
            epoch: self.epoch,
            order: Some(order),
            traceparent: trace.map_or_else(String::new, |trace| trace.to_string()),
        }
    }
}

fn wire(rollout: &str, action: &Action) -> Wire {
    let rollout = rollout.to_owned();
    match action {
        Action::Propose(proposal) => Wire::ProposalJson(canonical_json(proposal)),
        Action::Release {
            rollout,
            change_digest,
            reason,
        } => Wire::Release(Release {
            rollout: rollout.clone(),
            change_digest: change_digest.to_string(),
            reason: reason.clone(),
            dry_run: false,
        }),
        Action::Stage {
            change_digest,
            manifest,
            memory,
        } => Wire::Stage(Stage {
            rollout,
            change_digest: change_digest.to_string(),
            manifest_json: canonical_json(manifest.as_ref()),
            memory: *memory,
        }),
        Action::Activate {
            change_digest,
            from,
            to,
            forced,
            soak_seconds,
            memory,
        } => Wire::Activate(Activate {
            rollout,
            change_digest: change_digest.to_string(),
            from: from.to_string(),
            to: to.to_string(),
            forced: *forced,
            soak_seconds: *soak_seconds,
            memory: memory.map(|seconds| Memory { seconds }),
        }),
        Action::GiveBack {
            change_digest,
            reason,
        } => Wire::GiveBack(GiveBack {
            rollout,
            change_digest: change_digest.to_string(),
            reason: reason.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use placet_model::NodeName;
    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;

    use super::super::news::Session;
    use super::{Fleet, Wire};
    use crate::home::{Embedded, Home};
    use crate::shared::{Shared, Wanted};

    #[test]
    fn a_node_that_takes_no_orders_is_ended_and_holds_nobody_up() {
        let state = tempfile::tempdir().unwrap();
        let home = Home::from(Embedded::open(state.path()).unwrap());
        let (wanted, _) = watch::channel(Wanted::default());
        let mut fleet = Fleet::recover(home, Arc::<Shared>::default(), wanted).unwrap();
        let node: NodeName = "core-1".parse().unwrap();
        let (orders, mut taken) = mpsc::channel(2);
        let end = CancellationToken::new();
        let session = Session {
            id: 1,
            orders,
            end: end.clone(),
        };
        fleet.sessions.insert(node.clone(), session);
        fleet.welcome(&node, placet_protocol::wire::Welcome::default());
        let release = || Wire::Release(placet_protocol::wire::Release::default());
        fleet.send(&node, release(), None);
        assert!(!end.is_cancelled());
        fleet.send(&node, release(), None);
        assert!(end.is_cancelled());
        fleet.send(&node, release(), None);
        let mut orders = 0;
        while let Some(order) = taken.blocking_recv() {
            assert_eq!(order.unwrap().epoch, 1);
            orders += 1;
        }
        assert_eq!(orders, 2, "the welcome and what fitted beside it");
    }
}
