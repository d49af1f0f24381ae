//! The system manager: what processes are given, what is held for them, and what they cannot do.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};

use nix::sys::signal::Signal;
use placet_model::{Limits, ListenSocket, NodeManifest, ProcessSpec};

use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, ended, is_alive, signal};
use crate::software::Software;

pub(crate) async fn node(software: &Software) -> (Controller, Daemon, Session) {
    let controller = Controller::start().await;
    let (daemon, session) = Daemon::settled(&controller, software).await;
    (controller, daemon, session)
}

/// Why a node does not run `software`.
pub(crate) async fn refused(software: &Software) -> String {
    let controller = Controller::start().await;
    controller.serve(software);
    let _daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    let done = session
        .change(&NodeManifest::default(), &software.manifest)
        .await;
    done.error
}

pub(crate) fn listens(address: &str) -> impl FnOnce(&mut ProcessSpec) {
    let address = address.to_owned();
    move |spec| spec.sockets = vec![socket("web", &address)]
}

pub(crate) fn socket(name: &str, address: &str) -> ListenSocket {
    serde_json::from_value(serde_json::json!({"name": name, "address": address})).unwrap()
}

/// A port that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Who answers at `address`; waits in line if nobody does yet.
pub(crate) fn who_answers(address: SocketAddr) -> u32 {
    let mut text = String::new();
    let mut stream = TcpStream::connect(address).expect("nobody is refused");
    stream.read_to_string(&mut text).unwrap();
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_runs_as_its_user_in_its_folder_within_its_limits() {
    let script = "id -un; id -gn; pwd; ulimit -n; ulimit -c; echo $HOME $USER; touch \"$RUNTIME_DIRECTORY/x\" && echo done";
    let software = Software::new().process(
        "bin/user",
        format!("#!/bin/sh\n{script}\nexec sleep 1000\n").as_bytes(),
        &[],
        |spec| {
            spec.user = Some("nobody".to_owned());
            spec.group = Some("daemon".to_owned());
            spec.working_directory = Some("/usr".to_owned());
            spec.limits.open_files = Some(77);
            spec.limits.core_bytes = Some(0);
        },
    );
    let (_controller, daemon, _session) = node(&software).await;
    let wrote = daemon.wrote("user", "done").await;
    let lines: Vec<_> = wrote.lines().collect();
    assert_eq!(lines[..5], ["nobody", "daemon", "/usr", "77", "0"]);
    assert_eq!(lines[5], "/nonexistent nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_is_refused_with_what_to_do_and_given_back() {
    let script = |program: &[u8], change: fn(&mut ProcessSpec)| {
        Software::new().process("bin/bad", program, &[], change)
    };
    let foreign = {
        let mut program = fs::read("/proc/self/exe").unwrap();
        program[18] = 0xf3;
        program.truncate(8_192);
        program
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let cases = [
        (
            script(b"#!/bin/sh\n", |spec| {
                spec.user = Some("nosuchuser".to_owned());
            }),
            "it runs as user `nosuchuser`, which this node does not have",
        ),
        (
            script(b"#!/no/such/shell\n", |_| {}),
            "is run by `/no/such/shell`, which this node does not have",
        ),
        (
            script(&foreign, |_| {}),
            "is for another processor architecture",
        ),
        (script(b"\x00\x01\x02", |_| {}), "is no program"),
        (
            script(b"#!/bin/sh\n", |spec| {
                spec.working_directory = Some("/no/such/folder".to_owned());
            }),
            "failed to enter its working directory: No such file or directory",
        ),
        (
            Software::new().actor("bin/bad", &[], listens(&address)),
            "for socket `web`; see who does with `ss -lp`, end it, or give the socket another address: Address already in use",
        ),
    ];
    for (software, expected) in cases {
        let why = refused(&software).await;
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_outlives_the_process_and_nobody_is_refused() {
    let address = free_address();
    let software = Software::new().actor("bin/web", &["serve"], listens(&address.to_string()));
    let (_controller, _daemon, mut session) = node(&software).await;
    let first = session.running(&["web"]).await["web"];
    assert_eq!(who_answers(address), first);
    signal(first, Signal::SIGKILL);
    ended(first).await;
    let second = who_answers(address);
    assert_ne!(second, first);
    // Once the process is not wanted any more, its socket goes too.
    let none = Software::new();
    assert_eq!(
        session
            .change(&software.manifest, &none.manifest)
            .await
            .error,
        ""
    );
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_descriptors_come_back_and_one_too_many_does_not() {
    let actions = [
        "told",
        "store:one",
        "store:two",
        "store:three",
        "say:FDSTORE=1|FDNAME=a:b",
    ];
    let software = Software::new()
        .actor("bin/keeps", &actions, |spec| spec.stored_descriptors = 2)
        .actor(
            "bin/breaks",
            &["told", "broken:gone", "store:kept"],
            |spec| {
                spec.stored_descriptors = 2;
            },
        );
    let (_controller, daemon, mut session) = node(&software).await;
    daemon.logged("it may store 2 descriptors").await;
    daemon.logged("is no name for a stored descriptor").await;
    let first = session.running(&["keeps", "breaks"]).await;
    for pid in first.into_values() {
        signal(pid, Signal::SIGKILL);
    }
    daemon.wrote("keeps", "told one two.\n").await;
    // What broke has gone.
    daemon.wrote("breaks", "told kept.\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_state_reaches_a_successor_that_knows_its_format() {
    let version = |saves: &str, restores: &[&str]| {
        let actions = [
            "told".to_owned(),
            format!("state:{saves}=good"),
            "open:other/1=x".to_owned(),
            "say:READY=1".to_owned(),
        ];
        let actions: Vec<_> = actions.iter().map(String::as_str).collect();
        Software::new().actor("bin/saver", &actions, |spec| {
            spec.notify = true;
            spec.state.saves = [saves.parse().unwrap(), "other/1".parse().unwrap()].into();
            spec.state.restores = restores.iter().map(|it| it.parse().unwrap()).collect();
        })
    };
    let (old, new) = (
        version("session/3", &["session/3"]),
        version("session/4", &["session/3", "session/4"]),
    );
    let other = version("session/5", &["session/5"]);
    let (_controller, daemon, mut session) = node(&old).await;
    daemon
        .logged("saved state has to be a memfd that is sealed")
        .await;
    for (from, to, expected) in [
        (&old, &new, "told state/session/3=good.\n"),
        (&new, &other, "told.\ntold state"),
    ] {
        let done = session.change(&from.manifest, &to.manifest).await;
        assert_eq!(done.error, "");
        if expected.ends_with("state") {
            break;
        }
        daemon.wrote("saver", expected).await;
    }
    // Of the formats that were saved the last version knows none: it starts cold.
    let wrote = daemon.wrote("saver", "good.\ntold.\n").await;
    assert_eq!(wrote.matches("told").count(), 3, "{wrote}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_gives_no_sign_of_life_is_ended_with_the_reason() {
    let software =
        Software::new().actor("bin/hangs", &["say:READY=1", "beat:30", "deaf"], |spec| {
            spec.notify = true;
            spec.watchdog_seconds = 1;
            spec.stop_seconds = 1;
        });
    let (_controller, daemon, mut session) = node(&software).await;
    let first = session.running(&["hangs"]).await["hangs"];
    let log = daemon
        .logged("gave no sign of life for 1 s and was ended")
        .await;
    assert!(!is_alive(first), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_names_its_main_process_goes_on_and_one_that_does_not_ends() {
    let software = Software::new()
        .actor("bin/named", &["own", "told"], |spec| spec.notify = true)
        .notifier("bin/other", &[]);
    let (_controller, daemon, mut session) = node(&software).await;
    let before = session.running(&["named", "other"]).await;
    assert!(is_alive(before["named"]));
    signal(before["named"], Signal::SIGKILL);
    ended(before["named"]).await;
    daemon.logged("named was ended by signal 9").await;
    // Its successor has left its group too, and is told to end all the same.
    let again = session.running_other("named", before["named"]).await;
    let rest = Software::new().notifier("bin/other", &[]);
    let done = session.change(&software.manifest, &rest.manifest).await;
    assert_eq!(done.error, "");
    ended(again).await;
    assert!(
        !daemon.log().contains("Kill"),
        "it ended when it was asked to"
    );

    let stray = Software::new().actor("bin/stray", &["fork", "deaf", "told"], |_| {});
    let why = refused(&stray).await;
    assert!(why.contains("stray exited with code 0"), "{why}");
    assert_eq!(session.running(&["other"]).await["other"], before["other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_floods_or_claims_what_is_not_its_own_disturbs_nobody() {
    let software = Software::new()
        .actor("bin/flood", &["say:READY=1", "flood:50000"], |spec| {
            spec.notify = true;
        })
        .actor(
            "bin/thief",
            &[
                "say:MAINPID=1|READY=1",
                "to:other=READY=1|MAINPID=1|FDSTORE=1",
                "told",
            ],
            |spec| spec.notify = true,
        )
        .notifier("bin/other", &[]);
    let (_controller, daemon, mut session) = node(&software).await;
    let before = session.running(&["thief", "other"]).await;
    daemon.wrote("thief", "told").await;
    daemon
        .logged("thief names a process that is not its own")
        .await;
    daemon
        .logged("a notification for other of a process that is not its own")
        .await;
    daemon.wrote("flood", "flooded").await;
    daemon
        .logged("flood gives more than 64 notices a second")
        .await;
    let agent = daemon.agent();
    // The node is as quick as ever.
    let more = software.clone().notifier("bin/more", &[]);
    assert_eq!(
        session
            .change(&software.manifest, &more.manifest)
            .await
            .error,
        ""
    );
    let after: BTreeMap<_, _> = session.running(&["thief", "other", "more"]).await;
    assert_eq!(
        (after["thief"], after["other"]),
        (before["thief"], before["other"])
    );
    assert_eq!(daemon.agent(), agent, "the agent was not overrun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_stays_within_its_limit() {
    let bomb = "#!/bin/sh\nb() { b | b & }\nb 2>/dev/null\nexec sleep 1000\n";
    let software = Software::new()
        .process("bin/bomb", bomb.as_bytes(), &[], |spec| {
            spec.limits = Limits {
                tasks: Some(20),
                ..Limits::default()
            };
        })
        .notifier("bin/other", &[]);
    let controller = Controller::start().await;
    controller.serve(&software);
    let daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    let done = session
        .change(&NodeManifest::default(), &software.manifest)
        .await;
    if done.error.contains("this system gives no control group") {
        // The package is refused where its limit cannot be kept.
        assert!(done.error.contains("(`pids`)"), "{}", done.error);
        return;
    }
    let before = session.running(&["bomb", "other"]).await;
    let none = Software::new().notifier("bin/other", &[]);
    let done = session.change(&software.manifest, &none.manifest).await;
    assert_eq!(done.error, "");
    assert_eq!(session.running(&["other"]).await["other"], before["other"]);
    let marked = format!("{}/r/processes/bomb", daemon.folder.path().display());
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        fs::read(entry.path().join("environ"))
            .is_ok_and(|environment| String::from_utf8_lossy(&environment).contains(&marked))
    });
    assert_eq!(left.count(), 0, "nothing of it is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_asks_for_more_time_gets_it() {
    let software = Software::new().actor(
        "bin/slow",
        &["say:EXTEND_TIMEOUT_USEC=20000000", "beat:30", "say:READY=1"],
        |spec| {
            spec.notify = true;
            spec.ready_seconds = 1;
        },
    );
    let (_controller, _daemon, mut session) = node(&software).await;
    session.running(&["slow"]).await;
}
