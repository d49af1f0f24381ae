//! The command line on a fleet in an API server, as people use it.

use std::fs;
use std::process::Output;

use placet_tests::{KubeFleet, NAMESPACE, packages};
use serde_json::Value;

use crate::common::{NODES, all_run, kubernetes, open_session};
use crate::webhooks::{Person, asked_by_server, everything, next_version, until_asked};

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Decides on hold 1 of a roll-out.
fn decide(fleet: &KubeFleet, rollout: &str, way: &str, reason: &str) -> Output {
    fleet.try_placet(&[
        "rollout", "decide", rollout, way, "--hold", "1", "--reason", reason,
    ])
}

/// Nodes join with tokens that the command line makes.
fn join_by_token(fleet: &mut KubeFleet) {
    fleet.until("the authority to be published", |fleet| {
        let map = ["-n", NAMESPACE, "get", "configmap", "placet-authority"];
        fleet.try_kubectl(&map).status.success().then_some(())
    });
    for node in NODES {
        let made = fleet.placet(&["node", "token", node, "--valid", "600", "-o", "json"]);
        let made: Value = serde_json::from_str(&made).expect("JSON");
        assert!(made["addresses"][0].is_string(), "{made}");
        fleet.join_with(node, made["token"].as_str().expect("a token"));
    }
    // The name is taken now, and a token is for one node and works once.
    let again = fleet.try_placet(&["node", "token", "core-1"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(error(&again).contains("--replace"), "{}", error(&again));
    let elsewhere = fleet.try_placet(&["node", "token", "core-9", "--namespace", "nowhere"]);
    assert!(
        error(&elsewhere).contains("namespace `nowhere`"),
        "{}",
        error(&elsewhere)
    );
}

/// What people look at fits a terminal.
fn look(fleet: &KubeFleet) {
    let listed = fleet.placet(&["node", "list"]);
    assert!(
        listed.contains("core-1") && listed.contains("Connected"),
        "{listed}"
    );
    let shown = fleet.placet(&["node", "show", "core-1"]);
    assert!(shown.contains("chatd"), "{shown}");
    let all = fleet.placet(&["get"]);
    assert!(
        all.contains("gitsource/fleet") && all.contains("packageset/base"),
        "{all}"
    );
    for line in [listed, all].concat().lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn nodes_join_by_the_command_line_and_a_veto_is_decided_there_once() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    join_by_token(&mut fleet);
    let commit = fleet.commit_example();
    fleet.follow_repository();
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    look(&fleet);

    let session = open_session(&fleet, "core-1");
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    let held = fleet.rollout(&commit, "Held");
    let name = held["metadata"]["name"].as_str().expect("a name");
    let shown = fleet.placet(&["rollout", "show", name]);
    assert!(
        shown.contains("node core-1: chatd") && shown.contains("non placet: 1 open session"),
        "{shown}"
    );

    let closed = decide(&fleet, "ro-none", "--skip", "x");
    assert_eq!(closed.status.code(), Some(2), "{}", error(&closed));
    let paused = fleet.placet(&["rollout", "pause", name]);
    assert_eq!(paused, format!("rollout.placet.dev/{name} paused\n"));
    let first = decide(&fleet, name, "--skip", "core-1 can wait");
    assert_eq!(first.status.code(), Some(0), "{}", error(&first));
    assert!(
        out(&first).contains("Hold 1: skip") && out(&first).contains("core-1 can wait"),
        "{}",
        out(&first)
    );
    let second = decide(&fleet, name, "--abort", "no");
    assert_eq!(second.status.code(), Some(1), "{}", error(&second));
    let words = error(&second);
    assert!(
        words.contains("somebody else decided hold 1") && words.contains("core-1 can wait"),
        "{words}"
    );
    fleet.until("core-2 to wait for the end of the pause", |fleet| {
        let node = fleet.object("fleetnode", "core-2").to_string();
        node.contains("the roll-out is paused").then_some(())
    });
    let resumed = fleet.placet(&["rollout", "resume", name]);
    assert_eq!(resumed, format!("rollout.placet.dev/{name} resumed\n"));
    fleet.rollout(&commit, "Done");

    // What happened is told from the beginning, and ends with the roll-out.
    let told = fleet.placet(&["rollout", "watch", name]);
    assert!(
        told.contains("decided on") && told.contains("runs everywhere it should"),
        "{told}"
    );
    let described = fleet.placet(&["describe", "rollout", name]);
    assert!(
        described.contains("Kind:     Rollout") && described.contains("core-1 can wait"),
        "{described}"
    );
    drop(session);
    order(&fleet);
}

/// Orders for one node are annotations that a controller answers, whoever writes them.
fn order(fleet: &KubeFleet) {
    let stored = fleet.try_placet(&["node", "commit", "core-2", "--reason", "done"]);
    assert_eq!(stored.status.code(), Some(1), "{}", error(&stored));
    let words = error(&stored);
    assert!(words.contains("there is nothing to commit"), "{words}");
    let absent = fleet.try_placet(&["node", "retry", "core-9"]);
    assert_eq!(absent.status.code(), Some(2), "{}", error(&absent));

    let back = fleet.placet(&[
        "node", "regress", "core-2", "--reason", "slow", "-o", "json",
    ]);
    assert!(back.contains("\"do\": \"regress\""), "{back}");
    fleet.until("core-2 to be back", |fleet| {
        let status = &fleet.object("fleetnode", "core-2")["status"];
        let is_back = status["manifestDigest"] != status["preferredDigest"];
        (is_back && status["failed"].is_array()).then_some(())
    });
    let text = r#"placet.dev/order={"do":"retry","reason":"it was the disk"}"#;
    fleet.kubectl(&["annotate", "--overwrite", "fleetnode", "core-2", text]);
    fleet.until("core-2 to go forward again", |fleet| {
        let status = &fleet.object("fleetnode", "core-2")["status"];
        let is_there = status["manifestDigest"] == status["preferredDigest"];
        (is_there && status["lastOrder"]["reason"] == "it was the disk").then_some(())
    });
    let ordered = &fleet.object("fleetnode", "core-2")["status"]["lastOrder"];
    assert_eq!(ordered["author"], "somebody at the API server");
    assert_eq!(ordered["do"], "retry", "{ordered:#}");
}

/// A commit that nobody follows is checked against what the nodes run, and by asking them.
fn check_a_branch(fleet: &KubeFleet, person: &Person) {
    let branch = fleet.path("branch");
    let branch = branch.to_str().expect("a path");
    fleet.git(&["clone", "--quiet", ".", branch]);
    fs::copy(fleet.path("next.yaml"), fleet.path("branch/fleet.yaml")).expect("declarations");
    fleet.git(&["-C", branch, "commit", "--quiet", "-am", "greet 1.1.0"]);
    let packages = packages().to_str().expect("a path");
    let check = |more: &[&str]| {
        let commit = [
            "check", "--repo", branch, "--from", "HEAD~1", "--to", "HEAD",
        ];
        person.placet(&[&commit[..], &["--packages", packages], more].concat())
    };
    let snapshot = fleet.path("snapshot.json");
    fs::write(&snapshot, fleet.placet(&["fleet", "snapshot"])).expect("a file");
    let modelled = check(&["--snapshot", snapshot.to_str().expect("a path")]);
    let said = out(&modelled);
    assert_eq!(
        modelled.status.code(),
        Some(0),
        "{said}{}",
        error(&modelled)
    );
    assert!(said.contains("3 of 3 nodes change"), "{said}");
    let asked = check(&["--controller", "--within", "20"]);
    let said = out(&asked);
    assert_eq!(asked.status.code(), Some(1), "{said}{}", error(&asked));
    assert!(said.contains("non placet: 1 open session"), "{said}");
}

#[test]
fn a_dry_apply_prints_the_veto_and_changes_nothing_and_a_real_one_says_what_it_did() {
    let Some((fleet, ann)) = asked_by_server(&["a"]) else {
        return;
    };
    let file = next_version(&fleet);
    let session = open_session(&fleet, "core-1");
    until_asked(&fleet, &ann, &file);
    let before = everything(&fleet);
    let tried = ann.placet(&["apply", "--dry-run", "-f", &file]);
    let said = out(&tried);
    assert_eq!(tried.status.code(), Some(1), "{said}{}", error(&tried));
    assert!(said.contains("non placet: 1 open session"), "{said}");
    assert!(
        said.contains("packageset.placet.dev/base configured (dry run)"),
        "{said}"
    );
    check_a_branch(&fleet, &ann);
    assert_eq!(before, everything(&fleet), "nothing changed");
    drop(session);

    let class = "apiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata: {name: spare}\nspec: {packages: []}\n";
    let file = fleet.path("spare.yaml");
    let path = file.to_str().expect("a path");
    fs::write(&file, class).expect("a file");
    let apply = || fleet.placet(&["apply", "-f", path]);
    assert_eq!(apply(), "packageset.placet.dev/spare created\n");
    assert_eq!(apply(), "packageset.placet.dev/spare unchanged\n");
    fs::write(&file, class.replace("packages", "parcels")).expect("a file");
    let wrong = fleet.try_placet(&["apply", "-f", path]);
    assert_eq!(wrong.status.code(), Some(1));
    let words = error(&wrong);
    assert!(
        words.contains("spare.yaml:4") && words.contains("parcels"),
        "{words}"
    );
    let deleted = fleet.placet(&["delete", "packageset", "spare"]);
    assert_eq!(deleted, "packageset.placet.dev/spare deleted\n");
    let absent = fleet.try_placet(&["get", "packageset", "spare"]);
    assert_eq!(absent.status.code(), Some(2));
}

#[test]
fn an_api_server_that_is_not_there_is_named() {
    let Some(mut fleet) = kubernetes(&[]) else {
        return;
    };
    let kubeconfig = fleet.cluster().kubeconfig();
    let text = fs::read_to_string(kubeconfig).expect("a kubeconfig");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into();
    let away = fleet.path("away.yaml");
    fs::write(&away, config.to_string()).expect("a file");
    let output = std::process::Command::new(placet_tests::placet())
        .args(["get", "--kubeconfig"])
        .arg(&away)
        .output()
        .expect("placet starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        error(&output).contains("https://127.0.0.1:1"),
        "{}",
        error(&output)
    );
}
