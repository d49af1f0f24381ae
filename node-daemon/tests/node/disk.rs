//! Disks that are short of space.

use placet_model::NodeManifest;
use placet_planner::change;
use placet_protocol::wire::Release;
use placet_protocol::wire::to_node::Order;

use crate::controller::Controller;
use crate::daemon::Daemon;
use crate::software::Software;

fn fleet(data: &[u8]) -> Software {
    Software::new()
        .file("lib/data", data)
        .script("bin/loner", "exec sleep 1000")
}

/// Nothing runs from it, so no generation is in use but the committed one.
fn data(data: &[u8]) -> Software {
    Software::new().file("lib/data", data)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_quota_is_refused_before_a_byte_travels() {
    let controller = Controller::start().await;
    let (old, large, small) = (fleet(b"old"), fleet(&vec![7; 3 << 20]), fleet(b"small"));
    for software in [&old, &large, &small] {
        controller.serve(software);
    }
    let daemon = Daemon::join_saying(&controller, "core-1", &["--quota", "2"]);
    let mut session = controller.session().await;
    let pristine = NodeManifest::default();
    assert_eq!(session.change(&pristine, &old.manifest).await.error, "");
    let before = session.running(&["loner"]).await;
    let travelled = controller.fetched();

    session.stage(&old.manifest, &large.manifest);
    let error = session.staged().await.error;
    assert!(error.contains("raise --quota by"), "{error}");
    assert_eq!(controller.fetched(), travelled);
    assert_eq!(session.running(&["loner"]).await, before);
    let left: Vec<_> = std::fs::read_dir(daemon.path("s/partial"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");

    let done = session.change(&old.manifest, &small.manifest).await;
    assert_eq!(done.error, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_needs_makes_room_and_the_last_generations_stay() {
    let controller = Controller::start().await;
    let daemon = Daemon::join_saying(
        &controller,
        "core-1",
        &["--quota", "5", "--generations-kept", "1"],
    );
    let mut session = controller.session().await;
    let mut last = NodeManifest::default();
    // Each takes a little less than a third of the quota.
    for round in 0..5 {
        let next = data(&vec![round; 3 << 19]);
        controller.serve(&next);
        let done = session.change(&last, &next.manifest).await;
        assert_eq!(done.error, "", "round {round}");
        last = next.manifest;
    }
    // Staged and given up: nobody needs it, and no change came that would have removed it.
    let (given_up, next) = (data(&vec![8; 3 << 19]), data(&vec![9; 3 << 19]));
    controller.serve(&given_up);
    controller.serve(&next);
    session.stage(&last, &given_up.manifest);
    assert_eq!(session.staged().await.error, "");
    session.order(Order::Release(Release {
        rollout: "r".to_owned(),
        change_digest: change(&last, &given_up.manifest).digest().to_string(),
        reason: "it is given up".to_owned(),
        dry_run: false,
    }));
    session.stage(&last, &next.manifest);
    assert_eq!(session.staged().await.error, "");
    let generations = std::fs::read_dir(daemon.path("s/generations")).unwrap();
    let mut names: Vec<_> = generations
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["4", "5", "7"],
        "the last, the one before, and what is staged"
    );
}
