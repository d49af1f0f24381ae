//! What both homes promise: the same tests, on a database of this machine and on a real API server.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do"
)]

#[path = "../../../controller/tests/home/declared.rs"]
mod declared;
mod history;
mod place;
mod resources;
mod restart;
mod tokens;

use placet_controller::home::{Home, Stored};
use serde_json::{Value, json};

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
