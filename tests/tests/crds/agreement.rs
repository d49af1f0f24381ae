//! The API server and the commands say yes and no to the same declarations.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use placet_crds::{Fault, SourceFile, find_kind, validate};
use serde_json::{Value, json};

use crate::{cluster, with_file};

/// Valid objects that between them have nearly every field of every kind.
fn samples() -> Vec<Value> {
    let plan = format!("sha256:{}", "a".repeat(64));
    let revision = format!("main@sha1:{}", "b".repeat(40));
    let object = |kind: &str, spec: Value| json!({"apiVersion": "placet.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    vec![
        object(
            "GitSource",
            json!({
                "url": "https://git.example/fleet.git", "ref": {"branch": "main"},
                "path": "fleet", "intervalSeconds": 60, "prune": true, "suspend": false,
                "secretRef": {"name": "credentials"},
            }),
        ),
        object(
            "NodeClass",
            json!({
                "selector": {"types": ["line-card"], "architectures": ["x86_64"], "labels": {"site": "north"}},
                "packageSets": ["apps", "base"],
                "wants": {"features": ["routing-protocol/bgp"], "types": ["process"]},
                "strategy": {
                    "maxUnavailable": 2, "onUnreachable": "skip", "voteSeconds": 30,
                    "promiseSeconds": 60, "canaries": 1, "haltThreshold": 2,
                },
                "persistence": {"packages": true},
                "vetoRules": [{"name": "always", "rule": "true", "message": "because"}],
                "bootImages": [{"reference": "oci-layout:boot:1.0.0", "version": "1.0.0"}],
            }),
        ),
        object(
            "PackageSet",
            json!({"packages": [
                {"name": "chat", "version": "1.1.0", "reference": "oci-layout:../packages:1.1.0"},
                {"name": "base", "version": "2.0.0", "reference": format!("oci-layout:base@{plan}")},
            ]}),
        ),
        object(
            "FleetNode",
            json!({
                "class": "core", "labels": {"rack": "8"}, "suspended": false,
                "facts": {"type": "line-card", "architecture": "x86_64", "location": "north", "features": ["a/b"]},
            }),
        ),
        object(
            "Rollout",
            json!({
                "planDigest": plan, "from": revision, "to": revision, "dryRun": false,
                "decision": {"hold": 1, "action": "force", "nodes": ["core-1"], "reason": "night shift agreed"},
            }),
        ),
    ]
}

/// What may stand in a field by mistake.
fn mistakes() -> Vec<Value> {
    let long = "a".repeat(5_000);
    vec![
        json!(""),
        json!("x"),
        json!("Not A Name"),
        json!("../../etc"),
        json!("https://me:secret@git.example/a"),
        json!(long),
        json!("\u{1b}[31m"),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(i64::MAX),
        json!(true),
        json!(null),
        json!([]),
        json!(["a", "a"]),
        json!(["a", 1]),
        json!({}),
        json!({"unknown": 1}),
    ]
}

/// The JSON pointers of every value below `value`.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, it)| (key.clone(), it)).collect(),
        Value::Array(items) => (0..)
            .map(|index: usize| index.to_string())
            .zip(items)
            .collect(),
        _ => Vec::new(),
    };
    for (key, inner) in inner {
        let at = format!("{at}/{key}");
        all.push(at.clone());
        pointers(inner, &at, all);
    }
}

/// The sample without the value at `pointer`.
fn without(sample: &Value, pointer: &str) -> Value {
    let mut changed = sample.clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    match changed.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.remove(key)),
        Some(Value::Array(items)) => drop(items.remove(key.parse().expect("an index"))),
        _ => panic!("{pointer} leads nowhere"),
    }
    changed
}

/// The samples, and each of them with one thing wrong, or right in another way.
fn variants() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for sample in samples() {
        let kind = sample["kind"].as_str().expect("a kind").to_owned();
        all.push((format!("{kind} as it should be"), sample.clone()));
        let mut places = Vec::new();
        pointers(&sample["spec"], "/spec", &mut places);
        for place in places {
            all.push((format!("{kind} without {place}"), without(&sample, &place)));
            for mistake in mistakes() {
                let mut changed = sample.clone();
                let shown: String = mistake.to_string().chars().take(40).collect();
                *changed.pointer_mut(&place).expect("it leads there") = mistake;
                all.push((format!("{kind}{place} = {shown}"), changed));
            }
        }
    }
    for (index, (_, object)) in all.iter_mut().enumerate() {
        object["metadata"]["name"] = json!(format!("variant-{index}"));
    }
    all
}

/// What the commands find wrong with an object.
fn refused_here(object: &Value) -> Option<String> {
    let kind = object["kind"].as_str().expect("a kind");
    let faults = validate(kind, object, None).err()?;
    Some(
        faults
            .iter()
            .map(Fault::to_string)
            .collect::<Vec<_>>()
            .join("; "),
    )
}

