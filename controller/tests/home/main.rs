//! The embedded home, on real files and with a real process that is killed: what it promises beyond
//! what every home does (`tests/tests/home`).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod crash;
mod opening;
mod resources;
mod tokens;

use placet_controller::home::{Embedded as Home, Owner};
use placet_crds::{Object, SourceFile, load};
use serde_json::Value;

fn objects(text: &str) -> Vec<Object> {
    let documents = text
        .split("---\n")
        .map(|document| format!("apiVersion: placet.dev/v1alpha1\n{}", document.trim_start()));
    let text = documents.collect::<Vec<_>>().join("---\n");
    let name = "f.yaml".to_owned();
    load(&[SourceFile { name, text }]).unwrap()
}

fn object(text: &str) -> Object {
    objects(text).remove(0)
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

fn version_of(home: &Home, name: &str) -> Value {
    let stored = home.get("PackageSet", name).unwrap().unwrap();
    stored.spec["packages"][0]["version"].clone()
}
