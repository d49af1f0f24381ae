//! The controller goes on from a backup, as after its disk was lost (H1).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use placet_tests::{Fleet, FleetOptions, pids, placet, poll};

fn restore(backup: &Path, state: &Path) -> Output {
    Command::new(placet())
        .arg("restore")
        .arg(backup)
        .arg("--state")
        .arg(state)
        .stdin(Stdio::null())
        .output()
        .expect("placet starts")
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until the roll-out of a commit is in this phase; returns its name.
fn until(fleet: &Fleet, commit: &str, phase: &str) -> String {
    poll(&format!("{commit} to be {phase}"), || {
        let rollouts = fleet.placet(&["get", "rollouts", "-o", "json"]);
        let rollouts: serde_json::Value = serde_json::from_str(&rollouts).expect("JSON");
        let mut rollouts = rollouts["items"].as_array().expect("a list").iter();
        let found = rollouts.find(|rollout| {
            let to = rollout["spec"]["to"].as_str().unwrap_or_default();
            to.ends_with(commit) && rollout["status"]["phase"] == phase
        });
        Some(found?["metadata"]["name"].as_str()?.to_owned())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_goes_on_from_a_backup_that_is_older_than_what_its_nodes_run() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let spare = fleet.placet(&["node", "token", "spare", "-o", "json"]);
    let spare: serde_json::Value = serde_json::from_str(&spare).expect("JSON");
    let backup = fleet.path("fleet.placet");
    let kept = fleet.placet(&["backup", backup.to_str().expect("a path")]);
    assert!(kept.contains("bytes"), "{kept}");
    let mode = fs::metadata(&backup).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds keys");
    let left: Vec<_> = fs::read_dir(fleet.path("controller/home"))
        .expect("a folder")
        .map(|entry| entry.expect("a file").file_name())
        .filter(|name| name.to_string_lossy().starts_with("backup"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    let newer = fleet.commit_greet("1.1.0");
    fleet.verified(&newer).await;
    let before = pids(&fleet, "core-1");
    fleet.kill_controller();
    let state = fleet.path("controller");
    let there = restore(&backup, &state);
    assert_eq!(there.status.code(), Some(2));
    assert!(error(&there).contains("holds a fleet already"), "{there:?}");
    fs::remove_dir_all(&state).expect("the folder can be removed");
    let restored = restore(&backup, &state);
    assert!(restored.status.success(), "{}", error(&restored));
    fleet.start_controller();

    // The nodes obey it, and none of them has to do anything.
    until(&fleet, &newer, "Done");
    assert_eq!(pids(&fleet, "core-1"), before);
    // Votes and decisions go on.
    let session = fleet.open_session("core-1");
    let back = fleet.commit_greet("1.0.0");
    let rollout = until(&fleet, &back, "Held");
    fleet.decide(&rollout, "--skip", "later");
    until(&fleet, &back, "Done");
    assert_eq!(pids(&fleet, "core-1")["chatd"], before["chatd"]);
    assert_ne!(pids(&fleet, "core-2")["chatd"], before["chatd"]);
    drop(session);

    // A token that was not used then may have been used afterwards.
    let refused = Command::new(placet())
        .args(["placetd", "--node", "spare", "--token"])
        .arg(spare["token"].as_str().expect("a token"))
        .arg("--controller")
        .arg(spare["addresses"][0].as_str().expect("an address"))
        .arg("--state")
        .arg(fleet.path("spare"))
        .arg("--run")
        .arg(fleet.path("run/spare"))
        .output()
        .expect("placet starts");
    assert_eq!(refused.status.code(), Some(2), "{}", error(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_backup_or_is_damaged_is_refused_and_leaves_nothing_behind() {
    let fleet = Fleet::start(FleetOptions {
        nodes: Vec::new(),
        ..FleetOptions::default()
    })
    .await;
    let backup = fleet.path("fleet.placet");
    fleet.placet(&["backup", backup.to_str().expect("a path")]);
    let whole = fs::read(&backup).expect("a file");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(0xa5);
    let database = fs::read(fleet.path("controller/home/placet.db")).expect("a file");
    for (name, bytes) in [
        ("text", &b"no database at all"[..]),
        ("truncated", &whole[..middle]),
        ("damaged", &damaged),
        ("database", &database),
    ] {
        let file = fleet.path(name);
        fs::write(&file, bytes).expect("a file");
        let state = fleet.path(&format!("restored-{name}"));
        let refused = restore(&file, &state);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        let error = error(&refused);
        assert!(error.contains(name), "{name}: {error}");
        let left = fs::read_dir(state.join("home")).expect("a folder");
        let left: Vec<_> = left
            .map(|entry| entry.expect("a file").file_name())
            .filter(|left| left != "lock")
            .collect();
        assert!(left.is_empty(), "{name}: {left:?}");
    }
}
