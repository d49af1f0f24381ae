//! What the controller knows: declared objects, nodes as they were heard, the newest roll-out.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use placet_crds::{Fault, NodeBoot, NodeOrder, NodeProcess, NodeRollout, NodeSuite};
use placet_model::{Activation, Desired, Digest, DriftPolicy, NodeName, TraceParent, Verdict};
use placet_planner::{
    Action, Catalog, Observed, ObservedNode, Plan, Planner, Problem, RolloutState, Running, Target,
};
use serde::Serialize;

use super::boot::Hails;
use super::manifests::Manifests;
use super::objects::Objects;
use super::trials::Trials;
use super::turn::Turn;
use crate::home::{Owner, Refused, Write};
use crate::telemetry::{Beginnings, TRACEPARENT, ago};

/// How things stand, for whoever wants to look without a hurry.
pub(crate) type Snapshot = Box<World>;

/// Everything that the fleet's loop knows. Whatever of it has to outlive the controller is in the
/// home before anything is done on account of it; the rest comes back with each node's Hello.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) objects: Objects,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    /// The newest roll-out.
    pub(crate) rollout: Option<RolloutState>,
    /// The number of the newest roll-out.
    pub(crate) rollouts: u64,
    /// Raised when what is declared changes: a look-up of packages is for one value of it.
    pub(crate) declared: u64,
    /// The packages as they were looked up for `declared`; none while that is under way.
    pub(crate) catalog: Option<Arc<Catalog>>,
    pub(crate) target: Option<Arc<Target>>,
    /// The latest plan.
    pub(crate) plan: Option<Arc<Plan>>,
    /// When the change was heard of that is on its way.
    pub(crate) heard: Option<Instant>,
    pub(crate) told: Told,
    /// Raised when sources that were refused should be looked at again.
    pub(crate) pokes: u64,
    /// The catalog that the status of package sets was taken from.
    pub(crate) reported: Option<Arc<Catalog>>,
    /// Nodes of which there is news since their status was written.
    pub(crate) touched: BTreeSet<NodeName>,
    /// True if there may be news of any of them.
    pub(crate) all_touched: bool,
    /// The roll-out that may carry a decision which was not heard yet.
    pub(crate) unheard: Option<String>,
    /// As many roll-outs are kept; all of them where this is none.
    pub(crate) rollouts_kept: Option<NonZeroU64>,
    /// True if writing is dear, and what nobody needs at once is written later.
    pub(crate) is_patient: bool,
    /// Nodes whose status is written later, and when.
    pub(crate) later: BTreeMap<NodeName, Timestamp>,
    /// What the home refused, and nobody was told of.
    pub(crate) refused: Vec<Refused>,
    /// What is wrong with the declarations as a whole; the last good target stays.
    pub(crate) faults: Vec<Fault>,
    /// Works out the target.
    pub(crate) planner: Arc<Planner>,
    /// Nodes that announced other facts since the target was worked out.
    pub(crate) facts_changed: BTreeSet<NodeName>,
    /// True if what is declared changed since then, and no package can be concerned.
    pub(crate) nodes_changed: bool,
    /// What was tried out last.
    pub(crate) trials: Trials,
    /// What nodes run.
    pub(crate) manifests: Manifests,
    /// Nodes whose Hello waits for an answer.
    pub(crate) hails: Hails,
    /// How the newest change came about, for its trace.
    pub(crate) beginnings: Beginnings,
}

/// What the feed was told of the newest roll-out, so that it is not told again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) planned: bool,
    /// The change that each node was said to be in for.
    pub(crate) changes: BTreeMap<NodeName, Digest>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) tallied: bool,
}

/// What is known of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) seen: ObservedNode,
    /// What it ran before: a change that is given back ends there.
    pub(crate) before: Option<Running>,
    /// What its latest boot came to.
    pub(crate) boot: Option<NodeBoot>,
    /// What it was told in its session of what its class has it do by itself.
    pub(crate) policy: Option<DriftPolicy>,
    /// Why it was refused a session the last time that it wanted one.
    pub(crate) apart: Option<String>,
    /// The session that it speaks in.
    pub(crate) session: Option<u64>,
    pub(crate) generation: Option<u64>,
    /// The generation that is stored, where what it runs is in memory only, and when that ends.
    pub(crate) stored: Option<(u64, Option<Timestamp>)>,
    /// What a person ordered last for it.
    pub(crate) last_order: Option<NodeOrder>,
    pub(crate) processes: Vec<NodeProcess>,
    /// The test suites of what it runs in test mode.
    pub(crate) suites: Vec<NodeSuite>,
    /// What has drifted on it, as it said last.
    pub(crate) drifts: Vec<String>,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) last_verdict: Option<Verdict>,
    /// The latest roll-out that it took part in.
    pub(crate) rollout: Option<NodeRollout>,
    /// The change that it was told to stage.
    pub(crate) ordered: Option<Ordered>,
    /// Why staging failed last, as the feed was told.
    pub(crate) stage_error: Option<String>,
}

