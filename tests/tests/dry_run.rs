//! A change that is only modelled, on real parts: the nodes' answers, and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use placet_model::Digest;
use placet_tests::{Fleet, FleetOptions, pids, poll};
use serde_json::Value;

/// Path, inode, digest and time of the last change.
type Stored = BTreeSet<(PathBuf, u64, Digest, i64)>;

/// Everything that a node has on disk: its store, its generations, what it remembers.
fn stored(fleet: &Fleet, node: &str) -> Stored {
    fn walk(path: &Path, found: &mut Stored) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let data = entry.metadata().unwrap();
            // What processes print is theirs.
            if data.is_dir() && entry.file_name() != "log" {
                walk(&entry.path(), found);
            } else if data.is_file() {
                let digest = Digest::of(&fs::read(entry.path()).unwrap());
                found.insert((entry.path(), data.ino(), digest, data.mtime_nsec()));
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&fleet.node(node).state, &mut found);
    found
}

/// What runs on every node, and what it stores.
fn nodes(fleet: &Fleet) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    let of = |node: &String| (pids(fleet, node), stored(fleet, node));
    fleet.node_names().iter().map(of).collect()
}

/// Every resource as the store has it.
fn resources(fleet: &Fleet) -> Value {
    serde_json::from_str(&fleet.placet(&["get", "all", "-o", "json"])).unwrap()
}

