//! Good declarations load; bad ones are refused with file, line, field and what to do.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(
    clippy::needless_raw_string_hashes,
    reason = "expect-test writes the texts this way"
)]

use std::fmt::Write as _;

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
    lines.join("\n") + "\n"
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
    assert_eq!(source.spec.interval_seconds, None);
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

/// As `kubectl get -o yaml` writes it.
#[test]
fn what_a_server_adds_is_no_fault() {
    let text = r#"apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata:
  name: base
  uid: 7d8b1c3e-0000-4000-8000-000000000000
  resourceVersion: "12"
  generation: 3
  creationTimestamp: "2026-01-31T12:00:00Z"
  managedFields:
  - {manager: kubectl, operation: Apply, fieldsV1: {"f:spec": {"f:packages": {}}}}
spec: {packages: []}
status: {anything: goes}
"#;
    let objects = one(text).unwrap();
    assert!(objects[0].to_json().get("status").is_none());
    assert_eq!(objects[0].metadata().generation, Some(3));
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
    expect_test::expect![[r#"
        fleet/all.yaml:6:17: spec.packageSets[0]: there is no PackageSet `app`; did you mean `apps`?
        fleet/all.yaml:30:3: spec.class: there is no NodeClass `edge`; declared are `core`"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn a_file_that_is_too_large_is_not_parsed() {
    let text = "x".repeat((1 << 20) + 1);
    check(
        &text,
        &expect_test::expect![[r#"
        f.yaml: the file has 1048577 bytes; at most 1048576 are read: split it
    "#]],
    );
}

#[test]
fn an_alias_bomb_does_not_go_off() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    let begun = std::time::Instant::now();
    check(
        &text,
        &expect_test::expect![[r#"
            f.yaml:4:45: aliases repeat more than 10000 values; write the values out instead
        "#]],
    );
    assert!(begun.elapsed().as_secs() < 5);
}

#[test]
fn depth_is_bounded() {
    check(
        &format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        &expect_test::expect![[r#"
            f.yaml:1:33: this YAML cannot be read: recursion limit exceeded
        "#]],
    );
    check(
        &"- ".repeat(10_000),
        &expect_test::expect![[r#"
        f.yaml:1:65: nested deeper than 32 levels; no resource needs that
    "#]],
    );
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
        &expect_test::expect![[r#"
            f.yaml:4:3: metadata.name: `Core` is not what is expected here (The name of the resource: lower-case letters, digits, `-` and `.`, starting and ending with a letter or digit)
            f.yaml:5:3: metadata.namespace: unknown field `namespace`; remove it. Known here: `annotations`, `creationTimestamp`, `deletionGracePeriodSeconds`, `deletionTimestamp`, `finalizers`, `generation`, `labels`, `managedFields`, `name`, `ownerReferences`, `resourceVersion`, `selfLink` and 1 more
            f.yaml:7:3: spec.pakageSets: unknown field `pakageSets`; did you mean `packageSets`?
            f.yaml:8:3: spec.colour: unknown field `colour`; remove it. Known here: `bootImages`, `drift`, `packageSets`, `persistence`, `selector`, `strategy`, `vetoRules`, `wants`
            f.yaml:10:5: spec.strategy.voteSeconds: expected a whole number, found the text `30`; write it without quotes (How long a node may take to answer a proposal, in seconds; 30 by default)
            f.yaml:11:5: spec.strategy.promiseSeconds: 0 is out of bounds; expected at least 1 and at most 604800 (How long the accept of a node holds, in seconds; 3600 by default)
            f.yaml:12:5: spec.strategy.onUnreachable: `skipp` is not one of `wait`, `skip`, `fail`; did you mean `skip`?
            f.yaml:13:3: spec.wants: expected fields (`name: value`), found a list (Which modules of the packages its nodes want; all that fit their architecture by default)
        "#]],
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
        &expect_test::expect![[r#"
            f.yaml:1:1: apiVersion: `placet.dev/v1` is not one of `placet.dev/v1alpha1`
            f.yaml:7:7: spec.packages[0].version: expected text, found `1.1`; put it in quotes (The version of the package, as in `1.1.0`, `deb:1:2.3-4` or `rpm:2.3-4.el9`; the artifact must say the same)
            f.yaml:8:7: spec.packages[0].reference: `../packages` is not what is expected here (Where the package is found: an OCI image layout on disk, by tag (`oci-layout:../packages:1.1.0`) or by digest (`oci-layout:../packages@sha256:…`), or a registry (`oci://host/repository:1.1.0`))
            f.yaml:9:7: spec.packages[1]: `chat` stands in the list already; remove one of the two
            f.yaml:9:20: spec.packages[1].version: `1.1` is not what is expected here (The version of the package, as in `1.1.0`, `deb:1:2.3-4` or `rpm:2.3-4.el9`; the artifact must say the same)
            f.yaml:10:7: spec.packages[2].name: this field is required and missing (The name of the package; the artifact must say the same)
            f.yaml:10:7: spec.packages[2].reference: this field is required and missing (Where the package is found: an OCI image layout on disk, by tag (`oci-layout:../packages:1.1.0`) or by digest (`oci-layout:../packages@sha256:…`), or a registry (`oci://host/repository:1.1.0`))
            f.yaml:10:7: spec.packages[2].version: this field is required and missing (The version of the package, as in `1.1.0`, `deb:1:2.3-4` or `rpm:2.3-4.el9`; the artifact must say the same)
        "#]],
    );
}

#[test]
fn kinds_are_read_first() {
    check(
        "kind: NodeClas\n",
        &expect_test::expect![[r#"
        f.yaml:1:1: kind: `NodeClas` is not a kind of Placet; did you mean `NodeClass`? Known: `GitSource`, `NodeClass`, `PackageSet`, `FleetNode`, `Rollout`
    "#]],
    );
    check(
        "apiVersion: v1\n",
        &expect_test::expect![[r#"
        f.yaml:1:1: kind: expected the kind of the resource: one of `GitSource`, `NodeClass`, `PackageSet`, `FleetNode`, `Rollout`
    "#]],
    );
    check(
        "- a\n",
        &expect_test::expect![[r#"
        f.yaml:1:1: expected a resource: `apiVersion`, `kind`, `metadata` and `spec`
    "#]],
    );
}

#[test]
fn what_is_no_yaml_is_refused() {
    check(
        "a: 1\na: 2\n",
        &expect_test::expect![[r#"
        f.yaml:2:1: this YAML cannot be read: duplicate mapping key `a` is not allowed here
    "#]],
    );
    check(
        "1: a\n\"1\": b\n",
        &expect_test::expect![[r#"
        f.yaml: this YAML cannot be read: the key `1` stands twice
    "#]],
    );
    check(
        "a: [1\nb: 2\n",
        &expect_test::expect![[r#"
        f.yaml:2:2: this YAML cannot be read: illegal placement of ':' indicator
    "#]],
    );
    check(
        "a: !secret b\n",
        &expect_test::expect![[r#"
        f.yaml:1:12: this YAML cannot be read: unsupported tag `!secret`
    "#]],
    );
    check(
        "a: *nowhere\n",
        &expect_test::expect![[r#"
        f.yaml:1:4: this YAML cannot be read: reference to unknown value
    "#]],
    );
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
    expect_test::expect![[r#"
        b.yaml:4:3: metadata.name: PackageSet `apps` is declared twice, first at a.yaml:4; remove or rename one of the two
        b.yaml:10:3: metadata.name: PackageSet `apps` is declared twice, first at a.yaml:4; remove or rename one of the two"#]].assert_eq(&lines.join("\n"));
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
        &expect_test::expect![[r#"
            f.yaml:5:3: spec.packageSets: a package set stands in the list only once
            f.yaml:6:3: spec.strategy: promiseSeconds is at least voteSeconds: a promise must outlive the asking
            f.yaml:13:3: spec.url: the URL of a web server holds no user name or password; put them into a secret and name it in secretRef
            f.yaml:14:3: spec.ref: name a branch, a tag, a range of versions or a commit, only one of them
            f.yaml:15:3: spec.path: the path stays inside the repository: no component may be `..`
            f.yaml:22:22: spec.vetoRules[0].rule: the rule is not a CEL expression of at most 32 levels: ERROR: <input>:1:19: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
        "#]],
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
    let mut unknown = String::new();
    for n in 0..1_000 {
        writeln!(unknown, "x{n}: 1").unwrap();
    }
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
    check(
        text,
        &expect_test::expect![[r#"
        f.yaml:5:3: spec.decision: a decision is not taken by a file; use `placet rollout decide`
    "#]],
    );
    check(
        &text.replace("force", "skip").replace("night", "\"\\n"),
        &expect_test::expect![[r#"
            f.yaml:5:62: this YAML cannot be read: unclosed quote
        "#]],
    );
    let bad = text.replace("force", "skip");
    let lines = load_all(&[file("d.yaml", &bad)]).unwrap_err();
    expect_test::expect![[r#"
        d.yaml:5:3: spec.decision: only force names nodes
    "#]]
    .assert_eq(&format!("{}\n", lines[0]));
}

fn rollout(spec: &serde_json::Value) -> serde_json::Value {
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
        rollout(&spec)
    };
    let old = rollout(&spec);
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
        assert!(
            said(&new, &old).contains("decided already"),
            "{}",
            said(&new, &old)
        );
    }
    for (field, value) in [
        ("planDigest", json!(format!("sha256:{}", "c".repeat(64)))),
        ("to", json!(format!("main@sha1:{}", "c".repeat(40)))),
        ("from", json!(revision)),
        ("dryRun", json!(true)),
        ("source", json!("fleet")),
    ] {
        let mut new = spec.clone();
        new[field] = value;
        let said = said(&rollout(&new), &old);
        assert!(said.contains("only decided"), "{field}: {said}");
    }
    let mut named = decided(1, "skip");
    named["spec"]["decision"]["nodes"] = json!(["core-1"]);
    assert!(said(&named, &old).contains("only force names nodes"));
}

#[test]
fn a_dry_run_names_a_source_and_a_rollout_a_plan() {
    let revision = format!("main@sha1:{}", "a".repeat(40));
    let plan = format!("sha256:{}", "b".repeat(64));
    let decision = json!({"hold": 1, "action": "skip", "reason": "because"});
    let tried = json!({"dryRun": true, "source": "fleet", "to": revision});
    for (field, value, why) in [
        ("withinSeconds", json!(60), ""),
        ("source", json!(null), "a dry run names a source"),
        ("planDigest", json!(plan), "a dry run names a source"),
        (
            "decision",
            decision,
            "neither planned by hand, decided nor paused",
        ),
        (
            "paused",
            json!(true),
            "neither planned by hand, decided nor paused",
        ),
        ("withinSeconds", json!(0), "withinSeconds"),
        ("dryRun", json!(false), "a roll-out has a planDigest"),
    ] {
        let mut spec = tried.clone();
        spec[field] = value;
        spec.as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        let faults = validate("ro", &rollout(&spec), None)
            .err()
            .unwrap_or_default();
        let said: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(said.is_empty(), why.is_empty(), "{field}: {said:?}");
        assert!(said.join("\n").contains(why), "{field}: {said:?}");
    }
}

#[test]
fn keys_that_nothing_can_be_verified_with_are_refused_with_their_place() {
    let block = |label: &str, lines: &str| {
        format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
    };
    // The same key on P-256, and one on P-384.
    let good = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7\nYfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==";
    let wrong = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEC1uWSXj2czCDwMTLWV5BFmwxdM6PX9p+\nPk9Yf9rIf374m5XP1U8q79dBhLSIuaojsvOT39UUcPJROSD1FqYLued0rXiooIii\n1D3jaW6pmGVJFhodzC31cy5sfOYotrzF";
    let keys = [
        block("PUBLIC KEY", good),
        block("PUBLIC KEY", wrong),
        block("PRIVATE KEY", good),
        block("CERTIFICATE", good),
        "ecdsa AAAA".to_owned(),
        block("PUBLIC KEY", "AAAA"),
    ];
    let set = json!({
        "apiVersion": "placet.dev/v1alpha1",
        "kind": "PackageSet",
        "metadata": {"name": "apps"},
        "spec": {"packages": [], "keys": keys},
    });
    check(
        &set.to_string(),
        &expect_test::expect![[r#"
        f.yaml:1:285: spec.keys[1]: it is a key for ECDSA on the curve P-384, and packages are signed with ECDSA on the curve P-256
        f.yaml:1:508: spec.keys[2]: it is a private key; give the public one, and make a new pair if others may have read this one
        f.yaml:1:695: spec.keys[3]: it is a certificate, whose dates and authority nothing here would check; give the key in it: openssl x509 -pubkey -noout
        f.yaml:1:882: spec.keys[4]: it is no public key in PEM, which begins with `-----BEGIN PUBLIC KEY-----`; `placet package key generate` writes one
        f.yaml:1:895: spec.keys[5]: it is damaged: what it encodes is no public key
    "#]],
    );
    let image = json!({
        "name": "image",
        "version": "1.0.0",
        "reference": "oci-layout:image:1.0.0",
        "keys": [block("PUBLIC KEY", good), block("PUBLIC KEY", "AAAA")],
        "install": ["install"],
        "confirm": ["confirm"],
    });
    let class = json!({
        "apiVersion": "placet.dev/v1alpha1",
        "kind": "NodeClass",
        "metadata": {"name": "core"},
        "spec": {"selector": {"types": ["core"]}, "packageSets": [], "bootImages": [image]},
    });
    check(
        &class.to_string(),
        &expect_test::expect![[r#"
            f.yaml:1:343: spec.bootImages[0].keys[1]: it is damaged: what it encodes is no public key
        "#]],
    );
}

#[test]
fn what_is_not_carried_out_is_named() {
    let text = r#"apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core}
spec:
  strategy:
    canaries: 1
    haltThreshold: 2
---
apiVersion: placet.dev/v1alpha1
kind: GitSource
metadata: {name: fleet}
spec:
  url: https://git.example/fleet.git
  pullRequests: {}
"#;
    let files = [file("f.yaml", text)];
    let faults = locate(not_carried_out(&load(&files).unwrap()), &files);
    let places: Vec<String> = faults
        .iter()
        .map(|it| format!("{}:{} {}", it.file, it.line.unwrap(), it.field))
        .collect();
    expect_test::expect!["f.yaml:14 spec.pullRequests"].assert_eq(&places.join("\n"));
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
