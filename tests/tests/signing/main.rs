//! Signed packages: with cosign beside ours, in a real registry, and in a fleet that wants signatures.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod catalog;
mod cosign;
mod fleet;
mod keys;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use placet_tests::placet;
use serde_json::Value;

const PASSPHRASE: &str = "correct horse battery staple";

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(placet());
    command
        .args(arguments)
        .env("DOCKER_CONFIG", "/nonexistent")
        .env("PLACET_PASSPHRASE", PASSPHRASE);
    command.output().unwrap()
}

/// The JSON that a command of the program under test prints, which must succeed.
fn json(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["-o", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Exit code and standard error of a command.
fn said(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), said)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A pair of keys of ours in `folder`: private and public.
fn pair(folder: &Path, name: &str) -> (String, String) {
    let file = folder.join(name);
    json(&["package", "key", "generate", &text(&file)]);
    (
        format!("{}.key", text(&file)),
        format!("{}.pub", text(&file)),
    )
}

/// A small package of files and a program that is built, in a layout in `folder`; its reference.
fn package(folder: &Path, version: &str) -> String {
    let source = folder.join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("note"), format!("version {version}\n")).unwrap();
    let file = source.join("package.yaml");
    let declared = format!(
        "name: note\nversion: {version}\nbuild:\n  - tr a-z A-Z < note > loud\nmodules:\n  - {{path: share/note, source: note}}\n  - {{path: share/loud, source: loud}}\n"
    );
    fs::write(&file, declared).unwrap();
    let layout = folder.join("layout");
    let to = format!("oci-layout:{}", layout.display());
    let built = json(&["package", "build", &text(&file), "--to", &to]);
    built["reference"].as_str().unwrap().to_owned()
}

fn folder_of(reference: &str) -> PathBuf {
    let rest = reference.strip_prefix("oci-layout:").unwrap();
    rest.rsplit_once(':').unwrap().0.into()
}
