//! What processes really have mapped (C-R2).

use std::fs;
use std::path::Path;
use std::process::Command;

use placet_protocol::wire::to_node::Order;
use placet_protocol::wire::{Policy, Welcome};

use crate::controller::Controller;
use crate::daemon::Daemon;
use crate::software::Software;

/// A shared library that says which version it is.
fn library(version: u32) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, built) = (folder.path().join("one.c"), folder.path().join("libone.so"));
    fs::write(&source, format!("int one(void) {{ return {version}; }}\n")).unwrap();
    let mut compiler = Command::new("cc");
    let compiler = compiler.args(["-shared", "-fPIC", "-Wl,-soname,libone.so", "-o"]);
    let status = compiler.arg(&built).arg(&source).status().unwrap();
    assert!(status.success(), "the C compiler failed");
    fs::read(built).unwrap()
}

/// A process that says that it handles changes, with the library of this version in it.
fn liar(version: u32, mind: &Path) -> Software {
    Software::new()
        .elf("lib/libone.so", &library(version), &[], None)
        .voter_with("bin/one", &["lib/libone.so"], mind, |spec| {
            let preloaded = ("LD_PRELOAD".to_owned(), "libone.so".to_owned());
            spec.environment.extend([preloaded]);
        })
        .notifier("bin/other", &[])
}

/// What a controller says whose class wants processes restarted, or not.
fn policy(restart_stale: bool) -> Policy {
    Policy { restart_stale }
}

fn maps(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/maps")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_executes_what_was_before_is_restarted_once_where_the_class_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("handle"), "").unwrap();
    let (old, new) = (liar(1, folder.path()), liar(2, folder.path()));
    let controller = Controller::start().await;
    controller.serve(&new);
    controller.welcome_with(Welcome {
        policy: Some(policy(true)),
        ..Welcome::default()
    });
    let daemon = Daemon::join_saying(&controller, "core-1", &["--look-every", "1"]);
    let mut session = controller.settle(&old).await;
    let before = session.running(&["one", "other"]).await;
    let done = session.change(&old.manifest, &new.manifest).await;
    assert_eq!(done.error, "");

    let drifts = session.drifts().await;
    let [drift] = &drifts[..] else {
        panic!("one finding: {drifts:?}");
    };
    assert!(drift.running && drift.repaired, "{drift:?}");
    let words = format!(
        "process one (pid {}) still executes it from generation 1",
        before["one"]
    );
    assert!(drift.what.starts_with(&words), "{}", drift.what);
    assert!(
        drift.what.ends_with("; it is restarted, as its class says"),
        "{}",
        drift.what
    );
    let after = session.running_other("one", before["one"]).await;
    daemon.logged("restarts one from generation 2").await;
    session.report(|report| report.drifts.is_empty()).await;
    assert!(maps(after).contains("generations/2/tree/lib/libone.so"));
    assert_eq!(session.running(&["other"]).await["other"], before["other"]);

    // The class changes its mind: the next one that does so is only reported.
    session.order(Order::Policy(policy(false)));
    let done = session.change(&new.manifest, &old.manifest).await;
    assert_eq!(done.error, "");
    let drifts = session.drifts().await;
    assert!(drifts.iter().all(|drift| !drift.repaired), "{drifts:?}");
    assert_eq!(session.running(&["one"]).await["one"], after);
    // And changes it again; it was restarted a moment ago, and is not so soon again.
    session.order(Order::Policy(policy(true)));
    daemon
        .logged_times("are restarted, as the class says", 2)
        .await;
    let more = liar(1, folder.path()).notifier("bin/more", &[]);
    controller.serve(&more);
    let done = session.change(&old.manifest, &more.manifest).await;
    assert_eq!(done.error, "");
    assert_eq!(session.running(&["one", "more"]).await["one"], after);
    assert_eq!(daemon.log().matches("restarts one").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_settings_lead_it_elsewhere_is_reported_and_not_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("libone.so");
    fs::write(&elsewhere, library(7)).unwrap();
    let software = Software::new()
        .elf("lib/libone.so", &library(1), &[], None)
        .process("bin/one", b"#!/bin/sh\nexec sleep 1000\n", &[], |spec| {
            let preloaded = elsewhere.to_str().unwrap().to_owned();
            spec.environment
                .extend([("LD_PRELOAD".to_owned(), preloaded)]);
        });
    let controller = Controller::start().await;
    controller.welcome_with(Welcome {
        policy: Some(policy(true)),
        ..Welcome::default()
    });
    let (daemon, mut session) = Daemon::settled(&controller, &software).await;
    let before = session.running(&["one"]).await;
    let drifts = session.drifts().await;
    let [drift] = &drifts[..] else {
        panic!("one finding: {drifts:?}");
    };
    assert!(drift.running && !drift.repaired, "{drift:?}");
    assert!(
        drift
            .what
            .ends_with("a restart puts it right unless it is told to look there"),
        "{}",
        drift.what
    );
    assert_eq!(session.running(&["one"]).await, before);
    assert!(!daemon.log().contains("restarts one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_only_says_it_has_handled_a_change_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("handle"), "").unwrap();
    let (old, new) = (liar(1, folder.path()), liar(2, folder.path()));
    let controller = Controller::start().await;
    controller.serve(&new);
    let (_daemon, mut session) = Daemon::settled(&controller, &old).await;
    let before = session.running(&["one", "other"]).await;
    assert!(maps(before["one"]).contains("generations/1/tree/lib/libone.so"));
    let done = session.change(&old.manifest, &new.manifest).await;
    assert_eq!(done.error, "");
    assert_eq!(
        session.running(&["one"]).await,
        before,
        "it was not restarted"
    );
    let drifts = session.drifts().await;
    let [drift] = &drifts[..] else {
        panic!("one finding: {drifts:?}");
    };
    assert_eq!(drift.path, "lib/libone.so");
    let words = format!(
        "process one (pid {}) still executes it from generation 1 (build id ",
        before["one"]
    );
    assert!(drift.what.starts_with(&words), "{}", drift.what);
    assert!(drift.running && !drift.repaired);
}
