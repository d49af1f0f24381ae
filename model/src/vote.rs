//! Asking: proposal, answer, verdict, decision (V1 to V5).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ChangeSet, Digest, ModulePath, NodeFacts, NodeManifest, NodeName, ProcessName, digest_of,
    visible,
};

/// What identifies a change on one node; its digest is the *node change digest* that votes bind to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeChange {
    /// Digest of the manifest that the node runs now.
    pub from: Digest,
    /// Digest of the manifest that it is to run.
    pub to: Digest,
    /// What differs.
    pub change_set: ChangeSet,
}

impl NodeChange {
    /// The node change digest: SHA-256 of the canonical JSON.
    pub fn digest(&self) -> Digest {
        digest_of(self)
    }
}

/// What the controller asks a node (V1). It carries metadata only, never a module's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The roll-out that it belongs to.
    pub rollout: String,
    /// The plan digest of the roll-out.
    pub plan_digest: Digest,
    /// The revision that is to be reached.
    pub revision: String,
    /// The node asked.
    pub node: NodeName,
    /// Digest of the manifest that the controller believes the node to run.
    pub from: Digest,
    /// The manifest that it is to run; nodes of one configuration share it.
    #[serde(with = "shared")]
    pub manifest: Arc<NodeManifest>,
    /// The node change digest as the controller computed it; the node computes its own and answers
    /// with an error if they differ.
    pub change_digest: Digest,
    /// True if the change is only modelled, and withdrawn after the verdict.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What is known of the node, for the logic that decides for its processes; none from a controller
    /// that does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<NodeDescription>,
    /// Seconds that the node may take to answer.
    pub vote_seconds: u32,
    /// Seconds for which an accept holds.
    pub promise_seconds: u32,
}

/// A shared value in JSON is the value.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        (**value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

/// A node as rules and decision logic see it. What is not known of it is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeDescription {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its processor architecture.
    pub architecture: String,
    /// Where it stands.
    pub location: String,
    /// Its features.
    pub features: BTreeSet<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl NodeDescription {
    /// The node with its facts as they count: those declared, then those announced.
    pub fn new(
        name: &NodeName,
        class: &str,
        facts: &NodeFacts,
        labels: &BTreeMap<String, String>,
    ) -> Self {
        Self {
            name: name.to_string(),
            class: class.to_owned(),
            kind: facts.kind.clone().unwrap_or_default(),
            architecture: (facts.architecture.as_ref()).map_or_else(String::new, |it| it.0.clone()),
            location: facts.location.clone().unwrap_or_default(),
            features: facts.features.clone(),
            labels: labels.clone(),
        }
    }
}

/// What a voter said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Answer {
    /// Placet.
    Accept,
    /// Not now; ask again later.
    Defer,
    /// Nothing within its time.
    NoAnswer,
    /// It could not be asked.
    Error,
    /// Non placet.
    Veto,
}

/// What kind of voter answered.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Voter {
    /// A process of the node.
    #[default]
    Process,
    /// A rule that the node's class declares, or the package of a process; then `code` is the rule.
    Rule,
    /// The command that votes for a process of the node.
    Command,
    /// The logic that decides for a process of the node.
    Logic,
}

impl Voter {
    /// True for a process, which is what most voters are.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_process(&self) -> bool {
        *self == Self::Process
    }
}

/// One voter's answer, as it is kept and shown everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VoteRecord {
    /// What kind of voter answered; a process where left out.
    #[serde(default, skip_serializing_if = "Voter::is_process")]
    pub voter: Voter,
    /// The process or rule that answered.
    pub process: ProcessName,
    /// Its process id; 0 for a rule.
    pub pid: u32,
    /// The modules concerned: those of the change that touch this process.
    pub modules: Vec<ModulePath>,
    /// What it said.
    pub answer: Answer,
    /// The process's own short code (`sessions-open`); empty if it gave none.
    #[serde(default)]
    pub code: String,
    /// Its reason, for people; empty if it gave none.
    #[serde(default)]
    pub message: String,
    /// For a defer: when to ask again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When it answered.
    pub time: Timestamp,
    /// The node change digest that it answered to.
    pub change_digest: Digest,
}

