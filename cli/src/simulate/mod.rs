//! `placet simulate`: what a change does to a node type or, by a script, to a fleet, with neither a
//! controller nor a node.

mod one_type;
mod revision;
mod script;

use std::path::PathBuf;

use clap::Args;
use placet_model::{Architecture, ModulePath};
use placet_package::Reference;

use crate::arguments::{Common, Login};
use crate::output::Answer;
use crate::supplied::Supplied;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet simulate --type edge --from oci-layout:packages/greet:1.0.0 oci-layout:packages/clock:1.0.0 --to oci-layout:packages/greet:1.1.0 oci-layout:packages/clock:1.0.0
  placet simulate --type edge --from oci-layout:packages/greet:1.0.0 --to oci-layout:packages/greet:1.1.0 --without usr/lib/libtext.so
  placet simulate story.yaml
  placet simulate --schema > simulate.schema.json

Exit code of --type: 0 nothing breaks and nobody objects, 1 something does, 2 it cannot be told.
A script that could be played exits with 0, whatever came of the fleet.")]
pub(crate) struct Simulate {
    /// The script to play.
    #[arg(required_unless_present_any = ["node_type", "schema"], conflicts_with_all = ["node_type", "schema"])]
    script: Option<PathBuf>,
    /// Look at one node of this type, which runs the packages of --from.
    #[arg(long = "type", value_name = "TYPE", requires = "to")]
    node_type: Option<String>,
    /// With --type: the packages that run, applications first, base packages last
    /// [default: none: the node is new].
    #[arg(long, num_args = 1.., value_name = "PACKAGE", requires = "node_type")]
    from: Vec<Reference>,
    /// With --type: the packages that it is to run.
    #[arg(long, num_args = 1.., value_name = "PACKAGE", requires = "node_type")]
    to: Vec<Reference>,
    /// With --type: leave this module out of the packages of --to; may be given several times.
    #[arg(long, value_name = "PATH", requires = "node_type")]
    without: Vec<ModulePath>,
    /// With --type: the processor of the node [default: the one that all packages are for].
    #[arg(long, value_name = "NAME", requires = "node_type", value_parser = architecture)]
    architecture: Option<Architecture>,
    /// Give the logic of a process this file for a path that its `voteLogic` lists, rather than what
    /// packages have there; may be given several times.
    #[arg(long, value_name = "PROCESS:PATH=FILE")]
    file: Vec<Supplied>,
    /// With a script: folder that relative package references start from [default: the folder of the
    /// script].
    #[arg(long, value_name = "DIR", requires = "script")]
    packages: Option<PathBuf>,
    /// With a script: folder of the declarations in git revisions, from the root of the repository.
    #[arg(long, default_value = ".", value_name = "DIR")]
    path: String,
    /// With a script: folder of the secrets that package sets name for their registries.
    #[arg(long, value_name = "DIR", requires = "script")]
    secrets: Option<PathBuf>,
    /// Print the JSON Schema of scripts, for editors.
    #[arg(long)]
    schema: bool,
    #[command(flatten)]
    login: Login,
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a result")]
fn architecture(text: &str) -> Result<Architecture, std::convert::Infallible> {
    Ok(Architecture(text.to_owned()))
}

/// `placet simulate`.
pub(crate) fn run(arguments: &Simulate, common: &Common) -> anyhow::Result<Answer> {
    if arguments.schema {
        anstream::println!("{:#}", placet_simulator::play::schema());
        return Ok(Answer::Done);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    match (&arguments.node_type, &arguments.script) {
        (Some(node_type), _) => one_type::run(node_type, arguments, common, &runtime),
        (None, Some(script)) => script::run(script, arguments, common, &runtime),
        (None, None) => unreachable!("one of them is required"),
    }
}
