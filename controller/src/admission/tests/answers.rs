//! What is said of a request by itself, whoever leads.

use jiff::Timestamp;
use placet_model::{Decision, DecisionKind};
use serde_json::{Value, json};

use super::{Webhook, class, object, review, warnings};

/// A roll-out that is held, with a decision or without.
fn held(decision: &Value) -> Value {
    let digest = format!("sha256:{}", "0".repeat(64));
    let spec = json!({"planDigest": digest, "to": format!("main@sha1:{}", "1".repeat(40)), "dryRun": false});
    let mut rollout = object("Rollout", "ro-2", &spec);
    if !decision.is_null() {
        rollout["spec"]["decision"] = decision.clone();
    }
    rollout["status"] = json!({
        "phase": "Held",
        "holds": 1,
        "hold": {
            "number": 1,
            "since": "2026-01-31T12:00:00Z",
            "nodes": ["core-1"],
            "objections": ["node core-1: chatd (412) non placet: 3 open sessions"],
        },
        "conditions": [],
    });
    rollout
}

fn decision(hold: u32, author: Option<&str>) -> Value {
    let mut decision = json!({"hold": hold, "action": "skip", "reason": "tonight"});
    if let Some(author) = author {
        decision["author"] = json!(author);
    }
    decision
}

/// Bob's decision on hold 1.
fn decided() -> Decision {
    Decision {
        hold: 1,
        kind: DecisionKind::Skip,
        author: "bob".to_owned(),
        reason: "now".to_owned(),
        time: Timestamp::UNIX_EPOCH,
        overrides: Vec::new(),
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_path_of_the_field_in_the_words_of_every_command() {
    let webhook = Webhook::start().await;
    let mut wrong = class();
    wrong["spec"]["strategy"] = json!({"voteSeconds": "soon"});
    let response = webhook
        .validate(&review("CREATE", &wrong, &Value::Null))
        .await;
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 422);
    let cause = &response["status"]["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.strategy.voteSeconds");
    let message = response["status"]["message"].as_str().unwrap();
    let file = placet_crds::SourceFile {
        name: "NodeClass/core".to_owned(),
        text: serde_json::to_string(&json!({"apiVersion": wrong["apiVersion"], "kind": "NodeClass", "metadata": {"name": "core"}, "spec": wrong["spec"]})).unwrap(),
    };
    let fault = placet_crds::load(&[file]).unwrap_err().remove(0);
    assert!(message.ends_with(&fault.message), "{message}");
}

#[tokio::test]
async fn what_is_right_is_allowed_though_nobody_leads_and_the_person_hears_of_that() {
    let webhook = Webhook::start().await;
    let mut asked = review("CREATE", &class(), &Value::Null);
    asked["request"]["dryRun"] = json!(true);
    let response = webhook.validate(&asked).await;
    assert_eq!(response["allowed"], true);
    let told = warnings(&response);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("no controller leads just now: no node was asked"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_version_that_is_not_known_is_let_through_and_a_foreign_kind_is_not() {
    let webhook = Webhook::start().await;
    let mut newer = class();
    newer["apiVersion"] = json!("placet.dev/v1beta9");
    newer["spec"]["unheardOf"] = json!(true);
    for path in ["/validate", "/mutate"] {
        let response = webhook
            .ask(path, &review("CREATE", &newer, &Value::Null))
            .await;
        assert_eq!(response["allowed"], true);
        assert!(
            warnings(&response)[0].contains("v1beta9 is not a version that this controller knows"),
            "{response}"
        );
        let mut foreign = review("CREATE", &class(), &Value::Null);
        foreign["request"]["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"});
        let response = webhook.ask(path, &foreign).await;
        assert_eq!(response["allowed"], false);
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains("correct the rules"), "{message}");
    }
}

#[tokio::test]
async fn a_status_is_nobodys_declaration() {
    let webhook = Webhook::start().await;
    let mut status = review(
        "UPDATE",
        &json!({"apiVersion": "placet.dev/v1alpha1", "kind": "NodeClass", "metadata": {"name": "core"}, "status": {"x": 1}}),
        &class(),
    );
    status["request"]["subResource"] = json!("status");
    let response = webhook.validate(&status).await;
    assert_eq!(
        (&response["allowed"], warnings(&response).len()),
        (&json!(true), 0)
    );
}

#[tokio::test]
async fn what_a_repository_declares_is_changed_there() {
    let webhook = Webhook::start().await;
    let mut of_git = class();
    of_git["metadata"]["labels"] = json!({"placet.dev/git-source": "fleet"});
    let response = webhook.validate(&review("UPDATE", &of_git, &of_git)).await;
    assert_eq!(response["allowed"], true);
    assert!(
        warnings(&response)[0].contains("declared by GitSource fleet"),
        "{response}"
    );
}

#[tokio::test]
async fn roll_outs_are_opened_by_the_controller_and_changed_by_nobody() {
    let webhook = Webhook::start().await;
    let none = Value::Null;
    let made = webhook
        .validate(&review("CREATE", &held(&none), &none))
        .await;
    assert_eq!(made["status"]["code"], 403);
    let mut other = held(&none);
    other["spec"]["to"] = json!(format!("main@sha1:{}", "2".repeat(40)));
    let changed = webhook
        .validate(&review("UPDATE", &other, &held(&none)))
        .await;
    let message = changed["status"]["message"].as_str().unwrap();
    assert!(
        message.contains("a roll-out cannot be changed, only decided"),
        "{message}"
    );
    let deleted = webhook
        .validate(&review("DELETE", &none, &held(&none)))
        .await;
    assert_eq!(deleted["status"]["code"], 409, "{deleted}");
    let mut over = held(&none);
    over["status"] = json!({"phase": "Done", "conditions": []});
    let deleted = webhook.validate(&review("DELETE", &none, &over)).await;
    assert_eq!(deleted["allowed"], true);
}

/// A decision, what is other with the roll-out, and what is said to it.
type Case = (Value, fn(&mut Value), &'static str);

#[tokio::test]
async fn only_the_hold_that_is_open_is_decided() {
    let webhook = Webhook::start().await;
    let decide = async |decision: Value, change: fn(&mut Value)| {
        let mut old = held(&Value::Null);
        change(&mut old);
        let mut new = old.clone();
        new["spec"]["decision"] = decision;
        let response = webhook.validate(&review("UPDATE", &new, &old)).await;
        let message = response["status"]["message"].as_str().unwrap_or_default();
        (response["allowed"] == true, message.to_owned())
    };
    let keep: fn(&mut Value) = |_| {};
    assert!(decide(decision(1, None), keep).await.0);
    let cases: [Case; 6] = [
        (
            decision(2, None),
            keep,
            "hold 2 of roll-out ro-2 is not open; hold 1 is",
        ),
        (
            decision(1, None),
            |old| old["status"] = json!({"phase": "Done", "conditions": []}),
            "roll-out ro-2 is not held (its phase is Done): there is nothing to decide",
        ),
        (
            decision(1, None),
            |old| old["status"] = json!({"phase": "Blocked", "conditions": []}),
            "no decision overrides them",
        ),
        (
            decision(1, None),
            |old| old["status"]["decisions"] = serde_json::to_value([decided()]).unwrap(),
            "has just been decided by bob: skip",
        ),
        (
            json!({"hold": 1, "action": "force", "nodes": ["core-2"], "reason": "now"}),
            keep,
            "node core-2 does not object in hold 1",
        ),
        (
            json!({"hold": 1, "action": "force", "overrides": ["something else"], "reason": "now"}),
            keep,
            "has an objection that the decision does not name",
        ),
    ];
    for (decision, change, expected) in cases {
        let (allowed, message) = decide(decision, change).await;
        assert!(
            !allowed && message.contains(expected),
            "{expected}: {message}"
        );
        assert!(
            message.starts_with("Rollout/ro-2: spec.decision: "),
            "{message}"
        );
    }
}

/// The author that a decision has after the patch of `/mutate`.
async fn author_after(new: &Value, old: &Value) -> Option<String> {
    let webhook = Webhook::start().await;
    let response = webhook
        .ask("/mutate", &review("UPDATE", &held(new), &held(old)))
        .await;
    assert_eq!(response["allowed"], true);
    let mut author = new["author"].as_str().map(str::to_owned);
    let patch = response["patch"].as_array().into_iter().flatten();
    let bytes: Vec<u8> = patch
        .map(|byte| byte.as_u64().unwrap().try_into().unwrap())
        .collect();
    if bytes.is_empty() {
        return author;
    }
    assert_eq!(response["patchType"], "JSONPatch");
    let operations: Value = serde_json::from_slice(&bytes).unwrap();
    for operation in operations.as_array().unwrap() {
        assert_eq!(operation["path"], "/spec/decision/author");
        author =
            (operation["op"] == "add").then(|| operation["value"].as_str().unwrap().to_owned());
    }
    author
}

#[tokio::test]
async fn whoever_decides_is_named_by_the_api_server_and_by_nobody_else() {
    let (none, ann) = (Value::Null, Some("ann".to_owned()));
    assert_eq!(author_after(&decision(1, None), &none).await, ann);
    assert_eq!(
        author_after(&decision(1, Some("the king")), &none).await,
        ann
    );
    let of_bob = decision(1, Some("bob"));
    let bob = Some("bob".to_owned());
    assert_eq!(author_after(&of_bob, &of_bob).await, bob);
    assert_eq!(author_after(&decision(1, Some("ann")), &of_bob).await, bob);
    assert_eq!(author_after(&decision(1, None), &of_bob).await, bob);
    assert_eq!(author_after(&decision(2, Some("bob")), &of_bob).await, ann);
    let nobodys = decision(1, None);
    assert_eq!(
        author_after(&decision(1, Some("bob")), &nobodys).await,
        None
    );
    assert_eq!(author_after(&none, &of_bob).await, None);
}
