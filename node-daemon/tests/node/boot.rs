//! Boot images by the commands of a class (D9), with a boot loader of three files.

use std::fs;

use placet_model::{NodeManifest, VerdictKind};
use placet_protocol::wire::Memory;
use placet_tests::BootLoader;
use tempfile::TempDir;

use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, is_alive};
use crate::software::Software;

struct Node {
    daemon: Daemon,
    loader: BootLoader,
    mind: TempDir,
}

impl Node {
    /// A node with the image `old`, and processes that no image is among.
    async fn settled(controller: &Controller) -> (Self, Session, Software) {
        let node = Self {
            daemon: Daemon::join(controller, "core-1"),
            loader: BootLoader::new(b"old"),
            mind: tempfile::tempdir().unwrap(),
        };
        let old = node.software("old", "1");
        let session = Self::settle(controller, &old).await;
        (node, session, old)
    }

    /// The first change of a node, to this software.
    async fn settle(controller: &Controller, software: &Software) -> Session {
        let mut session = controller.settle(software).await;
        session.running(&["voter", "server"]).await;
        session
    }

    /// A change whose process `faulty` failed was given back, with its image.
    async fn has_gone_back(&self, session: &mut Session) {
        let done = session.activated().await;
        assert!(
            done.error.contains("faulty exited with code 3"),
            "{}",
            done.error
        );
        assert_eq!(self.loader.read("good").as_deref(), Some("old"));
        session.running(&["voter", "server"]).await;
    }

    fn software(&self, image: &str, version: &str) -> Software {
        let script = format!("echo version {version}; exec sleep 1000");
        Software::new()
            .script("bin/server", &script)
            .voter("bin/voter", &[], self.mind.path())
            .boots(image.as_bytes(), self.loader.path())
    }

    /// Stages and activates, until the node has told its machine to restart; then it does.
    async fn change_and_restart(
        &mut self,
        controller: &Controller,
        session: &mut Session,
        (old, new): (&Software, &Software),
    ) -> Session {
        controller.serve(new);
        session.stage(&old.manifest, &new.manifest);
        assert_eq!(session.staged().await.error, "");
        session.activate(&old.manifest, &new.manifest);
        self.daemon.logged("the node restarts").await;
        self.restart(controller).await
    }

