//! What people do: apply, delete, decide.

use placet_model::DecisionKind;
use placet_protocol::wire::{DecideRequest, DeleteRequest};
use tonic::Code;

use crate::bench::{Bench, package_set};
use crate::node::Node;
use crate::story::settled;

fn decision(hold: u32, reason: &str) -> String {
    format!(
        "apiVersion: placet.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: ro-2}}\nspec:\n  decision: {{hold: {hold}, action: skip, reason: {reason}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hold_is_decided_once_by_whatever_way() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    first.vetoes(Some("no"));
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("tally").await;

    let stale = bench
        .decide("ro-2", 7, DecisionKind::Skip)
        .await
        .unwrap_err();
    assert_eq!(stale.code(), Code::FailedPrecondition);
    assert!(stale.message().contains("hold 1 is"), "{stale}");
    let absent = bench
        .decide("ro-9", 1, DecisionKind::Skip)
        .await
        .unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let nodes = vec!["core-2".parse().unwrap()];
    let other = bench
        .decide("ro-2", 1, DecisionKind::Force { nodes })
        .await
        .unwrap_err();
    assert!(
        other.message().contains("core-2 does not object"),
        "{other}"
    );
    let request = DecideRequest {
        rollout: "ro-2".to_owned(),
        hold: 1,
        kind_json: br#"{"action":"skip"}"#.to_vec(),
        reason: " ".to_owned(),
    };
    let silent = bench.admin().await.decide(request).await.unwrap_err();
    assert!(silent.message().contains("needs a reason"), "{silent}");

    let refused = bench.apply(&decision(3, "late")).await;
    assert!(refused.problems[0].contains("hold 1 is"), "{refused:?}");
    let applied = bench.apply(&decision(1, "sessions")).await;
    assert_eq!(applied.results, ["rollout.placet.dev/ro-2 decided: skip"]);
    feed.verified(&commit).await;
    let again = bench.apply(&decision(1, "sessions")).await;
    assert_eq!(again.problems.len(), 1, "{again:?}");
    let decisions = bench.get("ro", "ro-2").await["status"]["decisions"].clone();
    assert_eq!(decisions.as_array().unwrap().len(), 1);
    assert_eq!(decisions[0]["reason"], "sessions");
    let me = nix_user();
    assert_eq!(decisions[0]["author"], me.as_str());
    assert_eq!(feed.count("decision"), 1);
}

fn nix_user() -> String {
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).unwrap();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn declarations_are_applied_beside_a_repository_and_refused_with_their_place() {
    let bench = Bench::start().await;
    let (_first, _second, mut feed) = settled(&bench).await;
    let bad = package_set("1.1.0").replace("spec:", "spec:\n  colour: red");
    let bad = bench.try_out(&bad, 0).await.unwrap_err();
    assert!(bad[0].starts_with("applied.yaml:"), "{bad:?}");
    assert!(bad[0].contains("colour"), "{bad:?}");
    bench.apply(&bench.source("  drift: report\n")).await;
    bench
        .until("gsrc", "fleet", |it| {
            it["status"]["observedGeneration"] == 2
        })
        .await;
    let applied = bench.apply(&package_set("1.1.0")).await;
    assert_eq!(applied.results, ["packageset.placet.dev/base configured"]);
    feed.wait("the change to be made", |event| {
        event.name == "processes" && event.data["generation"] == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_need_is_not_deleted() {
    let bench = Bench::start().await;
    let (_first, _second, _feed) = settled(&bench).await;
    let delete = |kind: &str, name: &str| DeleteRequest {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let mut admin = bench.admin().await;
    let needed = admin.delete(delete("pset", "base")).await.unwrap_err();
    assert!(needed.message().contains("NodeClass/core"), "{needed}");
    let newest = admin.delete(delete("ro", "ro-1")).await.unwrap_err();
    assert_eq!(newest.code(), Code::FailedPrecondition);
    let absent = admin.delete(delete("pset", "nothing")).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let unknown = admin.delete(delete("pod", "x")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
    let gone = admin.delete(delete("fnode", "core-2")).await.unwrap();
    assert_eq!(
        gone.into_inner().result,
        "fleetnode.placet.dev/core-2 deleted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_version_is_refused() {
    let bench = Bench::start().await;
    bench.commit_version("1.0.0", &[]);
    bench.follow().await;
    let mut feed = bench.feed(0).await;
    feed.named("commit").await;
    let stale =
        package_set("1.1.0").replace("{name: base}", "{name: base, resourceVersion: \"1\"}");
    let refused = bench.apply(&stale).await;
    assert!(
        refused.problems[0].contains("changed since it was read"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_events_are_told_again_and_then_the_feed_ends() {
    let bench = Bench::start().await;
    let node = Node::join(&bench, "core-1").await;
    let mut feed = bench.feed(0).await;
    let joined = feed.named("nodesJoined").await;
    assert_eq!(joined.list("nodes"), ["core-1"]);
    assert_eq!(bench.kept_events().await[0], "nodesJoined");
    drop(node);
}
