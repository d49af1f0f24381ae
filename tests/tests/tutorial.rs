//! The tutorial is typed as it stands.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use placet_tests::placet;

/// What a person does beside typing: waits for what takes a moment, and knows that a comparison
/// which finds something ends with 1.
const PERSON: &str = r#"
set -u
trap 'kill $(jobs -p) 2>/dev/null' EXIT
placet() {
    local try code output
    for try in $(seq 100); do
        output=$(command placet "$@" 2>&1) && code=0 || code=$?
        case "$code $1 ${2-}" in
            0*|"1 package diff"|"1 check "*) break ;;
        esac
        sleep 0.1
    done
    case "$1 ${2-}" in
        "node token") command tail -n1 <<< "$output" ;;
        *) printf '%s\n' "$output" ;;
    esac
    case "$code $1 ${2-}" in
        0*|"1 package diff"|"1 check "*) return 0 ;;
    esac
    echo "placet $* ends with $code" >&2
    exit 3
}
joined() {
    local try
    for try in $(seq 300); do
        case "$(command placet node list 2>&1)" in *core-1*edge-1*) return ;; esac
        sleep 0.1
    done
    exit 4
}
"#;

/// What is typed at the prompts of a page.
fn typed(page: &str) -> Vec<&str> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("$ "));
    lines.collect()
}

fn script() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/tutorial.md")).expect("the tutorial");
    let mut script = PERSON.to_owned();
    for line in typed(&page) {
        if line.starts_with("placet apply") {
            script += "joined\n";
        }
        let shown = line.replace('\'', r"'\''");
        writeln!(script, "echo '$ {shown}'").expect("text");
        // In the background a function would be another shell, which `kill` would not end.
        let in_background = line.ends_with('&');
        let line = if in_background {
            line.replacen("placet up", "command placet up", 1)
        } else {
            format!("{line} || exit 2")
        };
        writeln!(script, "{line}").expect("text");
    }
    script
}

#[test]
fn the_tutorial_works_as_it_is_written() {
    let folder = tempfile::Builder::new()
        .prefix("tour-")
        .tempdir_in("/tmp")
        .expect("a temporary folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for part in ["examples", "sdk"] {
        let status = Command::new("cp")
            .arg("-r")
            .arg(root.join(part))
            .arg(folder.path())
            .status();
        assert!(status.expect("cp starts").success());
    }
    let programs = placet()
        .parent()
        .expect("a folder")
        .to_string_lossy()
        .into_owned();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("bash");
    bash.current_dir(folder.path())
        .env("PATH", path)
        .envs([
            ("GIT_AUTHOR_NAME", "Fleet operator"),
            ("GIT_AUTHOR_EMAIL", "operator@localhost"),
            ("GIT_COMMITTER_NAME", "Fleet operator"),
            ("GIT_COMMITTER_EMAIL", "operator@localhost"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = bash.spawn().expect("bash starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(script().as_bytes()).expect("bash reads");
    drop(input);
    let output = child.wait_with_output().expect("bash ends");
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{error}");
    for expected in [
        "it uses usr/lib/libgreet.so.1, which is changed",
        "1 module changed",
        "chatd",
        "ro-3",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in:\n{text}");
    }
    assert!(!folder.path().join("tour").exists(), "nothing is left");
}
