//! Ends what an earlier keeper left behind.
//!
//! The kernel kills the keeper's own children with it, but not theirs. They are known by the
//! notification socket in their environment, which the keeper set.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// SIGKILL takes effect within milliseconds, unless a process hangs in the kernel.
const WITHIN: Duration = Duration::from_secs(5);

/// Kills every process that was started with a notification socket in the folder `notify`, and
/// waits until they are gone.
pub(super) fn end(notify: &Path) {
    let until = Instant::now() + WITHIN;
    loop {
        let found = kill_all(notify);
        if found.is_empty() {
            return;
        }
        if Instant::now() > until {
            tracing::error!(?found, "processes of an earlier keeper do not end");
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills every process that was started with this notification socket, or with one in this folder;
/// says which those were.
pub(super) fn kill_all(notify: &Path) -> Vec<Pid> {
    let mark = [b"NOTIFY_SOCKET=", notify.as_os_str().as_bytes()].concat();
    let found = find(&mark);
    for pid in &found {
        tracing::warn!(pid = pid.as_raw(), "kills a process that was left behind");
        let _ = kill(*pid, Signal::SIGKILL);
    }
    found
}

/// A zombie has no environment any more, so it is not found.
fn find(mark: &[u8]) -> Vec<Pid> {
    let own = nix::unistd::getpid();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(Pid::from_raw)
        .filter(|pid| *pid != own && has(*pid, mark))
        .collect()
}

fn has(pid: Pid, mark: &[u8]) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        let mut entries = environment.split(|byte| *byte == 0);
        if mark.ends_with(b"/") {
            entries.any(|entry| entry.starts_with(mark))
        } else {
            entries.any(|entry| entry == mark)
        }
    })
}
