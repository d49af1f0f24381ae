//! Bad input from git and from nodes: refused with what, where and what to do, and the running state
//! untouched.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use placet_tests::{Event, Fleet, FleetOptions, packages, pids, placet};

fn one_node() -> FleetOptions {
    FleetOptions {
        nodes: vec!["core-1"],
        ..FleetOptions::default()
    }
}

/// Waits until the source is refused, and returns the reasons.
async fn refused(fleet: &mut Fleet, since: u64) -> String {
    let event = fleet
        .feed
        .wait(since, "the source to be refused", |event: &Event| {
            event.name == "refused"
        })
        .await;
    event.data["reasons"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_tree_leaves_the_last_good_revision_in_force() {
    let mut fleet = Fleet::settled(one_node()).await;
    let before = pids(&fleet, "core-1");
    let good = fs::read_to_string(fleet.path("fleet/packages.yaml")).unwrap();
    let bad = [
        (
            "unknown field",
            good.replace(
                "version: 1.0.0 # greet",
                "version: 1.0.0\n      colour: red",
            ),
            "colour",
        ),
        (
            "wrong type",
            good.replace("version: 1.0.0 # greet", "version: [1]"),
            "version",
        ),
        (
            "duplicate name",
            format!("{good}\n---\n{}", good.split("---").next().unwrap()),
            "chat",
        ),
        (
            "no such package",
            good.replace("greet:1.0.0", "greet:9.9.9"),
            "9.9.9",
        ),
        ("alias bomb", alias_bomb(), "packages.yaml"),
    ];
    for (what, text, named) in bad {
        let since = fleet.feed.latest();
        fs::write(fleet.path("fleet/packages.yaml"), text).unwrap();
        fleet.commit(what);
        if what == "no such package" {
            let blocked = |event: &Event| {
                event.name == "plan" && event.data["problems"].to_string().contains(named)
            };
            fleet
                .feed
                .wait(since, "a plan with a problem", blocked)
                .await;
        } else {
            let reasons = refused(&mut fleet, since).await;
            assert!(reasons.contains(named), "{what}: {reasons}");
        }
        assert_eq!(pids(&fleet, "core-1"), before, "{what}");
    }
    fs::write(fleet.path("fleet/packages.yaml"), &good).unwrap();
    let commit = fleet.commit("mended");
    fleet.verified(&commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_to_a_set_that_does_not_exist_is_refused_and_nothing_is_pruned() {
    let mut fleet = Fleet::settled(one_node()).await;
    let before = pids(&fleet, "core-1");
    let classes = fs::read_to_string(fleet.path("fleet/classes.yaml")).unwrap();
    let mistyped = classes.replace("[chat, tools, base]", "[chat, tolls, base]");
    let since = fleet.feed.latest();
    fs::write(fleet.path("fleet/classes.yaml"), mistyped).unwrap();
    fleet.commit("a typing mistake");
    let reasons = refused(&mut fleet, since).await;
    assert!(reasons.contains("tolls"), "{reasons}");
    assert_eq!(pids(&fleet, "core-1"), before);
    assert!(!fleet.placet(&["get", "packageset", "tools"]).is_empty());
    fs::write(fleet.path("fleet/classes.yaml"), classes).unwrap();
    let commit = fleet.commit("mended");
    fleet.verified(&commit).await;
}

fn alias_bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        let aliases = vec![alias; 10].join(", ");
        text = format!(
            "{text}a{level}: &a{level} [{aliases}]
"
        );
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_100_megabytes_is_refused_unread() {
    let mut fleet = Fleet::settled(one_node()).await;
    let since = fleet.feed.latest();
    fs::write(fleet.path("fleet/huge.yaml"), "a: b\n".repeat(20 << 20)).unwrap();
    fleet.commit("huge");
    let reasons = refused(&mut fleet, since).await;
    assert!(reasons.contains("huge.yaml"), "{reasons}");
    fs::remove_file(fleet.path("fleet/huge.yaml")).unwrap();
    let commit = fleet.commit("slim again");
    fleet.verified(&commit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_rewound_gone_or_empty_changes_nothing() {
    let mut fleet = Fleet::settled(one_node()).await;
    let first = fleet.git(&["rev-parse", "HEAD"]);
    let second = fleet.commit_greet("1.1.0");
    fleet.verified(&second).await;
    let before = pids(&fleet, "core-1");

    let since = fleet.feed.latest();
    fleet.git(&["reset", "--quiet", "--hard", &first]);
    let reasons = refused(&mut fleet, since).await;
    assert!(
        reasons.contains("allowRewind") && reasons.contains(&first),
        "{reasons}"
    );
    assert_eq!(pids(&fleet, "core-1"), before);

    let since = fleet.feed.latest();
    fs::rename(fleet.path("fleet"), fleet.path("away")).unwrap();
    let reasons = refused(&mut fleet, since).await;
    assert!(reasons.contains("fleet"), "{reasons}");
    assert_eq!(pids(&fleet, "core-1"), before);

    let since = fleet.feed.latest();
    fs::create_dir(fleet.path("fleet")).unwrap();
    fleet.git(&["init", "--quiet", "--initial-branch=main", "."]);
    refused(&mut fleet, since).await;
    assert_eq!(pids(&fleet, "core-1"), before);

    fs::remove_dir_all(fleet.path("fleet")).unwrap();
    fs::rename(fleet.path("away"), fleet.path("fleet")).unwrap();
    let source = fs::read_to_string(fleet.path("source.yaml")).unwrap();
    fs::write(
        fleet.path("source.yaml"),
        format!("{source}  allowRewind: {first}\n"),
    )
    .unwrap();
    let since = fleet.feed.latest();
    fleet.placet(&[
        "apply",
        "--file",
        fleet.path("source.yaml").to_str().unwrap(),
    ]);
    let wanted =
        |event: &Event| event.name == "verified" && event.text("revision").ends_with(&first);
    fleet
        .feed
        .wait(since, "the rewound commit to be verified", wanted)
        .await;
    assert_ne!(pids(&fleet, "core-1")["chatd"], before["chatd"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_does_not_match_its_digest_reaches_no_node() {
    let mut fleet = Fleet::start(one_node()).await;
    // A copy of the layout in which one byte of the library is another.
    let layout = fleet.path("damaged");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(packages().join("greet"))
        .arg(&layout)
        .status()
        .unwrap();
    assert!(copied.success());
    for entry in fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten() {
        let mut bytes = fs::read(entry.path()).unwrap();
        if bytes.starts_with(b"\x7fELF") {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::remove_file(entry.path()).unwrap();
            fs::write(entry.path(), bytes).unwrap();
        }
    }
    let path = fleet.path("fleet/packages.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace(
            "oci-layout:greet:",
            &format!("oci-layout:{}:", layout.display()),
        ),
    )
    .unwrap();
    fleet.commit("damaged");
    fleet.follow_repository();
    let said = |event: &Event| {
        let text = event.data.to_string();
        (event.name == "plan" || event.name == "failed" || event.name == "held")
            && text.contains("sha256:")
            && (text.contains("digest") || text.contains("match"))
    };
    fleet.feed.wait(0, "the damage to be named", said).await;
    assert!(
        !fleet.node("core-1").state.join("committed").exists() || pids(&fleet, "core-1").is_empty()
    );
}

fn daemon(fleet: &Fleet, node: &str, token: &str) -> std::process::Output {
    let state = fleet.path(&format!("{node}-refused"));
    let address = fleet.placet(&["node", "token", "spare", "--replace", "-o", "json"]);
    let address: serde_json::Value = serde_json::from_str(&address).unwrap();
    Command::new(placet())
        .args([
            "placetd",
            "--node",
            node,
            "--token",
            token,
            "--controller",
            address["addresses"][0].as_str().unwrap(),
        ])
        .arg("--state")
        .arg(&state)
        .arg("--run")
        .arg(fleet.path("run-refused"))
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn join_tokens_that_are_wrong_used_expired_or_of_another_authority_are_refused() {
    let fleet = Fleet::start(one_node()).await;
    let token = |name: &str, valid: &str| {
        let text = fleet.placet(&[
            "node",
            "token",
            name,
            "--valid",
            valid,
            "--replace",
            "-o",
            "json",
        ]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["token"].as_str().unwrap().to_owned()
    };
    let (short_lived, made) = (token("edge-7", "1"), Instant::now());
    let used = fs::read_to_string(fleet.path("core-1.token")).unwrap();
    let good = token("edge-9", "600");
    let parts: Vec<_> = good.split('.').collect();
    let other_pin = format!("{}.{}.{}", parts[0], parts[1], "0".repeat(parts[2].len()));
    let flipped: String = parts[1].chars().rev().collect();
    let wrong = format!("{}.{flipped}.{}", parts[0], parts[2]);
    for (node, token, named) in [
        ("core-1", used.trim(), "used"),
        ("edge-9", &other_pin, "authority"),
        ("edge-9", &wrong, "token"),
        ("edge-8", &good, "token"),
        ("edge-9", "nonsense", "token"),
    ] {
        let output = daemon(&fleet, node, token);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{named}: {error}");
        assert!(error.contains(named), "{named}: {error}");
        assert!(
            !error.contains(parts[1]),
            "the secret is in the log: {error}"
        );
    }
    // The cases above have taken most of its second already.
    while made.elapsed() < Duration::from_secs(2) {
        fleet.placet(&["node", "list"]);
    }
    let output = daemon(&fleet, "edge-7", &short_lived);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("expired"), "{error}");
    assert!(
        !fleet.log("controller").contains(parts[1]),
        "the secret is in the controller's log"
    );
}