    async fn restart(&mut self, controller: &Controller) -> Session {
        self.daemon.stop();
        self.loader.start_machine();
        self.daemon.start("core-1");
        controller.session().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_asked_then_the_node_restarts_into_the_new_image() {
    let controller = Controller::start().await;
    let (mut node, mut session, old) = Node::settled(&controller).await;
    assert_eq!(
        node.loader.read("restarted"),
        None,
        "it ran that image already"
    );
    // Nothing but the image differs, and the voter objects to the restart.
    let new = node.software("new", "1");
    fs::write(node.mind.path().join("veto"), "").unwrap();
    session.propose(&session.proposal(&old.manifest, &new.manifest));
    let verdict = session.verdict().await;
    assert_eq!(verdict.verdict, VerdictKind::Veto);
    assert_eq!(verdict.records[0].process.as_str(), "voter");
    fs::remove_file(node.mind.path().join("veto")).unwrap();

    let mut session = node
        .change_and_restart(&controller, &mut session, (&old, &new))
        .await;
    let done = session.activated().await;
    assert_eq!((done.error.as_str(), done.generation), ("", 2));
    assert_eq!(node.loader.read("good").as_deref(), Some("new"));
    assert_eq!(
        node.loader.read("restarted").as_deref(),
        Some("test 1.0.0\n")
    );
    session.running(&["voter", "server"]).await;
    // It is where it should be: the next start is one like any other.
    let mut session = node.restart(&controller).await;
    let report = session.report(|report| !report.changing).await;
    assert_eq!((report.generation, report.drifts.len()), (2, 0));
    assert_eq!(node.loader.read("good").as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_come_up_is_given_back_with_its_packages() {
    let controller = Controller::start().await;
    let (mut node, mut session, old) = Node::settled(&controller).await;
    let new = node.software("broken", "2");
    let mut session = node
        .change_and_restart(&controller, &mut session, (&old, &new))
        .await;
    let done = session.activated().await;
    let why = "the node was restarted for its boot image, and does not run it: its confirm command";
    assert!(done.error.starts_with(why), "{}", done.error);
    assert!(
        done.error.ends_with("exit status: 1: the node runs old"),
        "{}",
        done.error
    );
    assert_eq!(done.generation, 1);
    session.running(&["voter", "server"]).await;
    node.daemon.wrote("server", "version 1").await;
    let log = fs::read_to_string(node.daemon.path("s/log/server.log")).unwrap();
    assert!(!log.contains("version 2"), "nothing of it was ever started");
    // What failed is known to have, over any restart.
    let session = node.restart(&controller).await;
    assert_eq!(session.hello.failed.len(), 1);
    assert_eq!(node.loader.read("running").as_deref(), Some("old"));
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_that_fail_on_the_new_image_bring_the_old_one_back() {
    let controller = Controller::start().await;
    let (mut node, mut session, old) = Node::settled(&controller).await;
    let new = node
        .software("new", "2")
        .script("bin/faulty", "echo no such device; exit 3");
    let mut session = node
        .change_and_restart(&controller, &mut session, (&old, &new))
        .await;
    node.daemon.logged_times("the node restarts", 2).await;
    drop(session);
    session = node.restart(&controller).await;
    node.has_gone_back(&mut session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_loader_that_refuses_costs_nobody_anything() {
    let controller = Controller::start().await;
    let (node, mut session, old) = Node::settled(&controller).await;
    let pids = session.running(&["voter", "server"]).await;
    node.loader.write("worn", "");
    let new = node.software("new", "2");
    controller.serve(&new);
    let done = session.change(&old.manifest, &new.manifest).await;
    assert!(
        done.error.ends_with("the flash is worn out"),
        "{}",
        done.error
    );
    assert!(pids.values().all(|pid| is_alive(*pid)));
    assert_eq!(node.loader.read("restarted"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_up_with_another_image_says_so() {
    let controller = Controller::start().await;
    let (mut node, _session, _old) = Node::settled(&controller).await;
    // Somebody works at the machine.
    node.loader.write("next", "somebody's own");
    let mut session = node.restart(&controller).await;
    let drifts = session.drifts().await;
    let [drift] = &drifts[..] else {
        panic!("{drifts:?}");
    };
    assert_eq!(drift.path, "boot/node.img");
    assert!(
        drift.what.ends_with("the node runs somebody's own"),
        "{}",
        drift.what
    );
    session.running(&["voter", "server"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stores_nothing_comes_back_empty_and_is_not_restarted_again() {
    let controller = Controller::start().await;
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let folder = memory.path().to_str().unwrap();
    for (image, outcome) in [("new", ""), ("broken", "the node runs old")] {
        let mut node = Node {
            daemon: Daemon::join_saying(&controller, "core-1", &["--memory", folder]),
            loader: BootLoader::new(b"old"),
            mind: tempfile::tempdir().unwrap(),
        };
        let nothing = Software::new();
        let nothing = Software {
            manifest: NodeManifest::default(),
            ..nothing
        };
        let new = node.software(image, "1");
        let mut session = controller.session().await;
        session.memory = Some(Memory { seconds: 0 });
        let mut session = node
            .change_and_restart(&controller, &mut session, (&nothing, &new))
            .await;
        let report = session.hello.report.clone().unwrap();
        assert_eq!((report.generation, report.processes.len()), (0, 0));
        session.memory = Some(Memory { seconds: 0 });
        let done = session.change(&nothing.manifest, &new.manifest).await;
        assert!(done.error.ends_with(outcome), "{}", done.error);
        if outcome.is_empty() {
            assert_eq!(done.error, "");
            session.running(&["voter", "server"]).await;
        }
        assert_eq!(node.daemon.log().matches("the node restarts").count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_kept_is_fetched_again_to_go_back_to_it() {
    let controller = Controller::start().await;
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let folder = memory.path().to_str().unwrap();
    let mut node = Node {
        daemon: Daemon::join_saying(&controller, "core-1", &["--memory", folder]),
        loader: BootLoader::new(b"old"),
        mind: tempfile::tempdir().unwrap(),
    };
    let software = |image, version| node.software(image, version).transient_image();
    let old = software("old", "1");
    let new = software("new", "2").script("bin/faulty", "echo no such device; exit 3");
    let mut session = Node::settle(&controller, &old).await;
    let images = memory.path().join("images");
    let held = || fs::read_dir(&images).unwrap().count();
    assert_eq!(held(), 0, "it is known to run");
    assert!(!node.daemon.path("s/generations/1/tree/boot").exists());

    controller.serve(&new);
    session.stage(&old.manifest, &new.manifest);
    assert_eq!(session.staged().await.error, "");
    assert_eq!(fs::read(images.join("2/boot/node.img")).unwrap(), b"new");
    assert!(!node.daemon.path("s/generations/2/tree/boot").exists());
    session.activate(&old.manifest, &new.manifest);
    node.daemon.logged("the node restarts").await;
    node.daemon.stop();
    fs::remove_dir_all(memory.path()).unwrap();
    node.loader.start_machine();
    assert_eq!(node.loader.read("running").as_deref(), Some("new"));
    // Nobody is there yet who has the bytes of before.
    controller.go_away(true);
    node.daemon.start("core-1");
    node.daemon
        .logged("installs the boot image of generation 1")
        .await;
    controller.go_away(false);
    node.daemon.logged_times("the node restarts", 2).await;
    let mut session = node.restart(&controller).await;
    node.has_gone_back(&mut session).await;
    assert!(!memory.path().join("images/1").exists());
    let report = session.report(|report| !report.changing).await;
    assert_eq!((report.generation, report.drifts.len()), (1, 0));
}
