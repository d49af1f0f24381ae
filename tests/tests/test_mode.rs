//! A node that runs its changes in test mode, and what people order for it.

use std::fs;
use std::path::PathBuf;

use placet_tests::{Fleet, FleetOptions, pids, poll};
use serde_json::Value;

const NODE: &str = "edge-1";

/// A fleet where one node runs version 1.1.0 in test mode, and the other has stored it.
async fn testing() -> Fleet {
    let mut fleet = Fleet::settled(FleetOptions {
        nodes: vec!["core-1", NODE],
        ..FleetOptions::default()
    })
    .await;
    let nodes = fs::read_to_string(fleet.path("fleet/nodes.yaml")).expect("declarations");
    let tested = format!("name: {NODE}\nspec:\n");
    assert!(nodes.contains(&tested));
    let nodes = nodes.replace(&tested, &format!("{tested}  testMode:\n    seconds: 600\n"));
    fs::write(fleet.path("fleet/nodes.yaml"), nodes).expect("declarations");
    let commit = fleet.commit_greet("1.1.0");
    fleet.verified(&commit).await;
    fleet
}

fn status(fleet: &Fleet) -> Value {
    fleet.resource("fnode", NODE)["status"].clone()
}

/// The status of the node once it is as wanted.
fn awaited(fleet: &Fleet, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    poll(what, || Some(status(fleet)).filter(|status| is(status)))
}

/// What the node starts when it starts.
fn committed(fleet: &Fleet) -> PathBuf {
    fs::read_link(fleet.node(NODE).state.join("committed")).expect("a link")
}

fn is_testing(status: &Value) -> bool {
    status["committedGeneration"] == 1 && status["generation"] != 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_not_stored_ends_with_a_restart_and_stays_by_order() {
    let mut fleet = testing().await;
    let tested = awaited(&fleet, "the test", is_testing);
    assert!(tested["testEnds"].is_string(), "{tested:#}");
    assert_eq!(tested["manifestDigest"], tested["preferredDigest"]);
    assert_eq!(committed(&fleet).file_name().expect("a name"), "1");
    assert!(fleet.placet(&["node", "list"]).contains("test mode"));

    fleet.kill_node(NODE);
    fleet.start_node(NODE);
    let over = awaited(&fleet, "the end of the test", |status| {
        status["generation"] == 1 && status["committedGeneration"].is_null()
    });
    assert_eq!(over["failed"][0], tested["manifestDigest"]);
    let shown = fleet.placet(&["node", "show", NODE]);
    assert!(shown.contains("has given it back"), "{shown}");

    let nothing = fleet.placet_output(&["node", "commit", NODE]);
    assert_eq!(nothing.status.code(), Some(1), "there is nothing to commit");
    fleet.placet(&["node", "retry", NODE, "--reason", "seen"]);
    awaited(&fleet, "the second test", is_testing);

    let before = pids(&fleet, NODE);
    fleet.placet(&["node", "commit", NODE, "--reason", "ran well"]);
    let stored = awaited(&fleet, "what was tested to be stored", |status| {
        status["committedGeneration"].is_null() && status["generation"] != 1
    });
    assert_eq!(pids(&fleet, NODE), before, "no process was touched");
    assert_eq!(stored["manifestDigest"], stored["preferredDigest"]);
    assert_eq!(stored["lastOrder"]["do"], "commit");
    assert_eq!(stored["lastOrder"]["reason"], "ran well");
    let link = committed(&fleet);
    let generation = stored["generation"].to_string();
    assert_eq!(link.file_name().expect("a name"), generation.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_back_by_order_and_is_not_led_forward_again() {
    let fleet = testing().await;
    awaited(&fleet, "the test", is_testing);
    fleet.placet(&["node", "regress", NODE, "--reason", "sessions are lost"]);
    let back = awaited(&fleet, "the way back", |status| {
        status["generation"] == 1 && !status["failed"].is_null()
    });
    assert_ne!(back["manifestDigest"], back["preferredDigest"]);
    let node = fleet.log(NODE);
    assert!(node.contains("given back by order of"), "{node}");
    assert!(node.contains("sessions are lost"), "{node}");
    // Its part in the roll-out is over, which was done and stays so.
    let rollout = back["rollout"]["name"].as_str().expect("a roll-out");
    let rollout = fleet.resource("rollout", rollout);
    assert_eq!(rollout["status"]["phase"], "Done", "{rollout:#}");
    let again = fleet.placet_output(&["node", "commit", NODE]);
    assert_eq!(again.status.code(), Some(1));
}
