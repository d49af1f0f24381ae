//! Nodes that start: with the controller away, and how they are answered when it is back.

use placet_tests::{Fleet, FleetOptions, edit, pids, poll};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_without_its_controller_and_is_told_to_continue_when_that_is_back() {
    let mut fleet = Fleet::settled(FleetOptions {
        nodes: vec!["core-1", "edge-1"],
        ..FleetOptions::default()
    })
    .await;
    let before = pids(&fleet, "core-1");
    fleet.kill_controller();
    fleet.kill_node("core-1");
    fleet.start_node("core-1");
    let keeper = fleet.node("core-1").keeper();
    // The agent, and every process.
    poll("the processes of core-1", || {
        let children = format!("/proc/{keeper}/task/{keeper}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        (children.split_whitespace().count() > before.len()).then_some(())
    });
    let since = fleet.feed.latest();
    fleet.start_controller();
    let booted = fleet
        .feed
        .wait(since, "core-1 to be answered", |event| {
            event.name == "booted" && event.text("node") == "core-1"
        })
        .await;
    assert_eq!(booted.text("answer"), "Continue");
    let status = fleet.resource("fnode", "core-1")["status"].clone();
    assert_eq!(status["boot"]["answer"], "Continue", "{status:#}");
    let now = pids(&fleet, "core-1");
    assert!(now.keys().eq(before.keys()), "{now:?}");
    assert!(
        now.values()
            .all(|pid| !before.values().any(|old| old == pid))
    );
    let others = fleet.feed.named("booted", since);
    let others: Vec<_> = others.filter(|it| it.text("node") != "core-1").collect();
    assert!(others.is_empty(), "edge-1 was only cut off: {others:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_disk_joins_at_every_boot_and_gets_all_it_runs_again() {
    let mut fleet = Fleet::start(FleetOptions {
        nodes: vec!["core-1", "edge-1"],
        ..FleetOptions::default()
    })
    .await;
    edit(
        &fleet.path("fleet/classes.yaml"),
        "  packageSets: [tools, base]\n",
        "  packageSets: [tools, base]\n  persistence: {packages: false, bootImage: false}\n",
    );
    let commit = fleet.commit("edge nodes store nothing");
    fleet.follow_repository();
    fleet.verified(&commit).await;
    let before = pids(&fleet, "edge-1");
    let made = fleet.placet(&["node", "token", "edge-1", "--every-boot", "-o", "json"]);
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let token = made["token"].as_str().expect("a token");
    std::fs::write(fleet.path("edge-1.token"), token).expect("a file");

    for _ in 0..2 {
        fleet.kill_node("edge-1");
        // What a machine forgets that runs from an initramfs.
        std::fs::remove_dir_all(fleet.path("edge-1")).expect("the state is there");
        fleet.start_node("edge-1");
        let now = poll("all processes to run again", || {
            let now = pids(&fleet, "edge-1");
            let are_others = now.values().all(|pid| !before.values().any(|it| it == pid));
            (now.keys().eq(before.keys()) && are_others).then_some(now)
        });
        assert!(!now.is_empty());
    }
    let stored = fleet.path("edge-1/committed");
    assert!(!stored.exists(), "nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_prepared_then_start_together() {
    let mut fleet = Fleet::settled(FleetOptions {
        nodes: vec!["core-1", "edge-1"],
        ..FleetOptions::default()
    })
    .await;
    let before = [pids(&fleet, "core-1"), pids(&fleet, "edge-1")];
    fleet.kill_node("edge-1");
    let since = fleet.feed.latest();
    let commit = fleet.commit_greet("1.1.0");
    let planned = |event: &placet_tests::Event| event.name == "plan";
    let plan = fleet.feed.wait(since, "a plan", planned).await;
    let rollout = plan.text("rollout");
    let early = fleet.placet_output(&["rollout", "prepare", rollout, "--within", "1"]);
    assert_eq!(early.status.code(), Some(1));
    let said = String::from_utf8_lossy(&early.stdout).into_owned();
    assert!(
        said.contains("edge-1") && said.contains("connection"),
        "{said}"
    );
    assert!(said.contains("stays paused"), "{said}");

    fleet.start_node("edge-1");
    let said = fleet.placet(&["rollout", "prepare", rollout]);
    assert!(said.contains("2 of 2 nodes"), "{said}");
    assert_eq!(pids(&fleet, "core-1"), before[0]);
    let said = fleet.placet(&["rollout", "prepare", rollout, "--start", "-o", "json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (&said["ready"], &said["notReady"]),
        (&2.into(), &serde_json::json!([]))
    );
    fleet.verified(&commit).await;
    assert_ne!(pids(&fleet, "core-1"), before[0]);
}
