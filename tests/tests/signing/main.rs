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

use placet_tests::command::{PASSPHRASE, json, run, text};

/// Exit code and standard error of a command.
fn said(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), said)
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
