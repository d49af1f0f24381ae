//! A fleet that wants signatures.

use std::fs;
use std::path::Path;
use std::process::Command;

use placet_tests::{Event, Fleet, FleetOptions, packages, pids};

use crate::{json, pair, text};

/// Has every package set want a signature by the key in `file`.
fn want_signatures(fleet: &Fleet, layouts: &Path, file: &str) {
    let declared = fleet.path("fleet/packages.yaml");
    let key = serde_json::to_string(&fs::read_to_string(file).unwrap()).unwrap();
    let text = fs::read_to_string(&declared).unwrap();
    let text = text
        .replace("oci-layout:", &format!("oci-layout:{}/", layouts.display()))
        .replace("spec:\n", &format!("spec:\n  keys: [{key}]\n"));
    fs::write(&declared, text).unwrap();
}

/// Waits for a plan in which something is wrong, and `words` are said of it.
async fn blocked(fleet: &mut Fleet, since: u64, words: &str) {
    let is_blocked =
        |event: &Event| event.name == "plan" && event.data["problems"].to_string().contains(words);
    let what = format!("a plan with `{words}`");
    fleet.feed.wait(since, &what, is_blocked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_with_keys_runs_what_was_signed_and_nothing_else() {
    let options = FleetOptions {
        nodes: vec!["core-1"],
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::start(options).await;
    let layouts = fleet.path("layouts");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(packages())
        .arg(&layouts)
        .status();
    assert!(copied.unwrap().success());
    let (private, public) = pair(&fleet.path(""), "release");
    let (foreign, _) = pair(&fleet.path(""), "foreign");
    let greet = |version: &str| format!("oci-layout:{}/greet:{version}", layouts.display());
    for package in ["chat:1.0.0", "clock:1.0.0", "metrics:1.0.0", "greet:1.0.0"] {
        let reference = format!("oci-layout:{}/{package}", layouts.display());
        json(&["package", "sign", &reference, "--key", &private]);
    }
    want_signatures(&fleet, &layouts, &public);
    let commit = fleet.commit("Only what was signed");
    fleet.follow_repository();
    fleet.verified(&commit).await;
    let before = pids(&fleet, "core-1");

    let since = fleet.feed.latest();
    let commit = fleet.commit_greet("1.1.0");
    blocked(&mut fleet, since, "it has no signature").await;
    let set = fleet.resource("packagesets", "base");
    let conditions = set["status"]["conditions"].to_string();
    assert!(conditions.contains("VerificationFailed"), "{conditions}");
    assert!(conditions.contains("greet:1.1.0"), "{conditions}");
    json(&["package", "sign", &greet("1.1.0"), "--key", &foreign]);
    blocked(&mut fleet, since, "is not listed").await;
    assert_eq!(pids(&fleet, "core-1"), before, "nothing has changed");

    json(&["package", "sign", &greet("1.1.0"), "--key", &private]);
    fleet.verified(&commit).await;
    assert_ne!(pids(&fleet, "core-1"), before);

    // A key that is none is refused before anything else.
    let declared = text(&fleet.path("fleet/packages.yaml"));
    let good = fs::read_to_string(&declared).unwrap();
    let since = fleet.feed.latest();
    fs::write(
        &declared,
        good.replace("BEGIN PUBLIC KEY", "BEGIN CERTIFICATE"),
    )
    .unwrap();
    fleet.commit("A certificate is no key");
    let is_refused = |event: &Event| event.name == "refused";
    let refused = fleet
        .feed
        .wait(since, "the source to be refused", is_refused)
        .await;
    let reasons = refused.data["reasons"].to_string();
    assert!(reasons.contains("spec.keys[0]"), "{reasons}");
}
