//! `placet package build` as a person sees it: on a terminal, and without one.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use placet_tests::placet;
use tempfile::TempDir;

/// A package whose build command tells its process, and then does `rest`.
fn package(rest: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let declared = format!(
        "name: slow\nversion: 1.0.0\nbuild:\n  - echo made > made; echo working hard; {rest}\nmodules:\n  - {{path: share/made, source: made}}\n"
    );
    fs::write(folder.path().join("package.yaml"), declared).unwrap();
    folder
}

/// The command, on a terminal of its own that `script` (util-linux) makes.
fn on_terminal(folder: &Path) -> Child {
    let line = format!(
        "{} package build --confine never --to oci-layout:layout",
        placet().display()
    );
    Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .current_dir(folder)
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The processes whose working folder is `folder`.
fn processes_in(folder: &Path) -> usize {
    let folder = folder.canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let working = processes.filter(|process| {
        let own = fs::read_link(process.path().join("cwd"));
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        own.is_ok_and(|own| own == folder) && command.starts_with(b"sleep")
    });
    working.count()
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_mins(1), "{what}");
        std::thread::yield_now();
    }
    started.elapsed()
}

#[test]
fn a_terminal_sees_progress_and_ctrl_c_ends_all_of_it() {
    let folder = package("sleep 600 & sleep 600");
    let mut child = on_terminal(folder.path());
    let mut terminal = child.stdout.take().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shown = Arc::clone(&seen);
    let reader = std::thread::spawn(move || {
        let mut part = [0; 4_096];
        // The terminal is gone with the command.
        while let Ok(size @ 1..) = terminal.read(&mut part) {
            shown.lock().unwrap().extend_from_slice(&part[..size]);
        }
    });
    let text = || String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    until("both commands to run", || processes_in(folder.path()) == 2);
    until("a bar that moves", || text().contains("\u{1b}["));
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let took = until("the commands to end", || processes_in(folder.path()) == 0);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let status = child.wait().unwrap();
    reader.join().unwrap();
    let text = text();
    assert_eq!(status.code(), Some(130), "{text}");
    assert!(text.contains("command 1 of 1"), "{text}");
    assert!(text.contains("working hard"), "{text}");
    assert!(text.contains("was cancelled"), "{text}");
    let layout = folder.path().join("layout");
    assert!(!layout.exists(), "nothing is half written");
}

#[test]
fn without_a_terminal_nothing_but_words_is_written() {
    let folder = package("true");
    let output = Command::new(placet())
        .args(["package", "build", "--to", "oci-layout:layout"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    for bytes in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text}");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("share/made") && text.contains("1 module"),
        "{text}"
    );
}
