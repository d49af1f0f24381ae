//! Rules of a class vote for software that cannot (V3): in a dry run and in a roll-out.

use placet_model::DecisionKind;
use serde_json::json;

use crate::bench::{Bench, package_set};
use crate::story::settled;

const CLASS: &str = "apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core}
spec:
  selector: {types: [core]}
  packageSets: [base]
  vetoRules:
  - name: office-hours
    rule: node.name == 'core-1' && change.processes.exists(p, p.name == 'chatd')
    message: the chat is in use until six
";

const VETO: &str = "node core-1: rule office-hours non placet: the chat is in use until six";

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_objects_in_a_dry_run_and_holds_a_rollout_until_it_is_gone() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;

    let change = format!("{CLASS}---\n{}", package_set("1.1.0"));
    let report = bench.try_out(&change, 20).await.unwrap();
    assert_eq!(report.lines(), [VETO]);
    assert!(!report.is_clean());

    bench.write("class.yaml", CLASS);
    bench.write("packages.yaml", &package_set("1.1.0"));
    bench.commit("greet 1.1.0, but not in office hours");
    let held = feed.named("held").await;
    assert_eq!(held.list("vetoes"), [VETO], "both nodes agreed themselves");
    let node = bench.get("fnode", "core-1").await;
    let verdict = &node["status"]["lastVerdict"];
    assert_eq!(verdict["verdict"], "veto");
    let voters: Vec<_> = verdict["records"].as_array().unwrap().iter().collect();
    assert_eq!(voters.len(), 2, "the process and the rule: {voters:?}");
    assert_eq!(voters[0]["voter"], json!(null));
    assert_eq!(voters[1]["voter"], "rule");
    assert_eq!((first.changes(), second.changes()), (1, 1));

    // Without the rule it is another revision: everybody is asked anew, and nobody objects.
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.verified(&commit).await;
    assert_eq!((first.changes(), second.changes()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_force_what_a_rule_objects_to() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    bench.write("class.yaml", CLASS);
    bench.write("packages.yaml", &package_set("1.1.0"));
    let commit = bench.commit("greet 1.1.0");
    feed.named("held").await;
    let decision = bench
        .decide("ro-2", 1, DecisionKind::Force { nodes: Vec::new() })
        .await
        .unwrap();
    assert_eq!(decision["overrides"], json!([VETO]));
    feed.verified(&commit).await;
    assert_eq!((first.changes(), second.changes()), (2, 2));
}
