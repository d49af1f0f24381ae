//! What others make of statuses, and definitions that are older or newer than the controller.

use placet_tests::KubeFleet;
use serde_json::{Value, json};

use crate::common::{OnKubernetes, all_run, kubernetes, open_session, settled};

/// Changes a definition; it is as it was before when this is dropped.
struct Changed<'a> {
    fleet: &'a KubeFleet,
    name: &'static str,
    before: Value,
}

impl<'a> Changed<'a> {
    fn new(fleet: &'a KubeFleet, name: &'static str, patch: &str) -> Self {
        let before = fleet.object("crd", name)["spec"]["versions"].clone();
        fleet.kubectl(&["patch", "crd", name, "--type=json", "-p", patch]);
        Self {
            fleet,
            name,
            before,
        }
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        let versions = json!([{ "op": "replace", "path": "/spec/versions", "value": self.before }])
            .to_string();
        self.fleet
            .try_kubectl(&["patch", "crd", self.name, "--type=json", "-p", &versions]);
    }
}

/// How often a kind was written to by a controller after the first `since` requests.
fn writes(fleet: &mut OnKubernetes, kind: &str, since: usize) -> usize {
    let audit = fleet.cluster().audit();
    let of_controller = audit[since..].iter().filter(|it| {
        it["objectRef"]["resource"] == kind
            && it["verb"] == "patch"
            && it["userAgent"]
                .as_str()
                .is_some_and(|agent| agent.starts_with("placet-controller/"))
    });
    of_controller.count()
}

#[test]
fn what_others_write_into_a_status_counts_for_nothing() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let session = open_session(&fleet, "core-1");
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    let held = fleet.rollout(&commit, "Held");
    let name = held["metadata"]["name"].as_str().expect("a name");
    let before = fleet.pids("core-1");
    let seen = fleet.cluster().audit().len();
    for (kind, name, status) in [
        (
            "rollout",
            name,
            json!({ "phase": "Activating", "hold": null, "vetoes": [], "holds": 7 }),
        ),
        (
            "fleetnode",
            "core-1",
            json!({ "rollout": { "state": { "verdict": { "verdict": "accept", "records": [] } } } }),
        ),
        ("nodeclass", "core", json!({ "nodes": { "total": 99 } })),
        ("packageset", "base", json!({ "packages": [] })),
    ] {
        let before = fleet.object(kind, name)["status"].clone();
        let patch = json!({ "status": status }).to_string();
        fleet.kubectl(&[
            "patch",
            kind,
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ]);
        fleet.until(
            &format!("the status of {kind} {name} to be put right"),
            |fleet| (fleet.object(kind, name)["status"] == before).then_some(()),
        );
    }
    let written: usize = ["rollouts", "fleetnodes", "nodeclasses", "packagesets"]
        .iter()
        .map(|kind| writes(&mut fleet, kind, seen))
        .sum();
    assert!(
        (4..=8).contains(&written),
        "each is written once or twice: {written}"
    );
    // The vote counts as it was given, and so does the hold.
    fleet.placet(&["rollout", "decide", name, "--skip", "--reason", "tonight"]);
    fleet.rollout(&commit, "Done");
    assert_eq!(before["chatd"], fleet.pids("core-1")["chatd"]);
    drop(session);
}

#[test]
fn definitions_that_are_older_than_the_controller_are_named_and_nothing_is_lost() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
    let older = json!([{ "op": "remove", "path": format!("{status}/processes") }]).to_string();
    let commit = {
        let fleet: &KubeFleet = &fleet;
        let _older = Changed::new(fleet, "fleetnodes.placet.dev", &older);
        let commit = fleet.commit_greet("1.0.0", "1.1.0");
        fleet.until("what is wrong to be told", |fleet| {
            let log = fleet.log("a");
            let told = log
                .lines()
                .find(|line| line.contains(".status.processes"))?;
            told.contains("older than this controller").then_some(())
        });
        commit
    };
    // With the definitions that it needs it goes on where it was.
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
}

#[test]
fn what_a_newer_definition_allows_is_left_out_with_a_word_and_the_rest_goes_on() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/strategy/properties/onUnreachable/enum/-";
    let patch = json!([{ "op": "add", "path": at, "value": "ask" }]).to_string();
    {
        let fleet: &KubeFleet = &fleet;
        let _newer = Changed::new(fleet, "nodeclasses.placet.dev", &patch);
        let class = "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {name: newer}\nspec: {packageSets: [base], strategy: {onUnreachable: ask}}\n";
        fleet.until("the API server to take it", |fleet| {
            fleet.apply(class, &[]).contains("created").then_some(())
        });
        fleet.until("it to be named", |fleet| {
            let log = fleet.log("a");
            let mut lines = log.lines();
            lines
                .any(|line| line.contains("newer") && line.contains("is left out"))
                .then_some(())
        });
        let commit = fleet.commit_greet("1.0.0", "1.1.0");
        fleet.rollout(&commit, "Done");
        all_run(fleet);
        fleet.kubectl(&["delete", "nodeclass", "newer"]);
    }
}
