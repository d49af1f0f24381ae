//! The fleet: what is observed of it, what is on its way, and what is done about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use placet_model::{Digest, NodeManifest, NodeName};
use placet_planner::{
    Action, NodePlan, Observed, ObservedNode, Plan, Presence, RolloutState, Target, audit, noted,
    plan,
};

use super::nodes::Coming;
use super::script::{FailEntry, VoteEntry};
use super::teller::Told;
use super::transcript::Transcript;
use crate::counsel::Files;

/// As many roll-outs as one moment may open one after the other.
const PLANS_MOST: usize = 3;

/// A fleet at one moment.
pub(super) struct World<'a> {
    pub(super) target: Arc<Target>,
    pub(super) observed: Observed,
    /// What nodes will say or do, by when and in which order it began.
    pub(super) coming: BTreeMap<(Timestamp, u64), (NodeName, Coming)>,
    /// What nodes without a connection did, to be said when they have one.
    pub(super) unheard: BTreeMap<NodeName, Vec<Coming>>,
    /// What processes were told to say; the last that fits counts.
    pub(super) votes: Vec<VoteEntry>,
    pub(super) failures: Vec<FailEntry>,
    pub(super) manifests: BTreeMap<Digest, Arc<NodeManifest>>,
    pub(super) files: &'a mut Files<'a>,
    pub(super) transcript: Transcript,
    pub(super) told: Told,
    /// What the plan changes.
    pub(super) changes: BTreeMap<NodeName, NodePlan>,
    pub(super) wake: Option<Timestamp>,
    rollouts: u32,
    begun: u64,
    random: u64,
}

impl<'a> World<'a> {
    pub(super) fn new(start: Timestamp, seed: u64, files: &'a mut Files<'a>) -> Self {
        Self {
            target: Arc::default(),
            observed: Observed {
                now: start,
                nodes: BTreeMap::new(),
                rollout: None,
            },
            coming: BTreeMap::new(),
            unheard: BTreeMap::new(),
            votes: Vec::new(),
            failures: Vec::new(),
            manifests: BTreeMap::new(),
            files,
            transcript: Transcript::default(),
            told: Told::default(),
            changes: BTreeMap::new(),
            wake: None,
            rollouts: 0,
            begun: 0,
            random: seed,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.observed.now
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        let now = self.now();
        self.transcript.add(now, text);
    }

    /// Another revision is what the fleet should run; nodes that are new to it join.
    pub(super) fn aim(&mut self, target: Target) {
        let now = self.now();
        for (name, node) in &target.nodes {
            self.manifests
                .insert(node.manifest_digest, Arc::clone(&node.manifest));
            let fresh = || ObservedNode {
                presence: Presence::Connected,
                boot_id: "boot-1".to_owned(),
                connected_since: Some(now),
                running: Some(NodeManifest::default().into()),
                has_memory: true,
                ..ObservedNode::default()
            };
            let nodes = &mut self.observed.nodes;
            nodes.entry(name.clone()).or_insert_with(fresh);
        }
        self.target = Arc::new(target);
    }

    /// Something will happen on a node after a while.
    pub(super) fn later(&mut self, node: &NodeName, seconds: u32, coming: Coming) {
        self.begun += 1;
        let when = self.now() + SignedDuration::from_secs(seconds.into());
        let key = (when, self.begun);
        self.coming.insert(key, (node.clone(), coming));
    }

    /// How many seconds something takes: 1 to 5, as the seed has it.
    pub(super) fn a_while(&mut self) -> u32 {
        // SplitMix64: one addition a draw, and good enough to shuffle nodes.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        1 + u32::try_from((mixed ^ (mixed >> 31)) % 5).unwrap_or(0)
    }

    /// Lets time pass, and everything happen that happens meanwhile.
    pub(super) fn pass(&mut self, until: Timestamp) {
        while let Some(next) = self.next_event().filter(|next| *next <= until) {
            self.observed.now = next;
            while let Some(entry) = self.coming.first_entry().filter(|it| it.key().0 <= next) {
                let (node, coming) = entry.remove();
                self.happen(&node, coming);
            }
            self.turn();
        }
        if self.now() < until {
            self.observed.now = until;
            self.turn();
        }
    }

    /// When something happens next by itself.
    fn next_event(&self) -> Option<Timestamp> {
        let coming = self.coming.keys().next().map(|(when, _)| *when);
        let wake = self.wake.filter(|wake| *wake > self.now());
        coming.into_iter().chain(wake).min()
    }

    /// Plans, notes what the plan does, and has it done.
    pub(super) fn turn(&mut self) {
        for _ in 0..PLANS_MOST {
            let target = Arc::clone(&self.target);
            let plan = plan(&target, &self.observed);
            if plan.opens {
                self.open(&plan);
                continue;
            }
            for violation in audit(&target, &plan, &self.observed) {
                self.say(format!("the plan breaks a rule: {violation:?}"));
            }
            self.observed.rollout = noted(&plan, &self.observed);
            self.wake = plan.wake;
            self.tell(&plan);
            self.changes.clone_from(&plan.nodes);
            for step in &plan.steps {
                self.obey(&step.node, &step.action);
            }
            return;
        }
    }

    /// Opens a roll-out, under a name that does not depend on what it brings.
    fn open(&mut self, plan: &Plan) {
        self.rollouts += 1;
        let name = format!("ro-{}", self.rollouts);
        if let Some(older) = &plan.supersedes {
            self.say(format!("{older} is superseded"));
        }
        self.say(format!("{name} begins: to {}", plan.revision));
        self.told = std::mem::take(&mut self.told).of_target();
        let releases = plan.steps.iter();
        let releases = releases.filter(|step| matches!(step.action, Action::Release { .. }));
        for step in releases {
            self.say(format!("{}: released", step.node));
            self.obey(&step.node, &step.action);
        }
        self.observed.rollout = Some(RolloutState::of_plan(name, plan));
    }
}
