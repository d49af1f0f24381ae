//! The answer to a node's Hello: go on, or what is to change (S2).
//!
//! It costs one comparison of manifest digests. Modules are counted only for a node that differs,
//! and nothing is planned on account of it: the plan that follows is the one for the whole fleet.

use std::collections::{BTreeMap, BTreeSet};

use placet_crds::BootAnswer;
use placet_model::{DriftPolicy, NodeManifest, NodeName, OnStale};
use placet_protocol::wire::to_node::Order;
use placet_protocol::wire::{Boot, Policy, Welcome};

use super::feed;
use super::turn::Turn;
use super::world::World;

/// Nodes whose Hello waits for an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hails {
    /// They said Hello in this turn.
    new: BTreeSet<NodeName>,
    /// Nothing could be said yet of what they are to run; they are told as soon as it can.
    open: BTreeSet<NodeName>,
}

impl Hails {
    pub(super) fn hear(&mut self, node: &NodeName) {
        self.new.insert(node.clone());
    }

    pub(super) fn forget(&mut self, node: &NodeName) {
        self.new.remove(node);
        self.open.remove(node);
    }
}

impl World {
    /// Answers every Hello of this turn, and those before of which nothing could be said. Nodes that
    /// were answered before are told what is no longer so.
    pub(super) fn answer_hails(&mut self, turn: &mut Turn) {
        let new = std::mem::take(&mut self.hails.new);
        let open = std::mem::take(&mut self.hails.open);
        for name in new.union(&open) {
            let welcome = self.welcome(name);
            if welcome.boot() == Boot::Unknown {
                self.hails.open.insert(name.clone());
                if !new.contains(name) {
                    continue;
                }
            }
            self.note_boot(name, &welcome, turn);
            self.note_policy(name);
            turn.welcomes.push((name.clone(), welcome));
        }
        if self.all_touched {
            self.tell_policies(turn);
        }
    }

    fn welcome(&self, name: &NodeName) -> Welcome {
        let unknown = Welcome {
            node: name.to_string(),
            protocol: Some(placet_protocol::SPOKEN.into()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Welcome::default()
        };
        let wanted = self.target.as_ref().and_then(|it| it.nodes.get(name));
        let running = self.nodes.get(name).and_then(|it| it.seen.running.as_ref());
        let (Some(wanted), Some(running)) = (wanted, running) else {
            return unknown;
        };
        let unknown = Welcome {
            policy: Some(policy(wanted.drift)),
            ..unknown
        };
        let manifest_digest = wanted.manifest_digest.to_string();
        if running.digest() == wanted.manifest_digest {
            return Welcome {
                boot: Boot::Continue.into(),
                manifest_digest,
                ..unknown
            };
        }
        let (modules, bytes) = lacking(running.manifest(), &wanted.manifest);
        Welcome {
            boot: Boot::Change.into(),
            manifest_digest,
            modules,
            bytes,
            ..unknown
        }
    }

    /// What a node was told of its class's policy, with its welcome.
    fn note_policy(&mut self, name: &NodeName) {
        let wanted = self.target.as_ref().and_then(|it| it.nodes.get(name));
        let wanted = wanted.map(|wanted| wanted.drift);
        if let Some(node) = self.nodes.get_mut(name) {
            node.policy = wanted;
        }
    }

    /// Tells nodes what their classes have them do by themselves, where that has changed.
    fn tell_policies(&mut self, turn: &mut Turn) {
        let Some(target) = &self.target else { return };
        for (name, node) in &mut self.nodes {
            let wanted = target.nodes.get(name).map(|wanted| wanted.drift);
            if let (Some(told), Some(wanted), Some(_)) = (node.policy, wanted, node.session)
                && told != wanted
            {
                node.policy = Some(wanted);
                let order = Order::Policy(policy(wanted));
                turn.node_orders.push((name.clone(), order));
            }
        }
    }

    /// Writes down what a boot came to. A node that was only cut off for a while is in the same
    /// boot as before.
    fn note_boot(&mut self, name: &NodeName, welcome: &Welcome, turn: &mut Turn) {
        let Some(boot) = self.nodes.get_mut(name).and_then(|it| it.boot.as_mut()) else {
            return;
        };
        let answer = match welcome.boot() {
            Boot::Unknown => return,
            Boot::Continue => BootAnswer::Continue,
            Boot::Change => BootAnswer::Change,
        };
        if boot.answer != BootAnswer::Unknown {
            return;
        }
        boot.answer = answer;
        boot.modules = welcome.modules;
        boot.bytes = welcome.bytes;
        turn.tell("booted", feed::booted(name, boot));
        self.touched.insert(name.clone());
    }
}

fn policy(policy: DriftPolicy) -> Policy {
    Policy {
        restart_stale: policy.running == OnStale::Restart,
    }
}

/// How many modules of `wanted` are in no place of `running`, and how many bytes those have.
fn lacking(running: &NodeManifest, wanted: &NodeManifest) -> (u64, u64) {
    let lacking: BTreeMap<_, _> = (wanted.lacks_after(running))
        .map(|module| (module.digest, module.size))
        .collect();
    (lacking.len() as u64, lacking.values().sum())
}
