//! Disks that are short of space, and what others do to the files on them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use placet_model::NodeManifest;
use placet_planner::change;
use placet_protocol::wire::Release;
use placet_protocol::wire::to_node::Order;

use crate::controller::Controller;
use crate::daemon::{Daemon, ended};
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
    let mut session = controller.settle(&old).await;
    let before = session.running(&["loner"]).await;
    let travelled = controller.fetched();

    session.stage(&old.manifest, &large.manifest);
    let error = session.staged().await.error;
    assert!(error.contains("raise --quota by"), "{error}");
    assert_eq!(controller.fetched(), travelled);
    assert_eq!(session.running(&["loner"]).await, before);
    let left: Vec<_> = fs::read_dir(daemon.path("s/partial")).unwrap().collect();
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
    let generations = fs::read_dir(daemon.path("s/generations")).unwrap();
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

/// Other bytes stand in a file; its size and times are what they were.
fn spoil(path: &Path) {
    let meta = fs::metadata(path).unwrap();
    let (mode, time) = (meta.permissions(), meta.modified().unwrap());
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, mode).unwrap();
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_found_reported_and_put_right_while_processes_run() {
    let controller = Controller::start().await;
    let software = fleet(b"data");
    let arguments = ["--look-every", "1", "--look-closely-every", "2"];
    let daemon = Daemon::join_saying(&controller, "core-1", &arguments);
    let mut session = controller.settle(&software).await;
    let before = session.running(&["loner"]).await;

    // Edited by hand: the store has the good bytes.
    let tree = daemon.path("s/generations/1/tree");
    let (travelled, data) = (controller.fetched(), tree.join("lib/data"));
    fs::set_permissions(tree.join("lib"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(&data).unwrap();
    fs::write(&data, "by hand").unwrap();
    let drifts = session.drifts().await;
    assert!(
        drifts.iter().any(|drift| drift.path == "lib/data"),
        "{drifts:?}"
    );
    assert!(drifts.iter().all(|drift| drift.repaired), "{drifts:?}");
    assert_eq!(fs::read(&data).unwrap(), b"data");
    assert_eq!(controller.fetched(), travelled);

    // A bit flipped, in the store as well: it is fetched again.
    spoil(&data);
    let drifts = session.drifts().await;
    assert_eq!(
        (&*drifts[0].path, &*drifts[0].what),
        ("lib/data", "its bytes are others")
    );
    assert!(drifts[0].repaired, "{drifts:?}");
    assert_eq!(fs::read(&data).unwrap(), b"data");
    assert_eq!(controller.fetched(), travelled + 4);
    assert_eq!(
        session.running(&["loner"]).await,
        before,
        "nothing was restarted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_program_is_not_started_at_boot_but_fetched_again() {
    let controller = Controller::start().await;
    let software = fleet(b"data");
    let mut daemon = Daemon::join_saying(&controller, "core-1", &["--look-every", "1"]);
    let mut session = controller.settle(&software).await;
    let pid = session.running(&["loner"]).await["loner"];
    daemon.stop();
    ended(pid).await;
    let program = daemon.path("s/generations/1/tree/bin/loner");
    let good = fs::read(&program).unwrap();
    spoil(&program);

    daemon.start("core-1");
    let mut session = controller.session().await;
    session.running(&["loner"]).await;
    assert_eq!(fs::read(&program).unwrap(), good);
    let log = daemon
        .logged("`bin/loner` of generation 1 has drifted")
        .await;
    assert!(
        log.contains("its bytes are others; it is to be fetched again"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_generation_that_cannot_be_read_gives_way_to_the_one_before() {
    let controller = Controller::start().await;
    let (old, new) = (fleet(b"old"), fleet(b"new"));
    controller.serve(&new);
    let (mut daemon, mut session) = Daemon::settled(&controller, &old).await;
    assert_eq!(session.change(&old.manifest, &new.manifest).await.error, "");
    session.running(&["loner"]).await;
    daemon.stop();
    fs::write(daemon.path("s/generations/2/manifest.json"), b"\0\0\0").unwrap();
    fs::write(daemon.path("s/epoch.json"), b"\0").unwrap();

    daemon.start("core-1");
    let mut session = controller.session().await;
    session.running(&["loner"]).await;
    daemon.logged("the node goes back to generation 1").await;
    assert_eq!(
        fs::read(daemon.path("s/committed/tree/lib/data")).unwrap(),
        b"old"
    );
    assert_eq!(session.change(&old.manifest, &new.manifest).await.error, "");
    assert_eq!(
        fs::read(daemon.path("s/committed/tree/lib/data")).unwrap(),
        b"new"
    );
}
