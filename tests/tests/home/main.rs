//! What both homes promise: the same tests, on a database of this machine and on a real API server.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do"
)]

mod history;
mod place;
mod resources;
mod restart;
mod tokens;

use placet_controller::home::{Home, Owner, Stored};
use placet_crds::{Object, SourceFile, load_all};
use serde_json::{Value, json};

fn object(text: &str) -> Object {
    let text = format!("apiVersion: placet.dev/v1alpha1\n{text}");
    let name = "f.yaml".to_owned();
    let mut loaded = load_all(&[SourceFile { name, text }]).unwrap();
    loaded.objects.remove(0)
}

fn package_set(name: &str, version: &str) -> Object {
    object(&format!(
        "kind: PackageSet\nmetadata: {{name: {name}}}\nspec:\n  packages:\n  - {{name: chat, version: {version}, reference: \"oci-layout:packages:{version}\"}}\n"
    ))
}

fn source(name: &str) -> Object {
    object(&format!(
        "kind: GitSource\nmetadata: {{name: {name}}}\nspec: {{url: /srv/{name}.git}}\n"
    ))
}

fn ann() -> Owner {
    Owner::Person {
        user: "ann".to_owned(),
    }
}

fn git(source: &str) -> Owner {
    Owner::Git {
        source: source.to_owned(),
    }
}

/// A status of a package set.
fn status(summary: &str) -> Value {
    json!({ "packages": [], "summary": summary, "conditions": [] })
}

fn stored(home: &Home, kind: &str, name: &str) -> Stored {
    home.get(kind, name).unwrap().unwrap()
}

fn version_of(home: &Home, name: &str) -> Value {
    stored(home, "PackageSet", name).spec["packages"][0]["version"].clone()
}
