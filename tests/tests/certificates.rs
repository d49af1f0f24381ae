//! Certificates that live short: a connected node passes renewals without a gap; one whose renewal
//! is refused is cut off at expiry.

use placet_tests::{Event, Fleet, FleetOptions};

const LIFETIME_SECONDS: u32 = 90;

#[tokio::test(flavor = "multi_thread")]
async fn three_renewals_without_a_gap_and_an_end_where_renewal_is_refused() {
    let options = FleetOptions {
        nodes: vec!["core-1", "edge-1"],
        certificate_seconds: LIFETIME_SECONDS,
    };
    let mut fleet = Fleet::settled(options).await;
    let start = fleet.feed.latest();
    // Deleting a node refuses its renewal; its session ends with its certificate.
    fleet.placet(&["delete", "fleetnode", "edge-1"]);
    let mut since = start;
    for renewal in 1..=3 {
        let renewed = |event: &Event| event.name == "renewed" && event.text("node") == "core-1";
        // Half of a lifetime each, and more than the patience of the feed: wait in two parts.
        let event = fleet
            .feed
            .wait_long(
                since,
                &format!("renewal {renewal}"),
                LIFETIME_SECONDS,
                renewed,
            )
            .await;
        since = event.sequence;
    }
    let gaps: Vec<_> = fleet
        .feed
        .named("nodeLost", start)
        .filter(|event| event.text("node") == "core-1")
        .collect();
    assert!(gaps.is_empty(), "{gaps:?}");
    let cut = |event: &Event| event.name == "nodeLost" && event.text("node") == "edge-1";
    fleet
        .feed
        .wait_long(start, "edge-1 to be cut off", LIFETIME_SECONDS, cut)
        .await;
    let commit = fleet.commit_greet("1.1.0");
    fleet.verified(&commit).await;
}
