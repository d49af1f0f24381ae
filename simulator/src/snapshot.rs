//! What the nodes of a live fleet said of themselves at one time, kept in a file.

use std::collections::BTreeMap;

use placet_model::{Digest, NodeDeclaration, NodeFacts, NodeName};
use serde::{Deserialize, Serialize};

/// Names the shape of snapshots; a change that readers could trip over gives it another number.
pub const SNAPSHOT_SCHEMA: &str = "placet.dev/snapshot/v1";

/// A larger file is none.
const SNAPSHOT_MAX: usize = 256 << 20;

/// What nodes are and run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// `placet.dev/snapshot/v1`.
    pub schema: String,
    /// When it was taken, by the clock of the machine that took it (RFC 3339).
    pub taken: String,
    /// Every node that the fleet declares, and every one that joined it.
    pub nodes: BTreeMap<NodeName, SnapshotNode>,
}

/// What is known of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SnapshotNode {
    /// What is declared of it, wherever that is.
    #[serde(default)]
    pub declaration: NodeDeclaration,
    /// What it announced last; nothing for a node that never came.
    #[serde(default)]
    pub announced: NodeFacts,
    /// Its class, as the controller sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The digest of the manifest that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// The generation that it runs, counted by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// The JSON Schema of snapshots, as it is published.
#[cfg(feature = "schema")]
pub(crate) fn schema() -> String {
    crate::report::json::published::<Snapshot>(
        "What `placet fleet snapshot` writes",
        SNAPSHOT_SCHEMA,
        "https://placet.dev/docs/snapshot.schema.json",
    )
}

/// Why a file is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is larger than any is.
    #[error("it has {0} bytes, and no snapshot has more than {SNAPSHOT_MAX}")]
    TooLarge(usize),
    /// It is something else, or of another version.
    #[error(
        "it says `{0}` of itself, and this version reads `{SNAPSHOT_SCHEMA}`; take it anew with `placet fleet snapshot` of this version"
    )]
    Version(String),
    /// It cannot be read.
    #[error("it is no snapshot: {0}; take one with `placet fleet snapshot`")]
    Unreadable(String),
}

impl Snapshot {
    /// Reads a snapshot.
    ///
    /// # Errors
    ///
    /// It is none, or one of another version.
    pub fn parse(text: &str) -> Result<Self, SnapshotError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        if text.len() > SNAPSHOT_MAX {
            return Err(SnapshotError::TooLarge(text.len()));
        }
        let unreadable = |error: serde_json::Error| {
            SnapshotError::Unreadable(placet_model::visible(&error.to_string()).to_string())
        };
        // The version first: what else there is depends on it.
        let Head { schema } = serde_json::from_str(text).map_err(unreadable)?;
        if schema != SNAPSHOT_SCHEMA {
            let schema = placet_model::visible(&schema).to_string();
            return Err(SnapshotError::Version(schema));
        }
        serde_json::from_str(text).map_err(unreadable)
    }

    /// What nodes announced that came at all.
    pub fn announced(&self) -> BTreeMap<NodeName, NodeFacts> {
        let nodes = self.nodes.iter();
        let came = nodes.filter(|(_, node)| node.announced != NodeFacts::default());
        came.map(|(name, node)| (name.clone(), node.announced.clone()))
            .collect()
    }

    /// What is declared of the nodes that are not `known`, because it is not declared in a repository.
    pub fn elsewhere(
        &self,
        known: impl Fn(&NodeName) -> bool,
    ) -> BTreeMap<NodeName, NodeDeclaration> {
        let others = self.nodes.iter().filter(|(name, _)| !known(name));
        others
            .map(|(name, node)| (name.clone(), node.declaration.clone()))
            .collect()
    }

    /// What nodes run; nothing where one never came or has nothing yet.
    pub fn running(&self) -> BTreeMap<NodeName, Option<Digest>> {
        let nodes = self.nodes.iter();
        nodes
            .map(|(name, node)| (name.clone(), node.manifest))
            .collect()
    }
}
