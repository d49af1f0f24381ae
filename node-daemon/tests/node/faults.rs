//! Systems that lack what a process needs, or have it taken away: each is refused with what to do,
//! and what runs goes on.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use placet_model::{Mode, NodeManifest, ProcessSpec};

use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, ended, is_alive, signal};
use crate::software::Software;
use crate::supervise::{free_address, listens, node, refused, socket};

const ROOT: &str = "these tests take things away from a daemon, which only root can";

/// A program of this machine whose headers name another interpreter, and that name.
fn without_interpreter() -> (Vec<u8>, String) {
    let mut program = fs::read("/proc/self/exe").unwrap();
    let facts = placet_package::read_elf(&program).unwrap().unwrap().facts;
    let known = facts.interpreter.unwrap();
    let at = program.windows(known.len());
    let at = at.into_iter().position(|it| it == known.as_bytes());
    let missing = known.replace("ld-", "no-");
    let place = at.unwrap();
    program[place..place + missing.len()].copy_from_slice(missing.as_bytes());
    (program, missing)
}

/// Software with a process of this mode.
fn of_mode(mode: &str, change: impl FnOnce(&mut ProcessSpec)) -> Software {
    let mut software = Software::new().process("bin/bad", b"#!/bin/sh\nsleep 9\n", &[], change);
    let mode: Mode = mode.parse().unwrap();
    software.manifest.modules[0].module.mode = mode;
    software
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_may_execute_or_nothing_runs_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let shell = folder.path().join("shell");
    fs::copy("/bin/sh", &shell).unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o644)).unwrap();
    let script = format!("#!{}\n", shell.display());
    let forbidden = format!(
        "`{}` has mode 0644, by which nobody may execute it; give it one such as 0755: Permission denied",
        shell.display()
    );
    let (program, interpreter) = without_interpreter();
    let unknown = format!(
        "is run by `{interpreter}`, which this node does not have; install it, or bring it in a package"
    );
    let cases = [
        (
            Software::new().process("bin/bad", script.as_bytes(), &[], |_| {}),
            forbidden.as_str(),
        ),
        (
            of_mode("0700", |spec| spec.user = Some("nobody".to_owned())),
            "may not be executed by its user; give it another mode in its package, or the process another `user`: Permission denied",
        ),
        (
            Software::new().process("bin/bad", &program, &[], |_| {}),
            &unknown,
        ),
        (
            of_mode("0755", |spec| spec.group = Some("nosuchgroup".to_owned())),
            "it runs as group `nosuchgroup`, which this node does not have; add it, or name another",
        ),
    ];
    for (software, expected) in cases {
        let why = refused(&software).await;
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_nobody_may_execute_is_not_even_staged() {
    let controller = Controller::start().await;
    let software = of_mode("0644", |_| {});
    controller.serve(&software);
    let _daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    session.stage(&NodeManifest::default(), &software.manifest);
    let why = session.staged().await.error;
    let expected = "runs a process from `bin/bad`, which cannot be executed: its mode lets nobody execute it; the package has to give it one such as 0755";
    assert!(why.contains(expected), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_another_has_or_nobody_can_have_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let _other = UnixListener::bind(path("taken")).unwrap();
    fs::write(path("file"), "precious").unwrap();
    let cases = [
        (
            path("taken"),
            "see who does with `ss -lp`, end it, or give the socket another address",
        ),
        (
            path("file"),
            "something that is no socket is there; remove it, or give",
        ),
        (
            path("no/folder"),
            "its folder is not there: make it, or choose another address",
        ),
        (
            "192.0.2.1:80".to_owned(),
            "this node has no such address: add it, or choose another",
        ),
    ];
    for (address, expected) in cases {
        let why = refused(&Software::new().actor("bin/bad", &["serve"], listens(&address))).await;
        let all = format!("failed to listen at `{address}` for socket `web`");
        assert!(why.contains(&all) && why.contains(expected), "{why}");
    }
    assert_eq!(fs::read_to_string(path("file")).unwrap(), "precious");
    UnixStream::connect(path("taken")).expect("the other still listens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_whose_path_is_taken_away_is_opened_anew_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web");
    let software = Software::new().actor("bin/web", &["serve"], listens(path.to_str().unwrap()));
    let (_controller, daemon, mut session) = node(&software).await;
    let first = session.running(&["web"]).await["web"];

    // Removed: whoever starts next is reached again.
    fs::remove_file(&path).unwrap();
    signal(first, Signal::SIGKILL);
    let second = session.running_other("web", first).await;
    daemon.logged("somebody took away").await;
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    UnixStream::connect(&path).expect("it listens there again");

    // Taken over: said, with who to look for, until the other has gone.
    fs::remove_file(&path).unwrap();
    let thief = UnixListener::bind(&path).unwrap();
    signal(second, Signal::SIGKILL);
    daemon.logged("see who does with `ss -lp`").await;
    UnixStream::connect(&path).expect("the other still listens");
    drop(thief);
    session.running_other("web", second).await;
    UnixStream::connect(&path).expect("it listens there again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_another_took_is_not_removed_with_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web");
    let software = Software::new().actor("bin/web", &["serve"], |spec| {
        spec.sockets = vec![
            socket("web", path.to_str().unwrap()),
            socket("port", &free_address().to_string()),
        ];
    });
    let (_controller, _daemon, mut session) = node(&software).await;
    session.running(&["web"]).await;
    fs::remove_file(&path).unwrap();
    let _thief = UnixListener::bind(&path).unwrap();
    let none = Software::new();
    let done = session.change(&software.manifest, &none.manifest).await;
    assert_eq!(done.error, "");
    UnixStream::connect(&path).expect("the path is the other's");
    let port = software.manifest.modules[0]
        .module
        .process
        .as_ref()
        .unwrap();
    TcpListener::bind(&port.sockets[1].address).expect("the port is free");
}

/// A control group in which no more processes can be made than are in it; it ends with its value.
struct Full(PathBuf);

impl Full {
    fn with(pid: i32) -> Self {
        let homes = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(Path::new);
        let home = homes.into_iter().find(|home| {
            let own = fs::read_to_string(home.join("cgroup.subtree_control"));
            own.map_or_else(|_| home.join("tasks").exists(), |own| own.contains("pids"))
        });
        let group = home.expect(ROOT).join(format!("placet-test-full-{pid}"));
        fs::create_dir(&group).expect(ROOT);
        fs::write(group.join("pids.max"), "1").expect(ROOT);
        fs::write(group.join("cgroup.procs"), pid.to_string()).expect(ROOT);
        Self(group)
    }

    fn widen(&self) {
        fs::write(self.0.join("pids.max"), "max").unwrap();
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let others = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in others.lines() {
            let _ = fs::write(self.0.parent().unwrap().join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

fn fleet(library: &[u8]) -> Software {
    Software::new()
        .file("lib/greet", library)
        .notifier("bin/chat", &["lib/greet"])
        .notifier("bin/other", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_process_can_be_made_the_change_is_given_back_and_the_rest_goes_on() {
    let (old, new) = (fleet(b"old"), fleet(b"new"));
    let (controller, daemon, mut session) = node(&old).await;
    controller.serve(&new);
    let before = session.running(&["chat", "other"]).await;
    let full = Full::with(daemon.keeper());

    let done = session.change(&old.manifest, &new.manifest).await;
    let expected = "failed to make a process; as many run as may: see `pids.max` of placetd's control group (`TasksMax=` under systemd), `ulimit -u` and `kernel.pid_max`: Resource temporarily unavailable";
    assert!(done.error.contains(expected), "{}", done.error);
    assert!(is_alive(before["other"]));

    // The agent can be made no more either: nobody is touched, and it is tried again.
    let agent = daemon.agent();
    signal(agent.cast_unsigned(), Signal::SIGKILL);
    daemon
        .logged("failed to start the agent; as many run as may")
        .await;
    assert!(is_alive(before["other"]));
    full.widen();
    let mut session = controller.session().await;
    assert_eq!(
        session.hello.report.as_ref().unwrap().manifest_digest,
        old.manifest.digest().to_string()
    );
    let after = session.running(&["chat", "other"]).await;
    assert_eq!(after["other"], before["other"]);
    // What failed is not tried again before somebody says so.
    session.stage(&old.manifest, &new.manifest);
    session.staged().await;
    session.activate_as(&old.manifest, &new.manifest, true);
    assert_eq!(session.activated().await.error, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_have_no_more_processes_is_named() {
    let controller = Controller::start().await;
    let nobody = |spec: &mut ProcessSpec| spec.user = Some("nobody".to_owned());
    let waits = ["say:READY=1"];
    let software = Software::new()
        .actor("bin/one", &waits, nobody)
        .actor("bin/two", &waits, nobody);
    controller.serve(&software);
    let daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    let keeper = daemon.keeper().to_string();
    let limited = Command::new("prlimit")
        .args(["--nproc=0:0", "--pid", &keeper])
        .status();
    assert!(limited.unwrap().success());
    let done = session
        .change(&NodeManifest::default(), &software.manifest)
        .await;
    let expected = "is not executed since its user has as many processes as it may: see `ulimit -u` of placetd";
    assert!(done.error.contains(expected), "{}", done.error);
    let report = session.report(|report| !report.changing).await;
    assert_eq!(report.processes.len(), 0);
}

async fn change(session: &mut Session, software: &Software) -> String {
    session
        .change(&NodeManifest::default(), &software.manifest)
        .await
        .error
}

#[tokio::test(flavor = "multi_thread")]
async fn without_control_groups_what_needs_one_is_refused_and_the_rest_runs() {
    let controller = Controller::start().await;
    let limited = Software::new().process("bin/bad", b"#!/bin/sh\nsleep 9\n", &[], |spec| {
        spec.limits.tasks = Some(20);
    });
    let free = fleet(b"old");
    controller.serve(&limited);
    controller.serve(&free);
    let nothing = "mount -t tmpfs none /sys/fs/cgroup; exec \"$@\"";
    let _daemon = Daemon::join_within(&controller, "core-1", nothing);
    let mut session = controller.session().await;
    let why = change(&mut session, &limited).await;
    let expected = "its package limits `tasks`, for which this system gives no control group (`pids`): run placetd with delegated control groups (`Delegate=yes` under systemd), or leave the limit out";
    assert!(why.contains(expected), "{why}");
    assert_eq!(change(&mut session, &free).await, "");
    session.running(&["chat", "other"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_group_that_is_removed_is_made_anew() {
    let controller = Controller::start().await;
    let software = Software::new().process("bin/bound", b"#!/bin/sh\nsleep 9\n", &[], |spec| {
        spec.limits.tasks = Some(20);
    });
    controller.serve(&software);
    let daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    placet_tests::remove_groups(&daemon.path("r"));
    assert!(
        placet_tests::groups_of(&daemon.path("r")).is_empty(),
        "{ROOT}"
    );
    assert_eq!(change(&mut session, &software).await, "");
    let group = placet_tests::groups_of(&daemon.path("r")).into_iter();
    let mut limits = group.filter_map(|own| fs::read_to_string(own.join("bound/pids.max")).ok());
    assert_eq!(limits.next().as_deref(), Some("20\n"));
    daemon
        .logged("somebody removed the control group of placetd")
        .await;
    let pid = session.running(&["bound"]).await["bound"];
    let none = Software::new();
    let done = session.change(&software.manifest, &none.manifest).await;
    assert_eq!(done.error, "");
    ended(pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_from_which_nothing_may_be_executed_is_named() {
    let controller = Controller::start().await;
    let software = Software::new().notifier("bin/bad", &[]);
    controller.serve(&software);
    let script = "for word; do [ \"$last\" = --state ] && state=$word; last=$word; done
        mkdir -p \"$state\"; mount -t tmpfs -o noexec none \"$state\"; exec \"$@\"";
    let _daemon = Daemon::join_within(&controller, "core-1", script);
    let mut session = controller.session().await;
    let why = change(&mut session, &software).await;
    let expected = "is on a file system from which nothing may be executed; mount it without `noexec`, or keep the node's state elsewhere: Permission denied";
    assert!(why.contains(expected), "{why}");
}
