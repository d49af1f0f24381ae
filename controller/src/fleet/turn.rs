//! What one turn of the fleet's loop brings about.

use std::sync::Arc;

use jiff::Timestamp;
use placet_model::{NodeName, visible};
use placet_planner::Step;
use placet_protocol::wire::Welcome;
use placet_protocol::wire::to_node::Order as Wire;
use serde_json::Value;

use super::feed;
use super::world::World;
use crate::home::Write;
use crate::telemetry::{Happened, logged};

const NODES_JOINED: &str = "nodesJoined";

/// What one turn of the fleet's loop brings about, in the order in which it takes effect: first
/// everything is written, then sessions end, orders are given and people are answered.
pub(crate) struct Turn {
    /// The time of the turn; later than that of every turn before.
    pub(crate) now: Timestamp,
    pub(crate) writes: Vec<Write>,
    /// What sessions begin with; given before any other order.
    pub(crate) welcomes: Vec<(NodeName, Welcome)>,
    pub(crate) orders: Vec<Order>,
    /// What people order for single nodes.
    pub(crate) node_orders: Vec<(NodeName, Wire)>,
    /// Sessions to end, with the reason.
    pub(crate) cut: Vec<(NodeName, &'static str)>,
    pub(crate) replies: Vec<Box<dyn FnOnce() + Send>>,
    /// What is counted.
    pub(crate) happened: Vec<Happened>,
}

/// An order to a node.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The roll-out in whose name it is given.
    pub(crate) rollout: Arc<str>,
    pub(crate) step: Step,
}

impl Turn {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            now,
            writes: Vec::new(),
            welcomes: Vec::new(),
            orders: Vec::new(),
            node_orders: Vec::new(),
            cut: Vec::new(),
            replies: Vec::new(),
            happened: Vec::new(),
        }
    }

    /// Tells the feed.
    pub(crate) fn tell(&mut self, name: &'static str, data: Value) {
        let rollout = data["rollout"].as_str().unwrap_or_default().to_owned();
        self.writes.push(Write::Event {
            name,
            rollout,
            data,
        });
    }

    /// Tells the feed that a node joined, together with others that join in this turn.
    pub(super) fn tell_joined(&mut self, node: &NodeName) {
        let told = self.writes.iter_mut().find_map(|write| match write {
            Write::Event {
                name: NODES_JOINED,
                data,
                ..
            } => data["nodes"].as_array_mut(),
            _ => None,
        });
        match told {
            Some(nodes) => nodes.push(node.as_str().into()),
            None => self.tell(NODES_JOINED, feed::nodes_joined(node)),
        }
    }

    /// Has something counted.
    pub(crate) fn count(&mut self, happened: Happened) {
        self.happened.push(happened);
    }

    /// Answers somebody once everything is written.
    pub(crate) fn answer<T: Send + 'static>(
        &mut self,
        reply: tokio::sync::oneshot::Sender<T>,
        value: T,
    ) {
        // Whoever asked may have gone.
        self.replies.push(Box::new(move || drop(reply.send(value))));
    }
}

/// What stands in the feed stands in the log too.
pub(super) fn log_events(writes: &[Write], world: &World) {
    for write in writes {
        if let Write::Event {
            name,
            rollout,
            data,
        } = write
        {
            let _trace = logged(world.trace(rollout)).entered();
            log(name, data);
        }
    }
}

/// What stands in the feed stands in the log, objections in their own words.
fn log(name: &str, data: &Value) {
    let lines = |key: &str| {
        let lines = data[key].as_array().into_iter().flatten();
        lines
            .filter_map(Value::as_str)
            .map(|line| visible(line).to_string())
    };
    match name {
        "held" => {
            let (rollout, hold) = (text(data, "rollout"), &data["hold"]);
            tracing::warn!("roll-out {rollout} is held (hold {hold})");
            lines("vetoes").for_each(|line| tracing::warn!("{line}"));
        }
        "refused" => {
            tracing::warn!("source {} is refused", text(data, "source"));
            lines("reasons").for_each(|line| tracing::warn!("{line}"));
        }
        "failed" => tracing::warn!(
            "node {} failed in roll-out {}: {}",
            text(data, "node"),
            text(data, "rollout"),
            text(data, "reason")
        ),
        "plan" => {
            tracing::info!(
                "roll-out {} of {}",
                text(data, "rollout"),
                text(data, "revision")
            );
            lines("problems").for_each(|line| tracing::warn!("{line}"));
        }
        "nodeDrift" => {
            tracing::warn!("node {} has drifted", text(data, "node"));
            lines("drifts").for_each(|line| tracing::warn!("{line}"));
        }
        "testsFailed" => {
            let (node, suite) = (text(data, "node"), text(data, "suite"));
            tracing::warn!("tests of suite {suite} failed on node {node}");
            lines("failures").for_each(|line| tracing::warn!("{line}"));
        }
        "processes" => tracing::debug!("{name} {data}"),
        _ => tracing::info!("{name} {}", visible(&data.to_string())),
    }
}

fn text(data: &Value, key: &str) -> String {
    visible(data[key].as_str().unwrap_or_default()).to_string()
}
