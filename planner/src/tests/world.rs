//! A fleet in memory: plans are carried out, nodes answer, time passes when it is told to.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use expect_test::Expect;
use jiff::{SignedDuration, Timestamp};
use placet_model::{
    Activation, Answer, Decision, DecisionKind, Digest, NodeManifest, NodeName, Proposal, Verdict,
    VerdictKind, VoteRecord,
};

use super::build::{F, file, fleet, library, package, process, text};
use crate::{
    Action, Observed, ObservedNode, Plan, Planner, Presence, Target, audit, change, noted, plan,
    verdict_of,
};

/// Three core nodes and one edge node; core runs a process on a library of the base package.
pub(super) fn small() -> F {
    let mut fleet = versions().class("core", &["app 1.0.0", "base 1.0.0"]);
    for name in ["core-2", "core-3"] {
        fleet = fleet.node(name, |node| node.class = Some("core".to_owned()));
    }
    fleet.class("edge", &["tool 1.0.0"])
}

fn versions() -> F {
    let chat = || process("chatd").self_managing().needs("libbase.so");
    fleet([
        package("app 1.0.0", [chat()]),
        package("app 2.0.0", [chat().content("2")]),
        package("base 1.0.0", [library("libbase.so")]),
        package("base 2.0.0", [library("libbase.so").content("2")]),
        package("tool 1.0.0", [file("etc/tool")]),
        package("tool 2.0.0", [file("etc/tool").content("2")]),
    ])
}

/// What a node was told and has not done yet.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Propose(Box<Proposal>),
    Stage(Arc<NodeManifest>),
    Activate(Digest, Digest, Digest, Option<u32>),
}

#[derive(Clone)]
pub(super) struct World {
    fleet: F,
    /// It has seen all of the history.
    planner: RefCell<Planner>,
    target: OnceCell<Arc<Target>>,
    pub(super) observed: Observed,
    pub(super) orders: BTreeMap<NodeName, Vec<Order>>,
    pub(super) superseded: Vec<String>,
    /// How often each node was told to activate a manifest.
    pub(super) activations: BTreeMap<NodeName, u32>,
    manifests: BTreeMap<Digest, Arc<NodeManifest>>,
    /// Changes that are watched, and what ran before.
    soaking: BTreeMap<NodeName, (Order, Option<crate::Running>)>,
}

impl World {
    /// Every node is connected and runs nothing yet.
    pub(super) fn pristine(fleet: F) -> Self {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let names = fleet.desired.nodes.keys().cloned();
        let node = ObservedNode {
            presence: Presence::Connected,
            boot_id: "boot-1".to_owned(),
            connected_since: Some(now),
            running: Some(NodeManifest::default().into()),
            has_memory: true,
            ..ObservedNode::default()
        };
        let nodes = names.map(|name| (name, node.clone())).collect();
        let mut world = Self {
            fleet,
            planner: RefCell::default(),
            target: OnceCell::new(),
            observed: Observed {
                now,
                nodes,
                rollout: None,
            },
            orders: BTreeMap::new(),
            superseded: Vec::new(),
            activations: BTreeMap::new(),
            manifests: BTreeMap::new(),
            soaking: BTreeMap::new(),
        };
        world.tick(1);
        world
    }

    /// Every node is connected and runs its target.
    pub(super) fn settled(fleet: F) -> Self {
        let mut world = Self::pristine(fleet);
        for (name, node) in &world.target().nodes {
            world.node(name.as_str()).running = Some(Arc::clone(&node.manifest).into());
        }
        world
    }

    pub(super) fn target(&self) -> Arc<Target> {
        let work_out = || {
            let mut planner = self.planner.borrow_mut();
            self.fleet.tell(&mut planner);
            let target = planner.target();
            assert_eq!(*target, self.fleet.target());
            target
        };
        Arc::clone(self.target.get_or_init(work_out))
    }

    pub(super) fn declare(&mut self, change: impl FnOnce(&mut F)) {
        change(&mut self.fleet);
        self.target = OnceCell::new();
    }

    pub(super) fn node(&mut self, name: &str) -> &mut ObservedNode {
        self.observed.nodes.entry(text(name)).or_default()
    }

    pub(super) fn tick(&mut self, seconds: i64) {
        self.observed.now += SignedDuration::from_secs(seconds);
    }

    /// A commit.
    pub(super) fn commit(&mut self, revision: &str, change: impl FnOnce(F) -> F) {
        self.declare(|fleet| {
            *fleet = change(std::mem::take(fleet));
            fleet.desired.revision = format!("main@sha1:{revision}");
        });
        self.tick(1);
    }

