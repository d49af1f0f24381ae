//! The command line where there is no fleet.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::placet;

/// What keys of the tests are kept under.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// `placet`, which knows the passphrase and no logins of this machine's people.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(placet());
    command
        .args(arguments)
        .env("DOCKER_CONFIG", "/nonexistent")
        .env("PLACET_PASSPHRASE", PASSPHRASE);
    command
}

/// Runs `placet`, whatever comes of it.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("placet starts")
}

/// The JSON that `placet` prints, which must succeed.
pub fn json(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["-o", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}
