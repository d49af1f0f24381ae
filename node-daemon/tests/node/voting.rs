//! Self-managing processes: asked, prepared, told, and left alone or restarted.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use placet_model::{Answer, Proposal, Verdict, VerdictKind};
use placet_protocol::wire::Release;
use placet_protocol::wire::to_node::Order;
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
    controller.serve(&new);
    let (daemon, session) = Daemon::settled(&controller, &old).await;
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

impl World {
    fn dry_run(&self, name: &str) -> Proposal {
        Proposal {
            rollout: name.to_owned(),
            dry_run: true,
            ..self
                .session
                .proposal(&self.old.manifest, &self.new.manifest)
        }
    }

    async fn try_out(&mut self, name: &str) -> Verdict {
        self.session.propose(&self.dry_run(name));
        self.session.verdict().await
    }
}

/// Every file of a node's store with its bytes; names of sockets and logs are left out.
fn store_of(daemon: &Daemon) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![daemon.path("s")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_brings_the_veto_and_changes_nothing_on_the_node() {
    let mut world = world().await;
    let pid = world.pid("chat").await;
    let before = store_of(&world.daemon);
    let fetched = world.controller.fetched();
    world.minds("veto");
    let verdict = world.try_out("dry-1").await;
    assert_eq!(
        (verdict.verdict, verdict.rollout.as_str()),
        (VerdictKind::Veto, "dry-1")
    );
    let words = format!("node core-1: chat ({pid}) non placet: 3 open sessions [sessions-open]");
    assert_eq!(verdict.objections().collect::<Vec<_>>(), [words]);
    let asked_about = world.dry_run("dry-1").change_digest;
    assert_eq!(verdict.records[0].change_digest, asked_about);
    assert_eq!(verdict.expires, verdict.time, "nothing is promised");
    assert_eq!(world.pid("chat").await, pid);
    assert_eq!(store_of(&world.daemon), before);
    assert_eq!(world.controller.fetched(), fetched, "nothing travelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_the_same_change_leaves_a_promise_and_its_staging_alone() {
    let mut world = world().await;
    assert_eq!(world.ask().await.verdict, VerdictKind::Accept);
    world
        .session
        .stage(&world.old.manifest, &world.new.manifest);
    assert_eq!(world.session.staged().await.error, "");
    world.minds("veto");
    assert_eq!(world.try_out("dry-1").await.verdict, VerdictKind::Veto);
    world.session.order(Order::Release(Release {
        rollout: "dry-1".to_owned(),
        change_digest: world.dry_run("dry-1").change_digest.to_string(),
        reason: "over".to_owned(),
        dry_run: true,
    }));
    // What was staged is still there to be activated.
    world
        .session
        .activate(&world.old.manifest, &world.new.manifest);
    let done = world.session.activated().await;
    assert_eq!((done.error.as_str(), done.generation), ("", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_open_is_not_ended_by_a_dry_run() {
    let mut world = world().await;
    world.minds("silent");
    let real = world
        .session
        .proposal(&world.old.manifest, &world.new.manifest);
    world.session.propose(&real);
    let verdict = world.try_out("dry-1").await;
    let mut verdicts = vec![verdict, world.session.verdict().await];
    verdicts.sort_by(|one, other| one.rollout.cmp(&other.rollout));
    let [dry, real] = &verdicts[..] else {
        panic!("{verdicts:?}")
    };
    assert_eq!(
        (dry.rollout.as_str(), real.rollout.as_str()),
        ("dry-1", "r")
    );
    for verdict in [dry, real] {
        // The whole of its time, and its own question.
        assert_eq!(verdict.verdict, VerdictKind::NoAnswer, "{verdict:?}");
        assert_eq!(verdict.records[0].message, "did not answer within 5 s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_so_many_dry_runs_at_once_and_no_more() {
    let mut world = world().await;
    world.minds("silent");
    for number in 0..17 {
        let trial = world.dry_run(&format!("dry-{number}"));
        world.session.propose(&trial);
    }
    let refused = world.session.verdict().await;
    assert_eq!(
        (refused.verdict, refused.rollout.as_str()),
        (VerdictKind::Error, "dry-16")
    );
    assert!(refused.message.contains("try again"), "{refused:?}");
    for _ in 0..16 {
        let verdict = world.session.verdict().await;
        assert_eq!(verdict.verdict, VerdictKind::NoAnswer, "{verdict:?}");
    }
    assert_eq!(world.try_out("dry-17").await.records.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_of_a_change_carries_its_trace() {
    let mut world = world().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let other = "0af7651916cd43dd8448eb211c80319c";
    world.session.traceparent = format!("00-{other}-b7ad6b7169203331-01");
    world.try_out("dry-1").await;
    // What is no trace is none, and harms nothing.
    world.session.traceparent = "00-trace\u{1b}[2J".to_owned();
    world.try_out("dry-2").await;
    world.session.traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    world.ask().await;
    world.change(false).await;
    let log = world.daemon.log();
    let line_with = |words: &str| {
        let mut lines = log.lines();
        lines
            .find(|line| line.contains(words))
            .unwrap_or_else(|| panic!("{words}: {log}"))
    };
    for words in [
        "is asked about",
        "was told that the change comes",
        "generation 2 is committed",
        "was told how the change ended",
        "generation 2 is active for r",
    ] {
        let line = line_with(words);
        assert!(line.contains(trace), "{line}");
    }
    let line = line_with("in a dry run, about main@sha1:1 by dry-1");
    assert!(line.contains(other), "{line}");
    let line = line_with("in a dry run, about main@sha1:1 by dry-2");
    assert!(!line.contains("trace"), "{line}");
}