    /// Plans, checks the plan, notes it, and hands out the orders.
    pub(super) fn turn(&mut self) -> Plan {
        let target = self.target();
        let plan = plan(&target, &self.observed);
        assert_eq!(audit(&target, &plan, &self.observed), [], "{plan}");
        self.observed.rollout = noted(&plan, &self.observed);
        self.superseded.extend(plan.supersedes.clone());
        self.check_again(&target, &plan);
        for step in &plan.steps {
            self.order(&step.node, &step.action);
        }
        plan
    }

    /// Planning again without news gives nothing new.
    fn check_again(&self, target: &Target, former: &Plan) {
        let again = plan(target, &self.observed);
        assert_eq!(again.steps, [], "after\n{former}");
        assert_eq!(again.hold, former.hold);
        assert!(!again.opens && again.supersedes.is_none());
        if self.observed.rollout.is_some() {
            assert_eq!(again.phase, former.phase);
        }
        assert_eq!(noted(&again, &self.observed), self.observed.rollout);
    }

    fn order(&mut self, node: &NodeName, action: &Action) {
        let orders = self.orders.entry(node.clone()).or_default();
        match action {
            Action::Propose(proposal) => orders.push(Order::Propose(proposal.clone())),
            Action::Stage { manifest, .. } => {
                self.manifests
                    .insert(manifest.digest(), Arc::clone(manifest));
                orders.push(Order::Stage(Arc::clone(manifest)));
            }
            Action::Activate {
                change_digest,
                from,
                to,
                memory,
                ..
            } => {
                *self.activations.entry(node.clone()).or_default() += 1;
                orders.push(Order::Activate(*change_digest, *from, *to, *memory));
            }
            Action::Release { .. } => {
                orders.retain(|order| !matches!(order, Order::Propose(_)));
            }
            Action::GiveBack { .. } => assert!(self.soaking.contains_key(node)),
        }
    }

    /// Plans and shows what is done and what waits.
    #[track_caller]
    pub(super) fn check(&mut self, expected: &Expect) -> &mut Self {
        let plan = self.turn();
        let mut shown = format!("{}\n", plan.phase);
        for line in plan.hold.iter().flat_map(|hold| &hold.objections) {
            writeln!(shown, "  objection {line}").unwrap();
        }
        for step in &plan.steps {
            let text = step.action.to_string();
            let words = text
                .split(' ')
                .filter(|word| word.trim_end_matches([',', ':']).len() != 12);
            writeln!(
                shown,
                "{} > {}",
                step.node,
                words.collect::<Vec<_>>().join(" ")
            )
            .unwrap();
        }
        for (node, waiting) in &plan.held {
            writeln!(shown, "{node} {waiting}").unwrap();
        }
        expected.assert_eq(&shown);
        self
    }

    /// The node does the oldest thing that it was told.
    pub(super) fn take(&mut self, node: &str) -> Option<Order> {
        let orders = self.orders.get_mut(&text::<NodeName>(node))?;
        (!orders.is_empty()).then(|| orders.remove(0))
    }

    pub(super) fn answer(&mut self, node: &str, answer: Answer, message: &str) {
        let until =
            (answer == Answer::Defer).then(|| self.observed.now + SignedDuration::from_secs(60));
        self.answer_until(node, answer, message, until);
    }

    /// The verdict of a node with one voter, `chatd`, to the proposal that it has.
    pub(super) fn answer_until(
        &mut self,
        node: &str,
        answer: Answer,
        message: &str,
        until: Option<Timestamp>,
    ) {
        let Some(Order::Propose(proposal)) = self.take(node) else {
            panic!("{node} was not asked");
        };
        let now = self.observed.now;
        let record = VoteRecord {
            voter: placet_model::Voter::Process,
            process: text("chatd"),
            pid: 7,
            modules: Vec::new(),
            answer,
            code: String::new(),
            message: message.to_owned(),
            until,
            time: now,
            change_digest: proposal.change_digest,
        };
        let running = self.observed.nodes[&proposal.node].running.clone().unwrap();
        let own = change(running.manifest(), &proposal.manifest).digest();
        let is_stale = own != proposal.change_digest;
        let verdict = Verdict {
            node: proposal.node.clone(),
            rollout: proposal.rollout.clone(),
            plan_digest: proposal.plan_digest,
            change_digest: proposal.change_digest,
            boot_id: self.node(node).boot_id.clone(),
            verdict: if is_stale {
                VerdictKind::Error
            } else {
                verdict_of(std::slice::from_ref(&record))
            },
            records: vec![record],
            message: if is_stale {
                "the change is another one here".to_owned()
            } else {
                String::new()
            },
            time: now,
            expires: now + SignedDuration::from_secs(proposal.promise_seconds.into()),
        };
        self.hear(verdict);
    }

