//! Certificates that live short: a connected node passes renewals without a gap; one whose renewal
//! is refused is cut off at expiry.

use std::fs;

use placet_tests::{Event, Fleet, FleetOptions, evidence};

/// Waits for `renewals` of core-1 while edge-1, which was deleted, is refused its own.
async fn pass_renewals(lifetime_seconds: u32, renewals: u32) {
    let options = FleetOptions {
        nodes: vec!["core-1", "edge-1"],
        certificate_seconds: lifetime_seconds,
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::settled(options).await;
    let start = fleet.feed.latest();
    // Deleting it by hand would be put right: what a repository declares leaves by a commit.
    let path = fleet.path("fleet/nodes.yaml");
    let nodes = fs::read_to_string(&path).expect("declarations");
    let kept = nodes.split("---\n").filter(|it| !it.contains("edge-1"));
    fs::write(&path, kept.collect::<Vec<_>>().join("---\n")).expect("a file");
    fleet.commit("edge-1 leaves");
    let patience = lifetime_seconds.max(30);
    let mut since = start;
    for renewal in 1..=renewals {
        let renewed = |event: &Event| event.name == "renewed" && event.text("node") == "core-1";
        let what = format!("renewal {renewal}");
        since = fleet
            .feed
            .wait_long(since, &what, patience, renewed)
            .await
            .sequence;
    }
    let cut = |event: &Event| event.name == "nodeLost" && event.text("node") == "edge-1";
    fleet
        .feed
        .wait_long(start, "edge-1 to be cut off", patience, cut)
        .await;
    let commit = fleet.commit_greet("1.1.0");
    fleet.verified(&commit).await;
    let lost = fleet.feed.named("nodeLost", start);
    let gaps: Vec<_> = lost
        .filter(|event| event.text("node") == "core-1")
        .collect();
    assert!(gaps.is_empty(), "{gaps:?}");
    evidence(
        &format!("renewals-{lifetime_seconds}-seconds"),
        &serde_json::json!({"lifetimeSeconds": lifetime_seconds, "renewals": renewals, "gaps": 0}),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_90_seconds_three_renewals_leave_no_gap_and_a_refused_one_ends_the_session() {
    pass_renewals(90, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_renewals_in_short_order_leave_no_gap() {
    pass_renewals(6, 10).await;
}