#[test]
fn on_every_field() {
    let Some(cluster) = cluster() else { return };
    let variants = variants();
    let mut text = String::new();
    for (_, object) in &variants {
        let _ = writeln!(text, "---\n{object}");
    }
    let said = with_file(
        cluster,
        "variants.yaml",
        &text,
        &["create", "--dry-run=server"],
    );
    let taken: BTreeSet<&str> = said
        .lines()
        .filter_map(|line| line.strip_suffix(" created (server dry run)"))
        .filter_map(|line| line.rsplit('/').next())
        .collect();
    let mut disagreed = Vec::new();
    for (what, object) in &variants {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let (there, here) = (taken.contains(name), refused_here(object));
        // What is wrong within a rule of ours is for the admission webhook to find.
        let is_rule = here
            .as_ref()
            .is_some_and(|fault| fault.contains("].rule: "));
        if there == here.is_some() && !is_rule {
            disagreed.push(format!("{what}: server {there}, here {here:?}"));
        }
    }
    let (yes, all) = (taken.len(), variants.len());
    assert!(yes > 20 && all - yes > 500, "{yes} of {all} were taken");
    assert!(
        disagreed.is_empty(),
        "{} of {all}:\n{}",
        disagreed.len(),
        disagreed.join("\n")
    );
}

#[test]
fn on_the_field_that_is_wrong() {
    let Some(cluster) = cluster() else { return };
    let head = "apiVersion: placet.dev/v1alpha1\n";
    for (text, field) in [
        (
            "kind: NodeClass\nmetadata: {name: c}\nspec: {packageSets: [a, a]}\n",
            "spec.packageSets",
        ),
        (
            "kind: NodeClass\nmetadata: {name: c}\nspec: {strategy: {maxUnavailable: 0}}\n",
            "spec.strategy.maxUnavailable",
        ),
        (
            "kind: NodeClass\nmetadata: {name: c}\nspec: {strategy: {voteSeconds: 60, promiseSeconds: 30}}\n",
            "spec.strategy",
        ),
        (
            "kind: NodeClass\nmetadata: {name: c}\nspec: {colour: red}\n",
            "spec.colour",
        ),
        (
            "kind: PackageSet\nmetadata: {name: p}\nspec: {packages: [{name: a, version: one, reference: 'oci-layout:a:1'}]}\n",
            "spec.packages[0].version",
        ),
        (
            "kind: GitSource\nmetadata: {name: g}\nspec: {}\n",
            "spec.url",
        ),
        (
            "kind: GitSource\nmetadata: {name: g}\nspec: {url: /a, ref: {branch: a, tag: b}}\n",
            "spec.ref",
        ),
        (
            "kind: GitSource\nmetadata: {name: g}\nspec: {url: /a, path: a/../../b}\n",
            "spec.path",
        ),
    ] {
        let text = format!("{head}{text}");
        let said = with_file(
            cluster,
            "wrong.yaml",
            &text,
            &["create", "--dry-run=server"],
        );
        assert!(!said.contains("created"), "it is refused: {said}");
        assert!(said.contains(field), "{field}: {said}");
        let file = SourceFile {
            name: "f.yaml".to_owned(),
            text,
        };
        let faults = placet_crds::load(&[file]).expect_err("the commands refuse it too");
        assert!(
            faults.iter().any(|fault| fault.field == field),
            "{field}: {faults:?}"
        );
    }
}

/// A decision answers one hold, once; the rest of a roll-out never changes.
#[test]
fn on_what_may_change_in_a_rollout() {
    let Some(cluster) = cluster() else { return };
    let mut rollout = samples().pop().expect("a roll-out");
    rollout["metadata"]["name"] = json!("decided");
    let mut old = without(&rollout, "/spec/decision");
    with_file(cluster, "rollout.yaml", &old.to_string(), &["create"]);
    let decide = |hold: u32, action: &str| json!({"decision": {"hold": hold, "action": action, "reason": "because"}});
    for (change, is_fine) in [
        (
            json!({"to": format!("main@sha1:{}", "c".repeat(40))}),
            false,
        ),
        (json!({"dryRun": true}), false),
        (
            json!({"decision": {"hold": 1, "action": "skip", "nodes": ["a"], "reason": "because"}}),
            false,
        ),
        (decide(2, "skip"), true),
        (decide(2, "abort"), false),
        (decide(1, "skip"), false),
        (json!({"decision": null}), false),
        (decide(3, "abort"), true),
    ] {
        let patch = json!({ "spec": change }).to_string();
        let there = cluster.run(&["patch", "ro", "decided", "--type=merge", "-p", &patch]);
        let mut new = old.clone();
        let spec = new["spec"].as_object_mut().expect("fields");
        for (field, value) in change.as_object().expect("fields") {
            spec.remove(field);
            if !value.is_null() {
                spec.insert(field.clone(), value.clone());
            }
        }
        let info = find_kind("Rollout").expect("a kind of ours");
        let here = validate(&info.kind, &new, Some(&old));
        assert_eq!(there.is_ok(), is_fine, "{patch}: {there:?}");
        assert_eq!(here.is_ok(), is_fine, "{patch}: {here:?}");
        if is_fine {
            old = new;
        }
    }
}