impl fmt::Display for VoteRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.voter {
            Voter::Process => write!(f, "{} ({}) ", self.process, self.pid)?,
            Voter::Rule if self.code.is_empty() => write!(f, "rule {} ", self.process)?,
            Voter::Rule => write!(f, "rule {} of {} ", visible(&self.code), self.process)?,
            Voter::Command => write!(f, "{}, by its command, ", self.process)?,
            Voter::Logic => write!(f, "{}, by its logic, ", self.process)?,
        }
        match self.answer {
            Answer::Accept => f.write_str("placet")?,
            Answer::Defer => f.write_str("defers")?,
            Answer::NoAnswer => f.write_str("did not answer")?,
            Answer::Error => f.write_str("could not be asked")?,
            Answer::Veto => f.write_str("non placet")?,
        }
        if let Some(until) = self.until {
            write!(f, " until {until}")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", visible(&self.message))?;
        }
        if !self.code.is_empty() {
            write!(f, " [{}]", visible(&self.code))?;
        }
        Ok(())
    }
}

/// A node's answer to a proposal. The order of the variants is their precedence among the answers
/// of the node's voters: the greatest wins (veto over error over no answer over defer over accept).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum VerdictKind {
    /// Every voter agrees, or there is none.
    Accept,
    /// Somebody wants to be asked later.
    Defer,
    /// Somebody, or the node itself, did not answer in time.
    NoAnswer,
    /// The node could not find out.
    Error,
    /// Somebody objects.
    Veto,
}

impl From<Answer> for VerdictKind {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Accept => Self::Accept,
            Answer::Defer => Self::Defer,
            Answer::NoAnswer => Self::NoAnswer,
            Answer::Error => Self::Error,
            Answer::Veto => Self::Veto,
        }
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accept => "accept",
            Self::Defer => "defer",
            Self::NoAnswer => "no answer",
            Self::Error => "error",
            Self::Veto => "veto",
        })
    }
}

/// A node's verdict with every record (V4). An accept is a promise: bound to the node change digest
/// and the boot id, until it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// The node.
    pub node: NodeName,
    /// The roll-out asked about.
    pub rollout: String,
    /// Its plan digest.
    pub plan_digest: Digest,
    /// The node change digest that it answers to.
    pub change_digest: Digest,
    /// The boot that the answer was given in.
    pub boot_id: String,
    /// The answer.
    pub verdict: VerdictKind,
    /// One record for each voter.
    pub records: Vec<VoteRecord>,
    /// What went wrong, for an error; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was given.
    pub time: Timestamp,
    /// Until when an accept holds.
    pub expires: Timestamp,
}

impl Verdict {
    /// One line for each record that is not an accept, in the words used everywhere:
    /// `node core-1: chatd (412) non placet: 3 open sessions [sessions-open]`.
    pub fn objections(&self) -> impl Iterator<Item = String> {
        let records = self
            .records
            .iter()
            .filter(|record| record.answer != Answer::Accept)
            .map(|record| format!("node {}: {record}", self.node));
        let own = (!self.message.is_empty()).then(|| {
            format!(
                "node {}: {}: {}",
                self.node,
                self.verdict,
                visible(&self.message)
            )
        });
        records.chain(own)
    }
}

/// What a person says of a held roll-out (V5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Decision {
    /// The number of the hold that it answers.
    pub hold: u32,
    /// What is to happen.
    pub kind: DecisionKind,
    /// Who decided, as authenticated; never taken from the object itself.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it was taken.
    pub time: Timestamp,
    /// What it overrides: the objections of the hold, in the words of [`Verdict::objections`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
}

/// The three ways on from a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum DecisionKind {
    /// Update the nodes that accepted; leave the others.
    Skip,
    /// Update all the same; with nodes named, only these are forced and other objectors skipped.
    Force {
        /// The nodes to force; empty means all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nodes: Vec<NodeName>,
    },
    /// Give the change up.
    Abort,
}

impl fmt::Display for DecisionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip => f.write_str("skip"),
            Self::Abort => f.write_str("abort"),
            Self::Force { nodes } if nodes.is_empty() => f.write_str("force"),
            Self::Force { nodes } => {
                f.write_str("force")?;
                nodes.iter().try_for_each(|node| write!(f, " {node}"))
            }
        }
    }
}
