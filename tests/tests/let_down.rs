//! Nodes whose requirement on others fails while they watch a change give that change back.

use std::fs;
use std::path::Path;

use placet_packager::BuildOptions;
use placet_tests::{Fleet, FleetOptions, poll};
use serde_json::Value;

/// The dialer on core nodes needs, from version 2 on, the same version of the peer on edge nodes.
const CLASSES: &str = "\
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core}
spec: {selector: {types: [core]}, packageSets: [dialer], strategy: {soakSeconds: SOAK}}
---
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: edge}
spec: {selector: {types: [edge]}, packageSets: [peer], strategy: {soakSeconds: SOAK}}
";

const NODES: [&str; 2] = ["core-1", "edge-1"];

const NEEDS_PEER: &str =
    "requiresRemote: [{package: peer, version: '>=2', nodeType: edge, quantifier: all}]";

/// Builds a package of one script that is a process.
fn build(folder: &Path, (name, version): (&str, u64), more: &str, script: &str) {
    let source = folder.join(format!("{name}-{version}"));
    fs::create_dir_all(&source).expect("a folder");
    let script = format!("#!/bin/sh\n# version {version}\n{script}\n");
    fs::write(source.join("run"), script).expect("a script");
    let file = source.join("package.yaml");
    let text = format!(
        "name: {name}\nversion: {version}.0.0\n{more}\nmodules:\n  - path: bin/{name}\n    source: run\n    \
         mode: \"0755\"\n    process: {{kind: simple}}\n"
    );
    fs::write(&file, text).expect("a package file");
    let options = BuildOptions::default();
    placet_packager::build(&file, &folder.join(name), &options).expect("a package");
}

/// Commits this version of both packages; a change is watched for so long.
fn commit(fleet: &Fleet, version: u64, soak: &str) -> String {
    let set = |name: &str| {
        let layout = fleet.path("made").join(name);
        let layout = layout.display();
        format!(
            "---\napiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata: {{name: {name}}}\nspec:\n  packages:\n    \
             - {{name: {name}, version: {version}.0.0, reference: 'oci-layout:{layout}:{version}.0.0'}}\n"
        )
    };
    let classes = CLASSES.replace("SOAK", soak);
    fs::write(fleet.path("fleet/classes.yaml"), classes).expect("declarations");
    let sets = format!("{}{}", set("dialer"), set("peer"));
    fs::write(fleet.path("fleet/packages.yaml"), sets).expect("declarations");
    fleet.commit(&format!("version {version}"))
}

fn status(fleet: &Fleet, node: &str) -> Value {
    fleet.resource("fleetnode", node)["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_one_node_is_given_back_by_those_that_need_it() {
    let mut fleet = Fleet::start(FleetOptions {
        nodes: NODES.to_vec(),
        ..FleetOptions::default()
    })
    .await;
    let packages = fleet.path("made");
    let go = fleet.path("go");
    let lives = "while :; do sleep 1; done";
    let dies = format!(
        "until test -e {}; do sleep 0.05; done; echo no peer; exit 3",
        go.display()
    );
    build(&packages, ("dialer", 1), "", lives);
    build(&packages, ("dialer", 2), NEEDS_PEER, lives);
    build(&packages, ("peer", 1), "", lives);
    build(&packages, ("peer", 2), "", &dies);
    let first = commit(&fleet, 1, "0");
    fleet.follow_repository();
    fleet.verified(&first).await;
    let before = NODES.map(|node| status(&fleet, node)["manifestDigest"].clone());

    commit(&fleet, 2, "600");
    for (node, before) in NODES.iter().zip(&before) {
        poll("the change to be watched", || {
            let status = status(&fleet, node);
            let runs = &status["manifestDigest"];
            (runs != before && *runs == status["preferredDigest"]).then_some(())
        });
    }
    fs::write(go, "").expect("a file");
    for (node, before) in NODES.iter().zip(&before) {
        poll("the change to be given back", || {
            let status = status(&fleet, node);
            (status["manifestDigest"] == *before).then_some(())
        });
    }
    let objections = poll("the hold", || {
        let rollout = fleet.resource("rollout", "ro-2");
        let objections = rollout["status"]["hold"]["objections"].as_array()?.clone();
        (objections.len() == 2).then_some(objections)
    });
    let needs = "node core-1: activation failed: package dialer 2.0.0 needs peer >=2 on every other node with type edge; not so on node edge-1 (within the soak time of 600 s)";
    assert_eq!(objections[0], needs);
    let own = objections[1].as_str().expect("text");
    assert!(
        own.contains("peer exited with code 3; it wrote: no peer"),
        "{own}"
    );
}
