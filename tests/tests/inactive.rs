//! Packages that are stored without being active (C-A7).

use std::fs;

use placet_tests::{Fleet, FleetOptions, edit, pids};

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_at_hand_before_it_is_activated_in_one_change_with_another() {
    let mut fleet = Fleet::settled(FleetOptions {
        nodes: vec!["core-1", "edge-1"],
        ..FleetOptions::default()
    })
    .await;
    let before = [pids(&fleet, "core-1"), pids(&fleet, "edge-1")];
    let packages = fleet.path("fleet/packages.yaml");
    let next = "---\napiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata:\n  name: next\nspec:\n  packages:\n    - name: greet\n      version: 1.1.0\n      reference: oci-layout:greet:1.1.0\n      active: false # next\n";
    let declared = fs::read_to_string(&packages).expect("declarations");
    fs::write(&packages, format!("{declared}{next}")).expect("declarations");
    edit(
        &fleet.path("fleet/classes.yaml"),
        "tools, base]",
        "tools, base, next]",
    );
    let commit = fleet.commit("greet 1.1.0 is stored");
    let stored = fleet.verified(&commit).await;
    let since = stored.sequence;
    assert_eq!([pids(&fleet, "core-1"), pids(&fleet, "edge-1")], before);
    let fetched: Vec<_> = fleet.feed.named("fetched", 0).collect();
    assert!(
        fetched.last().expect("one").data["modules"] != 0,
        "{fetched:?}"
    );

    // One commit turns both around.
    edit(&packages, "active: false # next", "active: true # next");
    edit(
        &packages,
        "greet:1.0.0\n",
        "greet:1.0.0\n      active: false\n",
    );
    let commit = fleet.commit("greet 1.1.0 in place of 1.0.0");
    fleet.verified(&commit).await;
    let after = [pids(&fleet, "core-1"), pids(&fleet, "edge-1")];
    assert_ne!(after, before, "the users of the library are restarted");
    let travelled: Vec<_> = fleet
        .feed
        .named("fetched", since)
        .map(|event| event.data["modules"].as_u64().expect("a number"))
        .collect();
    assert_eq!(travelled, [0, 0], "everything was there");
}
