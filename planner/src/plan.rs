//! What comes out of planning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use placet_model::{
    ChangeSet, Digest, Hold, NodeFacts, NodeManifest, NodeName, Proposal, RolloutPhase, Strategy,
};

use crate::{Note, Problem, Rules, Running, Unmet};

/// What every node should run, from declarations, catalog and facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The revision of the declarations.
    pub revision: String,
    /// Declared nodes of which enough is known to say what they should run.
    pub nodes: BTreeMap<NodeName, Arc<TargetNode>>,
    /// Declared nodes that have to announce their type or architecture first.
    pub awaited: BTreeSet<NodeName>,
    /// Declared nodes that contradict what is declared of them: each is held by itself, as it is,
    /// and the others go on (S1).
    pub misfits: BTreeMap<NodeName, Problem>,
    /// What keeps the target from being reached; any of them blocks the roll-out.
    pub problems: Vec<Problem>,
    /// What people should know but nothing waits for.
    pub notes: Vec<Note>,
    /// SHA-256 over revision, package digests and the distinct manifests.
    pub digest: Option<Digest>,
}

/// What one node should run, and the part of its class's strategy that planning needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetNode {
    /// What it does where something is not what it should be.
    pub drift: placet_model::DriftPolicy,
    /// Its class.
    pub class: String,
    /// Its manifest; shared by all nodes of the same configuration.
    pub manifest: Arc<NodeManifest>,
    /// Digest of the manifest.
    pub manifest_digest: Digest,
    /// Its type, declared or announced.
    pub node_type: Option<String>,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// What is declared of it, and what it announced where nothing is.
    pub facts: Arc<NodeFacts>,
    /// The rules of its class that vote for software that cannot; shared by all of them.
    pub rules: Arc<Rules>,
    /// How a change goes through its class; shared by all of them.
    pub strategy: Arc<Strategy>,
    /// Which waves of the strategy select it, by their place in the list.
    pub waves: BTreeSet<usize>,
    /// True if nothing is to change on it for now.
    pub suspended: bool,
    /// True while people work on it: its absence and its failures hold nobody.
    pub maintenance: bool,
    /// Present if what it runs is not to be stored: after so many seconds it goes back to what is;
    /// 0 where that has no end.
    pub memory: Option<u32>,
}

impl TargetNode {
    /// Its manifest, as what it runs once it has come to it.
    pub fn running(&self) -> Running {
        Running::known(&self.manifest, self.manifest_digest)
    }
}

/// What happens now, what waits, and for what.
///
/// **Superseding.** When the newest roll-out is of another revision than the target, the plan first
/// takes it down: it releases every node that was asked and has not begun to change. While nodes of
/// it are in the midst of activation, the plan stays with it ([`Plan::opens`] is false,
/// [`Plan::rollout`] and [`Plan::phase`] are the old one's, and every other node waits for
/// [`WaitingOn::OlderRollout`]). When none is, the plan opens the new one: `opens` is true and
/// `supersedes` names the old one if that had not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The roll-out that `phase`, `hold` and the proposals belong to. For one that is to be opened
    /// it is a name made of [`Plan::digest`]; a controller that prefers another name opens the
    /// roll-out under it and plans again before it carries out the steps.
    pub rollout: String,
    /// The revision planned for.
    pub revision: String,
    /// [`Target::digest`].
    pub digest: Digest,
    /// True if a roll-out of this name, revision and digest is to be opened now, in this phase.
    pub opens: bool,
    /// The unfinished roll-out of an older revision whose place the opened one takes.
    pub supersedes: Option<String>,
    /// Every declared node that is known to differ from its target.
    pub nodes: BTreeMap<NodeName, NodePlan>,
    /// How many nodes are declared in all.
    pub declared: usize,
    /// [`Target::problems`], with what runs now in the place of what is missing.
    pub problems: Vec<Problem>,
    /// [`Target::notes`].
    pub notes: Vec<Note>,
    /// The phase that the roll-out is in by this plan. While there is no roll-out and none is
    /// opened, nothing is known that would need one.
    pub phase: RolloutPhase,
    /// The hold that is open by this plan; equal to the observed one while nothing changed.
    pub hold: Option<Hold>,
    /// What to do now, in order. Every step can be carried out at once.
    pub steps: Vec<Step>,
    /// Nodes that differ from their target, or may differ, and have to wait.
    pub held: BTreeMap<NodeName, WaitingOn>,
    /// When planning again may give something new though nothing was observed.
    pub wake: Option<Timestamp>,
}

