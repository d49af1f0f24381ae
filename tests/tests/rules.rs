//! A simple process whose package brings a rule (V3): the example `clock.yaml` as it is.

use std::fs;

use placet_tests::{Fleet, FleetOptions, pids};

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_a_package_objects_for_a_process_that_cannot() {
    let mut fleet = Fleet::start(FleetOptions {
        nodes: vec!["edge-1", "edge-2"],
        ..FleetOptions::default()
    })
    .await;
    let file = fleet.path("fleet/nodes.yaml");
    let nodes = fs::read_to_string(&file).expect("declarations");
    let (name, facts) = ("name: edge-2\nspec:\n", "  facts:\n");
    let here = nodes.replace(
        &format!("{name}{facts}"),
        &format!("{name}{facts}    location: exchange\n"),
    );
    assert_ne!(here, nodes);
    fs::write(&file, here).expect("declarations");
    let first = fleet.commit("The fleet begins");
    fleet.follow_repository();
    // Nothing ran that the rule could have spoken for.
    fleet.verified(&first).await;
    let before = pids(&fleet, "edge-2");

    let commit = fleet.commit_greet("1.1.0");
    let held = fleet.held(&commit).await;
    let objections = held.data["vetoes"].to_string();
    for words in [
        "node edge-2",
        "clockd",
        "ticks-are-counted",
        "its ticks are counted here",
    ] {
        assert!(objections.contains(words), "{objections}");
    }
    assert!(!objections.contains("edge-1"), "{objections}");
    assert_eq!(pids(&fleet, "edge-2"), before);
    let rollout = held.text("rollout").to_owned();
    fleet.decide(&rollout, "--skip", "at night");
    fleet.verified(&commit).await;
    assert_eq!(pids(&fleet, "edge-2"), before, "it was left out");
}
