//! `kill -9` at random instants of a roll-out: every run ends in the declared state, with nothing
//! lost and never a mixture.

use std::path::Path;
use std::time::Duration;

use placet_tests::{Fleet, FleetOptions, Sample, assert_never_a_mixture, evidence};

/// A roll-out without holds takes less than this on a slow machine.
const ROLLOUT: Duration = Duration::from_millis(2_500);

fn options() -> FleetOptions {
    FleetOptions {
        nodes: vec!["core-1", "edge-1"],
        ..FleetOptions::default()
    }
}

async fn settled_on(fleet: &mut Fleet, commit: &str) {
    fleet.verified(commit).await;
    for node in fleet.node_names() {
        // It may have been killed after it had changed: then it is starting.
        let up = async {
            while !is_up(fleet, &node) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let up = tokio::time::timeout(Duration::from_secs(30), up).await;
        assert!(up.is_ok(), "{node} does not come up");
        assert_never_a_mixture(fleet, &node);
    }
}

/// True if every process that the node reports is ready, and alive.
fn is_up(fleet: &Fleet, node: &str) -> bool {
    let object = fleet.resource("fleetnode", node);
    let processes = object["status"]["processes"].as_array();
    processes.is_some_and(|processes| {
        let alive = |pid: &serde_json::Value| Path::new(&format!("/proc/{pid}")).exists();
        let mut all = processes.iter();
        !processes.is_empty() && all.all(|it| it["ready"] == true && alive(&it["pid"]))
    })
}

/// The version that the n-th roll-out brings.
fn version(case: usize) -> &'static str {
    if case.is_multiple_of(2) {
        "1.1.0"
    } else {
        "1.0.0"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_may_die_at_any_instant() {
    let mut sample = Sample::new("kill-controller", 20, 5);
    let mut fleet = Fleet::settled(options()).await;
    for case in 0..sample.cases {
        let instant = sample.instant(ROLLOUT);
        let commit = fleet.commit_greet(version(case));
        // Not a wait for something: the instant is what is tried.
        tokio::time::sleep(instant).await;
        fleet.kill_controller();
        fleet.start_controller();
        settled_on(&mut fleet, &commit).await;
    }
    let done = fleet
        .feed
        .heard
        .iter()
        .filter(|event| event.name == "verified")
        .count();
    assert_eq!(done, sample.cases + 1, "each roll-out ended once");
    evidence(
        "kill-controller",
        &serde_json::json!({"runs": sample.cases, "endedAsDeclared": sample.cases}),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_rollout_and_its_decision_survive_the_controller() {
    let mut fleet = Fleet::settled(options()).await;
    let session = fleet.open_session("core-1");
    let commit = fleet.commit_greet("1.1.0");
    let held = fleet.held(&commit).await;
    let rollout = held.text("rollout").to_owned();
    let before = fleet.resource("rollout", &rollout)["status"]["hold"].clone();
    fleet.kill_controller();
    fleet.start_controller();
    assert_eq!(
        fleet.resource("rollout", &rollout)["status"]["hold"],
        before
    );
    fleet.decide(&rollout, "--skip", "sessions first");
    fleet.kill_controller();
    fleet.start_controller();
    fleet.verified(&commit).await;
    let decisions = fleet.resource("rollout", &rollout)["status"]["decisions"].clone();
    assert_eq!(decisions.as_array().unwrap().len(), 1, "{decisions}");
    assert_never_a_mixture(&fleet, "edge-1");
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_daemon_may_die_at_any_instant() {
    let mut sample = Sample::new("kill-node", 20, 6);
    let mut fleet = Fleet::settled(options()).await;
    let mut killed = (0, 0);
    for case in 0..sample.cases {
        let instant = sample.instant(ROLLOUT);
        let node = *sample.pick(&["core-1", "edge-1"]);
        let whole = *sample.pick(&[true, false]);
        let commit = fleet.commit_greet(version(case));
        // Not a wait for something: the instant is what is tried.
        tokio::time::sleep(instant).await;
        if whole {
            fleet.kill_node(node);
            fleet.start_node(node);
            killed.0 += 1;
        } else {
            fleet.kill_agent(node);
            killed.1 += 1;
        }
        settled_on(&mut fleet, &commit).await;
    }
    let figures = serde_json::json!({"runs": sample.cases, "keepers": killed.0, "agents": killed.1, "endedAsDeclared": sample.cases});
    evidence("kill-node", &figures);
}
