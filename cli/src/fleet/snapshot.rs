//! `fleet snapshot`: what the nodes are and run now.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use placet_crds::{FleetNode, FleetNodeStatus, find_kind};
use placet_model::NodeName;
use placet_simulator::{SNAPSHOT_SCHEMA, Snapshot, SnapshotNode};

use crate::arguments::Common;
use crate::home::Home;
use crate::output::{self, Answer, Format};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet fleet snapshot > fleet.json
  placet check --snapshot fleet.json")]
pub(crate) struct Arguments {}

/// Prints the snapshot.
pub(super) async fn run(common: &Common) -> anyhow::Result<Answer> {
    let nodes = Home::open(common)
        .await?
        .get(find_kind("FleetNode"), "")
        .await?;
    let nodes: anyhow::Result<BTreeMap<_, _>> = nodes.into_iter().map(node).collect();
    let snapshot = Snapshot {
        schema: SNAPSHOT_SCHEMA.to_owned(),
        taken: Timestamp::now().to_string(),
        nodes: nodes?,
    };
    // It is for programs: a table would leave out most of it.
    let format = match common.output {
        Format::Table => Format::Json,
        format => format,
    };
    output::print(&serde_json::to_value(&snapshot)?, format)?;
    Ok(Answer::Done)
}

fn node(value: serde_json::Value) -> anyhow::Result<(NodeName, SnapshotNode)> {
    let node: FleetNode = serde_json::from_value(value).context("failed to read a FleetNode")?;
    let declaration = (&node).into();
    let name = node.metadata.name.unwrap_or_default();
    let name: NodeName = name
        .parse()
        .with_context(|| format!("`{name}` is not the name of a node"))?;
    let FleetNodeStatus {
        facts,
        class,
        manifest_digest,
        generation,
        ..
    } = node.status.unwrap_or_default();
    let node = SnapshotNode {
        declaration,
        announced: facts,
        class,
        manifest: manifest_digest,
        generation,
    };
    Ok((name, node))
}
