//! The embedded home, on real files and with a real process that is killed: what it promises beyond
//! what every home does (`tests/tests/home`).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod crash;
mod declared;
mod opening;
mod resources;
mod tokens;

use placet_controller::home::Embedded as Home;
use serde_json::Value;

fn version_of(home: &Home, name: &str) -> Value {
    let stored = home.get("PackageSet", name).unwrap().unwrap();
    stored.spec["packages"][0]["version"].clone()
}
