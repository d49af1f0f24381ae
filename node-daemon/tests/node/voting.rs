//! Self-managing processes: asked, prepared, told, and left alone or restarted.

use std::fs;

use nix::sys::signal::Signal;
use placet_model::{Answer, NodeManifest, Verdict, VerdictKind};
use tempfile::TempDir;

use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, signal};
use crate::software::Software;

struct World {
    controller: Controller,
    daemon: Daemon,
    session: Session,
    mind: TempDir,
    old: Software,
    new: Software,
}

/// A node on which `chat` uses a library of which there is a new version.
async fn world() -> World {
    let controller = Controller::start().await;
    let mind = tempfile::tempdir().unwrap();
    let fleet = |library: &[u8]| {
        Software::new()
            .file("lib/greet", library)
            .voter("bin/chat", &["lib/greet"], mind.path())
            .notifier("bin/loner", &[])
    };
    let (old, new) = (fleet(b"old"), fleet(b"new"));
    controller.serve(&old);
    controller.serve(&new);
    let daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    let done = session
        .change(&NodeManifest::default(), &old.manifest)
        .await;
    assert_eq!(done.error, "");
    World {
        controller,
        daemon,
        session,
        mind,
        old,
        new,
    }
}

impl World {
    fn minds(&self, what: &str) {
        fs::write(self.mind.path().join(what), "").unwrap();
    }

    async fn ask(&mut self) -> Verdict {
        self.session.propose(
            &self
                .session
                .proposal(&self.old.manifest, &self.new.manifest),
        );
        self.session.verdict().await
    }

    /// Stages and activates the new version.
    async fn change(&mut self, forced: bool) {
        self.session.stage(&self.old.manifest, &self.new.manifest);
        assert_eq!(self.session.staged().await.error, "");
        self.session
            .activate_as(&self.old.manifest, &self.new.manifest, forced);
        let done = self.session.activated().await;
        assert_eq!((done.error.as_str(), done.generation), ("", 2));
    }

    async fn pid(&mut self, process: &str) -> u32 {
        self.session.running(&["chat", "loner"]).await[process]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_veto_says_who_and_why_in_the_verdict_and_in_the_log() {
    let mut world = world().await;
    let pid = world.pid("chat").await;
    world.minds("veto");
    let verdict = world.ask().await;
    assert_eq!(verdict.verdict, VerdictKind::Veto);
    let [record] = &verdict.records[..] else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        (record.process.as_str(), record.pid, record.answer),
        ("chat", pid, Answer::Veto)
    );
    assert_eq!(
        (record.code.as_str(), record.message.as_str()),
        ("sessions-open", "3 open sessions")
    );
    assert_eq!(record.modules, ["lib/greet".parse().unwrap()]);
    assert_eq!(record.change_digest, verdict.change_digest);
    let words = format!("node core-1: chat ({pid}) non placet: 3 open sessions [sessions-open]");
    assert_eq!(verdict.objections().next().as_ref(), Some(&words));
    assert!(
        world.daemon.log().contains(&words),
        "{}",
        world.daemon.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_voter_is_forgotten_when_the_agent_is_new() {
    let mut world = world().await;
    world.minds("veto");
    for _ in 0..3 {
        signal(world.daemon.agent().try_into().unwrap(), Signal::SIGKILL);
        world.session = world.controller.session().await;
        let verdict = world.ask().await;
        assert_eq!(verdict.verdict, VerdictKind::Veto, "{verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_handles_the_change_keeps_its_pid_also_when_the_agent_dies() {
    let mut world = world().await;
    let before = world.pid("chat").await;
    world.minds("handle");
    assert_eq!(world.ask().await.verdict, VerdictKind::Accept);
    world.change(false).await;
    assert_eq!(world.pid("chat").await, before);
    signal(world.daemon.agent().try_into().unwrap(), Signal::SIGKILL);
    world.session = world.controller.session().await;
    assert_eq!(world.session.hello.report.as_ref().unwrap().generation, 2);
    assert_eq!(world.pid("chat").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_asks_for_the_default_is_restarted() {
    let mut world = world().await;
    let (chat, loner) = (world.pid("chat").await, world.pid("loner").await);
    assert_eq!(world.ask().await.verdict, VerdictKind::Accept);
    world.change(false).await;
    assert_ne!(world.pid("chat").await, chat);
    assert_eq!(world.pid("loner").await, loner);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_overridden_is_restarted_whatever_it_says() {
    let mut world = world().await;
    let before = world.pid("chat").await;
    world.minds("veto");
    world.minds("handle");
    assert_eq!(world.ask().await.verdict, VerdictKind::Veto);
    world.change(true).await;
    assert_ne!(world.pid("chat").await, before);
}
