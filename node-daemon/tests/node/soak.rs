//! Changes that are watched for a while before they count as made.

use std::fs;

use nix::sys::signal::Signal;

use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, ended, signal};
use crate::software::Software;

/// Longer than any of these tests takes: whatever ends the soak, it is not the time.
const LONG: u32 = 600;

/// The first version runs well; the second ends when `fuse` is removed.
struct Versions {
    folder: tempfile::TempDir,
    good: Software,
    bad: Software,
}

impl Versions {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fuse = folder.path().join("fuse");
        fs::write(&fuse, "").unwrap();
        let fuse = fuse.display();
        let script = format!(
            "while [ -e {fuse} ]; do sleep 0.01; done; echo 'the table is full' >&2; exit 3"
        );
        Self {
            good: Software::new()
                .notifier("bin/server", &[])
                .notifier("bin/loner", &[]),
            bad: Software::new()
                .script("bin/server", &script)
                .notifier("bin/loner", &[]),
            folder,
        }
    }

    fn blow(&self) {
        fs::remove_file(self.folder.path().join("fuse")).unwrap();
    }

    /// A node that runs the first version.
    async fn node(&self, controller: &Controller) -> (Daemon, Session) {
        controller.serve(&self.bad);
        Daemon::settled(controller, &self.good).await
    }

    /// The second version is made and watched.
    async fn soak(&self, daemon: &Daemon, session: &mut Session, seconds: u32) {
        session.soak_seconds = seconds;
        session.stage(&self.good.manifest, &self.bad.manifest);
        assert_eq!(session.staged().await.error, "");
        session.activate(&self.good.manifest, &self.bad.manifest);
        session.soaking(&self.bad.manifest).await;
        session.running(&["server", "loner"]).await;
        daemon.logged("generation 2 is watched").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_answered_when_it_has_soaked() {
    let controller = Controller::start().await;
    let versions = Versions::new();
    let (daemon, mut session) = versions.node(&controller).await;
    versions.soak(&daemon, &mut session, 1).await;
    let done = session.activated().await;
    let log = daemon.log();
    let (begins, ends) = (log.find("2 is watched for 1 s"), log.find("2 is active"));
    assert!(begins.is_some() && begins < ends, "{log}");
    assert_eq!((done.error.as_str(), done.generation), ("", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_while_its_change_soaks_has_it_given_back() {
    let controller = Controller::start().await;
    let versions = Versions::new();
    let (mut daemon, mut session) = versions.node(&controller).await;
    let before = session.running(&["loner"]).await;
    versions.soak(&daemon, &mut session, LONG).await;
    versions.blow();
    let failed = session.activated().await;
    assert_eq!(failed.generation, 1);
    for part in [
        "server exited with code 3",
        "the table is full",
        "soak time of 600 s",
    ] {
        assert!(failed.error.contains(part), "{}", failed.error);
    }
    let after = session.running(&["server", "loner"]).await;
    assert_eq!(after["loner"], before["loner"]);
    // It is marked as failed, for good.
    daemon.kill();
    daemon.start("core-1");
    let session = controller.session().await;
    let [failed] = &session.hello.failed[..] else {
        panic!("one manifest failed: {:?}", session.hello.failed);
    };
    assert!(failed.reason.contains("the table is full"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soak_goes_on_when_the_agent_dies() {
    let controller = Controller::start().await;
    let versions = Versions::new();
    let (daemon, mut session) = versions.node(&controller).await;
    versions.soak(&daemon, &mut session, LONG).await;
    let before = session.running(&["server", "loner"]).await;
    signal(daemon.agent().try_into().unwrap(), Signal::SIGKILL);
    let mut session = controller.session().await;
    session.soaking(&versions.bad.manifest).await;
    assert_eq!(session.running(&["server", "loner"]).await, before);
    versions.blow();
    let failed = session.activated().await;
    assert!(
        failed.error.contains("the table is full"),
        "{}",
        failed.error
    );
    assert_eq!(failed.generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_in_the_soak_while_no_agent_is_there_has_it_given_back() {
    let controller = Controller::start().await;
    let versions = Versions::new();
    let (daemon, mut session) = versions.node(&controller).await;
    versions.soak(&daemon, &mut session, LONG).await;
    let running = session.running(&["server"]).await;
    let agent = daemon.agent().try_into().unwrap();
    signal(agent, Signal::SIGSTOP);
    versions.blow();
    ended(running["server"]).await;
    signal(agent, Signal::SIGKILL);
    let mut session = controller.session().await;
    let back = session.running(&["server", "loner"]).await;
    assert_ne!(back["server"], running["server"]);
    daemon.logged("gives generation 2 back for 1: server").await;
    assert_eq!(session.hello.failed.len(), 1, "it is said in the Hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soak_begins_anew_when_the_keeper_died() {
    let controller = Controller::start().await;
    let versions = Versions::new();
    let (mut daemon, mut session) = versions.node(&controller).await;
    versions.soak(&daemon, &mut session, LONG).await;
    daemon.kill();
    daemon.start("core-1");
    let mut session = controller.session().await;
    session.soaking(&versions.bad.manifest).await;
    session.running(&["server", "loner"]).await;
    versions.blow();
    let failed = session.activated().await;
    assert!(
        failed.error.contains("the table is full"),
        "{}",
        failed.error
    );
    assert_eq!(failed.generation, 1);
}
