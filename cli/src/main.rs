//! The `placet` command.
//!
//! Standard output is for data, standard error for people. Exit code 0: done; 1: the answer is no;
//! 2: it could not be done. `placet` contains the node daemon too (`placet placetd`), so that one
//! binary is enough to try everything.

mod arguments;
mod ask;
mod backup;
mod check;
mod client;
mod demo;
#[cfg(test)]
mod documentation;
mod dry_run;
mod entangled;
mod events;
mod fleet;
mod home;
mod node;
mod output;
mod package;
mod prepare;
mod resources;
mod rollout;
mod simulate;
mod supplied;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::arguments::{Cli, Command, NodeCommand, PackageCommand};
use crate::fleet::FleetCommand;
use crate::output::{Answer, Format};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        // The node daemon's keeper is single-threaded: it must not start inside a runtime.
        Command::Placetd(arguments) => placet_node_daemon::main(arguments, vec!["placetd".into()]),
        command => match run(command, &cli.common) {
            Ok(answer) => answer.into(),
            Err(error) => {
                anstream::eprintln!(
                    "{}error:{} {error:#}",
                    output::BAD,
                    output::BAD.render_reset()
                );
                ExitCode::from(output::code_of(&error))
            }
        },
    }
}

/// Some formats are for some commands alone.
fn require_format(command: &Command, format: Format) -> anyhow::Result<()> {
    let is_check = matches!(command, Command::Check(_));
    let is_report = matches!(format, Format::Junit | Format::Sarif);
    if is_report && !is_check {
        anyhow::bail!("`-o junit` and `-o sarif` are for `placet check`; use table, json or yaml");
    }
    let has_markdown = matches!(
        command,
        Command::Check(_) | Command::Simulate(_) | Command::Package(PackageCommand::Diff(_))
    );
    if format == Format::Markdown && !has_markdown {
        anyhow::bail!(
            "`-o markdown` is for `placet check`, `placet simulate` and `placet package diff`; use table, json or yaml"
        );
    }
    Ok(())
}

fn run(command: Command, common: &arguments::Common) -> anyhow::Result<Answer> {
    require_format(&command, common.output)?;
    // What works on files blocks; only registries are asked, where packages are in any.
    match &command {
        Command::Check(arguments) => return check::run(arguments, common),
        Command::Simulate(arguments) => return simulate::run(arguments, common),
        Command::Fleet(FleetCommand::Entangled(arguments)) => {
            return fleet::entangled::run(arguments, common);
        }
        Command::Node(NodeCommand::Ask(arguments)) => return ask::run(arguments, common),
        Command::Package(PackageCommand::Deps(arguments)) => {
            return package::deps::run(arguments, common);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Demo(arguments) => demo::run(&arguments, common).await,
            Command::Up(arguments) => up::run(arguments, common).await,
            Command::Fleet(command) => fleet::run(command, common).await,
            Command::Apply(arguments) => resources::apply(&arguments, common).await,
            Command::Get(arguments) => resources::get(&arguments, common).await,
            Command::Describe(arguments) => resources::describe(&arguments, common).await,
            Command::Delete(arguments) => resources::delete(&arguments, common).await,
            Command::Backup(arguments) => backup::take(&arguments, common).await,
            Command::Restore(arguments) => backup::restore(&arguments),
            Command::Rollout(command) => rollout::run(command, common).await,
            Command::Node(NodeCommand::Token(arguments)) => node::token(&arguments, common).await,
            Command::Node(NodeCommand::List) => node::list(common).await,
            Command::Node(NodeCommand::Verdicts { name }) => node::verdicts(&name, common).await,
            Command::Node(NodeCommand::Show { name }) => node::show(&name, common).await,
            Command::Node(NodeCommand::Commit(order)) => {
                node::order("commit", &order, common).await
            }
            Command::Node(NodeCommand::Regress(order)) => {
                node::order("regress", &order, common).await
            }
            Command::Node(NodeCommand::Retry(order)) => node::order("retry", &order, common).await,
            Command::Package(command) => package::run(command, common).await,
            Command::Completion { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "placet", &mut script);
                output::write(&script)?;
                Ok(Answer::Done)
            }
            Command::Node(NodeCommand::Ask(_))
            | Command::Check(_)
            | Command::Simulate(_)
            | Command::Placetd(_) => {
                unreachable!("handled before the runtime starts")
            }
        }
    })
}
