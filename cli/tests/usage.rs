//! What people meet at the command line before there is a controller.

use std::process::{Command, Output};

fn placet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_placet"))
        .args(arguments)
        .env_remove("PLACET_ADMIN")
        .output()
        .expect("placet starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_command_has_help_and_those_with_arguments_an_example() {
    for words in [
        &["demo"][..],
        &["up"],
        &["apply"],
        &["get"],
        &["describe"],
        &["delete"],
        &["check"],
        &["backup"],
        &["restore"],
        &["rollout", "decide"],
        &["rollout", "pause"],
        &["node", "token"],
        &["node", "ask"],
        &["package", "build"],
        &["package", "inspect"],
        &["package", "signature"],
        &["package", "stub"],
        &["completion"],
    ] {
        let output = placet(&[words, &["--help"]].concat());
        assert!(output.status.success(), "{words:?}");
        assert!(
            stdout(&output).contains("Example"),
            "{words:?} has no example"
        );
    }
}

#[test]
fn without_a_controller_it_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    let output = placet(&["get", "--socket", socket.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("placet up"), "{}", stderr(&output));
    assert!(stdout(&output).is_empty(), "standard output is for data");
}

#[test]
fn an_unknown_kind_is_named_with_those_that_exist() {
    let output = placet(&["get", "gadgets"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(
        said.contains("gadgets") && said.contains("nodeclasses"),
        "{said}"
    );
}

#[test]
fn a_decision_needs_a_kind_and_a_reason() {
    for arguments in [
        &["rollout", "decide", "ro-1", "--reason", "x"][..],
        &["rollout", "decide", "ro-1", "--skip"],
        &[
            "rollout", "decide", "ro-1", "--skip", "--abort", "--reason", "x",
        ],
        &[
            "rollout", "decide", "ro-1", "--skip", "--node", "a", "--reason", "x",
        ],
    ] {
        assert_eq!(placet(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_package_that_is_not_there_is_an_error_that_names_it() {
    let output = placet(&["package", "inspect", "oci-layout:/nowhere/chat:1.0.0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("/nowhere/chat"),
        "{}",
        stderr(&output)
    );
    let output = placet(&["package", "build", "x.yaml", "--to", "elsewhere"]);
    assert!(
        stderr(&output).contains("oci-layout:"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn completion_is_printed_for_a_shell() {
    assert!(stdout(&placet(&["completion", "bash"])).contains("_placet"));
}

#[test]
fn whoever_reads_may_have_seen_enough() {
    let program = env!("CARGO_BIN_EXE_placet");
    for arguments in [
        &["completion", "bash"][..],
        &["package", "deps", program],
        &["package", "deps", program, "-o", "json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(program);
        let output = command.args(arguments).stdout(writer).output().unwrap();
        let said = (output.status.code(), stderr(&output));
        assert_eq!(said, (Some(0), String::new()), "{arguments:?}");
    }
}