impl Plan {
    /// Each change once, with the nodes that it is for, in the order of the first of them.
    pub fn by_change(&self) -> Vec<(BTreeSet<&NodeName>, &NodePlan)> {
        let mut groups = BTreeMap::<_, (BTreeSet<_>, _)>::new();
        for (name, plan) in &self.nodes {
            let group = groups
                .entry(plan.change_digest)
                .or_insert((BTreeSet::new(), plan));
            group.0.insert(name);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by(|(left, _), (right, _)| left.cmp(right));
        groups
    }
}

/// What the change is on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlan {
    /// Digest of what it runs.
    pub from: Digest,
    /// Digest of what it should run.
    pub to: Digest,
    /// The node change digest.
    pub change_digest: Digest,
    /// What differs; shared by all nodes with the same change.
    pub change_set: Arc<ChangeSet>,
    /// The rules of the processes that it touches, ready to be evaluated; shared too.
    pub rules: Arc<Rules>,
}

/// One order to one node, with everything that it was planned against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The node.
    pub node: NodeName,
    /// The order.
    pub action: Action,
}

/// What a node is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer this. Given again to a node that was asked but has not answered when the controller
    /// or the node came back; nodes take a repeated proposal for what it is.
    Propose(Box<Proposal>),
    /// Forget a proposal: it was superseded or given up.
    Release {
        /// The roll-out that the proposal belonged to.
        rollout: String,
        /// The node change digest.
        change_digest: Digest,
        /// Why.
        reason: String,
    },
    /// Fetch what is missing and lay the generation out.
    Stage {
        /// The node change digest.
        change_digest: Digest,
        /// What to stage.
        manifest: Arc<NodeManifest>,
        /// True if nothing of it is to be stored.
        memory: bool,
    },
    /// Make the staged manifest the running one.
    Activate {
        /// The node change digest.
        change_digest: Digest,
        /// What the node runs.
        from: Digest,
        /// What it is to run.
        to: Digest,
        /// True where a decision overrides this node's vote.
        forced: bool,
        /// For how many seconds what changes has to run well before the node counts as changed.
        soak_seconds: u32,
        /// As [`TargetNode::memory`].
        memory: Option<u32>,
    },
    /// Give back the change that is watched: what it needs of other nodes failed there.
    GiveBack {
        /// The node change digest.
        change_digest: Digest,
        /// The requirement, and what keeps it from holding.
        reason: String,
    },
}

/// Why a node that differs from its target has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitingOn {
    /// A problem blocks the whole roll-out.
    Problems,
    /// It never joined.
    FirstContact,
    /// It joined, but has not yet said what it is or what it runs.
    Observation,
    /// It has no connection.
    Connection,
    /// Nodes of the roll-out before, which are in the midst of their change.
    OlderRollout(Arc<BTreeSet<NodeName>>),
    /// Its answer.
    Answer,
    /// The answers of other nodes.
    OtherAnswers(Arc<BTreeSet<NodeName>>),
    /// A person's decision about this hold.
    Decision(u32),
    /// Its voters want to be asked later.
    Deferred(Timestamp),
    /// It is fetching.
    Staging,
    /// Other nodes are fetching.
    OthersStaging(Arc<BTreeSet<NodeName>>),
    /// So many nodes are changing already; it is its turn later.
    Budget {
        /// Nodes that are changing.
        unavailable: u32,
    },
    /// It is changing, or its processes are coming up.
    Activating,
    /// It was left out by decision in this roll-out.
    Skipped,
    /// The roll-out was given up.
    Aborted,
    /// It is not to store all of its change, and cannot have anything in memory only.
    NoMemory,
    /// It ran this manifest and has given it back: its test is over, or a person wanted it.
    GivenBack,
    /// This manifest failed on it; it is not tried again by itself.
    Failed(String),
    /// It is suspended.
    Suspended,
    /// People work on it; the roll-out does without it meanwhile, for this reason.
    Maintenance(String),
    /// It contradicts what is declared of it, in these words.
    Facts(String),
    /// A person paused the roll-out.
    Paused,
    /// Its class's next window; none where no window ever opens.
    Window(Option<Timestamp>),
    /// An earlier wave of its class.
    Wave {
        /// That wave, for people.
        earlier: Arc<str>,
        /// How many nodes of it have not changed or do not run well yet.
        left: usize,
    },
    /// The wave before has changed, and is watched until then.
    Verification(Timestamp),
    /// Its change would leave a fleet in which this requirement does not hold, and the nodes that
    /// would have to change together with it cannot (D7).
    Requirement(Arc<Unmet>),
    /// Going on would leave this requirement unmet once the nodes that are in test mode have gone back
    /// to what they have stored.
    AfterTests(Arc<Unmet>),
}
