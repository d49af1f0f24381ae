//! How long it takes from the controller's hearing of a commit to the tally of four nodes.

use placet_tests::{Fleet, FleetOptions, evidence, median};

/// Generous: a debug build on two busy cores. The goal is in the evidence.
const BOUND_MILLISECONDS: f64 = 1_000.0;

#[tokio::test(flavor = "multi_thread")]
async fn from_commit_to_tally() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let mut milliseconds = Vec::new();
    for run in 0..20 {
        let since = fleet.feed.latest();
        let commit = fleet.commit_greet(if run % 2 == 0 { "1.1.0" } else { "1.0.0" });
        let tally = fleet
            .feed
            .wait(since, "the tally", |event| event.name == "tally")
            .await;
        milliseconds.push(tally.data["milliseconds"].as_f64().expect("a figure"));
        fleet.verified(&commit).await;
    }
    milliseconds.sort_by(f64::total_cmp);
    let median = median(milliseconds.clone());
    let figures = serde_json::json!({
        "nodes": 4, "runs": 20, "medianMilliseconds": median,
        "minimum": milliseconds[0], "maximum": milliseconds[19], "goal": 100,
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    });
    evidence("commit-to-tally", &figures);
    assert!(median < BOUND_MILLISECONDS, "{figures}");
}
