//! `placetd`: the node daemon. See `placet_node_daemon`.

use std::process::ExitCode;

use clap::Parser;
use placet_node_daemon::Arguments;

/// Placet's node daemon: fetches, supervises and changes the software of this node.
#[derive(Parser)]
#[command(name = "placetd", version)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    placet_node_daemon::main(Command::parse().arguments, Vec::new())
}
