//! The published schema of SARIF 2.1.0, from a crate that ships it.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

use crate::skipped;

/// The crate and its version.
const CRATE: (&str, &str) = ("serde-sarif", "0.8.0");

/// The schema; none where its crate cannot be had.
///
/// # Panics
///
/// In CI, where nothing is skipped.
pub fn sarif_schema() -> Option<Value> {
    let (name, version) = CRATE;
    let found = kept().or_else(|| {
        fetch();
        kept()
    });
    let Some(file) = found else {
        skipped(&format!("the crate {name} {version} cannot be fetched"));
        return None;
    };
    let text = fs::read_to_string(file).expect("a crate can be read");
    // The pattern of languages has a bracket too many, which stricter readers refuse.
    let text = text.replace("[a-zA-Z]{2}]?$", "[a-zA-Z]{2}$");
    Some(serde_json::from_str(&text).expect("a schema is JSON"))
}

/// Where cargo keeps the crate once it was fetched.
fn kept() -> Option<PathBuf> {
    let (name, version) = CRATE;
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from).or(home)?;
    let sources = fs::read_dir(cargo.join("registry/src")).ok()?.flatten();
    let mut files = sources.map(|source| {
        source
            .path()
            .join(format!("{name}-{version}/src/schema.json"))
    });
    files.find(|file| file.is_file())
}

/// Has cargo fetch it, as a dependency of a package that is never built.
fn fetch() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (name, version) = CRATE;
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[dependencies]\n{name} = \"={version}\"\n[workspace]\n"
    );
    fs::write(folder.path().join("Cargo.toml"), manifest).expect("a file can be written");
    fs::write(folder.path().join("lib.rs"), "").expect("a file can be written");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Where it fails, the crate is not there, which is told.
    let _ = Command::new(cargo)
        .args(["fetch", "--quiet"])
        .current_dir(folder.path())
        .status();
}
