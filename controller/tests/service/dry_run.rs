//! Dry runs: what a change would do, as the live nodes say, and nothing of it done.

use std::time::{Duration, Instant};

use placet_model::{DecisionKind, DryRunAnswer, VerdictKind};
use placet_protocol::wire::DryRunRequest;
use serde_json::Value;

use crate::bench::{Bench, PATIENCE, package_set};
use crate::node::Node;
use crate::story::settled;

/// Everything that a dry run must leave as it is: every object, every event, every byte fetched.
async fn all_of(bench: &Bench) -> (Vec<serde_json::Value>, Vec<String>, [u64; 2]) {
    let events = bench.kept_events().await;
    let travelled = ["core-1", "core-2"].map(|node| bench.travelled(node));
    (bench.list("", "").await, events, travelled)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vetoes_of_live_nodes_come_back_and_nothing_is_changed_anywhere() {
    let bench = Bench::start().await;
    let (first, second, _feed) = settled(&bench).await;
    first.vetoes(Some("3 open sessions"));
    let before = all_of(&bench).await;
    let report = bench.try_out(&package_set("1.1.0"), 20).await.unwrap();
    let veto = format!(
        "node core-1: chatd ({}) non placet: 3 open sessions [sessions-open]",
        first.pid("chatd")
    );
    assert_eq!(report.lines(), [veto]);
    assert!(!report.is_clean());
    assert_eq!(
        report.summary(),
        format!(
            "dry run {}: 2 nodes would change: 1 would accept, 1 would object; nothing was changed",
            report.name
        )
    );
    let [configured, warning] = &report.results[..] else {
        panic!("what would be done, and what the repository does then: {report:?}");
    };
    assert_eq!(configured, "packageset.placet.dev/base configured");
    assert!(
        warning.contains("GitSource `fleet` declares it"),
        "{warning}"
    );
    assert_eq!(report.nodes[1].processes, ["chatd: ask"]);
    let text = report.changes.join("\n");
    assert!(
        text.contains("it opens etc/greeting, which is changed"),
        "{text}"
    );
    assert_eq!(all_of(&bench).await, before);
    for node in [&first, &second] {
        let orders = node.orders();
        assert_eq!(orders, ["propose", "stage", "activate", "try"]);
        assert_eq!(node.changes(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_a_change_that_is_held_asks_beside_it_and_leaves_its_votes_alone() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    first.vetoes(Some("no"));
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("held").await;
    bench.until("ro", "ro-2", has_both_verdicts).await;
    let rollout = bench.get("ro", "ro-2").await;
    first.vetoes(None);
    second.vetoes(Some("now me"));
    let report = bench.try_out(&package_set("1.1.0"), 20).await.unwrap();
    let kinds: Vec<_> = report
        .nodes
        .iter()
        .map(|node| match &node.answer {
            DryRunAnswer::Verdict(verdict) => verdict.verdict,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, [VerdictKind::Accept, VerdictKind::Veto]);
    assert_eq!(bench.get("ro", "ro-2").await, rollout);
    // The promise of core-2 stands, whatever it said in the dry run.
    bench.decide("ro-2", 1, DecisionKind::Skip).await.unwrap();
    feed.verified(&commit).await;
    assert_eq!((first.changes(), second.changes()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_or_cannot_be_reached_is_named_and_not_waited_for() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    first.is_deaf_to(&["propose"]);
    drop(second);
    feed.named("nodeLost").await;
    let started = Instant::now();
    let report = bench.try_out(&package_set("1.1.0"), 2).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(15));
    let lines = report.lines();
    assert!(
        matches!(&lines[..], [silent, away]
            if silent.starts_with("node core-1: no answer within ")
                && away == "node core-2: not asked: it has no connection"),
        "{lines:?}"
    );
    first.has_order("untry").await;
    assert!(!report.is_clean(), "silence is no consent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_told_and_nobody_is_asked() {
    let bench = Bench::start().await;
    let (first, _second, _feed) = settled(&bench).await;
    let report = bench.try_out(&package_set("9.9.9"), 20).await.unwrap();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert!(report.problems[0].contains("greet:9.9.9"), "{report:?}");
    assert!(report.summary().contains("1 problem; nobody was asked"));
    assert!(!report.is_clean());
    assert!(!first.orders().contains(&"try".to_owned()));
    let nothing = bench.try_out(&package_set("1.0.0"), 20).await.unwrap();
    assert!(nothing.is_clean());
    assert!(nothing.summary().ends_with("no node would change"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_answered_each_with_its_own() {
    let bench = Bench::start().await;
    let (first, _second, _feed) = settled(&bench).await;
    first.vetoes(Some("busy"));
    let texts = package_set("1.1.0");
    let reports = (0..40).map(|_| bench.try_out(&texts, 20));
    let reports = futures_util::future::join_all(reports).await;
    let mut names = std::collections::BTreeSet::new();
    for report in reports {
        let report = report.unwrap();
        assert_eq!(report.lines().len(), 1, "{:?}", report.lines());
        names.insert(report.name);
    }
    assert_eq!(names.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_hears_when_whoever_asked_has_gone() {
    let bench = Bench::start().await;
    let (first, _second, _feed) = settled(&bench).await;
    first.is_deaf_to(&["propose"]);
    let mut admin = bench.admin().await;
    let request = DryRunRequest {
        files: vec![crate::bench::applied(&package_set("1.1.0"))],
        seconds: 600,
    };
    let asking = tokio::spawn(async move { admin.dry_run(request).await });
    first.has_order("try").await;
    asking.abort();
    // The loop notices when it has something to do.
    let _other = Node::join(&bench, "core-3").await;
    first.has_order("untry").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roll_out_that_follows_says_that_it_was_tried_out() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    first.vetoes(Some("not yet"));
    let report = bench.try_out(&package_set("1.1.0"), 20).await.unwrap();
    first.vetoes(None);
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.verified(&commit).await;
    let message = |rollout: serde_json::Value| {
        let message = rollout["status"]["history"][0]["message"].as_str();
        message.unwrap().to_owned()
    };
    let told = message(bench.get("ro", "ro-2").await);
    let expected = format!("tried out before in {} at ", report.name);
    assert!(told.contains(&expected), "{told}");
    assert!(told.ends_with("where 1 of 2 nodes objected"), "{told}");
    // Once is enough.
    let commit = bench.commit("nothing changes");
    tokio::time::timeout(PATIENCE, feed.verified(&commit))
        .await
        .unwrap();
    assert!(!message(bench.get("ro", "ro-3").await).contains("tried out"));
}

/// The second of the two verdicts may come after the change is held by the first.
fn has_both_verdicts(rollout: &Value) -> bool {
    let counts = &rollout["status"]["verdicts"];
    counts["accept"] == 1 && counts["veto"] == 1
}
