//! Good declarations load; bad ones are refused with file, line, field and what to do.

use placet_crds::{
    Fault, Object, SourceFile, desired, load, load_all, locate, not_carried_out, validate,
};
use proptest::prelude::*;
use serde_json::json;

const GOOD: &str = r#"apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core, labels: {tier: a}}
spec:
  selector: {types: [line-card], labels: {site: north}}
  packageSets: [apps, base]
  wants: {features: [routing-protocol/bgp], types: [process, library]}
  strategy: {maxUnavailable: 2, onUnreachable: skip}
---
apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {name: apps}
spec:
  packages:
    - name: chat
      version: 1.1.0
      reference: oci-layout:../packages:1.1.0
---
# nothing
---
apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {name: base}
spec: {packages: []}
---
apiVersion: placet.dev/v1alpha1
kind: FleetNode
metadata: {name: core-1, labels: {site: north, rack: "7"}}
spec:
  class: core
  facts: {type: line-card, architecture: x86_64}
  labels: {rack: "8"}
---
apiVersion: placet.dev/v1alpha1
kind: GitSource
metadata: {name: fleet}
spec: {url: /srv/fleet.git}
"#;

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

fn one(text: &str) -> Result<Vec<Object>, Vec<Fault>> {
    load(&[file("f.yaml", text)])
}

/// The faults of `text`, one a line.
#[track_caller]
fn faults(text: &str) -> String {
    let faults = one(text).unwrap_err();
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    lines.join("\n")
}

#[track_caller]
fn check(text: &str, expected: &expect_test::Expect) {
    expected.assert_eq(&faults(text));
}

#[test]
fn good_declarations_load_with_their_defaults() {
    let objects = one(GOOD).unwrap();
    let names: Vec<_> = objects.iter().map(|it| (it.kind(), it.name())).collect();
    assert_eq!(
        names,
        [
            ("NodeClass", "core"),
            ("PackageSet", "apps"),
            ("PackageSet", "base"),
            ("FleetNode", "core-1"),
            ("GitSource", "fleet"),
        ]
    );
    let Object::GitSource(source) = &objects[4] else {
        panic!()
    };
    assert_eq!(source.spec.interval_seconds, 60);
    assert!(source.spec.prune && !source.spec.suspend);
    assert!(not_carried_out(&objects).is_empty());
}

#[test]
fn what_is_loaded_round_trips_through_json() {
    for object in one(GOOD).unwrap() {
        let json = object.to_json();
        let again = validate(object.kind(), &json, Some(&json)).unwrap();
        assert_eq!(again, object);
        assert_eq!(again.to_json(), json);
    }
}

#[test]
fn declarations_become_the_planners_view() {
    let desired = desired("main@sha1:x", &one(GOOD).unwrap()).unwrap();
    let class = &desired.classes["core"];
    assert_eq!(class.package_sets, ["apps", "base"]);
    assert_eq!(class.strategy.max_unavailable, Some(2));
    let default = placet_model::Strategy::default();
    assert_eq!(class.strategy.vote_seconds, default.vote_seconds);
    assert_eq!(class.strategy.promise_seconds, default.promise_seconds);
    let package = &desired.package_sets["apps"].packages[0];
    assert_eq!(package.version.to_string(), "1.1.0");
    let node = &desired.nodes[&"core-1".parse().unwrap()];
    assert_eq!(node.labels["site"], "north");
    assert_eq!(node.labels["rack"], "8");
}

