//! From hearing of a commit to the tally.

use crate::bench::Bench;
use crate::node::Node;

/// A debug build on a busy machine; the goal is a tenth of it.
const BOUND: f64 = 1_000.0;

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_have_voted_soon_after_a_commit() {
    let bench = Bench::start().await;
    let names = ["core-1", "core-2", "core-3", "core-4"];
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(Node::join(&bench, name).await);
    }
    let mut feed = bench.feed(0).await;
    let commit = bench.commit_version("1.0.0", &names);
    bench.follow().await;
    feed.verified(&commit).await;
    let mut taken = Vec::new();
    for run in 0..7 {
        let commit = bench.commit_version(if run % 2 == 0 { "1.1.0" } else { "1.0.0" }, &names);
        // What was found is looked at at once when something is applied.
        bench
            .apply(&bench.source(&format!("  intervalSeconds: {}\n", run + 1)))
            .await;
        let tally = feed.named("tally").await;
        assert_eq!(tally.data["accepts"], 4);
        taken.push(tally.data["milliseconds"].as_f64().unwrap());
        feed.verified(&commit).await;
    }
    taken.sort_by(f64::total_cmp);
    println!("milliseconds from commit to tally: {taken:?}");
    assert!(taken[3] < BOUND, "{taken:?}");
}
