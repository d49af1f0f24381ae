//! The node's wall clock is moved by a day, forward and back, while it runs and before it starts.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use placet_model::VerdictKind;
use tempfile::TempDir;

use crate::controller::Controller;
use crate::daemon::Daemon;
use crate::software::Software;

const DAY: i64 = 86_400;

/// A wall clock for daemons that are started by it.
struct Clock {
    folder: TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(clock.folder.path().join("offset"), [0; 8]).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/clock.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(clock.folder.path().join("clock.so"))
            .arg(source)
            .status()
            .unwrap();
        assert!(status.success(), "the C compiler failed");
        clock
    }

    /// By so many seconds it is wrong from now on.
    fn set(&self, seconds: i64) {
        let path = self.folder.path().join("offset");
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn environment(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        vec![
            ("LD_PRELOAD".to_owned(), path("clock.so")),
            ("CLOCK_OFFSET".to_owned(), path("offset")),
        ]
    }
}

/// `beats` is ended if it does not say within a second that it lives.
fn fleet(data: &[u8]) -> Software {
    Software::new()
        .file("lib/data", data)
        .notifier("bin/plain", &[])
        .actor("bin/beats", &["say:READY=1", "beat:1000"], |spec| {
            spec.notify = true;
            spec.watchdog_seconds = 1;
        })
        .script_that_needs("bin/user", "exec sleep 1000", &["lib/data"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_by_a_day_disturbs_no_process_and_no_change() {
    let clock = Clock::new();
    let controller = Controller::with_lifetime(SignedDuration::from_hours(72)).await;
    let versions = [fleet(b"zero"), fleet(b"one"), fleet(b"two")];
    for version in &versions {
        controller.serve(version);
    }
    let daemon = Daemon::join_with_clock(&controller, "core-1", clock.environment());
    let mut session = controller.settle(&versions[0]).await;
    let before = session.running(&["plain", "beats", "user"]).await;

    for (round, jump) in [DAY, -DAY].into_iter().enumerate() {
        clock.set(jump);
        let (from, to) = (&versions[round].manifest, &versions[round + 1].manifest);
        session.propose(&session.proposal(from, to));
        let verdict = session.verdict().await;
        assert_eq!(verdict.verdict, VerdictKind::Accept);
        let wrong = verdict.time.as_second() - Timestamp::now().as_second();
        assert!(
            (wrong - jump).abs() < 60,
            "the daemon's clock is moved: {wrong} s"
        );
        let promised = verdict.expires.as_second() - verdict.time.as_second();
        assert_eq!(promised, 60, "a promise is as long by any clock");
        assert_eq!(session.change(from, to).await.error, "");
        let now = session.running(&["plain", "beats", "user"]).await;
        for name in ["plain", "beats"] {
            assert_eq!(now[name], before[name], "{name}");
        }
    }
    assert!(!daemon.log().contains("gave no sign of life"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_with_a_wrong_clock_runs_what_is_committed_and_says_so() {
    let clock = Clock::new();
    let controller = Controller::start().await;
    let software = fleet(b"zero");
    let mut daemon = Daemon::join_with_clock(&controller, "core-1", clock.environment());
    let mut session = controller.settle(&software).await;
    session.running(&["plain"]).await;
    // A day ahead, what is given for an hour has ended already by the node's clock: that is said, and
    // the controller is not asked again and again.
    for jump in [-DAY, DAY] {
        daemon.stop();
        clock.set(jump);
        let starts = daemon.log().matches("plain started").count();
        daemon.start("core-1");
        daemon.logged_times("plain started", starts + 1).await;
        let mut session = controller.session().await;
        let report = session.report(|report| report.generation == 1).await;
        assert_eq!(
            report.manifest_digest,
            software.manifest.digest().to_string()
        );
    }
    daemon.logged("put the clock right").await;
    assert_eq!(daemon.log().matches("certificate is renewed").count(), 1);
}
