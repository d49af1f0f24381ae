//! The way of one change on real parts: what is asked, held, decided, and what changes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use placet_tests::{Fleet, FleetOptions, assert_never_a_mixture, pids, pids_of_all, poll};
use serde_json::Value;

/// Inodes of everything in a node's store and generations.
fn stored(fleet: &Fleet, node: &str) -> BTreeSet<u64> {
    fn walk(path: &Path, found: &mut BTreeSet<u64>) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                walk(&entry.path(), found);
            } else if metadata.is_file() {
                found.insert(metadata.ino());
            }
        }
    }
    let mut found = BTreeSet::new();
    for folder in ["store", "generations"] {
        walk(&fleet.node(node).state.join(folder), &mut found);
    }
    found
}

fn verdict_record(node: &Value) -> Value {
    node["status"]["rollout"]["state"]["verdict"]["records"][0].clone()
}

/// Asserts that the veto is complete, and stands in the same words wherever people look.
fn assert_seen_everywhere(fleet: &Fleet, rollout: &str, veto: &str) {
    let record = verdict_record(&fleet.resource("fleetnode", "core-1"));
    let pid = pids(fleet, "core-1")["chatd"];
    assert_eq!(record["process"], "chatd");
    assert_eq!(record["pid"], pid);
    assert_eq!(
        record["modules"],
        serde_json::json!(["usr/lib/libgreet.so.1"])
    );
    assert_eq!(record["code"], "sessions-open");
    assert_eq!(record["message"], "1 open session");
    assert!(record["time"].is_string());
    assert!(
        record["changeDigest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );

    let words = format!("node core-1: chatd ({pid}) non placet: 1 open session [sessions-open]");
    assert_eq!(veto, words);
    assert!(fleet.placet(&["rollout", "show", rollout]).contains(veto));
    assert!(
        fleet
            .placet(&["describe", "rollout", rollout])
            .contains(veto)
    );
    assert!(
        fleet
            .placet(&["get", "rollout", rollout, "-o", "yaml"])
            .contains(veto)
    );
    let status = fleet.resource("rollout", rollout)["status"].clone();
    let objections = status["hold"]["objections"].as_array().unwrap();
    assert!(objections.contains(&veto.into()), "{status}");
    assert!(fleet.log("controller").contains(veto));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_veto_holds_the_change_and_is_seen_everywhere_in_the_same_words() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let of = |node: &String| (pids(&fleet, node), stored(&fleet, node));
    let before: Vec<_> = fleet.node_names().iter().map(of).collect();
    let session = fleet.open_session("core-1");
    let since = fleet.feed.latest();
    let commit = fleet.commit_greet("1.1.0");
    let held = fleet.held(&commit).await;
    let rollout = held.text("rollout").to_owned();
    let veto = held.data["vetoes"][0].as_str().unwrap().to_owned();
    assert_seen_everywhere(&fleet, &rollout, &veto);

    // Nothing travelled, nothing changed.
    for (node, (pids_before, stored_before)) in fleet.node_names().iter().zip(&before) {
        assert_eq!(&pids(&fleet, node), pids_before);
        assert_eq!(
            &stored(&fleet, node),
            stored_before,
            "{node} holds what it held"
        );
    }
    assert_eq!(fleet.feed.named("fetched", since).count(), 0);

    // The decision lets the others go on; exactly the named processes are others then.
    fleet.decide(&rollout, "--skip", "sessions first");
    fleet.verified(&commit).await;
    for (node, (pids_before, _)) in fleet.node_names().iter().zip(&before) {
        for (process, pid) in pids(&fleet, node) {
            let restarts = process != "metricsd" && node != "core-1";
            assert_eq!(pid != pids_before[&process], restarts, "{node}: {process}");
        }
        assert_never_a_mixture(&fleet, node);
    }
    let decision = fleet.resource("rollout", &rollout)["status"]["decisions"][0].clone();
    assert_eq!(decision["reason"], "sessions first");
    assert_eq!(decision["overrides"][0], veto.as_str());
    assert!(!decision["author"].as_str().unwrap().is_empty());
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn force_changes_the_vetoing_node_too_and_abort_changes_nobody() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let session = fleet.open_session("core-1");
    let first = fleet.commit_greet("1.1.0");
    let held = fleet.held(&first).await;
    let before = pids(&fleet, "core-2");
    fleet.decide(held.text("rollout"), "--abort", "not today");
    assert_eq!(
        fleet.resource("rollout", held.text("rollout"))["status"]["phase"],
        "Aborted"
    );
    assert_eq!(pids(&fleet, "core-2"), before);

    let second = fleet.commit("try again");
    let held = fleet.held(&second).await;
    fleet.decide(held.text("rollout"), "--force", "announced");
    fleet.verified(&second).await;
    for node in fleet.node_names() {
        assert_never_a_mixture(&fleet, &node);
    }
    assert_ne!(pids(&fleet, "core-2")["chatd"], before["chatd"]);
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_rollout_changes_nobody_until_it_is_resumed() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let session = fleet.open_session("core-1");
    let before = pids(&fleet, "core-2");
    let commit = fleet.commit_greet("1.1.0");
    let held = fleet.held(&commit).await;
    let name = held.text("rollout");
    let paused = fleet.placet(&["rollout", "pause", name]);
    assert_eq!(paused, format!("rollout.placet.dev/{name} paused\n"));
    let again = fleet.placet(&["rollout", "pause", name]);
    assert_eq!(again, format!("rollout.placet.dev/{name} paused already\n"));

    fleet.decide(name, "--skip", "tonight");
    poll("core-2 to wait for the end of the pause", || {
        let node = fleet.resource("fleetnode", "core-2");
        let text = node["status"]["conditions"].to_string();
        text.contains("the roll-out is paused").then_some(())
    });
    let fetched = |event: &placet_tests::Event| {
        event.name == "fetched" && event.text("rollout") == name && event.text("node") == "core-2"
    };
    fleet.feed.wait(0, "core-2 to have fetched", fetched).await;
    assert_eq!(pids(&fleet, "core-2"), before);

    let resumed = fleet.placet(&["rollout", "resume", name]);
    assert_eq!(resumed, format!("rollout.placet.dev/{name} resumed\n"));
    fleet.verified(&commit).await;
    assert_ne!(pids(&fleet, "core-2")["chatd"], before["chatd"]);
    let over = fleet.placet_output(&["rollout", "pause", name]);
    assert_eq!(over.status.code(), Some(1));
    let error = String::from_utf8_lossy(&over.stderr).into_owned();
    assert!(error.contains("is over (its phase is Done)"), "{error}");
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_decision_is_refused_and_names_the_hold_that_is_open() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let _session = fleet.open_session("core-1");
    let commit = fleet.commit_greet("1.1.0");
    let held = fleet.held(&commit).await;
    let decide = [
        "rollout",
        "decide",
        held.text("rollout"),
        "--skip",
        "--reason",
        "x",
        "--hold",
        "7",
    ];
    let output = fleet.placet_output(&decide);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("hold 1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_commit_supersedes_a_held_rollout_and_releases_its_votes() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let session = fleet.open_session("core-1");
    let first = fleet.commit_greet("1.1.0");
    let held = fleet.held(&first).await;
    drop(session);
    // The same content as what runs: nobody has to be asked, nobody restarts.
    let before = pids_of_all(&fleet);
    let second = fleet.commit_greet("1.0.0");
    fleet.verified(&second).await;
    assert_eq!(
        fleet.resource("rollout", held.text("rollout"))["status"]["phase"],
        "Superseded"
    );
    let after = pids_of_all(&fleet);
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_with_an_equal_signature_are_no_change() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let before = pids_of_all(&fleet);
    let commit = fleet.commit_greet("1.2.0");
    fleet.verified(&commit).await;
    let after = pids_of_all(&fleet);
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_between_vote_and_activation_is_asked_again() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let session = fleet.open_session("core-1");
    let commit = fleet.commit_greet("1.1.0");
    let held = fleet.held(&commit).await;
    let rollout = held.text("rollout").to_owned();
    let tally = fleet.tallied(&rollout).await;
    let first =
        fleet.resource("fleetnode", "core-2")["status"]["rollout"]["state"]["verdict"].clone();
    assert_eq!(first["verdict"], "accept");

    fleet.kill_node("core-2");
    fleet.start_node("core-2");
    let again = |event: &placet_tests::Event| {
        event.name == "verdict"
            && event.text("node") == "core-2"
            && event.text("rollout") == rollout
    };
    fleet
        .feed
        .wait(tally.sequence, "core-2 to be asked again", again)
        .await;
    let second =
        fleet.resource("fleetnode", "core-2")["status"]["rollout"]["state"]["verdict"].clone();
    assert_ne!(first["bootId"], second["bootId"]);
    assert_eq!(first["changeDigest"], second["changeDigest"]);
    fleet.decide(&rollout, "--skip", "sessions first");
    fleet.verified(&commit).await;
    assert_never_a_mixture(&fleet, "core-2");
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_agent_touches_no_process() {
    let mut fleet = Fleet::settled(FleetOptions {
        nodes: vec!["core-1"],
        ..FleetOptions::default()
    })
    .await;
    let before = pids(&fleet, "core-1");
    let agent = fleet.node("core-1").agent().expect("an agent");
    fleet.kill_agent("core-1");
    let commit = fleet.commit_greet("1.1.0");
    fleet.verified(&commit).await;
    assert_ne!(fleet.node("core-1").agent(), Some(agent));
    let after = pids(&fleet, "core-1");
    assert_eq!(before["metricsd"], after["metricsd"]);
    assert_ne!(before["chatd"], after["chatd"]);
    assert_never_a_mixture(&fleet, "core-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_dies_at_start_is_given_back_and_the_next_nodes_are_spared() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let path = fleet.path("fleet/classes.yaml");
    let classes = fs::read_to_string(&path).unwrap();
    let one_by_one = "packageSets: [tools, base]\n  strategy:\n    maxUnavailable: 1";
    fs::write(
        &path,
        classes.replace("packageSets: [tools, base]", one_by_one),
    )
    .unwrap();
    let before = pids_of_all(&fleet);
    let packages = fleet.path("fleet/packages.yaml");
    let good = fs::read_to_string(&packages).unwrap();
    let bad = good.replace(
        "name: metrics\n      version: 1.0.0",
        "name: metrics\n      version: 1.1.0",
    );
    fs::write(&packages, bad.replace("metrics:1.0.0", "metrics:1.1.0")).unwrap();
    let commit = fleet.commit("metrics 1.1.0");
    let held = fleet.held(&commit).await;
    let rollout = held.text("rollout").to_owned();
    let why = held.data["vetoes"].to_string();
    assert!(
        why.contains("metricsd") && why.contains("no such sensor"),
        "{why}"
    );
    assert_eq!(
        fleet.resource("rollout", &rollout)["status"]["phase"],
        "Halted"
    );
    // edge-2 comes after edge-1, which failed: nobody touched it.
    assert_eq!(pids(&fleet, "edge-2"), before[3]);
    fleet.decide(&rollout, "--abort", "broken");
    fs::write(&packages, good).unwrap();
    let mended = fleet.commit("back to metrics 1.0.0");
    fleet.verified(&mended).await;
    for (node, before) in fleet.node_names().iter().zip(&before) {
        let after = pids(&fleet, node);
        assert_eq!(
            after.keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>()
        );
        assert_eq!(
            after["clockd"], before["clockd"],
            "{node}: only metricsd was touched"
        );
        assert_never_a_mixture(&fleet, node);
    }
}
