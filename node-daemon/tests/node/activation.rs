//! Proposals, staging, activation and giving back.

use std::fs;

use placet_model::{Digest, NodeManifest, VerdictKind};

use crate::controller::Controller;
use crate::daemon::{Daemon, is_alive};
use crate::software::Software;

/// `user` depends on the library, `loner` does not; both say when they are ready.
fn fleet(library: &[u8]) -> Software {
    Software::new()
        .file("lib/data", library)
        .notifier("bin/user", &["lib/data"])
        .notifier("bin/loner", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_restarts_whom_it_touches_and_nobody_else() {
    let controller = Controller::start().await;
    let (old, new) = (fleet(b"old"), fleet(b"new"));
    let (daemon, mut session) = Daemon::settled(&controller, &old).await;
    let before = session.running(&["user", "loner"]).await;
    controller.serve(&new);
    let travelled = controller.fetched();

    session.propose(&session.proposal(&old.manifest, &new.manifest));
    let verdict = session.verdict().await;
    assert_eq!(
        (verdict.verdict, verdict.message.as_str()),
        (VerdictKind::Accept, "")
    );
    assert_eq!(verdict.boot_id, session.hello.boot_id);
    assert_eq!(controller.fetched(), travelled, "a proposal moves no byte");

    session.stage(&old.manifest, &new.manifest);
    let staged = session.staged().await;
    assert_eq!(
        (staged.modules, staged.bytes, staged.error.as_str()),
        (1, 3, ""),
        "only what it lacks"
    );
    assert_eq!(
        session.running(&["user", "loner"]).await,
        before,
        "staging touches nothing"
    );

    session.activate(&old.manifest, &new.manifest);
    let done = session.activated().await;
    assert_eq!((done.error.as_str(), done.generation), ("", 2));
    let after = session.running(&["user", "loner"]).await;
    assert_ne!(after["user"], before["user"]);
    assert_eq!(after["loner"], before["loner"]);
    assert!(!is_alive(before["user"]));
    assert_eq!(
        fs::read(daemon.path("s/committed/tree/lib/data")).unwrap(),
        b"new"
    );
    // The untouched process still sees the generation that it was started from.
    let program = fs::read_link(format!("/proc/{}/exe", after["loner"])).unwrap();
    assert!(
        program.ends_with("generations/1/tree/bin/loner"),
        "{}",
        program.display()
    );

    // Ordered again, it is done already.
    session.activate(&old.manifest, &new.manifest);
    assert_eq!(session.activated().await.generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_gets_the_environment_of_its_generation_and_nothing_else() {
    let controller = Controller::start().await;
    let software = Software::new().file("share/text", b"from the tree").script(
        "bin/teller",
        "env | sort; cat $PLACET_ROOT/share/text; exec sleep 1000",
    );
    let (daemon, mut session) = Daemon::settled(&controller, &software).await;
    session.running(&["teller"]).await;
    let log = fs::read_to_string(daemon.path("s/log/teller.log")).unwrap();
    let tree = daemon.path("s/generations/1/tree").display().to_string();
    let names: Vec<_> = log
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    // The shell adds PWD and its like.
    let ours: Vec<_> = names
        .into_iter()
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .collect();
    assert_eq!(
        ours,
        [
            "NOTIFY_SOCKET",
            "PATH",
            "PLACET_CURRENT",
            "PLACET_GENERATION",
            "PLACET_ROOT",
            "PLACET_SOCKET",
            "RUNTIME_DIRECTORY"
        ],
        "{log}"
    );
    assert!(log.contains(&format!("PATH={tree}/bin:/usr")), "{log}");
    assert!(log.ends_with("from the tree"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_update_is_given_back_with_the_reason() {
    let controller = Controller::start().await;
    let good = Software::new()
        .notifier("bin/server", &[])
        .notifier("bin/loner", &[]);
    let bad = Software::new()
        .script(
            "bin/server",
            "echo 'error: cannot open the table' >&2; exit 3",
        )
        .notifier("bin/loner", &[]);
    let (mut daemon, mut session) = Daemon::settled(&controller, &good).await;
    let before = session.running(&["server", "loner"]).await;
    controller.serve(&bad);

    let failed = session.change(&good.manifest, &bad.manifest).await;
    assert_eq!(failed.generation, 1);
    assert!(
        failed.error.contains("server exited with code 3"),
        "{}",
        failed.error
    );
    assert!(
        failed.error.contains("cannot open the table"),
        "{}",
        failed.error
    );
    let after = session.running(&["server", "loner"]).await;
    assert_ne!(after["server"], before["server"]);
    assert_eq!(after["loner"], before["loner"]);

    // It is not tried again, not even after a restart.
    daemon.kill();
    daemon.start("core-1");
    let mut session = controller.session().await;
    let [remembered] = &session.hello.failed[..] else {
        panic!("one manifest failed: {:?}", session.hello.failed);
    };
    assert_eq!(
        remembered.manifest_digest,
        bad.manifest.digest().to_string()
    );
    assert!(remembered.reason.contains("server exited with code 3"));
    session.running(&["server", "loner"]).await;
    session.activate(&good.manifest, &bad.manifest);
    let refused = session.activated().await;
    assert!(
        refused.error.contains("failed here before"),
        "{}",
        refused.error
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_whose_bytes_do_not_match_its_digest_is_refused() {
    let controller = Controller::start().await;
    let software = Software::new().file("data", b"right");
    controller.spoil(Digest::of(b"right"), b"wrong");
    let daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    session.stage(&NodeManifest::default(), &software.manifest);
    let staged = session.staged().await;
    assert!(
        staged.error.contains(&Digest::of(b"right").to_string()),
        "{}",
        staged.error
    );
    assert!(
        staged.error.contains(&Digest::of(b"wrong").to_string()),
        "{}",
        staged.error
    );
    session.activate(&NodeManifest::default(), &software.manifest);
    let refused = session.activated().await;
    assert!(refused.error.contains("not staged"), "{}", refused.error);
    assert!(!daemon.path("s/committed").exists());
    // With the right bytes it works.
    controller.serve(&software);
    assert_eq!(
        session
            .change(&NodeManifest::default(), &software.manifest)
            .await
            .error,
        ""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_goes_on_where_the_line_broke() {
    let controller = Controller::start().await;
    let content = vec![b'x'; 50_000];
    let software = Software::new().file("data", &content);
    controller.serve(&software);
    controller.break_after(20_000);
    let _daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    session.stage(&NodeManifest::default(), &software.manifest);
    let staged = session.staged().await;
    assert_eq!((staged.error.as_str(), staged.modules), ("", 1));
    assert_eq!(controller.fetched(), 50_000, "no byte travels twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_that_do_not_fit_are_answered_with_an_error() {
    let controller = Controller::start().await;
    let (old, new) = (fleet(b"old"), fleet(b"new"));
    let (_daemon, mut session) = Daemon::settled(&controller, &old).await;
    let good = session.proposal(&old.manifest, &new.manifest);
    let mut other_node = good.clone();
    other_node.node = "core-2".parse().unwrap();
    let mut other_from = good.clone();
    other_from.from = new.manifest.digest();
    let mut other_change = good.clone();
    other_change.change_digest = Digest::of(b"another change");
    let cases = [
        (other_node, "is for node core-2"),
        (other_from, "but this node runs"),
        (other_change, "the controller computed change"),
    ];
    for (proposal, expected) in cases {
        session.propose(&proposal);
        let verdict = session.verdict().await;
        assert_eq!(verdict.verdict, VerdictKind::Error);
        assert!(verdict.message.contains(expected), "{}", verdict.message);
        assert_eq!(verdict.change_digest, proposal.change_digest);
    }
    session.propose(&good);
    assert_eq!(session.verdict().await.verdict, VerdictKind::Accept);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_an_earlier_epoch_are_refused_for_ever() {
    let controller = Controller::start().await;
    let (old, new) = (fleet(b"old"), fleet(b"new"));
    let (mut daemon, mut session) = Daemon::settled(&controller, &old).await;
    session.epoch = 5;
    session.propose(&session.proposal(&old.manifest, &old.manifest));
    session.verdict().await;
    daemon.kill();
    daemon.start("core-1");
    let mut session = controller.session().await;
    assert_eq!(session.epoch, 1);
    session.propose(&session.proposal(&old.manifest, &new.manifest));
    session.epoch = 5;
    session.propose(&session.proposal(&old.manifest, &old.manifest));
    let verdict = session.verdict().await;
    assert_eq!(
        verdict.change_digest,
        session.proposal(&old.manifest, &old.manifest).change_digest
    );
    assert!(daemon.log().contains("refuses an order of epoch 1"));
}
