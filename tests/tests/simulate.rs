//! `placet simulate` on real packages: one node type, and the example script.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use placet_tests::{packages, placet};
use tempfile::TempDir;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(placet());
    command.args(arguments).current_dir(packages());
    command.output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A node that runs the clock and this library, and is to run that one.
fn trial(from: &str, to: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let clock = "oci-layout:clock:1.0.0";
    let mut arguments = vec!["simulate", "--type", "edge", "--from", clock, from];
    arguments.extend(["--to", clock, to]);
    arguments.extend(more);
    said(&run(&arguments))
}

const GREET: &str = "oci-layout:greet:1.0.0";

#[test]
fn a_change_of_a_library_restarts_its_user_there_and_back() {
    let newer = "oci-layout:greet:1.1.0";
    for (from, to) in [(GREET, newer), (newer, GREET)] {
        let (code, report, error) = trial(from, to, &[]);
        assert_eq!(code, Some(0), "{error}");
        assert!(report.contains("1 process restarts"), "{report}");
        assert!(report.contains("restart  clockd"), "{report}");
    }
    // The same software, built elsewhere.
    let (code, report, _) = trial(GREET, "oci-layout:greet:1.2.0", &[]);
    assert_eq!(code, Some(0));
    assert!(
        report.contains("nothing that a process could notice"),
        "{report}"
    );
}

#[test]
fn a_module_that_is_left_out_is_missed_by_its_users() {
    let modules = run(&["package", "inspect", GREET, "-o", "json"]);
    let modules: serde_json::Value = serde_json::from_slice(&modules.stdout).unwrap();
    let text = modules.to_string();
    let start = text.find("usr/lib/libgreet.so").unwrap();
    let library: String = text[start..].chars().take_while(|it| *it != '"').collect();
    let (code, report, error) = trial(GREET, GREET, &["--without", &library]);
    assert_eq!(code, Some(1), "{error}{report}");
    assert!(report.contains("needs libgreet.so"), "{report}");
    let (code, _, error) = trial(GREET, GREET, &["--without", "usr/lib/none"]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("--without usr/lib/none: no package"),
        "{error}"
    );
}

#[test]
fn shaded_updates_show_what_a_change_would_touch() {
    let folder = TempDir::new().unwrap();
    let layout = format!("oci-layout:{}", folder.path().display());
    let shade = |kind: &str| {
        let output = run(&[
            "package", "shade", GREET, kind, "--to", &layout, "-o", "json",
        ]);
        let (code, text, error) = said(&output);
        assert_eq!(code, Some(0), "{error}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["reference"].as_str().unwrap().to_owned()
    };
    let (code, report, _) = trial(GREET, &shade("--white"), &[]);
    assert_eq!(code, Some(0));
    assert!(!report.contains("restart"), "{report}");
    let (code, report, _) = trial(GREET, &shade("--black"), &[]);
    assert_eq!(code, Some(0));
    assert!(report.contains("restart  clockd"), "{report}");
}

fn example(name: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/simulate");
    fs::canonicalize(examples).unwrap().join(name)
}

#[test]
fn the_example_script_is_played_as_its_transcript_says() {
    let script = example("held.yaml");
    let packages = packages().display().to_string();
    let arguments = [
        "simulate",
        script.to_str().unwrap(),
        "--packages",
        &packages,
    ];
    let (code, transcript, error) = said(&run(&arguments));
    assert_eq!(code, Some(0), "{error}");
    is_as_kept(&transcript, &example("held.txt"));
    let (_, again, _) = said(&run(&arguments));
    assert_eq!(again, transcript);
}

/// Compares a transcript with the one in `file`; `UPDATE_EXPECT` keeps it there.
fn is_as_kept(transcript: &str, file: &Path) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(file, transcript).unwrap();
    }
    assert_eq!(transcript, fs::read_to_string(file).unwrap());
}

/// Two programs, each with a library of its own, in one package.
const DUO: &str = "\
name: duo
version: 1.0.0
build:
  - for it in left right; do echo \"int ${it}(void) { return 1; }\" > $it.c; done
  - for it in left right; do cc $CFLAGS -fPIC -shared -Wl,-soname,lib$it.so.1 -o lib$it.so.1 $it.c; done
  - for it in left right; do echo \"int ${it}(void); int main(void) { return ${it}(); }\" > ${it}d.c; done
  - for it in left right; do cc $CFLAGS -o ${it}d ${it}d.c lib$it.so.1; done