/// What a node was told to stage: it may fetch the modules of this manifest.
#[derive(Debug, Clone)]
pub(crate) struct Ordered {
    pub(crate) change_digest: Digest,
    pub(crate) manifest: Running,
}

impl Node {
    /// The manifest of this digest, if it is one that the node is known to have.
    pub(super) fn manifest(&self, digest: Digest) -> Option<Running> {
        let known = [&self.seen.running, &self.before];
        if let Some(running) = known.into_iter().flatten().find(|it| it.digest() == digest) {
            return Some(running.clone());
        }
        if let Some(ordered) = &self.ordered
            && ordered.manifest.digest() == digest
        {
            return Some(ordered.manifest.clone());
        }
        let pristine = Running::default();
        (pristine.digest() == digest).then_some(pristine)
    }

    /// What was staged for a change that is withdrawn may go.
    pub(super) fn forget_staged(&mut self, action: &Action) {
        if let (Action::Release { change_digest, .. }, Some(ordered)) = (action, &self.ordered)
            && ordered.change_digest == *change_digest
        {
            self.seen.staged.remove(&ordered.manifest.digest());
        }
    }

    /// Works out which processes that it should run are not ready.
    pub(super) fn judge_processes(&mut self) {
        let manifest = self.seen.running.as_ref().map(Running::manifest);
        let wanted = manifest
            .into_iter()
            .flat_map(placet_model::NodeManifest::services)
            .map(|(_, process)| &process.name);
        let is_ready = |name: &placet_model::ProcessName| {
            let mut processes = self.processes.iter();
            processes.any(|process| process.name == *name && process.ready)
        };
        self.seen.not_ready = wanted
            .filter(|name| !is_ready(name))
            .map(ToString::to_string)
            .collect();
    }
}

impl World {
    /// What the planner looks at.
    pub(crate) fn observed(&self, now: Timestamp) -> Observed {
        let nodes = self.nodes.iter();
        let mut rollout = self.rollout.clone();
        if let Some(rollout) = &mut rollout {
            let object = self.objects.rollout(&rollout.name);
            rollout.paused = object.is_some_and(|(_, object)| object.spec.paused);
        }
        Observed {
            now,
            nodes: nodes
                .map(|(name, node)| (name.clone(), node.seen.clone()))
                .collect(),
            rollout,
        }
    }

    /// Takes in what nodes announced, and works out what each should run.
    pub(super) fn hear_facts(&mut self) {
        if mem::take(&mut self.nodes_changed) {
            self.retarget();
        }
        let changed = mem::take(&mut self.facts_changed);
        if changed.is_empty() {
            return;
        }
        let planner = Arc::make_mut(&mut self.planner);
        for name in &changed {
            if let Some(node) = self.nodes.get(name) {
                planner.announce(name, &node.seen.announced);
            }
        }
        // Given back first, it is not copied.
        if self.target.take().is_some() {
            self.target = Some(planner.target());
            self.all_touched = true;
        }
    }

    /// Works out what every node should run after what is declared changed; nothing while packages
    /// are being looked up.
    pub(crate) fn retarget(&mut self) {
        let Some(catalog) = &self.catalog else { return };
        if let Some(source) = self.objects.source_of_unknown_revision() {
            tracing::info!("nothing is planned before GitSource {source} was looked at once");
            return;
        }
        let desired = match self.objects.desired() {
            Ok(desired) => desired,
            Err(faults) => {
                // Where people write to the home directly, one object comes before the other.
                if self.faults != faults {
                    tracing::warn!("the declarations do not fit together: {}", texts(&faults));
                }
                self.faults = faults;
                return;
            }
        };
        self.faults.clear();
        let planner = Arc::make_mut(&mut self.planner);
        planner.retain(|name| self.nodes.contains_key(name));
        for (name, node) in &self.nodes {
            if !node.seen.boot_id.is_empty() {
                planner.announce(name, &node.seen.announced);
            }
        }
        planner.tolerate(strangers(&self.objects, &desired));
        planner.declare(desired, Arc::clone(catalog));
        self.target = Some(planner.target());
        self.all_touched = true;
    }

    /// Packages were looked up; what is declared may have changed meanwhile.
    pub(super) fn resolved(&mut self, declared: u64, catalog: Arc<Catalog>) {
        if declared == self.declared {
            let beginnings = &mut self.beginnings;
            beginnings.resolved = beginnings.resolved.or(Some(Timestamp::now()));
            self.catalog = Some(catalog);
            self.retarget();
        }
    }

