//! Who survives whom.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::controller::Controller;
use crate::daemon::{Daemon, ended, is_alive, signal};
use crate::software::Software;

fn fleet() -> Software {
    Software::new()
        .notifier("bin/one", &[])
        .notifier("bin/two", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_manager_is_told_that_the_daemon_is_ready_and_that_it_ends() {
    let controller = Controller::start().await;
    let software = fleet();
    controller.serve(&software);
    let mut daemon = Daemon::join(&controller, "core-1");
    controller.session().await;
    daemon.stop();
    let path = daemon.path("manager");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    daemon.start_under("core-1", &path);
    let heard = || {
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    let environment = fs::read(format!("/proc/{}/environ", daemon.agent())).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"));
    daemon.stop();
    assert_eq!(heard(), "STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_agent_touches_no_process() {
    let controller = Controller::start().await;
    let software = fleet();
    let (daemon, mut session) = Daemon::settled(&controller, &software).await;
    let before = session.running(&["one", "two"]).await;
    for _ in 0..3 {
        signal(daemon.agent().try_into().unwrap(), Signal::SIGKILL);
        let mut again = controller.session().await;
        assert_eq!(again.running(&["one", "two"]).await, before);
        assert_eq!(again.hello.boot_id, session.hello.boot_id);
        assert_eq!(again.hello.report.as_ref().unwrap().generation, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ended_while_there_was_no_agent_is_started_again() {
    let controller = Controller::start().await;
    let software = fleet();
    let (daemon, mut session) = Daemon::settled(&controller, &software).await;
    let before = session.running(&["one", "two"]).await;
    let agent = daemon.agent().try_into().unwrap();
    signal(agent, Signal::SIGSTOP);
    signal(before["one"], Signal::SIGKILL);
    ended(before["one"]).await;
    signal(agent, Signal::SIGKILL);
    let after = controller.session().await.running(&["one", "two"]).await;
    assert_ne!(after["one"], before["one"]);
    assert_eq!(after["two"], before["two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_keeper_ends_everything_and_its_successor_starts_the_committed_generation() {
    let controller = Controller::start().await;
    let software = fleet().script("bin/parent", "sleep 1000 & echo $!; wait");
    let (mut daemon, mut session) = Daemon::settled(&controller, &software).await;
    let before = session.running(&["one", "two", "parent"]).await;
    let left = stale_groups(&daemon);
    let grandchild: u32 = fs::read_to_string(daemon.path("s/log/parent.log"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let agent = daemon.agent().try_into().unwrap();
    daemon.kill();
    for pid in before.values().copied().chain([agent]) {
        ended(pid).await;
    }
    daemon.start("core-1");
    let mut again = controller.session().await;
    let after = again.running(&["one", "two", "parent"]).await;
    assert!(
        before
            .values()
            .all(|pid| !after.values().any(|other| other == pid))
    );
    assert!(
        !is_alive(grandchild),
        "what the kernel does not end with the keeper, its successor does"
    );
    assert_ne!(again.hello.boot_id, session.hello.boot_id);
    for group in left {
        assert!(!group.exists(), "{} is left", group.display());
    }
}

/// Control groups as a killed keeper leaves them: of processes that no generation has any more.
fn stale_groups(daemon: &Daemon) -> Vec<PathBuf> {
    let groups = placet_tests::groups_of(&daemon.path("r"));
    let stale: Vec<_> = groups.iter().map(|group| group.join("gone")).collect();
    for group in &stale {
        fs::create_dir(group).unwrap();
    }
    stale
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_all_in_reverse_order_and_kills_who_does_not_listen() {
    let controller = Controller::start().await;
    let script = |name: &str| {
        format!(
            "#!/bin/sh\ntrap 'echo {name} >> {{}}; exit 0' TERM\nwhile :; do sleep 1000 & wait; done\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let order = folder.path().join("order");
    let script = |name: &str| script(name).replace("{}", order.to_str().unwrap());
    let software = Software::new()
        .process("bin/first", script("first").as_bytes(), &[], |spec| {
            spec.start_order = 1;
        })
        .process("bin/second", script("second").as_bytes(), &[], |spec| {
            spec.start_order = 2;
        })
        .process(
            "bin/deaf",
            b"#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1000; done\n",
            &[],
            |spec| {
                spec.start_order = 3;
                spec.stop_seconds = 1;
            },
        );
    let (mut daemon, mut session) = Daemon::settled(&controller, &software).await;
    let pids = session.running(&["first", "second", "deaf"]).await;
    assert_eq!(daemon.stop(), Some(0));
    assert!(pids.values().all(|pid| !is_alive(*pid)));
    assert_eq!(fs::read_to_string(order).unwrap(), "second\nfirst\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_process_ends_with_it() {
    let controller = Controller::start().await;
    let software = Software::new().script("bin/parent", "sleep 1000 & echo $!; wait");
    let (daemon, mut session) = Daemon::settled(&controller, &software).await;
    let before = session.running(&["parent"]).await;
    let grandchild: u32 = fs::read_to_string(daemon.path("s/log/parent.log"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    signal(before["parent"], Signal::SIGKILL);
    ended(grandchild).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_that_is_killed_anywhere_ends_in_the_old_generation_or_the_new_one() {
    let controller = Controller::start().await;
    let fleet = |library: &[u8]| {
        Software::new()
            .file("lib", library)
            .notifier("bin/user", &["lib"])
            .notifier("bin/loner", &[])
    };
    let softwares = [fleet(b"zero"), fleet(b"one")];
    for software in &softwares {
        controller.serve(software);
    }
    let (mut daemon, mut session) = Daemon::settled(&controller, &softwares[0]).await;
    let mut now = 0;
    let seed: u64 = rand::random();
    for round in 0..10_u64 {
        let (from, to) = (&softwares[now].manifest, &softwares[1 - now].manifest);
        session.stage(from, to);
        assert_eq!(session.staged().await.error, "");
        session.activate(from, to);
        // Anywhere between the order's arrival and the end of the activation.
        let wait = std::time::Duration::from_micros(
            (seed ^ round.wrapping_mul(0x9E37_79B9_7F4A_7C15)) % 30_000,
        );
        let _ = tokio::time::timeout(wait, session.activated()).await;
        if round % 2 == 0 {
            signal(daemon.agent().try_into().unwrap(), Signal::SIGKILL);
        } else {
            daemon.kill();
            daemon.start("core-1");
        }
        session = controller.session().await;
        session.running(&["user", "loner"]).await;
        session.activate(from, to);
        let done = session.activated().await;
        assert_eq!(done.error, "", "seed {seed}, round {round}");
        now = 1 - now;
        let pids = session.running(&["user", "loner"]).await;
        let environment = fs::read(format!("/proc/{}/environ", pids["user"])).unwrap();
        let expected = format!("PLACET_GENERATION={}", done.generation);
        assert!(
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == expected.as_bytes()),
            "seed {seed}, round {round}"
        );
    }
}