    fn hear(&mut self, verdict: Verdict) {
        let Some(rollout) = &mut self.observed.rollout else {
            return;
        };
        let state = rollout.nodes.get_mut(&verdict.node);
        if let Some(state) = state.filter(|state| {
            rollout.name == verdict.rollout && state.change_digest == verdict.change_digest
        }) {
            state.verdict = Some(verdict);
        }
    }

    pub(super) fn accept(&mut self, nodes: &[&str]) -> &mut Self {
        for node in nodes {
            self.answer(node, Answer::Accept, "");
        }
        self
    }

    pub(super) fn veto(&mut self, node: &str, message: &str) -> &mut Self {
        self.answer(node, Answer::Veto, message);
        self
    }

    pub(super) fn stage(&mut self, nodes: &[&str]) -> &mut Self {
        for node in nodes {
            let Some(Order::Stage(manifest)) = self.take(node) else {
                panic!("{node} was not told to stage");
            };
            self.node(node).staged.insert(manifest.digest());
        }
        self
    }

    pub(super) fn activate(&mut self, nodes: &[&str]) -> &mut Self {
        for node in nodes {
            self.finish(node, None);
        }
        self
    }

    /// The node ends its activation: well, or by giving the change back.
    pub(super) fn finish(&mut self, node: &str, failure: Option<&str>) -> &mut Self {
        let Some(Order::Activate(change_digest, from, to, memory)) = self.take(node) else {
            panic!("{node} was not told to activate");
        };
        let manifest = self.manifests.get(&to).cloned();
        let now = self.observed.now;
        let seen = self.node(node);
        let running = seen.running.clone().unwrap().digest();
        let ended = if let Some(why) = failure {
            seen.failed.insert(to);
            Activation::Failed(why.to_owned())
        } else if running != from && running != to {
            Activation::Failed("planned against another manifest".to_owned())
        } else {
            let stored = seen.stored.unwrap_or(running);
            seen.stored = memory.map(|_| stored);
            seen.running = manifest.map(Into::into);
            seen.staged.remove(&to);
            seen.failed.remove(&to);
            Activation::Done(1)
        };
        let states = self
            .observed
            .rollout
            .iter_mut()
            .flat_map(|rollout| &mut rollout.nodes);
        for (name, state) in states {
            if name.as_str() == node && state.change_digest == change_digest {
                state.activation = Some(ended.clone());
                state.ended = Some(now);
            }
        }
        self
    }

    /// The node runs what it was told to, and watches how that does.
    pub(super) fn soak(&mut self, node: &str) -> &mut Self {
        let order = self.take(node).expect("an order");
        let Order::Activate(_, _, to, _) = &order else {
            panic!("{node} was not told to activate");
        };
        let manifest = Arc::clone(&self.manifests[to]);
        let seen = self.node(node);
        let before = seen.running.replace(manifest.into());
        seen.changing = true;
        self.soaking.insert(text(node), (order, before));
        self
    }

    /// It has watched for long enough, or gives the change back.
    pub(super) fn soaked(&mut self, node: &str, failure: Option<&str>) -> &mut Self {
        let (order, before) = self.soaking.remove(&text::<NodeName>(node)).unwrap();
        let seen = self.node(node);
        seen.changing = false;
        if failure.is_some() {
            seen.running = before;
        }
        self.orders.entry(text(node)).or_default().insert(0, order);
        self.finish(node, failure)
    }

    pub(super) fn decide(&mut self, kind: DecisionKind) -> &mut Self {
        self.tick(1);
        let now = self.observed.now;
        let rollout = self.observed.rollout.as_mut().unwrap();
        let hold = rollout.hold.as_ref().expect("a hold to decide on");
        rollout.decisions.push(Decision {
            hold: hold.number,
            kind,
            author: "ann".to_owned(),
            reason: "because".to_owned(),
            time: now,
            overrides: hold.objections.clone(),
        });
        self
    }

    pub(super) fn away(&mut self, node: &str) -> &mut Self {
        let now = self.observed.now;
        self.orders.remove(&text::<NodeName>(node));
        let seen = self.node(node);
        seen.presence = Presence::Away;
        seen.connected_since = None;
        seen.away_since = Some(now);
        self
    }

    pub(super) fn back(&mut self, node: &str) -> &mut Self {
        self.tick(1);
        let now = self.observed.now;
        let seen = self.node(node);
        seen.presence = Presence::Connected;
        seen.connected_since = Some(now);
        seen.away_since = None;
        self
    }

    /// Away and back in another boot; what was not done by then never will be.
    pub(super) fn reboot(&mut self, node: &str) -> &mut Self {
        self.away(node).back(node);
        self.node(node).boot_id.push('+');
        self
    }

    pub(super) fn names(&self) -> BTreeSet<NodeName> {
        self.fleet.desired.nodes.keys().cloned().collect()
    }
}