    /// As [`Self::redeclare`], where no package can be concerned.
    pub(super) fn redeclare_quietly(&mut self) {
        self.nodes_changed = true;
    }

    /// Notes that what is declared changed: packages have to be looked up before the next plan.
    pub(super) fn redeclare(&mut self, heard: Instant) {
        self.declared += 1;
        self.all_touched = true;
        self.catalog = None;
        self.heard = Some(heard);
        self.beginnings = Beginnings {
            heard: Some(ago(heard.elapsed())),
            accepted: Some(Timestamp::now()),
            ..Beginnings::default()
        };
        let names: BTreeSet<_> = self.objects.node_names().collect();
        for name in &names {
            self.nodes.entry(name.clone()).or_default();
        }
        // Whoever is not declared any more takes part in nothing; a session lasts until its
        // certificate ends.
        self.nodes
            .retain(|name, node| names.contains(name) || node.session.is_some());
        if let Some(rollout) = &mut self.rollout {
            rollout.nodes.retain(|name, _| names.contains(name));
        }
    }

    /// Replaces the status of an object, and has it written if it is another.
    pub(super) fn set_status<T: Serialize>(
        &mut self,
        kind: &'static str,
        name: &str,
        status: &T,
        turn: &mut Turn,
    ) {
        let mut status = serde_json::to_value(status).expect("status types serialise to JSON");
        let Some(entry) = self.objects.get_mut(kind, name) else {
            return;
        };
        // A repository is handled when it was looked at, all else when it was planned with.
        if let (Some(requested), true) = (entry.requested_at(), kind != "GitSource") {
            status["lastHandledReconcileAt"] = requested.into();
        }
        if entry.status != status {
            entry.status.clone_from(&status);
            let name = name.to_owned();
            turn.writes.push(Write::Status { kind, name, status });
        }
    }

    /// What is wrong with an object among the others, in one line.
    pub(super) fn fault_of(&self, kind: &str, name: &str) -> Option<String> {
        let file = format!("{kind}/{name}");
        let fault = self.faults.iter().find(|fault| fault.file == file)?;
        Some(format!("{}: {}", fault.field, fault.message))
    }

    /// Milliseconds since the change was heard of.
    pub(super) fn milliseconds(&self) -> Option<f64> {
        let heard = self.heard?;
        Some((heard.elapsed().as_secs_f64() * 1e6).round() / 1e3)
    }

    /// The trace of a roll-out, as its annotation says.
    pub(crate) fn trace(&self, rollout: &str) -> Option<TraceParent> {
        let (_, object) = self.objects.rollout(rollout)?;
        let annotations = object.metadata.annotations.as_ref()?;
        annotations.get(TRACEPARENT)?.parse().ok()
    }

    /// What each node may fetch now: the modules that it was told to stage, as long as the change is
    /// under way.
    /// What connected nodes run: modules of it that are damaged there are fetched again.
    pub(crate) fn running(&self) -> BTreeMap<NodeName, Running> {
        let connected = self.nodes.iter().filter(|(_, node)| node.session.is_some());
        connected
            .filter_map(|(name, node)| Some((name.clone(), node.seen.running.clone()?)))
            .collect()
    }

    /// What connected nodes ran before, where they would have to fetch something to go back.
    pub(crate) fn ran_before(&self) -> BTreeMap<NodeName, Running> {
        let connected = self.nodes.iter().filter(|(_, node)| node.session.is_some());
        connected
            .filter_map(|(name, node)| Some((name, node.before.as_ref()?)))
            .filter(|(_, before)| before.manifest().has_transient_image())
            .map(|(name, before)| (name.clone(), before.clone()))
            .collect()
    }

    pub(crate) fn permits(&self) -> BTreeMap<NodeName, Ordered> {
        let Some(rollout) = &self.rollout else {
            return BTreeMap::new();
        };
        let permit = |(name, state): (&NodeName, &placet_model::NodeState)| {
            let ordered = self.nodes.get(name)?.ordered.clone()?;
            let is_under_way = state.staging.is_some()
                && state.released.is_none()
                && !matches!(state.activation, Some(Activation::Done(_)))
                && state.change_digest == ordered.change_digest;
            is_under_way.then(|| (name.clone(), ordered))
        };
        rollout.nodes.iter().filter_map(permit).collect()
    }
}

/// Nodes that joined though nobody declares them: where no class claims one, it is there to be seen,
/// and blocks nobody.
fn strangers(objects: &Objects, desired: &Desired) -> BTreeSet<NodeName> {
    let is_stranger = |name: &&NodeName| {
        let entry = objects.node(name).map(|(entry, _)| entry);
        entry.is_some_and(|entry| entry.owner == Owner::Controller)
    };
    let nodes = desired.nodes.keys();
    nodes.filter(is_stranger).cloned().collect()
}

fn texts(faults: &[Fault]) -> String {
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
