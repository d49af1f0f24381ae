//! The admission webhook, asked by a real API server.

use std::fs;

use placet_tests::NAMESPACE;
use serde_json::{Value, json};

use crate::common::open_session;
use crate::webhooks::{asked_by_server, everything, next_version, until_asked};

#[test]
fn a_dry_run_of_a_commits_files_prints_the_vetoes_whoever_leads_and_changes_nothing() {
    let Some((mut fleet, ann)) = asked_by_server(&["a", "b"]) else {
        return;
    };
    let file = next_version(&fleet);
    let session = open_session(&fleet, "core-1");
    until_asked(&fleet, &ann, &file);
    let pid = fleet.pids("core-1")["chatd"];
    let veto =
        format!("Warning: node core-1: chatd ({pid}) non placet: 1 open session [sessions-open]");
    for leader in ["b", "a"] {
        // The API server asks a's webhook, which follows first and leads then.
        let other = if leader == "a" { "b" } else { "a" };
        fleet.kill_controller(other);
        fleet.until("the other to lead", |fleet| {
            (fleet.leader().as_deref() == Some(leader)).then_some(())
        });
        fleet.start_controller(other);
        until_asked(&fleet, &ann, &file);
        let before = everything(&fleet);
        let said = ann.says(&["apply", "--dry-run=server", "-f", &file]);
        assert!(said.contains(&veto), "{leader} leads: {said}");
        assert!(said.contains("would object"), "{said}");
        assert!(
            said.contains("packageset.placet.dev/base configured (server dry run)"),
            "{said}"
        );
        assert_eq!(everything(&fleet), before);
    }
    drop(session);
}

#[test]
fn what_is_wrong_is_refused_and_decisions_bear_the_name_of_whoever_takes_them() {
    let Some((fleet, ann)) = asked_by_server(&["a"]) else {
        return;
    };
    let file = next_version(&fleet);
    until_asked(&fleet, &ann, &file);

    let session = open_session(&fleet, "core-1");
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    let rollout = fleet.rollout(&commit, "Held");
    let name = rollout["metadata"]["name"].as_str().expect("a name");
    let decide = |decision: &Value| {
        let patch = json!({"spec": {"decision": decision}}).to_string();
        ann.says(&["patch", "rollout", name, "--type=merge", "-p", &patch])
    };
    let late = decide(&json!({"hold": 7, "action": "skip", "reason": "x"}));
    assert!(
        late.contains("spec.decision: hold 7 of roll-out")
            && late.contains("is not open; hold 1 is"),
        "{late}"
    );
    let other = decide(&json!({"hold": 1, "action": "force", "nodes": ["edge-1"], "reason": "x"}));
    assert!(
        other.contains("node edge-1 does not object in hold 1"),
        "{other}"
    );
    let under_way = ann.says(&["delete", "rollout", name]);
    assert!(
        under_way.contains("the roll-out is under way"),
        "{under_way}"
    );
    let taken =
        decide(&json!({"hold": 1, "action": "skip", "reason": "later", "author": "the king"}));
    assert!(taken.contains("patched"), "{taken}");
    let done = fleet.rollout(&commit, "Done");
    assert_eq!(done["spec"]["decision"]["author"], "ann");
    assert_eq!(done["status"]["decisions"][0]["author"], "ann");
    let over = decide(&json!({"hold": 2, "action": "abort", "reason": "x"}));
    assert!(over.contains("is not held (its phase is Done)"), "{over}");
    drop(session);

    // A class that names a set which is not there yet is applied all the same, with a word.
    let class = "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {name: later}\nspec: {selector: {types: [later]}, packageSets: [not-there-yet]}\n";
    let file = fleet.path("class.yaml");
    fs::write(&file, class).expect("a file");
    let said = ann.says(&["apply", "-f", file.to_str().expect("a path")]);
    assert!(
        said.contains("Warning: NodeClass/later: ") && said.contains("not-there-yet"),
        "{said}"
    );
    assert!(
        said.contains("nodeclass.placet.dev/later created"),
        "{said}"
    );
}

#[test]
fn a_webhook_that_is_down_blocks_no_declarations_and_lets_nobody_decide_unseen() {
    let Some((mut fleet, ann)) = asked_by_server(&["a"]) else {
        return;
    };
    let file = next_version(&fleet);
    until_asked(&fleet, &ann, &file);
    let rollouts = fleet.objects("rollouts");
    let name = rollouts[0]["metadata"]["name"].as_str().expect("a name");

    // Somebody else's hand in the bundle is put right, and so is the loss of the Secret.
    let spoil =
        json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]);
    let spoil = spoil.to_string();
    ann.kubectl(&[
        "patch",
        "validatingwebhookconfiguration",
        "placet",
        "--type=json",
        "-p",
        &spoil,
    ]);
    until_asked(&fleet, &ann, &file);
    ann.kubectl(&["delete", "-n", NAMESPACE, "secret", "placet-webhook"]);
    until_asked(&fleet, &ann, &file);

    fleet.kill_controller("a");
    let said = ann.says(&["apply", "--dry-run=server", "-f", &file]);
    assert!(said.contains("configured (server dry run)"), "{said}");
    assert!(!said.contains("Error"), "{said}");
    let patch = json!({"spec": {"decision": {"hold": 1, "action": "abort", "reason": "x"}}});
    let patch = patch.to_string();
    let said = ann.says(&["patch", "rollout", name, "--type=merge", "-p", &patch]);
    assert!(said.contains("failed calling webhook"), "{said}");
}
