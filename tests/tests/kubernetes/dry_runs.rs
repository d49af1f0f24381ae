//! Dry runs as objects of a real API server.

use std::fs;

use placet_tests::KubeFleet;
use serde_json::Value;

use crate::common::open_session;
use crate::webhooks::{asked_by_server, everything, next_version, until_asked};

fn dry_run(name: &str, source: &str, commit: &str) -> String {
    format!(
        "apiVersion: placet.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: {name}}}\nspec: {{dryRun: true, source: {source}, to: \"try@sha1:{commit}\"}}\n"
    )
}

fn ended(fleet: &KubeFleet, name: &str) -> Value {
    fleet.until("the end of the dry run", |fleet| {
        let status = fleet.object("rollout", name)["status"].clone();
        status["ended"].is_string().then_some(status)
    })
}

/// Everything but dry runs.
fn others(fleet: &KubeFleet) -> (Vec<Value>, impl PartialEq + std::fmt::Debug + use<>) {
    let (objects, nodes) = everything(fleet);
    let is_other = |it: &Value| it["spec"]["dryRun"] != true;
    (objects.into_iter().filter(is_other).collect(), nodes)
}

/// A commit with another version of `greet` that the followed branch does not have yet.
fn tried_commit(fleet: &KubeFleet) -> String {
    let folder = fleet.path("tried");
    let folder = folder.to_str().expect("a path");
    fleet.git(&["worktree", "add", "--quiet", "-b", "try", folder]);
    let file = next_version(fleet);
    // It declares the whole fleet: nothing of what was there stays beside it.
    for file in fs::read_dir(folder).expect("a folder").flatten() {
        if file.path().extension().is_some_and(|it| it == "yaml") {
            fs::remove_file(file.path()).expect("a file");
        }
    }
    fs::copy(file, fleet.path("tried/fleet.yaml")).expect("a file");
    let commit = ["commit", "--quiet", "--message", "to be tried out"];
    fleet.git(&["-C", folder, "add", "--all"]);
    fleet.git(&[&["-C", folder], &commit[..]].concat());
    fleet.git(&["rev-parse", "try"])
}

#[test]
fn a_dry_run_is_declared_gets_its_verdicts_and_is_linked_to_what_follows() {
    let Some((fleet, ann)) = asked_by_server(&["a"]) else {
        return;
    };
    let commit = tried_commit(&fleet);
    let next = next_version(&fleet);
    until_asked(&fleet, &ann, &next);
    let session = open_session(&fleet, "core-1");
    let before = others(&fleet);

    let declare = |name: &str, source: &str| {
        let file = fleet.path("dry-run.yaml");
        fs::write(&file, dry_run(name, source, &commit)).expect("a file");
        ann.says(&["apply", "-f", file.to_str().expect("a path")])
    };
    let said = declare("ro-7", "fleet");
    assert!(said.contains("give the dry run another one"), "{said}");
    let said = declare("try-1", "fleet");
    assert!(said.contains("rollout.placet.dev/try-1 created"), "{said}");
    let status = ended(&fleet, "try-1");
    let pid = fleet.pids("core-1")["chatd"];
    let veto = format!("node core-1: chatd ({pid}) non placet: 1 open session [sessions-open]");
    assert_eq!(status["vetoes"][0], veto, "{status}");
    assert_eq!(status["verdicts"]["accept"], 2, "{status}");
    declare("try-2", "another");
    let status = ended(&fleet, "try-2");
    let problem = status["problems"][0].as_str().expect("a problem");
    assert!(
        problem.contains("there is no GitSource `another`"),
        "{problem}"
    );
    let said = ann.says(&["delete", "rollout", "try-2"]);
    assert!(said.contains("deleted"), "{said}");
    assert_eq!(others(&fleet), before);
    drop(session);

    fleet.git(&["merge", "--quiet", "--ff-only", "try"]);
    let rollout = fleet.until("the roll-out", |fleet| {
        let mut rollouts = fleet.objects("rollouts").into_iter();
        rollouts.find(|rollout| {
            let to = rollout["spec"]["to"].as_str().unwrap_or_default();
            let is_real = rollout["spec"]["dryRun"] != true;
            is_real && to.ends_with(&commit) && rollout["status"]["phase"] == "Done"
        })
    });
    assert_eq!(rollout["status"]["dryRun"], "try-1");
    let tried = fleet.object("rollout", "try-1");
    assert_eq!(tried["status"]["followedBy"], rollout["metadata"]["name"]);
}
