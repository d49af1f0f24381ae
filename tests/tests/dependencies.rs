//! `placet package deps` and `placet package api` as people run them, and how long they take.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use placet_tests::{evidence, is_full, median, placet};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A program, the library that it uses, one that the library uses, and a file that is none.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("low.c", "int low(void) { return 0; }");
    write("high.c", "int low(void); int high(void) { return low(); }");
    write(
        "main.c",
        "int high(void); int main(void) { return high(); }",
    );
    write("README", "no ELF file");
    let lines = "mkdir -p usr/lib usr/bin
        cc -shared -fPIC -nostdlib -Wl,-soname,liblow.so.1 -o usr/lib/liblow.so.1 low.c
        cc -shared -fPIC -nostdlib -Wl,-soname,libhigh.so.1 -o usr/lib/libhigh.so.1.0 high.c usr/lib/liblow.so.1
        ln -s libhigh.so.1.0 usr/lib/libhigh.so.1
        cc -o usr/bin/main main.c usr/lib/libhigh.so.1 -Wl,-rpath-link,usr/lib
        rm *.c";
    let mut command = Command::new("sh");
    command.args(["-ec", lines]).current_dir(folder.path());
    assert!(command.status().unwrap().success());
    folder
}

fn deps(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(placet());
    command.args(["package", "deps"]).args(arguments);
    command.current_dir(folder).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn files_say_what_they_use_and_who_uses_them() {
    let folder = folder();
    let output = deps(folder.path(), &[".", "--symbols", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let files = json_of(&output);
    let paths: Vec<_> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["path"].clone())
        .collect();
    assert_eq!(
        paths,
        [
            "/usr/bin/main",
            "/usr/lib/libhigh.so.1.0",
            "/usr/lib/liblow.so.1"
        ]
    );
    let (main, high, low) = (&files[0], &files[1], &files[2]);
    assert_eq!(
        main["uses"][0],
        json!({"name": "libhigh.so.1", "path": "/usr/lib/libhigh.so.1.0"})
    );
    let through = main["usesThroughOthers"].as_array().unwrap();
    assert!(through.contains(&json!("/usr/lib/liblow.so.1")), "{main}");
    assert_eq!(high["users"], json!(["/usr/bin/main"]));
    assert_eq!(low["users"], json!(["/usr/lib/libhigh.so.1.0"]));
    assert_eq!(low["usersThroughOthers"], json!(["/usr/bin/main"]));
    assert_eq!(
        high["symbols"],
        json!({"exported": ["high"], "imported": ["low"]})
    );
    let users = json_of(&deps(
        folder.path(),
        &[".", "--users", "liblow.so.1", "-o", "json"],
    ));
    assert_eq!(users[0]["usersThroughOthers"], json!(["/usr/bin/main"]));
    let text = String::from_utf8(deps(folder.path(), &["."]).stdout).unwrap();
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}

#[test]
fn what_is_missing_makes_the_answer_no() {
    let folder = folder();
    let all = ["--root", "/", ".", "--unresolved", "-o", "json"];
    let output = deps(folder.path(), &all);
    assert_eq!(
        (output.status.code(), json_of(&output)),
        (Some(0), json!([]))
    );
    fs::remove_file(folder.path().join("usr/lib/liblow.so.1")).unwrap();
    let output = deps(folder.path(), &all);
    assert_eq!(output.status.code(), Some(1));
    let loaded_by = json!(["/usr/bin/main"]);
    let path = "/usr/lib/libhigh.so.1.0";
    let expected = json!([
        {
            "path": path,
            "missing": {"kind": "library", "name": "liblow.so.1"},
            "symbols": ["low"],
            "loadedBy": loaded_by,
        },
    ]);
    assert_eq!(json_of(&output), expected);
    let alone = deps(folder.path(), &["usr/lib/libhigh.so.1.0", "--unresolved"]);
    let words = String::from_utf8(alone.stderr).unwrap();
    assert!(words.contains("1 file would miss 1 thing"), "{words}");
    assert!(words.contains("--root adds a machine"), "{words}");
}

#[test]
fn damaged_files_are_named_and_leave_the_answer_open() {
    let folder = folder();
    let library = folder.path().join("usr/lib/liblow.so.1");
    let bytes = fs::read(&library).unwrap();
    fs::write(&library, &bytes[..100]).unwrap();
    let output = deps(folder.path(), &["."]);
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        words.contains("usr/lib/liblow.so.1") && words.contains("e_phoff"),
        "{words}"
    );
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("/usr/bin/main")
    );
    for arguments in [["README"], ["nothing"], ["oci-layout:nothing:1"]] {
        let output = deps(folder.path(), &arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    }
}

/// Every edge is a line; names are in quotes.
#[test]
fn the_graph_has_every_edge_and_marks_what_is_missing() {
    let folder = folder();
    let output = deps(folder.path(), &[".", "--dot"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "  \"/usr/bin/main\" -> \"/usr/lib/libhigh.so.1.0\";",
        "  \"/usr/lib/libhigh.so.1.0\" -> \"/usr/lib/liblow.so.1\";",
        "  \"libc.so.6\" [style=dashed];",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    let Ok(mut dot) = Command::new("dot")
        .arg("-Tplain")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
    else {
        return;
    };
    dot.stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(dot.wait().unwrap().success());
}

/// The ELF files of Debian's frr, unpacked, and a list of them; `None` without Debian's archive.
fn frr() -> Option<(TempDir, Vec<PathBuf>)> {
    let folder = tempfile::tempdir().unwrap();
    let lines = "apt-get download -q frr || { apt-get update -q && apt-get download -q frr; }
        dpkg-deb --extract frr_*.deb unpacked";
    let mut command = Command::new("sh");
    command.args(["-ec", lines]).current_dir(folder.path());
    if !command.output().unwrap().status.success() {
        placet_tests::skipped("Debian's archive is not at hand");
        return None;
    }
    let files = json_of(&deps(folder.path(), &["unpacked", "-o", "json"]));
    let files = files.as_array().unwrap().iter().map(|file| {
        let path = format!("unpacked{}", file["path"].as_str().unwrap());
        let path = folder.path().join(path);
        // elfdeps passes over libraries that name an interpreter and may not be executed.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    });
    let files = files.collect();
    Some((folder, files))
}

fn seconds(command: &mut Command) -> f64 {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    command.status().unwrap();
    start.elapsed().as_secs_f64()
}

/// Facts with all symbols, of whole processes one after another; in a full run, medians of ten.
#[test]
fn facts_take_no_longer_than_elfdeps() {
    let Some((folder, files)) = frr() else {
        return;
    };
    assert!(files.len() >= 30, "{files:?}");
    let debian = folder.path().join("debian");
    fs::create_dir(&debian).unwrap();
    let control = "Source: frr\n\nPackage: frr\nArchitecture: amd64\n";
    fs::write(debian.join("control"), control).unwrap();
    let rounds = if is_full() { 10 } else { 1 };
    let (mut placet_seconds, mut elfdeps, mut shlibdeps) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut command = Command::new(placet());
        command
            .args(["package", "deps", "--symbols", "-o", "json"])
            .arg("unpacked");
        placet_seconds.push(seconds(command.current_dir(folder.path())));
        let mut command = Command::new("/usr/lib/rpm/elfdeps");
        elfdeps.push(seconds(
            command.args(["--provides", "--requires"]).args(&files),
        ));
        if !is_full() {
            // It takes seconds, for the record alone.
            continue;
        }
        let mut command = Command::new("dpkg-shlibdeps");
        command.args(["-O", "--ignore-missing-info"]).args(&files);
        shlibdeps.push(seconds(command.current_dir(folder.path())));
    }
    let (own, elfdeps, shlibdeps) = (median(placet_seconds), median(elfdeps), median(shlibdeps));
    let is_release = placet()
        .components()
        .any(|part| part.as_os_str() == "release");
    let milliseconds = |seconds: f64| (seconds * 1e5).round() / 100.0;
    let figures = json!({
        "build": if is_release { "release" } else { "debug" },
        "files": files.len(),
        "rounds": rounds,
        "placetMilliseconds": milliseconds(own),
        "elfdepsMilliseconds": milliseconds(elfdeps),
        "dpkgShlibdepsMilliseconds": milliseconds(shlibdeps),
        "timesElfdeps": (own / elfdeps * 100.0).round() / 100.0,
    });
    if is_release {
        evidence("dependencies", &figures);
        assert!(own <= elfdeps || !is_full(), "{figures}");
    } else {
        eprintln!("dependencies: {figures}");
    }
    assert!(Duration::from_secs_f64(own) < Duration::from_secs(30));
}
