//! The members of a script, as they are written.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{NodeName, PackageName, ProcessName, Version};
use serde::Deserialize;

/// Declarations of a fleet: exactly one of `folder`, `git` and `base`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in crate::play) struct RevisionEntry {
    /// A folder of declarations, from the folder of the script.
    pub(in crate::play) folder: Option<String>,
    /// A revision of the git repository that holds the script: a branch, a tag, a commit.
    pub(in crate::play) git: Option<String>,
    /// Another revision of this script, which this one takes over.
    pub(in crate::play) base: Option<String>,
    /// With `base`: other versions of packages, under the same references with another tag.
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<PackageName, String>"))]
    pub(in crate::play) packages: BTreeMap<PackageName, Version>,
}

/// One thing that happens: exactly one field beside `at`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(in crate::play) struct StepEntry {
    /// When it happens, as 2026-01-01T00:00:00Z; right after the step before where left out.
    pub(in crate::play) at: Option<String>,
    /// A revision becomes what the fleet should run.
    pub(in crate::play) commit: Option<String>,
    /// Time passes: `90s`, `10m`, `2h`, `1d`.
    pub(in crate::play) wait: Option<String>,
    /// What a process says from now on when it is asked.
    pub(in crate::play) vote: Option<VoteEntry>,
    /// A person decides about the hold that is open.
    pub(in crate::play) decide: Option<DecisionEntry>,
    /// Nodes lose their connection.
    pub(in crate::play) lose: Option<BTreeSet<NodeName>>,
    /// Nodes have a connection again.
    #[serde(rename = "return")]
    pub(in crate::play) back: Option<BTreeSet<NodeName>>,
    /// Nodes have a connection again, after they were started anew: what they promised is void.
    pub(in crate::play) reboot: Option<BTreeSet<NodeName>>,
    /// From now on something fails.
    pub(in crate::play) fail: Option<FailEntry>,
    /// On these nodes nothing fails any more.
    pub(in crate::play) mend: Option<BTreeSet<NodeName>>,
}

/// What a process says.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::play) struct VoteEntry {
    /// The process.
    pub(in crate::play) process: ProcessName,
    /// On which nodes; all where left out.
    #[serde(default)]
    pub(in crate::play) nodes: BTreeSet<NodeName>,
    /// Its answer.
    pub(in crate::play) answer: Says,
    /// Its short code.
    #[serde(default)]
    pub(in crate::play) code: String,
    /// Its reason, for people.
    #[serde(default)]
    pub(in crate::play) message: String,
    /// For `defer`: seconds until it wants to be asked again; 60 where left out.
    #[serde(default = "minute")]
    pub(in crate::play) seconds: u32,
}

fn minute() -> u32 {
    60
}

/// An answer of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(in crate::play) enum Says {
    /// It agrees.
    Accept,
    /// It objects.
    Veto,
    /// It wants to be asked later.
    Defer,
    /// It says nothing, which counts by its policy.
    Silent,
    /// It is not registered: its logic decides, if it carries any, and it has no say otherwise.
    Unregistered,
}

/// A decision.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::play) struct DecisionEntry {
    /// What is to happen.
    pub(in crate::play) action: Decides,
    /// For `force`: these nodes alone; all where left out.
    #[serde(default)]
    pub(in crate::play) nodes: BTreeSet<NodeName>,
    /// Why.
    #[serde(default)]
    pub(in crate::play) reason: String,
}

/// The three ways on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(in crate::play) enum Decides {
    /// Leave out the nodes that object.
    Skip,
    /// Change them all the same.
    Force,
    /// Give the change up.
    Abort,
}

/// Something that fails.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::play) struct FailEntry {
    /// Where.
    pub(in crate::play) nodes: BTreeSet<NodeName>,
    /// What.
    pub(in crate::play) what: Fails,
    /// What is said of it.
    pub(in crate::play) message: String,
}

/// What can fail on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(in crate::play) enum Fails {
    /// Fetching modules.
    Fetch,
    /// The start of what changes: the node gives the change back at once.
    Start,
    /// What runs, while it is watched: the node gives the change back then.
    Health,
}

impl StepEntry {
    /// How many things it does.
    pub(super) fn count(&self) -> usize {
        let Self {
            at: _,
            commit,
            wait,
            vote,
            decide,
            lose,
            back,
            reboot,
            fail,
            mend,
        } = self;
        let things = [
            commit.is_some(),
            wait.is_some(),
            vote.is_some(),
            decide.is_some(),
            lose.is_some(),
            back.is_some(),
            reboot.is_some(),
            fail.is_some(),
            mend.is_some(),
        ];
        things.into_iter().filter(|it| *it).count()
    }

    /// Every node that it names.
    pub(in crate::play) fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        let sets = [&self.lose, &self.back, &self.reboot, &self.mend];
        let sets = sets.into_iter().flatten();
        let others = [
            self.vote.as_ref().map(|it| &it.nodes),
            self.decide.as_ref().map(|it| &it.nodes),
            self.fail.as_ref().map(|it| &it.nodes),
        ];
        sets.chain(others.into_iter().flatten()).flatten()
    }
}
