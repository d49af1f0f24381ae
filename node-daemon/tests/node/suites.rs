//! Test suites of what runs in test mode (B8), as real processes.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use placet_protocol::wire::to_node::Order;
use placet_protocol::wire::{Forget, Memory, Report, Suite};

use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, ended, signal};
use crate::software::Software;

/// A file system without a disk.
const SHARED_MEMORY: &str = "/dev/shm";

/// What changes, with these tests. They find the folder `notes` in `$NOTES`.
fn version(number: u8, notes: &Path, tests: &[(&str, &str)]) -> Software {
    let notes = notes.display();
    let scripts = tests
        .iter()
        .map(|(name, script)| (*name, format!("NOTES={notes}\n{script}")));
    let scripts: Vec<_> = scripts.collect();
    let tests: Vec<_> = scripts
        .iter()
        .map(|(name, script)| (*name, script.as_str()))
        .collect();
    let server = format!("echo version {number}; exec sleep 1000");
    Software::new().script("bin/server", &server).suite(&tests)
}

struct Node {
    daemon: Daemon,
    _memory: tempfile::TempDir,
    controller: Controller,
    session: Session,
}

impl Node {
    /// A node that runs and has stored `old`, and finds `new` when it is told to fetch it.
    async fn new(old: &Software, new: &Software) -> Self {
        let memory = tempfile::tempdir_in(SHARED_MEMORY).unwrap();
        let controller = Controller::start().await;
        controller.serve(new);
        let folder = memory.path().to_str().unwrap();
        let daemon = Daemon::join_saying(&controller, "core-1", &["--memory", folder]);
        let session = controller.settle(old).await;
        Self {
            daemon,
            _memory: memory,
            controller,
            session,
        }
    }

    /// Runs `new` in test mode.
    async fn test(&mut self, old: &Software, new: &Software) {
        self.session.memory = Some(Memory { seconds: 600 });
        let done = self.session.change(&old.manifest, &new.manifest).await;
        assert_eq!((done.error.as_str(), done.generation), ("", 2));
        self.session.memory = None;
    }

    /// The suite once all of its tests have ended.
    async fn tested(&mut self) -> Suite {
        let over = |suite: &Suite| suite.passed + suite.skipped + suite.failed == suite.tests;
        let is_over = |report: &Report| report.suites.first().is_some_and(over);
        let known = self.session.hello.report.take().filter(is_over);
        let mut report = match known {
            Some(report) => report,
            None => self.session.report(is_over).await,
        };
        report.suites.remove(0)
    }

    /// Orders what runs to be stored; why it is not.
    async fn store(&mut self, new: &Software) -> String {
        self.session.stage(&new.manifest, &new.manifest);
        assert_eq!(self.session.staged().await.error, "");
        self.session.activate(&new.manifest, &new.manifest);
        self.session.activated().await.error
    }

    fn committed(&self) -> String {
        let link = fs::read_link(self.daemon.path("s/committed")).unwrap();
        link.to_str().unwrap().to_owned()
    }
}

/// What tests wrote down.
fn noted(notes: &Path) -> Vec<String> {
    let text = fs::read_to_string(notes.join("order")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Those that fail do so until there is `mended`; the last one leaves a process behind that has a
/// session of its own, and notes its number.
const TESTS: [(&str, &str); 4] = [
    (
        "1-passes",
        "echo 1-passes >> $NOTES/order; test -e $PLACET_ROOT/bin/server",
    ),
    ("2-skips", "echo 2-skips >> $NOTES/order; exit 77"),
    (
        "3-fails",
        "echo 3-fails >> $NOTES/order; test -e $NOTES/mended || { echo no route >&2; exit 3; }",
    ),
    (
        "4-hangs",
        "test -e $NOTES/mended && exit 0; setsid sleep 1000 & echo $! > $NOTES/left; echo waits; wait",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn tests_run_in_test_mode_and_what_fails_is_not_stored_until_it_passes() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path();
    let (old, new) = (version(1, notes, &TESTS), version(2, notes, &TESTS));
    let mut node = Node::new(&old, &new).await;
    assert!(noted(notes).is_empty(), "nothing is tested that is stored");

    node.test(&old, &new).await;
    let suite = node.tested().await;
    let counts = [suite.tests, suite.passed, suite.skipped, suite.failed];
    assert_eq!(counts, [4, 1, 1, 2]);
    assert_eq!((&*suite.package, &*suite.version), ("checks", "1.0.0"));
    assert_eq!(noted(notes), ["1-passes", "2-skips", "3-fails"]);
    let failures = suite.failures.iter();
    let failures: Vec<_> = failures.map(|it| (&*it.test, &*it.why)).collect();
    let expected = [
        ("3-fails", "exited with code 3; it wrote: no route"),
        ("4-hangs", "did not end within 1 s; it wrote: waits"),
    ];
    assert_eq!(failures, expected);
    let left = fs::read_to_string(notes.join("left")).unwrap();
    ended(left.trim().parse().unwrap()).await;
    node.daemon.wrote("3-fails", "no route").await;

    let refused = node.store(&new).await;
    let expected = "test 3-fails of suite checks 1.0.0 failed: it exited with code 3";
    assert!(refused.starts_with(expected), "{refused}");
    assert_eq!(node.committed(), "generations/1");

    fs::write(notes.join("mended"), "").unwrap();
    node.session.order(Order::Forget(Forget {
        manifest_digest: new.manifest.digest().to_string(),
    }));
    let passed = |report: &Report| report.suites.first().is_some_and(|it| it.passed == 3);
    let report = node.session.report(passed).await;
    assert_eq!(report.suites[0].failed, 0);
    assert_eq!(node.store(&new).await, "");
    assert_eq!(node.committed(), "generations/3");
    let running = node.session.running(&["server"]).await;
    assert_eq!(running.len(), 1, "{running:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_has_the_tests_run_anew_and_leaves_none_behind() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path();
    let tests = [(
        "waits",
        "echo $$ >> $NOTES/order; test -e $NOTES/go || exec sleep 1000",
    )];
    let (old, new) = (version(1, notes, &tests), version(2, notes, &tests));
    let mut node = Node::new(&old, &new).await;
    node.test(&old, &new).await;
    let server = node.session.running(&["server"]).await["server"];
    node.daemon.logged("waits started").await;
    fs::write(notes.join("go"), "").unwrap();
    signal(node.daemon.agent().try_into().unwrap(), Signal::SIGKILL);
    node.session = node.controller.session().await;
    let suite = node.tested().await;
    assert_eq!((suite.passed, suite.failed), (1, 0));
    for pid in noted(notes) {
        ended(pid.parse().unwrap()).await;
    }
    assert_eq!(node.session.running(&["server"]).await["server"], server);
}
