//! The published schemas of what Placet writes for other programs, from crates that ship them.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

use crate::skipped;

/// The schema of SARIF 2.1.0; none where its crate cannot be had.
///
/// # Panics
///
/// In CI, where nothing is skipped.
pub fn sarif_schema() -> Option<Value> {
    let text = Shipped("serde-sarif", "0.8.0", "src/schema.json").text()?;
    // The pattern of languages has a bracket too many, which stricter readers refuse.
    let text = text.replace("[a-zA-Z]{2}]?$", "[a-zA-Z]{2}$");
    Some(serde_json::from_str(&text).expect("a schema is JSON"))
}

/// Compares a bill of materials with the schema of `CycloneDX` 1.6; does nothing where its crate cannot be
/// had.
///
/// # Panics
///
/// The bill is not as the schema has it; or in CI, where nothing is skipped.
pub fn assert_cyclonedx(bill: &Value) {
    const SCHEMA: Shipped = Shipped("serde-cyclonedx", "0.10.0", "schemas/cyclonedx_1_6.json");
    let Some(mut text) = SCHEMA.text() else {
        return;
    };
    // Two schemas that do not come with it: licences by a name of the SPDX list alone, and signatures
    // within a bill. Placet writes neither, so that both are refused.
    for elsewhere in [
        "spdx.schema.json",
        "jsf-0.82.schema.json#/definitions/signature",
    ] {
        let reference = format!("\"$ref\": \"{elsewhere}\"");
        assert!(text.contains(&reference), "{elsewhere}");
        text = text.replace(&reference, "\"not\": {}");
    }
    let schema = serde_json::from_str(&text).expect("a schema is JSON");
    let options = jsonschema::options().should_validate_formats(true);
    let validator = options.build(&schema).expect("a schema");
    let errors: Vec<_> = validator
        .iter_errors(bill)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    // The schema is none that anything keeps to.
    let mut other = bill.clone();
    other["components"][0]["kind"] = "file".into();
    assert!(!validator.is_valid(&other));
}

/// A file of a crate: its name, its version and the path in it.
struct Shipped(&'static str, &'static str, &'static str);

impl Shipped {
    /// None where the crate cannot be had.
    fn text(&self) -> Option<String> {
        let Self(name, version, _) = self;
        let found = self.kept().or_else(|| {
            self.fetch();
            self.kept()
        });
        let Some(file) = found else {
            skipped(&format!("the crate {name} {version} cannot be fetched"));
            return None;
        };
        Some(fs::read_to_string(file).expect("a crate can be read"))
    }

    /// Where cargo keeps the file once the crate was fetched.
    fn kept(&self) -> Option<PathBuf> {
        let Self(name, version, path) = self;
        let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
        let cargo = env::var_os("CARGO_HOME").map(PathBuf::from).or(home)?;
        let sources = fs::read_dir(cargo.join("registry/src")).ok()?.flatten();
        let mut files =
            sources.map(|source| source.path().join(format!("{name}-{version}/{path}")));
        files.find(|file| file.is_file())
    }

    /// Has cargo fetch it, as a dependency of a package that is never built.
    fn fetch(&self) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let Self(name, version, _) = self;
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
}
