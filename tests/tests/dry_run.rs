//! A change that is only modelled, on real parts: the nodes' answers, and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use placet_tests::{Fleet, FleetOptions, pids};
use serde_json::Value;

/// Everything that a node has on disk: path, inode, size and time of the last change.
fn stored(fleet: &Fleet, node: &str) -> BTreeSet<(PathBuf, u64, u64, i64)> {
    fn walk(path: &Path, found: &mut BTreeSet<(PathBuf, u64, u64, i64)>) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let data = entry.metadata().unwrap();
            // What processes print is theirs.
            if data.is_dir() && entry.file_name() != "log" {
                walk(&entry.path(), found);
            } else if data.is_file() {
                found.insert((entry.path(), data.ino(), data.size(), data.mtime_nsec()));
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
