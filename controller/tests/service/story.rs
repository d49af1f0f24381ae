//! One change, the whole way.

use placet_model::DecisionKind;
use serde_json::json;

use crate::bench::Bench;
use crate::node::Node;

/// A fleet of two that runs version 1.0.0.
pub(crate) async fn settled(bench: &Bench) -> (Node, Node, crate::bench::Feed) {
    let first = Node::join(bench, "core-1").await;
    let second = Node::join(bench, "core-2").await;
    let mut feed = bench.feed(0).await;
    let commit = bench.commit_version("1.0.0", &["core-1", "core-2"]);
    bench.follow().await;
    feed.verified(&commit).await;
    (first, second, feed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_veto_holds_the_change_until_somebody_decides() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    let before = (
        first.pid("chatd"),
        second.pid("chatd"),
        second.pid("clockd"),
    );
    let travelled = (bench.travelled("core-1"), bench.travelled("core-2"));
    assert!(travelled.0 > 0 && travelled.1 > 0);

    first.vetoes(Some("3 open sessions"));
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    let plan = feed.named("plan").await;
    assert_eq!(plan.text("rollout"), "ro-2");
    let change = &plan.data["changes"][0];
    assert_eq!(change["nodes"], json!(["core-1", "core-2"]));
    let modules = json!([{"path": "etc/greeting", "change": "changed"}]);
    assert_eq!(change["modules"], modules);
    let because = "it opens etc/greeting, which is changed";
    let processes = json!([{"name": "chatd", "action": "ask", "because": [because]}]);
    assert_eq!(change["processes"], processes);

    let held = feed.named("held").await;
    let veto = format!(
        "node core-1: chatd ({}) non placet: 3 open sessions [sessions-open]",
        before.0
    );
    assert_eq!(held.list("vetoes"), [veto.as_str()]);
    let tally = feed.since(plan.sequence, "tally").await;
    assert_eq!(
        (&tally.data["accepts"], &tally.data["objections"]),
        (&json!(1), &json!(1))
    );
    let after_hold = (bench.travelled("core-1"), bench.travelled("core-2"));
    assert_eq!(after_hold, travelled, "no byte travels before the decision");
    check_held(&bench, &veto).await;

    let decision = bench.decide("ro-2", 1, DecisionKind::Skip).await.unwrap();
    assert_eq!(decision["overrides"], json!([veto]));
    feed.named("decision").await;
    let fetched = feed.named("fetched").await;
    assert_eq!(fetched.text("node"), "core-2");
    assert_eq!(fetched.data["modules"], 1, "only what it lacks");
    feed.verified(&commit).await;
    assert_eq!(first.pid("chatd"), before.0);
    assert_ne!(second.pid("chatd"), before.1);
    assert_eq!(second.pid("clockd"), before.2);
    let rollout = bench.get("ro", "ro-2").await;
    assert_eq!(rollout["status"]["phase"], "Done");
    assert_eq!(rollout["spec"]["decision"]["action"], "skip");
    assert_eq!(rollout["status"]["decisions"].as_array().unwrap().len(), 1);
}

async fn check_held(bench: &Bench, veto: &str) {
    let rollout = bench.get("rollout", "ro-2").await;
    let status = &rollout["status"];
    assert_eq!(status["phase"], "Held");
    assert_eq!(status["hold"]["objections"], json!([veto]));
    assert_eq!(status["vetoes"], json!([veto]));
    assert_eq!(status["verdicts"]["veto"], 1);
    assert_eq!(status["conditions"][0]["reason"], "Held");
    let node = bench.get("fnode", "core-1").await;
    assert_eq!(node["status"]["lastVerdict"]["verdict"], "veto");
    assert_eq!(
        node["status"]["lastVerdict"]["records"][0]["code"],
        "sessions-open"
    );
    assert_eq!(node["status"]["rollout"]["name"], "ro-2");
    let node = bench.get("fnode", "core-2").await;
    assert_eq!(node["status"]["lastVerdict"]["verdict"], "accept");
    assert_eq!(node["status"]["conditions"][0]["status"], "False");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_is_a_change_like_any_other() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.verified(&commit).await;
    let between = first.pid("chatd");
    bench.git(&["revert", "--no-edit", "HEAD"]);
    let commit = bench.git(&["rev-parse", "HEAD"]);
    feed.verified(&commit).await;
    assert_ne!(first.pid("chatd"), between);
    assert_eq!(first.changes(), 3);
    let class = bench.get("ncls", "core").await;
    let nodes = json!({"total": 2, "connected": 2, "upToDate": 2, "failed": 0});
    assert_eq!(class["status"]["nodes"], nodes);
    assert_eq!(class["status"]["conditions"][0]["status"], "True");
    let set = bench.get("pset", "base").await;
    assert_eq!(set["status"]["summary"], "greet 1.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_commit_takes_the_place_of_a_held_one_and_releases_its_votes() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    first.vetoes(Some("no"));
    bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("tally").await;
    let commit = bench.commit_version("1.0.0", &["core-1", "core-2"]);
    let superseded = feed.named("superseded").await;
    assert_eq!(superseded.text("rollout"), "ro-2");
    let verified = feed.verified(&commit).await;
    assert_eq!(
        verified.text("rollout"),
        "ro-3",
        "nothing changes, and it says so"
    );
    assert_eq!(
        bench.get("ro", "ro-2").await["status"]["phase"],
        "Superseded"
    );
    assert_eq!(bench.get("ro", "ro-3").await["status"]["phase"], "Done");
    for node in [&first, &second] {
        node.has_order("release").await;
        let released = node
            .orders()
            .iter()
            .filter(|order| *order == "release")
            .count();
        assert_eq!((released, node.changes()), (1, 1));
    }
    let late = bench
        .decide("ro-2", 0, DecisionKind::Skip)
        .await
        .unwrap_err();
    assert!(
        late.message().contains("a newer one took its place"),
        "{late}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fails_halts_the_change_until_somebody_decides() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    first
        .script
        .send_modify(|script| script.fails = Some("chatd died at start"));
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    let failed = feed.named("failed").await;
    assert_eq!(failed.text("reason"), "chatd died at start");
    let held = feed.named("held").await;
    assert_eq!(
        held.list("vetoes"),
        ["node core-1: activation failed: chatd died at start"]
    );
    assert_eq!(bench.get("ro", "ro-2").await["status"]["phase"], "Halted");
    first.script.send_modify(|script| script.fails = None);
    let nodes = vec!["core-1".parse().unwrap()];
    bench
        .decide("ro-2", 1, DecisionKind::Force { nodes })
        .await
        .unwrap();
    feed.verified(&commit).await;
    assert_eq!(first.changes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_changes_nobody_and_the_next_commit_begins_anew() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    first.vetoes(Some("no"));
    bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("tally").await;
    bench.decide("ro-2", 0, DecisionKind::Abort).await.unwrap();
    assert_eq!(bench.get("ro", "ro-2").await["status"]["phase"], "Aborted");
    feed.named("aborted").await;
    assert_eq!((first.changes(), second.changes()), (1, 1));
    first.vetoes(None);
    let commit = bench.commit("try again");
    feed.verified(&commit).await;
    assert_eq!((first.changes(), second.changes()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_stopped_in_order_goes_on_where_it_was() {
    let mut bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    first.vetoes(Some("no"));
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    let tally = feed.named("tally").await;
    bench.stop_controller().await;
    assert!(!bench.path("state/admin.sock").exists());
    bench.start_controller().await;
    let status = bench.get("fnode", "core-2").await["status"].clone();
    assert_eq!(status["presence"], "Away");
    assert_eq!(status["lastVerdict"]["verdict"], "accept");
    let (first, second) = (first.again(&bench).await, second.again(&bench).await);
    let mut feed = bench.feed(tally.sequence).await;
    bench.decide("ro-2", 1, DecisionKind::Skip).await.unwrap();
    feed.verified(&commit).await;
    assert_eq!((first.changes(), second.changes()), (1, 2));
    assert!(
        second.state.lock().unwrap().epoch > 1,
        "orders carry a higher epoch"
    );
}
