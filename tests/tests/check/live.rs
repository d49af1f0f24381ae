//! The check beside a live fleet: what runs there, and what it says.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use placet_tests::{Fleet, FleetOptions, packages, placet};
use serde_json::{Value, json};

use crate::{Repository, answer};

/// Checks the last commit of the fleet's repository against its controller.
fn check(fleet: &Fleet, arguments: &[&str]) -> (i32, String, String) {
    let output: Output = Command::new(placet())
        .args(["check", "--from", "HEAD~1", "--to", "HEAD"])
        .args(arguments)
        .arg("--repo")
        .arg(fleet.path("fleet"))
        .arg("--packages")
        .arg(packages())
        .env("PLACET_ADMIN", fleet.path("controller/admin.sock"))
        .output()
        .unwrap();
    answer(&output)
}

fn schema(name: &str) -> jsonschema::Validator {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    let schema: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn live_nodes_are_asked_and_a_snapshot_says_what_they_run() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let file = fleet.path("fleet.json");
    let text = fleet.placet(&["fleet", "snapshot"]);
    fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();
    let snapshot: Value = serde_json::from_str(&text).unwrap();
    assert!(schema("snapshot.schema.json").is_valid(&snapshot), "{text}");
    assert_eq!(snapshot["nodes"].as_object().unwrap().len(), 4);

    // A chat is going on, and the change would end it.
    let names = fleet.node_names();
    let talking = names.iter().find(|name| name.starts_with("core")).unwrap();
    let session = fleet.open_session(talking);
    let commit = fleet.commit_greet("1.1.0");
    let (code, report, error) = check(&fleet, &["-o", "json"]);
    assert_eq!(code, 0, "no rule objects: {error}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report.get("live").is_none());
    fleet.held(&commit).await;

    let (code, report, error) = check(&fleet, &["--controller", "--within", "20", "-o", "json"]);
    assert_eq!(code, 1, "{error}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(schema("check.schema.json").is_valid(&report), "{report}");
    let live = &report["live"];
    let nodes = live["nodes"].as_array().unwrap();
    let own = nodes.iter().find(|node| node["node"] == talking.as_str());
    assert_eq!(own.unwrap()["answer"], "veto", "{live}");
    assert_eq!(nodes.len(), 4);
    let lines = live["lines"].as_array().unwrap().iter();
    let mut lines = lines.map(|line| line.as_str().unwrap());
    assert!(lines.any(|line| line.contains("chatd") && line.contains("non placet")));
    drop(session);

    // By the snapshot the nodes run what the older revision declares: nothing is to be noted.
    let (code, report, error) = check(&fleet, &["--snapshot", file]);
    assert_eq!(code, 0, "{error}");
    assert!(report.contains("4 of 4 nodes change"), "{report}");
    assert!(!report.contains("runs there"), "{report}");
    assert!(
        !report.contains("are taken to be"),
        "facts are known: {report}"
    );

    // Nodes that have it already do not change, and one that runs something else is told of.
    let (_, other, _) = check(&fleet, &["--snapshot", file, "-o", "json"]);
    let other: Value = serde_json::from_str(&other).unwrap();
    assert_eq!(other["nodes"]["changed"], 4);
    let mut strange = snapshot.clone();
    strange["nodes"][talking.as_str()]["manifest"] = json!(format!("sha256:{}", "0".repeat(64)));
    fs::write(file, strange.to_string()).unwrap();
    let (code, report, _) = check(&fleet, &["--snapshot", file]);
    assert_eq!(code, 0);
    let told = format!("{talking}: something else runs there than");
    assert!(report.contains(&told), "{report}");

    // A controller that is away leaves open what the nodes would say.
    fleet.kill_controller();
    let (code, report, error) = check(&fleet, &["--controller"]);
    assert_eq!(code, 2, "{error}");
    assert!(report.contains("nobody was asked"), "{report}");
    assert!(
        report.contains("4 of 4 nodes change"),
        "the rest is said: {report}"
    );
}

#[test]
fn a_snapshot_of_another_version_is_refused() {
    let repository = Repository::new();
    let file = repository.0.path().join("fleet.json");
    let name = file.to_str().unwrap();
    let cases = [
        (
            r#"{"schema": "placet.dev/snapshot/v9", "fleet": 1}"#,
            "`placet.dev/snapshot/v9`",
        ),
        ("{}", "missing field `schema`"),
        ("once upon a time", "it is no snapshot"),
        (
            r#"{"schema": "placet.dev/snapshot/v1", "taken": "", "nodes": {"A/B": {}}}"#,
            "it is no snapshot",
        ),
    ];
    for (text, reason) in cases {
        fs::write(&file, text).unwrap();
        let (code, report, error) = repository.check(&["--snapshot", name]);
        assert_eq!((code, report.as_str()), (2, ""), "{text}");
        assert!(error.contains(reason), "{error}");
        assert!(error.contains("placet fleet snapshot"), "{error}");
    }
    fs::remove_file(&file).unwrap();
    let (code, _, error) = repository.check(&["--snapshot", name]);
    assert_eq!(code, 2);
    assert!(error.contains("failed to read"), "{error}");
}
