//! What a node daemon takes while nothing happens.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use placet_tests::{evidence, is_full};
use serde_json::json;

use crate::controller::Controller;
use crate::daemon::Daemon;
use crate::software::Software;

const PROCESSES: usize = 20;
/// The two programs together.
const RESIDENT_MAX_KB: u64 = 8 << 10;
/// The heartbeat of the session and the keeper's clock, and some room for the rest of a start.
const WAKE_UPS_MAX: f64 = 5.0;

/// Resident memory is of what was built with `--release`; otherwise it is only told.
#[tokio::test(flavor = "multi_thread")]
async fn at_rest_it_is_small_and_sleeps() {
    let names: Vec<_> = (0..PROCESSES).map(|it| format!("p{it}")).collect();
    let software = names.iter().fold(Software::new(), |software, name| {
        software.notifier(&format!("bin/{name}"), &[])
    });
    let controller = Controller::start().await;
    let (daemon, mut session) = Daemon::settled(&controller, &software).await;
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    session.running(&names).await;

    let (keeper, agent) = (daemon.keeper(), daemon.agent());
    let window = Duration::from_secs(if is_full() { 60 } else { 10 });
    let before = (wake_ups(keeper), wake_ups(agent));
    // Not a wait for something: it is measured for so long.
    tokio::time::sleep(window).await;
    let per_second = |before, pid| {
        let count = u32::try_from(more(&before, &wake_ups(pid))).unwrap();
        f64::from(count) / window.as_secs_f64()
    };
    let awake = (per_second(before.0, keeper), per_second(before.1, agent));
    let resident = (status(keeper, "VmRSS:"), status(agent, "VmRSS:"));
    let size = fs::metadata(env!("CARGO_BIN_EXE_placetd")).unwrap().len();
    evidence(
        if cfg!(debug_assertions) {
            "at-rest-debug"
        } else {
            "at-rest"
        },
        &json!({
            "processes": PROCESSES, "seconds": window.as_secs(), "programBytes": size,
            "keeperResidentKb": resident.0, "agentResidentKb": resident.1,
            "agentOfItsOwnKb": status(agent, "RssAnon:"),
            "keeperWakeUpsPerSecond": awake.0, "agentWakeUpsPerSecond": awake.1,
        }),
    );
    assert!(awake.0 + awake.1 < WAKE_UPS_MAX, "{awake:?}");
    assert!(
        cfg!(debug_assertions) || resident.0 + resident.1 < RESIDENT_MAX_KB,
        "{resident:?}"
    );
}

/// A figure of `/proc/PID/status`.
fn status(pid: i32, name: &str) -> u64 {
    figure(
        &fs::read_to_string(format!("/proc/{pid}/status")).unwrap(),
        name,
    )
}

fn figure(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How often each thread of a program has waited for something that came.
fn wake_ups(pid: i32) -> BTreeMap<OsString, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let waits = tasks.filter_map(|task| {
        // A thread may end at any time.
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        Some((
            task.file_name(),
            figure(&status, "voluntary_ctxt_switches:"),
        ))
    });
    waits.collect()
}

/// Of the threads that are there at the end.
fn more(before: &BTreeMap<OsString, u64>, after: &BTreeMap<OsString, u64>) -> u64 {
    let since = |(thread, count): (&OsString, &u64)| count - before.get(thread).unwrap_or(&0);
    after.iter().map(since).sum()
}
