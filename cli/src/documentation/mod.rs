//! What the documentation says of the command line is what the command line is.

mod lines;
mod reference;

use clap::{Command, CommandFactory as _};

/// Everything that can be asked for, as it is parsed.
fn commands() -> Command {
    let mut commands = crate::arguments::Cli::command();
    commands.build();
    commands
}

/// The commands below `command` that people are told of, in the order of `--help`.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    let shown = command.get_subcommands();
    shown.filter(|it| !it.is_hide_set() && it.get_name() != "help")
}