#[test]
fn references_to_nothing_are_refused_with_candidates() {
    let text = GOOD
        .replace("[apps, base]", "[app, base]")
        .replace("class: core", "class: edge");
    let objects = one(&text).unwrap();
    let faults = desired("r", &objects).unwrap_err();
    let faults = locate(faults, &[file("fleet/all.yaml", &text)]);
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    expect_test::expect![[r#""#]].assert_eq(&lines.join("\n"));
}

#[test]
fn a_file_that_is_too_large_is_not_parsed() {
    let text = "x".repeat((1 << 20) + 1);
    check(&text, &expect_test::expect![[r#""#]]);
}

#[test]
fn an_alias_bomb_does_not_go_off() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let begun = std::time::Instant::now();
    check(&text, &expect_test::expect![[r#""#]]);
    assert!(begun.elapsed().as_secs() < 5);
}

#[test]
fn depth_is_bounded() {
    check(
        &format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        &expect_test::expect![[r#""#]],
    );
    check(&"- ".repeat(10_000), &expect_test::expect![[r#""#]]);
}

#[test]
fn fields_are_found_against_the_schema() {
    check(
        r#"apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata:
  name: Core
  namespace: default
spec:
  pakageSets: [apps]
  colour: red
  strategy:
    voteSeconds: "30"
    promiseSeconds: 0
    onUnreachable: skipp
  wants: [x]
"#,
        &expect_test::expect![[r#""#]],
    );
    check(
        r#"apiVersion: placet.dev/v1
kind: PackageSet
metadata: {name: apps}
spec:
  packages:
    - name: chat
      version: 1.1
      reference: ../packages
    - {name: chat, version: "1.1", reference: "oci-layout:x:1"}
    - {}
"#,
        &expect_test::expect![[r#""#]],
    );
}

#[test]
fn kinds_are_read_first() {
    check("kind: NodeClas\n", &expect_test::expect![[r#""#]]);
    check("apiVersion: v1\n", &expect_test::expect![[r#""#]]);
    check("- a\n", &expect_test::expect![[r#""#]]);
}

#[test]
fn what_is_no_yaml_is_refused() {
    check("a: 1\na: 2\n", &expect_test::expect![[r#""#]]);
    check("1: a\n\"1\": b\n", &expect_test::expect![[r#""#]]);
    check("a: [1\nb: 2\n", &expect_test::expect![[r#""#]]);
    check("a: !secret b\n", &expect_test::expect![[r#""#]]);
    check("a: *nowhere\n", &expect_test::expect![[r#""#]]);
}

#[test]
fn a_name_is_declared_once() {
    let set = "apiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata:\n  name: apps\nspec: {packages: []}\n";
    let files = [
        file("a.yaml", set),
        file("b.yaml", &format!("{set}---\n{set}")),
    ];
    let lines: Vec<String> = load(&files)
        .unwrap_err()
        .iter()
        .map(Fault::to_string)
        .collect();
    expect_test::expect![[r#""#]].assert_eq(&lines.join("\n"));
}

#[test]
fn rules_hold_for_files() {
    check(
        r#"apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core}
spec:
  packageSets: [apps, base, apps]
  strategy:
    promiseSeconds: 10
---
apiVersion: placet.dev/v1alpha1
kind: GitSource
metadata: {name: fleet}
spec:
  url: https://me:secret@git.example/fleet
  ref: {branch: main, tag: v1}
  path: a/../../b
---
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: rules}
spec:
  vetoRules:
    - {name: syntax, rule: "node.facts.type ==", message: m}
    - {name: fine, rule: "node.facts.type == 'a'", message: m}
"#,
        &expect_test::expect![[r#""#]],
    );
}

#[test]
fn control_characters_are_shown() {
    let shown = faults(
        "apiVersion: placet.dev/v1alpha1\nkind: \"Node\\e[31m\\0Class\"\nmetadata: {name: a}\n",
    );
    assert!(shown.contains("Node\\u{1b}[31m\\u{0}Class"), "{shown}");
    for text in [
        "\"a\\eb\": 1\nkind: GitSource\napiVersion: placet.dev/v1alpha1\n",
        "kind: GitSource\nmetadata: {name: \"a\\nb\\e\"}\nspec: {url: \"/a\\0\", \"x\\ry\": 1}\n",
        "a: \u{1b}[31m\n",
        "a: b\0c\n",
    ] {
        let shown = faults(text);
        let control = |character: char| character.is_control() && character != '\n';
        assert!(!shown.contains(control), "{shown:?}");
    }
    let named = load(&[file("a\u{1b}.yaml", "x")]).unwrap_err();
    assert_eq!(named[0].file, "a\\u{1b}.yaml");
}

#[test]
fn faults_are_many_but_not_without_end() {
    let unknown: String = (0..1_000).map(|n| format!("x{n}: 1\n")).collect();
    let text = format!("apiVersion: placet.dev/v1alpha1\nkind: Rollout\n{unknown}");
    let faults = one(&text).unwrap_err();
    assert_eq!(faults.len(), 21);
    assert!(faults[20].message.contains("more faults"), "{}", faults[20]);
}

#[test]
fn a_decision_may_come_alone() {
    let text = r"apiVersion: placet.dev/v1alpha1
kind: Rollout
metadata: {name: r-1}
spec:
  decision: {hold: 2, action: force, nodes: [core-1], reason: night shift agreed}
";
    let loaded = load_all(&[file("d.yaml", text)]).unwrap();
    assert!(loaded.objects.is_empty());
    assert_eq!(loaded.decisions[0].rollout, "r-1");
    assert_eq!(
        loaded.decisions[0].decision.kind().to_string(),
        "force core-1"
    );
    check(text, &expect_test::expect![[r#""#]]);
    check(
        &text.replace("force", "skip").replace("night", "\"\\n"),
        &expect_test::expect![[r#""#]],
    );
    let bad = text.replace("force", "skip");
    let lines = load_all(&[file("d.yaml", &bad)]).unwrap_err();
    expect_test::expect![[r#""#]].assert_eq(&lines[0].to_string());
}

fn rollout(spec: serde_json::Value) -> serde_json::Value {
    json!({
        "apiVersion": "placet.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "r-1"},
        "spec": spec,
    })
}

#[test]
fn a_rollout_changes_only_by_decision() {
    let revision = format!("main@sha1:{}", "a".repeat(40));
    let plan = format!("sha256:{}", "b".repeat(64));
    let spec = json!({"planDigest": plan, "to": revision});
    let decided = |hold: u32, action: &str| {
        let mut spec = spec.clone();
        spec["decision"] = json!({"hold": hold, "action": action, "reason": "because"});
        rollout(spec)
    };
    let old = rollout(spec.clone());
    let said = |new: &serde_json::Value, old: &serde_json::Value| {
        validate("ro", new, Some(old)).map_or_else(
            |faults| {
                faults
                    .iter()
                    .map(Fault::to_string)
                    .collect::<Vec<_>>()
                    .join("\n")
            },
            |_| String::new(),
        )
    };
    assert_eq!(said(&old, &old), "");
    assert_eq!(said(&decided(1, "skip"), &old), "");
    assert_eq!(said(&decided(1, "skip"), &decided(1, "skip")), "");
    assert_eq!(said(&decided(2, "abort"), &decided(1, "skip")), "");
    for (new, old) in [
        (decided(1, "force"), decided(1, "skip")),
        (decided(1, "skip"), decided(2, "skip")),
        (old.clone(), decided(1, "skip")),
    ] {
        expect_test::expect![[r#""#]].assert_eq(&said(&new, &old));
    }
    for (field, value) in [
        ("planDigest", json!(format!("sha256:{}", "c".repeat(64)))),
        ("to", json!(format!("main@sha1:{}", "c".repeat(40)))),
        ("from", json!(revision)),
        ("dryRun", json!(true)),
    ] {
        let mut new = spec.clone();
        new[field] = value;
        let said = said(&rollout(new), &old);
        assert!(said.contains("only decided"), "{field}: {said}");
    }
    let mut named = decided(1, "skip");
    named["spec"]["decision"]["nodes"] = json!(["core-1"]);
    assert!(said(&named, &old).contains("only force names nodes"));
}

#[test]
fn what_is_not_carried_out_is_named() {
    let text = r#"apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core}
spec:
  bootImages: [{reference: "oci-layout:x:1.0.0", version: 1.0.0}]
  strategy:
    canaries: 1
    haltThreshold: 2
  persistence: {packages: false}
---
apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {name: apps}
spec:
  packages:
    - {name: a, version: 1.0.0, reference: "oci-layout:x:1.0.0"}
    - {name: b, version: 1.0.0, reference: "oci://registry.example/b:1.0.0", tagPolicy: Once}
---
apiVersion: placet.dev/v1alpha1
kind: FleetNode
metadata: {name: n}
spec: {testMode: {}}
"#;
    let files = [file("f.yaml", text)];
    let faults = locate(not_carried_out(&load(&files).unwrap()), &files);
    let places: Vec<String> = faults
        .iter()
        .map(|it| format!("{}:{} {}", it.file, it.line.unwrap(), it.field))
        .collect();
    expect_test::expect![[r#""#]].assert_eq(&places.join("\n"));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = one(&text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = one(&String::from_utf8_lossy(&bytes));
    }

    /// Good text with a piece cut out or put elsewhere comes further than arbitrary text.
    #[test]
    fn damaged_text_never_panics(
        from in 0..GOOD.len(), length in 0..80_usize, to in 0..GOOD.len(), keep: bool,
        noise in "[\\[\\]{}:&*!|>%@`\"'#,\\-? \n\ta-z0-9\u{0}\u{1b}\u{85}\u{feff}]{0,8}",
    ) {
        let piece = &GOOD[from..(from + length).min(GOOD.len())];
        let mut text = GOOD.to_owned();
        if !keep {
            text.replace_range(from..from + piece.len(), "");
        }
        let at = to.min(text.len());
        text.insert_str(at, piece);
        text.insert_str(at, &noise);
        let _ = one(&text);
    }
}
