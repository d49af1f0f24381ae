//! The effect of a change, as data.

use std::collections::BTreeSet;

use placet_model::{Answer, ChangeSet, Desired, Digest, NodeName, ProcessAction, Voter};
use placet_planner::Problem;
use serde::Serialize;

use crate::live::Live;
use crate::place::Place;
use crate::undefined::Undefined;

/// What going from one revision to another would do to a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// The revision compared with.
    pub from: String,
    /// The revision looked at.
    pub to: String,
    /// What it comes to.
    pub outcome: Outcome,
    /// Nodes, counted.
    pub nodes: Counts,
    /// Processes, counted over all nodes.
    pub processes: Processes,
    /// What travels to all nodes together.
    pub travel: Travel,
    /// What changes, for nodes that share the change; sorted by their first nodes.
    pub changes: Vec<GroupChange>,
    /// What would block the roll-out: requirements that do not hold, and declarations that
    /// contradict each other. No decision overrides any of it.
    pub problems: Vec<Obstacle>,
    /// What is worth saying, and nothing waits for.
    pub notes: Vec<String>,
    /// Nodes that nothing can be said about.
    pub unknown: Vec<UnknownNode>,
    /// Nodes that the new revision no longer declares. Nothing is changed on them.
    pub left: BTreeSet<NodeName>,
    /// What the live nodes say, where they were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
}

/// What an effect comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing breaks, and nobody who can be asked without a node objects.
    Clean,
    /// Something breaks, or a rule or the logic of a process objects.
    Objection,
    /// Nothing that is known breaks, but not all is known.
    Unknown,
}

impl Outcome {
    /// With which exit code a program says so.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Objection => 1,
            Self::Unknown => 2,
        }
    }
}

/// How many nodes there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Declared in the new revision.
    pub total: usize,
    /// Change.
    pub changed: usize,
    /// Of those, new in the fleet.
    pub added: usize,
    /// Stay as they are.
    pub unchanged: usize,
}

/// How many processes a change touches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Processes {
    /// Simple processes that restart.
    pub restarted: usize,
    /// Simple processes that read their files again.
    pub reloaded: usize,
    /// Simple processes that are told, if they listen.
    pub told: usize,
    /// Self-managing processes that would be asked.
    pub asked: usize,
    /// Processes that are new.
    pub started: usize,
    /// Processes that go.
    pub stopped: usize,
}

/// Modules that have to be fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Travel {
    /// How many; a module counts once for each node that lacks it.
    pub modules: u64,
    /// Their size.
    pub bytes: u64,
}

/// One change and the nodes that share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct GroupChange {
    /// The nodes.
    pub nodes: BTreeSet<NodeName>,
    /// Their classes.
    pub classes: BTreeSet<String>,
    /// The node change digest: what the votes of a live fleet bind to.
    pub change_digest: Digest,
    /// True for nodes that the old revision does not declare.
    pub added: bool,
    /// What differs, and which processes it touches.
    pub change_set: ChangeSet,
    /// What each of the nodes has to fetch.
    pub travel: Travel,
    /// Rules, and logic of processes, that do not agree.
    pub vetoes: Vec<Veto>,
    /// Nodes among them that are suspended: nothing changes there until that is lifted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub suspended: BTreeSet<NodeName>,
}

/// A rule, or the logic of a process, that does not agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Veto {
    /// The class of the nodes; it declares the rule, if it is one of a class.
    pub class: String,
    /// The name of the rule; behind that of its process, if it is one of a process. For logic, the
    /// process.
    pub rule: String,
    /// Who says so: a rule, or logic.
    pub by: Voter,
    /// What it says.
    pub answer: Answer,
    /// What it tells people.
    pub message: String,
    /// The nodes on whose behalf it objects.
    pub nodes: BTreeSet<NodeName>,
    /// Where it is declared.
    pub places: Vec<Place>,
}

impl Veto {
    /// True if it would hold the roll-out until a person decides.
    pub fn objects(&self) -> bool {
        matches!(self.answer, Answer::Veto | Answer::NoAnswer)
    }

    /// True if both say the same for nodes of one class.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let Self {
            class,
            rule,
            by,
            answer,
            message,
            nodes: _,
            places: _,
        } = self;
        (class, rule, message) == (&other.class, &other.rule, &other.message)
            && (by, answer) == (&other.by, &other.answer)
    }
}

/// Something that would block the roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    /// Of which kind it is.
    pub kind: ObstacleKind,
    /// What it is, in the words of the plan.
    pub message: String,
    /// True if it is so in the old revision already.
    pub is_old: bool,
    /// The declarations that it comes from; what most likely causes it goes first.
    pub places: Vec<Place>,
    /// Which symbols are missing, where it is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undefined: Option<Undefined>,
}

