//! `docs/commands.md`, written from the definitions by which the command line is parsed.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::{Arg, Command};
use expect_test::expect_file;

use super::{commands, shown};

const HEAD: &str = "\
# Commands

Every command of `placet` with its arguments, as `--help` says them. This page is generated from the
definitions of the command line: `cargo xtask generate`.

Standard output is for data, standard error for people. Exit code 0: done, or yes; 1: the answer is
no; 2: it could not be done.

Every command has these options:

";

#[test]
fn the_reference_is_current() {
    let reference = markdown(&commands());
    expect_file!["../../../docs/commands.md"].assert_eq(&reference);
}

fn markdown(root: &Command) -> String {
    let mut page = HEAD.to_owned();
    let global = root.get_arguments().filter(|it| it.is_global_set());
    global.for_each(|argument| page += &item(argument));
    shown(root).for_each(|command| write_command(&mut page, command));
    page
}

fn write_command(page: &mut String, command: &Command) {
    if command.has_subcommands() {
        shown(command).for_each(|command| write_command(page, command));
        return;
    }
    let name = command.get_bin_name().unwrap_or_default();
    write!(page, "\n## `{name}`\n\n").unwrap();
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(StyledStr::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    write!(page, "{about}\n\n```text\n{usage}\n```\n").unwrap();
    let own: Vec<_> = command.get_arguments().filter(|it| is_own(it)).collect();
    if !own.is_empty() {
        page.push('\n');
        for argument in own {
            page.push_str(&item(argument));
        }
    }
    let after = command.get_after_long_help().or(command.get_after_help());
    if let Some(after) = after {
        write!(page, "\n```text\n{after}\n```\n").unwrap();
    }
}

fn is_own(argument: &Arg) -> bool {
    let is_general = ["help", "version"].contains(&argument.get_id().as_str())
        && argument.get_value_names().is_none();
    !argument.is_global_set() && !argument.is_hide_set() && !is_general
}

/// One argument as an item of a list.
fn item(argument: &Arg) -> String {
    let short = argument
        .get_short()
        .filter(|_| argument.get_long().is_some());
    let short = short.map_or_else(String::new, |short| format!("`-{short}`, "));
    let name = argument.to_string();
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map(StyledStr::to_string).unwrap_or_default();
    let mut text = format!("* {short}`{name}`: {}", help.replace('\n', "\n  "));
    if argument.get_action().takes_values() {
        let values = argument.get_possible_values();
        let values: Vec<_> = values
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !values.is_empty() {
            write!(text, " [possible values: {}]", values.join(", ")).unwrap();
        }
        let default = argument.get_default_values();
        if !argument.is_hide_default_value_set() && !default.is_empty() {
            let default: Vec<_> = default.iter().map(|it| it.to_string_lossy()).collect();
            write!(text, " [default: `{}`]", default.join(" ")).unwrap();
        }
    }
    if let Some(variable) = argument.get_env() {
        write!(text, " [environment: `{}`]", variable.to_string_lossy()).unwrap();
    }
    text + "\n"
}