/// The declarations with another version of the package `greet`, in a file beside the repository.
fn try_greet(fleet: &Fleet, version: &str) -> String {
    let text = fs::read_to_string(fleet.path("fleet/packages.yaml")).unwrap();
    let text = text
        .replace("1.0.0 # greet", &format!("{version} # greet"))
        .replace("greet:1.0.0", &format!("greet:{version}"));
    let file = fleet.path("tried.yaml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vetoes_are_printed_with_exit_code_1_and_nothing_changes_anywhere() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let file = try_greet(&fleet, "1.1.0");
    let before = nodes(&fleet);
    let (objects, latest) = (resources(&fleet), fleet.feed.latest());

    let agreed = fleet.placet_output(&["apply", "-f", &file, "--dry-run"]);
    let text = String::from_utf8(agreed.stdout).unwrap();
    assert!(agreed.status.success(), "{text}");
    assert!(
        text.contains("4 nodes would change: 4 would accept; nothing was changed"),
        "{text}"
    );

    let session = fleet.open_session("core-1");
    let refused = fleet.placet_output(&["rollout", "dry-run", "-f", &file]);
    let text = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    let pid = pids(&fleet, "core-1")["chatd"];
    let veto = format!("node core-1: chatd ({pid}) non placet: 1 open session [sessions-open]");
    assert!(text.lines().any(|line| line == veto), "{text}");
    let row = text
        .lines()
        .find(|line| line.starts_with("core-1  "))
        .unwrap();
    assert!(row.contains("veto of chatd"), "{row}");
    let json = fleet.placet_output(&["rollout", "dry-run", "-f", &file, "-o", "json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let verdict = &json["nodes"][0]["answer"]["verdict"];
    assert_eq!(verdict["records"][0]["message"], "1 open session");

    assert_eq!(resources(&fleet), objects);
    assert_eq!(fleet.feed.latest(), latest, "the feed tells of nothing");
    assert_eq!(nodes(&fleet), before);
    drop(session);
}

/// A commit of a branch that nobody follows, with another version of `greet`.
fn tried_branch(fleet: &Fleet, version: &str) -> String {
    let folder = fleet.path("tried");
    let folder = folder.to_str().unwrap();
    let branch = format!("try-{version}");
    fleet.git(&["worktree", "add", "--quiet", "-b", &branch, folder]);
    let file = fleet.path("tried/packages.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace("1.0.0 # greet", &format!("{version} # greet"))
        .replace("greet:1.0.0", &format!("greet:{version}"));
    fs::write(&file, text).unwrap();
    let message = ["commit", "--quiet", "--all", "--message", "to be tried out"];
    fleet.git(&[&["-C", folder], &message[..]].concat());
    fleet.git(&["rev-parse", &branch])
}

/// Declares a dry run of a commit.
fn declare(fleet: &Fleet, name: &str, commit: &str, seconds: u32) {
    let commit = commit.rsplit(':').next().unwrap();
    let text = format!(
        "apiVersion: placet.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: {name}}}\nspec:\n  dryRun: true\n  source: fleet\n  to: try@sha1:{commit}\n  withinSeconds: {seconds}\n"
    );
    let file = fleet.path(&format!("{name}.yaml"));
    fs::write(&file, text).unwrap();
    fleet.placet(&["apply", "-f", file.to_str().unwrap()]);
}

/// Its status, once it is over.
fn ended(fleet: &Fleet, name: &str) -> Value {
    poll("the end of the dry run", || {
        let status = fleet.resource("rollout", name)["status"].clone();
        status["ended"].is_string().then_some(status)
    })
}

/// Every resource but dry runs, as the store has it.
fn declared(fleet: &Fleet) -> Vec<Value> {
    let all = resources(fleet)["items"].as_array().unwrap().clone();
    let is_other = |it: &Value| it["spec"]["dryRun"] != true;
    all.into_iter().filter(is_other).collect()
}

/// A node that is away is named, and the others are asked.
fn try_without_a_node(fleet: &mut Fleet, commit: &str) {
    fleet.kill_node("edge-2");
    poll("the node to be away", || {
        let status = fleet.resource("fleetnode", "edge-2")["status"].clone();
        (status["presence"] == "Away").then_some(())
    });
    declare(fleet, "try-6", commit, 30);
    let status = ended(fleet, "try-6");
    assert_eq!(
        (&status["nodes"]["total"], &status["nodes"]["asked"]),
        (&4.into(), &3.into())
    );
    let lines = status["vetoes"].to_string();
    assert!(
        lines.contains("node edge-2: not asked: it has no connection"),
        "{lines}"
    );
    fleet.start_node("edge-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_dry_run_of_a_commit_asks_the_live_nodes_and_changes_nothing() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let commit = tried_branch(&fleet, "1.1.0");
    let git = || fleet.git(&["for-each-ref"]);
    let (before, others, references) = (nodes(&fleet), declared(&fleet), git());

    declare(&fleet, "try-1", &commit, 30);
    let status = ended(&fleet, "try-1");
    assert_eq!(status["phase"], "Done", "{status}");
    assert_eq!(status["verdicts"]["accept"], 4, "{status}");

    let session = fleet.open_session("core-1");
    declare(&fleet, "try-2", &commit, 30);
    let status = ended(&fleet, "try-2");
    let pid = pids(&fleet, "core-1")["chatd"];
    let veto = format!("node core-1: chatd ({pid}) non placet: 1 open session [sessions-open]");
    assert_eq!(status["vetoes"][0], veto, "{status}");
    assert_eq!(status["conditions"][0]["reason"], "Objected");
    let shown = fleet.placet(&["rollout", "show", "try-2"]);
    assert!(shown.contains("1 would object"), "{shown}");

    drop(session);

    declare(&fleet, "try-3", &"0".repeat(40), 30);
    let status = ended(&fleet, "try-3");
    assert_eq!(status["phase"], "Blocked", "{status}");

    let silent = i32::try_from(pids(&fleet, "core-2")["chatd"]).unwrap();
    let silent = Pid::from_raw(silent);
    kill(silent, Signal::SIGSTOP).unwrap();
    declare(&fleet, "try-4", &commit, 5);
    let status = ended(&fleet, "try-4");
    let lines = status["vetoes"].to_string();
    assert!(
        lines.contains("core-2") && lines.contains("answer"),
        "{status}"
    );
    assert_eq!(status["verdicts"]["accept"], 3, "{status}");

    // One that nobody wants any more is withdrawn at once.
    declare(&fleet, "try-5", &commit, 600);
    let is_asking = |name: &str| {
        let run = fleet.resource("rollout", name);
        (run["status"]["phase"] == "Proposing").then_some(())
    };
    poll("nodes being asked", || is_asking("try-5"));
    fleet.placet(&["delete", "rollout", "try-5"]);
    kill(silent, Signal::SIGCONT).unwrap();

    assert_eq!(declared(&fleet), others);
    assert_eq!(nodes(&fleet), before);
    assert_eq!(git(), references);

    try_without_a_node(&mut fleet, &commit);

    // What was tried out comes into force.
    fleet.git(&["merge", "--quiet", "--ff-only", "try-1.1.0"]);
    fleet.verified(&commit).await;
    let status = fleet.resource("rollout", "try-6")["status"].clone();
    let rollout = status["followedBy"].as_str().expect("it is linked");
    let status = fleet.resource("rollout", rollout)["status"].clone();
    assert_eq!(status["dryRun"], "try-6");
    let first = status["history"][0]["message"].as_str().unwrap();
    assert!(first.contains("tried out before in try-"), "{first}");
}
