//! What a person says to a veto: by commit, by kubectl and by placet.

use std::fs;

use placet_tests::KubeFleet;
use serde_json::{Value, json};

use crate::common::{all_run, kubernetes, open_session, settled};

/// How a decision is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Commit,
    Kubectl,
    /// `placet rollout decide`.
    Placet,
}

/// Who a decision is said to come from.
const SIGNER: &str = "operator";

fn decide(fleet: &KubeFleet, way: Way, rollout: &str, action: &str) {
    let reason = format!("{action} by {way:?}");
    let decision = json!({ "hold": 1, "action": action, "reason": reason });
    match way {
        Way::Commit => {
            let object = json!({
                "apiVersion": "placet.dev/v1alpha1",
                "kind": "Rollout",
                "metadata": { "name": rollout },
                "spec": { "decision": decision },
            });
            fs::write(fleet.path("fleet/decision.yaml"), object.to_string()).expect("a file");
            fleet.commit("A decision");
        }
        Way::Kubectl => {
            let patch = json!({ "spec": { "decision": decision } }).to_string();
            fleet.kubectl(&["patch", "rollout", rollout, "--type=merge", "-p", &patch]);
        }
        Way::Placet => {
            let action = format!("--{action}");
            let words = ["rollout", "decide", rollout, &action, "--reason", &reason];
            fleet.placet(&words);
        }
    }
}

/// A roll-out of `commit` that core-1 holds by its veto is decided; returns it at its end.
fn decided(fleet: &KubeFleet, way: Way, commit: &str, action: &str, end: &str) -> Value {
    let held = fleet.rollout(commit, "Held");
    let name = held["metadata"]["name"].as_str().expect("a name");
    decide(fleet, way, name, action);
    let rollout = fleet.rollout(commit, end);
    assert_eq!(rollout["metadata"]["name"], held["metadata"]["name"]);
    let decision = &rollout["status"]["decisions"][0];
    assert_eq!(decision["reason"], format!("{action} by {way:?}"));
    assert_eq!(decision["overrides"], held["status"]["hold"]["objections"]);
    if way == Way::Commit {
        assert_eq!(decision["author"], SIGNER);
    }
    rollout
}

fn chatd(fleet: &KubeFleet, node: &str) -> u64 {
    fleet.pids(node)["chatd"]
}

#[test]
fn force_abort_and_skip_by_commit_by_kubectl_and_by_placet() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let signers = fleet.sign_commits();
    fleet.commit("From now on commits are signed");
    let url = fleet.path("fleet");
    let source = json!({
        "apiVersion": "placet.dev/v1alpha1",
        "kind": "GitSource",
        "metadata": { "name": "fleet" },
        "spec": { "url": url, "intervalSeconds": 1, "verify": { "allowedSigners": signers } },
    });
    fleet.apply(&source.to_string(), &[]);
    let versions = ("1.0.0", "1.1.0");
    for way in [Way::Commit, Way::Kubectl, Way::Placet] {
        let session = open_session(&fleet, "core-1");
        let (first, second) = (chatd(&fleet, "core-1"), chatd(&fleet, "core-2"));
        let forced = fleet.commit_greet(versions.0, versions.1);
        decided(&fleet, way, &forced, "force", "Done");
        all_run(&fleet);
        assert_ne!(first, chatd(&fleet, "core-1"), "{way:?}: it was forced");
        assert_ne!(second, chatd(&fleet, "core-2"));
        drop(session);

        let session = open_session(&fleet, "core-1");
        let (first, second) = (chatd(&fleet, "core-1"), chatd(&fleet, "core-2"));
        let aborted = fleet.commit_greet(versions.1, versions.0);
        decided(&fleet, way, &aborted, "abort", "Aborted");
        assert_eq!(first, chatd(&fleet, "core-1"), "{way:?}: nothing changed");
        assert_eq!(second, chatd(&fleet, "core-2"), "{way:?}: nothing changed");

        // A newer revision asks for the same anew.
        let skipped = fleet.commit("Once more");
        decided(&fleet, way, &skipped, "skip", "Done");
        assert_eq!(first, chatd(&fleet, "core-1"), "{way:?}: it was skipped");
        fleet.until("core-2 to have changed", |fleet| {
            let pids = fleet.object("fleetnode", "core-2")["status"]["processes"].clone();
            let pids = pids.as_array()?;
            let now = pids.iter().find(|it| it["name"] == "chatd")?["pid"].as_u64()?;
            (now != second).then_some(())
        });

        // When the session is over, the next revision finds nobody who objects.
        drop(session);
        let last = fleet.commit("The session is over");
        fleet.rollout(&last, "Done");
        all_run(&fleet);
    }
}
