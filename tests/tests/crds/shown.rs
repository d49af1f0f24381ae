//! How objects of our kinds look with kubectl, and who may write which part of them.

use placet_crds::kinds;
use serde_json::Value;

use crate::{cluster, kubectl, with_file};

/// One object of each kind.
const ALL: &str = "apiVersion: placet.dev/v1alpha1
kind: GitSource
metadata: {name: shown}
spec: {url: /srv/fleet.git, suspend: true}
---
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: shown}
spec: {packageSets: [shown]}
---
apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {name: shown}
spec: {packages: []}
---
apiVersion: placet.dev/v1alpha1
kind: FleetNode
metadata: {name: shown}
spec: {class: shown}
---
apiVersion: placet.dev/v1alpha1
kind: Rollout
metadata: {name: shown}
spec:
  planDigest: sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
  to: main@sha1:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
";

#[test]
fn columns_names_and_the_category() {
    let Some(cluster) = cluster() else { return };
    with_file(cluster, "shown.yaml", ALL, &["apply"]);
    for info in kinds() {
        for name in [&info.kind, &info.plural, &info.singular]
            .into_iter()
            .chain(&info.short_names)
        {
            let table = kubectl(cluster, &["get", name, "shown", "-o", "wide"]);
            let head = table.lines().next().unwrap_or_default();
            assert!(head.starts_with("NAME "), "{name}: {table}");
            let mut rest = head;
            for column in &info.columns {
                let wanted = column.name.to_uppercase();
                let at = rest.find(&wanted);
                let at = at.unwrap_or_else(|| panic!("{name}: {wanted} in its place in {head}"));
                rest = &rest[at + wanted.len()..];
            }
        }
    }
    let all = kubectl(cluster, &["get", "placet", "-o", "name"]);
    for info in kinds() {
        let name = format!("{}.placet.dev/shown", info.singular);
        assert!(all.lines().any(|line| line == name), "{name}: {all}");
    }
}

fn class(cluster: &placet_tests::Cluster) -> Value {
    let json = kubectl(cluster, &["get", "ncls", "apart", "-o", "json"]);
    serde_json::from_str(&json).expect("JSON")
}

#[test]
fn status_is_apart_from_what_is_declared() {
    let Some(cluster) = cluster() else { return };
    let text = "apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: apart}
spec: {packageSets: [a]}
status: {observedGeneration: 7}
";
    with_file(cluster, "apart.yaml", text, &["create"]);
    let made = class(cluster);
    assert!(made["status"].is_null(), "nobody declares a status: {made}");

    let patch = r#"{"status": {"observedGeneration": 1}, "spec": {"packageSets": ["b"]}}"#;
    let arguments = [
        "patch",
        "ncls",
        "apart",
        "--type=merge",
        "--subresource=status",
        "-p",
        patch,
    ];
    kubectl(cluster, &arguments);
    let written = class(cluster);
    assert_eq!(written["status"]["observedGeneration"], 1);
    assert_eq!(written["spec"], made["spec"]);
    assert_eq!(
        written["metadata"]["generation"], made["metadata"]["generation"],
        "a status is no new declaration"
    );

    let patch = r#"{"status": {"observedGeneration": 2}, "spec": {"packageSets": ["c"]}}"#;
    kubectl(
        cluster,
        &["patch", "ncls", "apart", "--type=merge", "-p", patch],
    );
    let declared = class(cluster);
    assert_eq!(declared["status"], written["status"]);
    assert_eq!(declared["spec"]["packageSets"][0], "c");
    assert_eq!(declared["metadata"]["generation"], 2);
}