/// What stands in the way of a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ObstacleKind {
    /// A declaration is not valid.
    Declaration,
    /// A declaration names something that does not exist.
    UnknownReference,
    /// A package could not be had.
    Package,
    /// A node belongs to no class, or to several.
    Class,
    /// A package does not apply to the type of a node.
    NodeType,
    /// The order of packages contradicts what they need.
    Order,
    /// Two packages cannot be laid out in one tree.
    Path,
    /// Two modules run as processes of one name.
    SameProcess,
    /// A requirement does not hold.
    Requirement,
    /// Nothing defines a symbol that a module imports.
    Symbol,
    /// A wanted feature is not offered.
    Feature,
    /// What a node says of itself contradicts what is declared of it.
    Facts,
}

impl From<&Problem> for ObstacleKind {
    fn from(problem: &Problem) -> Self {
        match problem {
            Problem::UnknownReference { .. } => Self::UnknownReference,
            Problem::Package { .. } => Self::Package,
            Problem::Class { .. } => Self::Class,
            Problem::NodeType { .. } => Self::NodeType,
            Problem::Order { .. } | Problem::CircularUpgrades { .. } => Self::Order,
            Problem::Path { .. } => Self::Path,
            Problem::SameProcess { .. } => Self::SameProcess,
            Problem::Requirement { .. } => Self::Requirement,
            Problem::Symbols(_) => Self::Symbol,
            Problem::Feature { .. } => Self::Feature,
            Problem::Facts { .. } => Self::Facts,
        }
    }
}

/// A node that nothing can be said about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct UnknownNode {
    /// The node.
    pub node: NodeName,
    /// Why not, and what to do.
    pub why: String,
    /// Where the node is declared.
    pub places: Vec<Place>,
}

impl Effect {
    /// That of a revision `to` which declares the same as `from` does.
    pub fn none(from: &str, to: &Desired) -> Self {
        let total = to.nodes.len();
        Self {
            from: from.to_owned(),
            to: to.revision.clone(),
            outcome: Outcome::Clean,
            nodes: Counts {
                total,
                unchanged: total,
                ..Counts::default()
            },
            processes: Processes::default(),
            travel: Travel::default(),
            changes: Vec::new(),
            problems: Vec::new(),
            notes: Vec::new(),
            unknown: Vec::new(),
            left: BTreeSet::new(),
            live: None,
        }
    }

    /// Adds what keeps everything else from being said.
    pub fn refuse(&mut self, kind: ObstacleKind, message: String, places: Vec<Place>) {
        self.outcome = Outcome::Unknown;
        self.problems.push(Obstacle {
            kind,
            message,
            is_old: false,
            places,
            undefined: None,
        });
    }

    /// The places of everything that was found, to be looked up in the files of the newer revision.
    pub fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        let vetoes = self.changes.iter_mut().flat_map(|it| &mut it.vetoes);
        let vetoes = vetoes.flat_map(|it| &mut it.places);
        let problems = self.problems.iter_mut().flat_map(|it| &mut it.places);
        let unknown = self.unknown.iter_mut().flat_map(|it| &mut it.places);
        problems.chain(unknown).chain(vetoes)
    }

    /// What would hold the roll-out until a person decides.
    pub fn objections(&self) -> impl Iterator<Item = &Veto> {
        self.vetoes().filter(|veto| veto.objects())
    }

    /// All who do not agree, with the change that it is about.
    pub fn vetoes(&self) -> impl Iterator<Item = &Veto> {
        self.changes.iter().flat_map(|change| &change.vetoes)
    }
}

impl Processes {
    /// Counts `nodes` times what `change` touches.
    pub(crate) fn add(&mut self, change: &ChangeSet, nodes: usize) {
        for process in &change.processes {
            let count = match process.action {
                ProcessAction::Restart => &mut self.restarted,
                ProcessAction::Ask => &mut self.asked,
                ProcessAction::Reload => &mut self.reloaded,
                ProcessAction::Notify => &mut self.told,
                ProcessAction::Start => &mut self.started,
                ProcessAction::Stop => &mut self.stopped,
            };
            *count += nodes;
        }
    }
}

impl Travel {
    pub(crate) fn add(&mut self, each: Self, nodes: usize) {
        let nodes = nodes as u64;
        self.modules = self
            .modules
            .saturating_add(each.modules.saturating_mul(nodes));
        self.bytes = self.bytes.saturating_add(each.bytes.saturating_mul(nodes));
    }
}
