//! A large fleet: what its size costs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;
use placet_tests::{KubeFleet, build_kind, evidence, is_full, usage};
use serde_json::{Value, json};

use crate::common::{NODES, OnKubernetes, all_run, kubernetes};

/// Nodes that somebody declares and that have not joined yet, beside those that have.
fn count() -> usize {
    if is_full() { 10_000 } else { 400 }
}

fn declare(fleet: &KubeFleet) {
    let mut text = String::new();
    for index in 0..count() {
        let _ = write!(
            text,
            "apiVersion: placet.dev/v1alpha1\nkind: FleetNode\nmetadata: {{name: node-{index}, labels: {{rack: r{}}}}}\nspec: {{facts: {{type: core}}}}\n---\n",
            index % 40
        );
    }
    let file = fleet.path("nodes.yaml");
    fs::write(&file, text).expect("a file");
    fleet.kubectl(&["create", "-f", file.to_str().expect("a path")]);
}

/// Waits until a controller leads and has nothing more to say of any node.
fn all_have_a_status(fleet: &KubeFleet) {
    fleet.until("a status of every node", |fleet| {
        let path = r#"jsonpath={range .items[*]}{.status.observedGeneration}{"\n"}{end}"#;
        let listed = fleet.kubectl(&["get", "fleetnodes", "-o", path]);
        let nodes: Vec<_> = listed.lines().collect();
        (nodes.len() >= count() && nodes.iter().all(|it| !it.is_empty())).then_some(())
    });
}

/// How often each node was written to, by those requests after the first `since`.
fn writes(fleet: &mut OnKubernetes, since: usize) -> BTreeMap<String, usize> {
    let mut writes = BTreeMap::new();
    for request in &fleet.cluster().audit()[since..] {
        if request["verb"] == "patch" && request["objectRef"]["resource"] == "fleetnodes" {
            let name = request["objectRef"]["name"].as_str().unwrap_or_default();
            *writes.entry(name.to_owned()).or_default() += 1;
        }
    }
    writes
}

/// Starts the controller; returns the seconds until it leads.
fn start(fleet: &mut KubeFleet) -> f64 {
    let began = Instant::now();
    fleet.start_controller("a");
    fleet.until("it to lead", |fleet| {
        (fleet.try_look("a", "/readyz")? == (200, "this replica leads\n".to_owned())).then_some(())
    });
    began.elapsed().as_secs_f64()
}

#[test]
fn a_large_fleet_starts_soon_and_each_node_is_written_to_a_few_times() {
    let Some(mut fleet) = kubernetes(&[]) else {
        return;
    };
    declare(&fleet);
    fleet.add_controller("a", &[]);
    for node in NODES {
        fleet.join(node);
    }
    let commit = fleet.commit_example();
    fleet.follow_repository();
    let began = Instant::now();
    fleet.rollout(&commit, "Done");
    let first_rollout = began.elapsed().as_secs_f64();
    all_run(&fleet);
    all_have_a_status(&fleet);
    let (_, at_work) = usage(fleet.controller("a"));

    // Another one takes over, to whom nothing is new.
    fleet.signal("a", Signal::SIGTERM);
    fleet.until("it to give its term up", |fleet| {
        fleet.leader().is_none().then_some(())
    });
    fleet.kill_controller("a");
    let seen = fleet.cluster().audit().len();
    let ready = start(&mut fleet);
    fleet.until("the nodes to be back", |fleet| {
        let (_, text) = fleet.try_look("a", "/metrics")?;
        text.contains("placet_connected_nodes 3").then_some(())
    });
    let (cpu, at_start) = usage(fleet.controller("a"));
    let unjoined: usize = writes(&mut fleet, seen)
        .iter()
        .filter(|(name, _)| name.starts_with("node-"))
        .map(|(_, writes)| writes)
        .sum();
    assert_eq!(unjoined, 0, "nothing changed of them");

    let seen = fleet.cluster().audit().len();
    let began = Instant::now();
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    fleet.rollout(&commit, "Done");
    let rollout = began.elapsed().as_secs_f64();
    all_run(&fleet);
    let written = writes(&mut fleet, seen);
    let most = |joined: bool| {
        let of = written
            .iter()
            .filter(|(name, _)| NODES.contains(&name.as_str()) == joined);
        of.map(|(_, writes)| *writes).max().unwrap_or_default()
    };
    assert!(most(true) <= 4 && most(false) <= 1, "{written:?}");
    let (_, peak) = usage(fleet.controller("a"));
    let figures: Value = json!({
        "build": build_kind(), "nodes": count() + NODES.len(),
        "startToLeadingSeconds": ready, "startCpuSeconds": cpu, "startPeakMiB": at_start,
        "firstRolloutSeconds": first_rollout, "firstPeakMiB": at_work,
        "rolloutSeconds": rollout, "peakMiB": peak,
        "writesPerNode": most(true), "writesPerNodeThatNeverJoined": most(false),
    });
    evidence("kubernetes-many-nodes", &figures);
}
