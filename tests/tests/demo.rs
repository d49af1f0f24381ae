//! The demo is the first test: what `placet demo -o json` prints is checked against what it claims.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use std::collections::BTreeMap;
use std::process::Command;

use placet_tests::placet;
use serde_json::Value;

fn run() -> Vec<Value> {
    let output = Command::new(placet())
        .args(["demo", "-o", "json"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
        .collect()
}

fn position(events: &[Value], name: &str) -> usize {
    events
        .iter()
        .position(|event| event["event"] == name)
        .unwrap_or_else(|| panic!("no `{name}`"))
}

/// Process ids by node and process, as reported last in `events`.
fn pids(events: &[Value]) -> BTreeMap<(String, String), u64> {
    let mut pids = BTreeMap::new();
    for event in events.iter().filter(|event| event["event"] == "processes") {
        let node = event["node"].as_str().unwrap();
        pids.retain(|(of, _), _| of != node);
        for process in event["processes"].as_array().unwrap() {
            let name = process["name"].as_str().unwrap();
            pids.insert(
                (node.to_owned(), name.to_owned()),
                process["pid"].as_u64().unwrap(),
            );
        }
    }
    pids
}

/// The processes that a plan names, by node and process.
fn named(plan: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut named = Vec::new();
    for change in plan["changes"].as_array().unwrap() {
        for node in change["nodes"].as_array().unwrap() {
            let processes = change["processes"].as_array().unwrap().iter();
            named.extend(processes.map(|process| (text(node), text(&process["name"]))));
        }
    }
    named
}

fn the_last_node_follows_and_refuses_nobody(events: &[Value]) {
    let callers = &events[position(events, "callers")];
    assert_eq!(callers["refused"], 0);
    assert!(callers["answered"].as_u64().unwrap() > 0, "{callers}");
}

fn a_bad_update_is_given_back_everywhere(events: &[Value]) {
    let failed = events.iter().filter(|event| event["event"] == "failed");
    let nodes: BTreeMap<_, _> = failed
        .map(|event| (event["node"].as_str().unwrap(), event["reason"].to_string()))
        .collect();
    assert_eq!(nodes.len(), 4, "{nodes:?}");
    for reason in nodes.values() {
        assert!(reason.contains("no counters found"), "{reason}");
    }
    let first = position(events, "failed");
    let commit = events[..first]
        .iter()
        .rposition(|it| it["event"] == "commit");
    let (before, after) = (pids(&events[..commit.unwrap()]), pids(events));
    for (process, pid) in &before {
        let is_same = after[process] == *pid;
        assert_eq!(is_same, process.1 != "metricsd", "{process:?}");
    }
}

#[test]
fn the_demo_shows_a_veto_a_decision_and_a_revert() {
    let events = run();
    for event in &events {
        assert!(
            event["event"].is_string() && event["time"].is_string(),
            "{event}"
        );
    }
    let held = position(&events, "held");
    let decision = position(&events, "decision");
    let rollout = events[held]["rollout"].clone();
    assert!(held < decision);
    assert_eq!(
        events[held]["vetoes"].as_array().unwrap().len(),
        1,
        "only core-1 objects"
    );
    let veto = events[held]["vetoes"][0].as_str().unwrap();
    assert!(
        veto.starts_with("node core-1: chatd (") && veto.contains("non placet: 1 open session"),
        "{veto}"
    );

    let travelled = |event: &&Value| event["event"] == "fetched" && event["rollout"] == rollout;
    assert!(
        !events[..decision].iter().any(|event| travelled(&event)),
        "a module travelled before the decision"
    );
    assert!(events.iter().any(|event| travelled(&event)));

    let plan = events
        .iter()
        .find(|event| event["event"] == "plan" && event["rollout"] == rollout)
        .unwrap();
    let verified = decision + position(&events[decision..], "verified");
    let before = pids(&events[..held]);
    let after = pids(&events[..=verified]);
    let named = named(plan);
    for (process, pid) in &before {
        let restarts = named.contains(process) && process.0 != "core-1";
        assert_eq!(
            after[process] != *pid,
            restarts,
            "{process:?}: {pid} before, {} after",
            after[process]
        );
    }
    let verified_count = events
        .iter()
        .filter(|event| event["event"] == "verified")
        .count();
    assert_eq!(
        verified_count, 4,
        "first roll-out, change, last node, revert"
    );
    the_last_node_follows_and_refuses_nobody(&events);
    a_bad_update_is_given_back_everywhere(&events);
    let done = events.last().unwrap();
    assert_eq!(done["event"], "done");
    assert!(done["seconds"].as_f64().unwrap() < 60.0, "{done}");
}
