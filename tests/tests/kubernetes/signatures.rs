//! A package set with keys: what none of them has signed goes nowhere, and says why.

use std::fs;
use std::process::Command;

use placet_package::{Layout, Selector};
use placet_packager::{SigningKey, signature};
use placet_tests::{KubeFleet, packages};
use serde_json::Value;

use crate::common::{NODES, activations, all_run, kubernetes};

/// Signs a package of the layouts that `fleet` has for itself.
fn sign(fleet: &KubeFleet, package: &str, version: &str, key: &SigningKey) {
    let layout = Layout::open(&fleet.path("layouts").join(package)).expect("a layout");
    let digest = layout.resolve(&Selector::Tag(version.to_owned()));
    let digest = digest.expect("a package");
    layout
        .attach(&digest, &signature(key, &digest))
        .expect("it is stored");
}

/// The condition `Ready` of an object.
fn condition(object: &Value) -> Option<&Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|it| it["type"] == "Ready")
}

#[test]
fn what_no_listed_key_has_signed_is_refused_with_key_and_reason_and_what_one_has_goes_on() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    let layouts = fleet.path("layouts");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(packages())
        .arg(&layouts)
        .status();
    assert!(copied.expect("cp runs").success());
    let (release, foreign) = (SigningKey::generate(), SigningKey::generate());
    for package in ["chat", "clock", "metrics", "greet"] {
        sign(&fleet, package, "1.0.0", &release);
    }
    for node in NODES {
        fleet.join(node);
    }
    let key = serde_json::to_string(&release.public().pem()).expect("a text");
    let text = KubeFleet::example()
        .replace("oci-layout:", &format!("oci-layout:{}/", layouts.display()))
        .replace("  packages:\n", &format!("  keys: [{key}]\n  packages:\n"));
    fs::write(fleet.path("fleet/fleet.yaml"), text).expect("declarations");
    let commit = fleet.commit("Only what was signed");
    fleet.follow_repository();
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    let before = activations(&fleet, "core-1");

    let refused = |fleet: &KubeFleet, why: &str| {
        fleet.until(&format!("`{why}` in the condition"), |fleet| {
            let set = fleet.object("packageset", "base");
            let said = condition(&set)?.clone();
            said["message"].as_str()?.contains(why).then_some(said)
        })
    };
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    let said = refused(&fleet, "it has no signature");
    assert_eq!(said["status"], "False");
    assert_eq!(said["reason"], "VerificationFailed");
    let message = said["message"].as_str().expect("a text");
    assert!(message.contains("greet:1.1.0"), "{message}");
    assert!(
        message.contains(&release.public().id().short()),
        "{message}"
    );
    sign(&fleet, "greet", "1.1.0", &foreign);
    let said = refused(&fleet, "is not listed");
    assert_eq!(said["reason"], "VerificationFailed");
    let blocked = fleet.rollout(&commit, "Blocked");
    assert!(
        blocked["status"].to_string().contains("is not listed"),
        "{blocked}"
    );
    assert_eq!(activations(&fleet, "core-1"), before, "nothing has changed");

    sign(&fleet, "greet", "1.1.0", &release);
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    assert_eq!(activations(&fleet, "core-1"), before + 1);
}
