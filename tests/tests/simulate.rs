//! `placet simulate` on real packages: one node type, and the example script.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use placet_tests::{packages, placet};
use tempfile::TempDir;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(placet());
    command.args(arguments).current_dir(packages());
    command.output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A node that runs the clock and this library, and is to run that one.
fn trial(from: &str, to: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let clock = "oci-layout:clock:1.0.0";
    let mut arguments = vec!["simulate", "--type", "edge", "--from", clock, from];
    arguments.extend(["--to", clock, to]);
    arguments.extend(more);
    said(&run(&arguments))
}

const GREET: &str = "oci-layout:greet:1.0.0";

#[test]
fn a_change_of_a_library_restarts_its_user_there_and_back() {
    let newer = "oci-layout:greet:1.1.0";
    for (from, to) in [(GREET, newer), (newer, GREET)] {
        let (code, report, error) = trial(from, to, &[]);
        assert_eq!(code, Some(0), "{error}");
        assert!(report.contains("1 process restarts"), "{report}");
        assert!(report.contains("restart  clockd"), "{report}");
    }
    // The same software, built elsewhere.
    let (code, report, _) = trial(GREET, "oci-layout:greet:1.2.0", &[]);
    assert_eq!(code, Some(0));
    assert!(
        report.contains("nothing that a process could notice"),
        "{report}"
    );
}

#[test]
fn a_module_that_is_left_out_is_missed_by_its_users() {
    let modules = run(&["package", "inspect", GREET, "-o", "json"]);
    let modules: serde_json::Value = serde_json::from_slice(&modules.stdout).unwrap();
    let text = modules.to_string();
    let start = text.find("usr/lib/libgreet.so").unwrap();
    let library: String = text[start..].chars().take_while(|it| *it != '"').collect();
    let (code, report, error) = trial(GREET, GREET, &["--without", &library]);
    assert_eq!(code, Some(1), "{error}{report}");
    assert!(report.contains("needs libgreet.so"), "{report}");
    let (code, _, error) = trial(GREET, GREET, &["--without", "usr/lib/none"]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("--without usr/lib/none: no package"),
        "{error}"
    );
}

#[test]
fn shaded_updates_show_what_a_change_would_touch() {
    let folder = TempDir::new().unwrap();
    let layout = format!("oci-layout:{}", folder.path().display());
    let shade = |kind: &str| {
        let output = run(&[
            "package", "shade", GREET, kind, "--to", &layout, "-o", "json",
        ]);
        let (code, text, error) = said(&output);
        assert_eq!(code, Some(0), "{error}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["reference"].as_str().unwrap().to_owned()
    };
    let (code, report, _) = trial(GREET, &shade("--white"), &[]);
    assert_eq!(code, Some(0));
    assert!(!report.contains("restart"), "{report}");
    let (code, report, _) = trial(GREET, &shade("--black"), &[]);
    assert_eq!(code, Some(0));
    assert!(report.contains("restart  clockd"), "{report}");
}

fn example(name: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/simulate");
    fs::canonicalize(examples).unwrap().join(name)
}

#[test]
fn the_example_script_is_played_as_its_transcript_says() {
    let script = example("held.yaml");
    let packages = packages().display().to_string();
    let arguments = [
        "simulate",
        script.to_str().unwrap(),
        "--packages",
        &packages,
    ];
    let (code, transcript, error) = said(&run(&arguments));
    assert_eq!(code, Some(0), "{error}");
    let expected = example("held.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&expected, &transcript).unwrap();
    }
    assert_eq!(transcript, fs::read_to_string(expected).unwrap());
    let (_, again, _) = said(&run(&arguments));
    assert_eq!(again, transcript);
}

#[test]
fn a_script_that_cannot_be_played_says_where() {
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("story.yaml");
    fs::write(
        &script,
        "revisions:\n  a: {base: b}\n  b: {base: a}\nsteps: []\n",
    )
    .unwrap();
    let (code, nothing, error) = said(&run(&["simulate", script.to_str().unwrap()]));
    assert_eq!((code, nothing.as_str()), (Some(2), ""));
    assert!(
        error.contains("story.yaml:2: revisions are based on each other"),
        "{error}"
    );
    let (code, schema, _) = said(&run(&["simulate", "--schema"]));
    assert_eq!(code, Some(0));
    assert!(serde_json::from_str::<serde_json::Value>(&schema).is_ok());
}
