//! Repositories that give nothing to use: what is in force stays.

use std::fs;

use serde_json::json;

use crate::bench::Bench;
use crate::story::settled;

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_does_not_hold_changes_nothing_and_prunes_nothing() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    let good = bench.get("gsrc", "fleet").await["status"]["revision"].clone();
    let class = fs::read_to_string(bench.path("fleet/class.yaml")).unwrap();

    fs::remove_file(bench.path("fleet/packages.yaml")).unwrap();
    bench.commit("a set that is needed is gone");
    let refused = feed.named("refused").await;
    assert!(
        refused.list("reasons")[0].contains("class.yaml"),
        "{}",
        refused.data
    );
    let source = bench.get("gsrc", "fleet").await;
    assert_eq!(source["status"]["revision"], good);
    assert_eq!(
        source["status"]["conditions"][0]["reason"],
        "InvalidDeclarations"
    );
    assert_ne!(source["status"]["lastAttemptedRevision"], good);
    assert!(
        !bench.get("pset", "base").await.is_null(),
        "it is not pruned"
    );

    bench.write("class.yaml", &class.replace("selector", "selektor"));
    bench.commit("a typing mistake");
    let refused = feed.named("refused").await;
    assert!(
        refused.list("reasons")[0].contains("selektor"),
        "{}",
        refused.data
    );

    let commit = bench.commit_version("1.0.0", &["core-1"]);
    feed.verified(&commit).await;
    let source = bench.get("gsrc", "fleet").await;
    assert_eq!(source["status"]["conditions"][0]["status"], "True");
    assert_eq!(source["status"].get("faults"), None);
    assert!(
        bench.get("fnode", "core-2").await.is_null(),
        "pruned by the good one"
    );
    let inventory = json!([
        {"kind": "FleetNode", "name": "core-1"},
        {"kind": "NodeClass", "name": "core"},
        {"kind": "PackageSet", "name": "base"},
    ]);
    assert_eq!(source["status"]["inventory"], inventory);
    assert_eq!(first.changes(), 1, "nothing changed on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_goes_back_is_followed_only_by_name() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    let start = bench.git(&["rev-parse", "HEAD"]);
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.verified(&commit).await;
    bench.git(&["reset", "--quiet", "--hard", &start]);
    let refused = feed.named("refused").await;
    assert!(refused.list("reasons")[0].contains(&format!("allowRewind: {start}")));
    assert_eq!(
        bench.get("gsrc", "fleet").await["status"]["conditions"][0]["reason"],
        "Rewound"
    );
    assert_eq!(first.changes(), 2);
    let allowed = bench.source(&format!("  allowRewind: {start}\n"));
    assert_eq!(bench.apply(&allowed).await.problems, Vec::<String>::new());
    feed.verified(&start).await;
    assert_eq!(first.changes(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_gone_is_told_once_and_comes_back() {
    let bench = Bench::start().await;
    let (_first, _second, mut feed) = settled(&bench).await;
    fs::rename(bench.path("fleet"), bench.path("away")).unwrap();
    let refused = feed.named("refused").await;
    assert!(refused.list("reasons")[0].contains("fleet"));
    let version = bench.get("gsrc", "fleet").await["metadata"]["resourceVersion"].clone();
    // Applying makes it look again; what it finds is no news.
    bench.apply(&bench.source("  prune: true\n")).await;
    fs::rename(bench.path("away"), bench.path("fleet")).unwrap();
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.verified(&commit).await;
    assert_eq!(feed.count("refused"), 1);
    assert_ne!(
        version,
        bench.get("gsrc", "fleet").await["metadata"]["resourceVersion"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_repository_is_left_alone_until_it_is_not() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    bench.apply(&bench.source("  suspend: true\n")).await;
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    let source = bench.get("gsrc", "fleet").await;
    assert_eq!(source["status"]["conditions"][0]["reason"], "Suspended");
    assert_eq!(first.changes(), 1);
    let asked = bench.source("").replace(
        "{name: fleet}",
        "{name: fleet, annotations: {reconcile.placet.dev/requestedAt: now}}",
    );
    bench.apply(&asked).await;
    feed.verified(&commit).await;
    let source = bench.get("gsrc", "fleet").await;
    assert_eq!(source["status"]["lastHandledReconcileAt"], "now");
    assert_eq!(source["status"]["conditions"][0]["reason"], "Succeeded");
    assert_eq!(feed.count("commit"), 2, "each revision is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_is_not_there_blocks_and_says_so() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    bench.commit_version("9.9.9", &["core-1", "core-2"]);
    let blocked = feed.wait("a plan", |event| event.name == "plan").await;
    assert!(
        blocked.list("problems")[0].contains("9.9.9"),
        "{}",
        blocked.data
    );
    let rollout = bench.get("ro", "ro-2").await;
    assert_eq!(rollout["status"]["phase"], "Blocked");
    assert_eq!(rollout["status"]["conditions"][0]["reason"], "Blocked");
    let set = bench.get("pset", "base").await;
    assert_eq!(set["status"]["conditions"][0]["reason"], "PackageFailed");
    assert_eq!(first.changes(), 1);
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.verified(&commit).await;
}