modules:
  - {path: usr/lib/libleft.so.1, source: libleft.so.1, mode: \"0755\"}
  - {path: usr/lib/libright.so.1, source: libright.so.1, mode: \"0755\"}
  - {path: usr/bin/leftd, source: leftd, mode: \"0755\", process: {kind: self-managing}}
  - {path: usr/bin/rightd, source: rightd, mode: \"0755\", process: {kind: self-managing}}
";

/// One node that has the package.
const DUO_FLEET: &str = "\
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core}
spec: {packageSets: [duo]}
---
apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {name: duo}
spec: {packages: [{name: duo, version: 1.0.0, reference: 'oci-layout:duo:1.0.0'}]}
---
apiVersion: placet.dev/v1alpha1
kind: FleetNode
metadata: {name: core-1}
spec: {class: core, facts: {type: core}}
";

/// Whoever is asked says so, and the next update comes in its place.
const SHADES: &str = "\
seed: 1
running: first
revisions:
  first: {folder: fleet}
  white: {base: first, packages: {duo: 1.0.0+1.white}}
  gray: {base: first, packages: {duo: 1.0.0+2.gray}}
  black: {base: first, packages: {duo: 1.0.0+3.black}}
steps:
  - vote: {process: leftd, answer: veto, message: the left one would restart}
  - vote: {process: rightd, answer: veto, message: the right one would restart}
  - commit: white
  - wait: 1m
  - commit: gray
  - wait: 1m
  - commit: black
  - wait: 1m
  - vote: {process: rightd, answer: accept}
  - commit: gray
  - wait: 1m
";

#[test]
fn white_gray_and_black_updates_ask_nobody_some_and_all() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("source/package.yaml", DUO);
    write("fleet/fleet.yaml", DUO_FLEET);
    write("shades.yaml", SHADES);
    let placet = |folder: PathBuf, arguments: &[&str]| {
        let mut command = Command::new(placet());
        let (code, text, error) = said(
            &command
                .args(arguments)
                .current_dir(folder)
                .output()
                .unwrap(),
        );
        assert_eq!(code, Some(0), "{arguments:?}: {error}");
        text
    };
    let inside = |name: &str| folder.path().join(name);
    placet(
        inside("source"),
        &["package", "build", "--to", "oci-layout:../duo"],
    );
    let right = ["--gray", "usr/lib/libright*"];
    for shade in [&["--white"][..], &right, &["--black"]] {
        let shaded = [&["package", "shade", "oci-layout:duo:1.0.0"], shade].concat();
        placet(inside("."), &shaded);
    }
    let transcript = placet(inside("."), &["simulate", "shades.yaml"]);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/shades.txt");
    is_as_kept(&transcript, &kept);
}

/// A library that has every program believe in another time, by years.
fn another_time(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("time.c"), folder.join("time.so"));
    let text = "#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME)
        time->tv_sec -= 600000000;
    return result;
}
";
    fs::write(&source, text).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source);
    assert!(cc.status().unwrap().success());
    library
}

/// A copy of the example and its fleet, whose files were made in this order.
fn copy(files: &[(PathBuf, Vec<u8>)]) -> TempDir {
    // In memory a folder lists what came last first.
    let memory = Path::new("/dev/shm");
    let copy = if memory.is_dir() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    };
    let copy = copy.unwrap();
    for (path, bytes) in files {
        let path = copy.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    copy
}

/// The example script and the declarations that it plays with, each document in a file of its own.
fn example_files() -> Vec<(PathBuf, Vec<u8>)> {
    let script = example("held.yaml");
    let mut files = vec![("simulate/held.yaml".into(), fs::read(script).unwrap())];
    for file in fs::read_dir(example("../fleet")).unwrap().flatten() {
        let text = fs::read_to_string(file.path()).unwrap();
        let name = file.file_name().into_string().unwrap();
        for (number, document) in text.split("\n---\n").enumerate() {
            files.push((format!("fleet/{number}-{name}").into(), document.into()));
        }
    }
    files
}

#[test]
fn a_transcript_is_the_same_in_another_place_at_another_time() {
    let mut files = example_files();
    files.sort();
    let one = copy(&files);
    files.reverse();
    let other = copy(&files);
    let played = |folder: &TempDir, environment: &[(&str, &Path)]| {
        let mut command = Command::new(placet());
        command.arg("simulate").arg("simulate/held.yaml");
        command.arg("--packages").arg(packages());
        command.args(["-o", "json"]).current_dir(folder.path());
        let output = command.envs(environment.iter().copied()).output();
        said(&output.unwrap())
    };
    let (code, expected, error) = played(&one, &[("LC_ALL", Path::new("C"))]);
    assert_eq!(code, Some(0), "{error}");
    let library = another_time(one.path());
    let mut date = Command::new("date");
    let year = date.arg("+%Y").env("LD_PRELOAD", &library).output();
    let year = String::from_utf8(year.unwrap().stdout).unwrap();
    let year: i32 = year.trim().parse().unwrap();
    assert!(year < 2_020, "another time is believed in: {year}");
    let environment = [
        ("LC_ALL", Path::new("tr_TR.UTF-8")),
        ("LANG", Path::new("ar_EG.UTF-8")),
        ("TZ", Path::new("Asia/Kathmandu")),
        ("LD_PRELOAD", &library),
    ];
    let (_, transcript, error) = played(&other, &environment);
    assert_eq!(transcript, expected, "{error}");
}

#[test]
fn a_script_that_cannot_be_played_says_where() {
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("story.yaml");
    fs::write(
        &script,
        "revisions:\n  a: {base: b}\n  b: {base: a}\nsteps: []\n",
    )
    .unwrap();
    let (code, nothing, error) = said(&run(&["simulate", script.to_str().unwrap()]));
    assert_eq!((code, nothing.as_str()), (Some(2), ""));
    assert!(
        error.contains("story.yaml:2: revisions are based on each other"),
        "{error}"
    );
    let (code, schema, _) = said(&run(&["simulate", "--schema"]));
    assert_eq!(code, Some(0));
    assert!(serde_json::from_str::<serde_json::Value>(&schema).is_ok());
}
