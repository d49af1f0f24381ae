//! Commits that cannot come about, or that reach further than was meant.

use std::fs;

use placet_tests::{KubeFleet, edit};
use serde_json::Value;

use crate::common::{NODES, activations, all_run, kubernetes, settled};

/// Changes the example fleet, and commits it.
fn change(fleet: &KubeFleet, subject: &str, edits: &[(&str, &str)]) -> String {
    let path = fleet.path("fleet/fleet.yaml");
    for (from, to) in edits {
        edit(&path, from, to);
    }
    fleet.commit(subject)
}

fn counts(fleet: &KubeFleet) -> Vec<usize> {
    NODES.iter().map(|node| activations(fleet, node)).collect()
}

#[test]
fn of_several_changes_in_one_commit_all_come_or_none() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let (before, pids) = (counts(&fleet), fleet.pids("core-1"));
    // The chat moves from one class to the other, a library changes, and a package is not there.
    let commit = change(
        &fleet,
        "Everything at once",
        &[
            ("[chat, tools, base]", "[tools, base, chat-no-more]"),
            (
                "packageSets: [tools, base]\n",
                "packageSets: [chat, tools, base]\n",
            ),
            ("[tools, base, chat-no-more]", "[tools, base]"),
            ("version: 1.0.0 # greet", "version: 1.1.0 # greet"),
            ("greet:1.0.0", "greet:1.1.0"),
            ("oci-layout:metrics:1.0.0", "oci-layout:metrics:9.9.9"),
        ],
    );
    let blocked = fleet.rollout(&commit, "Blocked");
    let why = blocked["status"]["problems"].to_string();
    assert!(why.contains("metrics:9.9.9"), "{why}");
    assert_eq!(counts(&fleet), before, "no node changed");
    assert_eq!(fleet.pids("core-1"), pids);

    let commit = change(
        &fleet,
        "Without what is not there",
        &[("oci-layout:metrics:9.9.9", "oci-layout:metrics:1.0.0")],
    );
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    assert!(!fleet.pids("core-1").contains_key("chatd"));
    assert!(fleet.pids("edge-1").contains_key("chatd"));
}

#[test]
fn a_change_that_takes_the_whole_fleet_says_so_and_waits_for_a_person() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let before = counts(&fleet);
    let text = fs::read_to_string(fleet.path("fleet/fleet.yaml")).expect("declarations");
    let edge = text
        .split("---\n")
        .find(|part| part.contains("name: edge\n"))
        .expect("the class of edge nodes")
        .to_owned();
    let commit = change(
        &fleet,
        "One class for all",
        &[
            (&format!("---\n{edge}"), "---\n"),
            (
                "    types: [core]\n",
                "    types: [core, edge]\n  strategy: {confirmAbovePercent: 40}\n",
            ),
            ("version: 1.0.0 # greet", "version: 1.1.0 # greet"),
            ("greet:1.0.0", "greet:1.1.0"),
        ],
    );
    let held = fleet.rollout(&commit, "Held");
    let objection = held["status"]["hold"]["objections"][0].as_str();
    assert!(
        objection.is_some_and(|text| text.contains("touches 3 of 3 nodes, more than 40 %")),
        "{objection:?}"
    );
    assert_eq!(counts(&fleet), before, "no node changed");
    let name: &Value = &held["metadata"]["name"];
    let name = name.as_str().expect("a name");
    fleet.placet(&[
        "rollout",
        "decide",
        name,
        "--force",
        "--reason",
        "it is meant",
    ]);
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    assert!(fleet.pids("edge-1").contains_key("chatd"));
}
