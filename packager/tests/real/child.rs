//! A part of a test in a process of its own, whose memory is nobody else's.

use std::env;
use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::time::Instant;

/// Runs the test `name` of this program with a variable that says what it is to do; the seconds
/// that it took, and its peak memory in KiB, which it tells by [`tell_peak`].
pub(crate) fn run(name: &str, variable: &str, work: &str) -> (f64, u64) {
    let started = Instant::now();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(variable, work)
        .output()
        .unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let peak = said.lines().find_map(|line| line.strip_prefix("peak "));
    let peak = peak.unwrap().trim_end_matches(" kB").parse().unwrap();
    (seconds, peak)
}

pub(crate) fn tell_peak() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let line = format!("peak {}\n", peak.unwrap().trim());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
