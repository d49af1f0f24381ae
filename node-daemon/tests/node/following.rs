//! Processes that follow files: they are told, reloaded or restarted, as they declare (V3).

use placet_model::{FollowAction, ModuleType, ProcessSpec};

use crate::controller::Controller;
use crate::daemon::Daemon;
use crate::software::Software;

fn follows(path: &str, action: FollowAction) -> impl FnOnce(&mut ProcessSpec) {
    let path = path.to_owned();
    move |spec| {
        spec.follows = vec![placet_model::Follow {
            paths: [path].into(),
            action,
            ..placet_model::Follow::default()
        }];
    }
}

/// Says what its file holds when it starts and whenever it is told to look again.
const READER: &str = "#!/bin/sh
look() { echo \"has $(cat $PLACET_CURRENT/etc/app/main.conf)\"; }
trap look HUP
look
while :; do sleep 1000 & wait $!; kill $!; done
";

fn fleet(content: &str) -> Software {
    Software::new()
        .file("etc/app/main.conf", content.as_bytes())
        .process(
            "bin/reader",
            READER.as_bytes(),
            &[],
            follows("etc/app/*", FollowAction::Reload),
        )
        .process(
            "bin/starter",
            READER.as_bytes(),
            &[],
            follows("etc/**", FollowAction::Restart),
        )
        .process(
            "bin/other",
            READER.as_bytes(),
            &[],
            follows("etc/*", FollowAction::Restart),
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_file_is_reloaded_or_restarted_and_others_are_not() {
    let controller = Controller::start().await;
    let (old, new) = (fleet("one"), fleet("two"));
    controller.serve(&new);
    let (daemon, mut session) = Daemon::settled(&controller, &old).await;
    let names = ["reader", "starter", "other"];
    let before = session.running(&names).await;
    daemon.wrote("reader", "has one").await;

    let done = session.change(&old.manifest, &new.manifest).await;
    assert_eq!(done.error, "");
    daemon.wrote("reader", "has one\nhas two").await;
    daemon.wrote("starter", "has two").await;
    let after = session.running(&names).await;
    assert_eq!(after["reader"], before["reader"], "it read its file again");
    assert_ne!(after["starter"], before["starter"], "it was restarted");
    assert_eq!(after["other"], before["other"], "`*` ends at a `/`");

    // And back: the same, since it has handled the way there.
    let done = session.change(&new.manifest, &old.manifest).await;
    assert_eq!(done.error, "");
    daemon.wrote("reader", "has two\nhas one").await;
    assert_eq!(session.running(&names).await["reader"], before["reader"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_follows_data_is_asked_about_it() {
    let controller = Controller::start().await;
    let mind = tempfile::tempdir().unwrap();
    let fleet = |content: &[u8]| {
        Software::new().file("share/data", content).voter_with(
            "bin/chat",
            &[],
            mind.path(),
            |spec| {
                spec.follows = vec![placet_model::Follow {
                    types: [ModuleType::Data].into(),
                    ..placet_model::Follow::default()
                }];
            },
        )
    };
    let (old, new) = (fleet(b"old"), fleet(b"new"));
    controller.serve(&new);
    let (_daemon, mut session) = Daemon::settled(&controller, &old).await;
    session.running(&["chat"]).await;
    std::fs::write(mind.path().join("veto"), "").unwrap();
    session.propose(&session.proposal(&old.manifest, &new.manifest));
    let verdict = session.verdict().await;
    let objections: Vec<_> = verdict.objections().collect();
    assert!(objections[0].contains("3 open sessions"), "{objections:?}");
}
