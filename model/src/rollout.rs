//! The state of a change on its way through the fleet.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Digest, NodeName, Verdict};

/// Where a roll-out stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RolloutPhase {
    /// Requirements do not hold, or packages are missing: nobody is asked.
    Blocked,
    /// Nodes are being asked.
    Proposing,
    /// Somebody objects; a person has to decide.
    Held,
    /// Nodes fetch.
    Staging,
    /// Nodes change, wave by wave.
    Activating,
    /// A node failed to change; no further wave starts until a person decides.
    Halted,
    /// Everything that was to change has changed and runs.
    Done,
    /// Given up by decision.
    Aborted,
    /// A newer revision took its place.
    Superseded,
}

impl RolloutPhase {
    /// True if nothing more happens in this phase without news from outside the roll-out.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Aborted | Self::Superseded)
    }
}

/// Why a roll-out waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hold {
    /// Its number; the first hold of a roll-out is 1.
    pub number: u32,
    /// When it began.
    pub since: Timestamp,
    /// Nodes whose verdict (or unreachability) holds the roll-out.
    pub nodes: BTreeSet<NodeName>,
    /// The objections, in the words of [`Verdict::objections`].
    pub objections: Vec<String>,
}

/// What happened so far on one node of a roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeState {
    /// The node change digest that it was last asked about.
    pub change_digest: Digest,
    /// When it was asked.
    pub asked: Timestamp,
    /// Its latest verdict to that digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Since when its voters have been asking to be asked later; a defer that goes on for too long
    /// counts as a veto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferred_since: Option<Timestamp>,
    /// When it was told to forget the proposal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Timestamp>,
    /// When it was told to stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<Timestamp>,
    /// When it was told to activate; from then on the roll-out has begun to change the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activating: Option<Timestamp>,
    /// How its activation ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// When it was told to give back the change that it watches: a requirement on other nodes does
    /// not hold any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub giving_back: Option<Timestamp>,
    /// When its activation ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What went wrong while staging; cleared when it is told to stage again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_error: Option<String>,
}

impl NodeState {
    /// A node that is asked about `change_digest` at the time `asked`, and has done nothing yet.
    pub fn asked(change_digest: Digest, asked: Timestamp) -> Self {
        Self {
            change_digest,
            asked,
            verdict: None,
            deferred_since: None,
            released: None,
            staging: None,
            activating: None,
            activation: None,
            giving_back: None,
            ended: None,
            stage_error: None,
        }
    }
}

/// How an activation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Activation {
    /// The node runs the new manifest as this generation.
    Done(u64),
    /// The node gave the change back; the text says why.
    Failed(String),
}

impl fmt::Display for RolloutPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
