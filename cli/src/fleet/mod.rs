//! `fleet`: the fleet as a whole.

pub(crate) mod entangled;
mod snapshot;

use clap::Subcommand;

use crate::arguments::Common;
use crate::output::Answer;

#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Write down what the nodes are and run now, for `placet check --snapshot`.
    Snapshot(snapshot::Arguments),
    /// Say which modules can only change together in the fleet, and what would part them.
    Entangled(Box<entangled::Arguments>),
}

/// `placet fleet …`.
pub(crate) async fn run(command: FleetCommand, common: &Common) -> anyhow::Result<Answer> {
    match command {
        FleetCommand::Snapshot(snapshot::Arguments {}) => snapshot::run(common).await,
        FleetCommand::Entangled(_) => unreachable!("handled before the runtime starts"),
    }
}
