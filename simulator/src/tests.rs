//! Fleets in a few lines, and what a change would do to them.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use placet_model::{
    Architecture, ClassDeclaration, Desired, Digest, NodeDeclaration, NodeFacts, NodeName,
    PackageConfig, PackageReference, PackageSetDeclaration, Selector, Signature, SignatureKind,
    VetoRule,
};
use placet_planner::{CatalogEntry, Unresolved};
use serde_json::{Value, json};

use super::{Effect, LENGTH_MAX, NamedPackage, Outcome, Paint, Side, Trial, Unknowable};
use super::{json, markdown, no_files, one_type, text};

pub(crate) fn module(path: &str, kind: &str, content: &str) -> Value {
    let digest = Digest::of(content.as_bytes());
    let bits = u128::from_str_radix(&digest.hex()[..32], 16).unwrap();
    json!({
        "path": path, "mode": "0755", "type": kind, "architecture": "x86_64", "size": 1_500,
        "digest": digest, "signature": Signature::new(SignatureKind::Plain, bits.to_be_bytes()),
        "elf": {"class": "elf64", "needed": []},
    })
}

pub(crate) fn library(soname: &str, content: &str) -> Value {
    let mut module = module(&format!("usr/lib/{soname}"), "library", content);
    module["elf"]["soname"] = json!(soname);
    module
}

pub(crate) fn process(name: &str, kind: &str, needed: &[&str]) -> Value {
    let mut module = module(&format!("usr/bin/{name}"), "process", name);
    module["elf"]["needed"] = json!(needed);
    module["process"] = json!({"name": name, "kind": kind});
    module
}

fn compare(from: &Side, to: &Side) -> Result<Effect, Unknowable> {
    super::compare(from, to, &mut no_files)
}

/// A fleet of two core nodes and one edge node: both kinds run the clock, which uses the library of
/// `greet`; core nodes run the chat too, which manages itself.
pub(crate) struct Fleet(pub(crate) Side);

impl Fleet {
    pub(crate) fn new(revision: &str) -> Self {
        let mut side = Side {
            revision: revision.to_owned(),
            desired: Desired {
                revision: revision.to_owned(),
                ..Desired::default()
            },
            ..Side::default()
        };
        for (class, sets) in [("core", "chat base"), ("edge", "base")] {
            let declaration = ClassDeclaration {
                selector: Selector {
                    types: [class.to_owned()].into(),
                    ..Selector::default()
                },
                package_sets: sets.split(' ').map(str::to_owned).collect(),
                ..ClassDeclaration::default()
            };
            side.desired.classes.insert(class.to_owned(), declaration);
        }
        let fleet = Self(side)
            .package(
                "chat",
                "chat",
                "1.0.0",
                &[process("chatd", "self-managing", &["libgreet.so.1"])],
            )
            .package(
                "base",
                "clock",
                "1.0.0",
                &[process("clockd", "simple", &["libgreet.so.1"])],
            )
            .package(
                "base",
                "metrics",
                "1.0.0",
                &[process("metricsd", "simple", &[])],
            )
            .greet("1.0.0", "Hello");
        fleet.node("core-1").node("core-2").node("edge-1")
    }

    fn node(mut self, name: &str) -> Self {
        let declaration = NodeDeclaration {
            facts: NodeFacts {
                kind: name.split('-').next().map(str::to_owned),
                ..NodeFacts::default()
            },
            ..NodeDeclaration::default()
        };
        let name = name.parse().unwrap();
        self.0.desired.nodes.insert(name, declaration);
        self
    }

    pub(crate) fn greet(self, version: &str, content: &str) -> Self {
        self.package(
            "base",
            "greet",
            version,
            &[library("libgreet.so.1", content)],
        )
    }

    /// Puts a package into a set, in the place of another version of it.
    pub(crate) fn package(
        mut self,
        set: &str,
        name: &str,
        version: &str,
        modules: &[Value],
    ) -> Self {
        let reference = format!("oci-layout:{name}:{version}");
        let config = json!({
            "name": name, "version": version, "created": "2026-01-01T00:00:00Z", "modules": modules,
        });
        let config: PackageConfig = serde_json::from_value(config).unwrap();
        let sets = &mut self.0.desired.package_sets;
        let set: &mut PackageSetDeclaration = sets.entry(set.to_owned()).or_default();
        set.packages.retain(|package| package.name != config.name);
        set.packages.push(PackageReference {
            name: config.name.clone(),
            version: config.version.clone(),
            reference: reference.clone(),
        });
        let digest = Digest::of(serde_json::to_string(&config).unwrap().as_bytes());
        let entry = CatalogEntry {
            digest,
            config,
            symbols: BTreeMap::new(),
        };
        self.0.catalog.entries.insert(reference, Ok(entry));
        self
    }

    fn without(mut self, set: &str, name: &str) -> Self {
        let set = self.0.desired.package_sets.get_mut(set).unwrap();
        set.packages.retain(|package| package.name.as_str() != name);
        self
    }

    pub(crate) fn rule(mut self, class: &str, rule: &str) -> Self {
        let class = self.0.desired.classes.get_mut(class).unwrap();
        class.veto_rules.push(VetoRule {
            name: "office-hours".parse().unwrap(),
            rule: rule.to_owned(),
            message: "the chat is in use until six".to_owned(),
        });
        self
    }
}

fn messages(unknowable: &Unknowable) -> Vec<&str> {
    let reasons = unknowable.reasons.iter();
    reasons.map(|reason| reason.message.as_str()).collect()
}

#[track_caller]
fn check(to: &Fleet, outcome: Outcome, expected: &Expect) {
    let effect = compare(&Fleet::new("main@1").0, &to.0).unwrap();
    let report = text(&effect, Paint::default());
    let is_narrow = |line: &str| line.chars().count() <= 80;
    assert!(report.lines().all(is_narrow), "{report}");
    expected.assert_eq(&report);
    assert_eq!(effect.outcome, outcome);
}

#[test]
fn the_change_of_a_library_touches_its_users_only() {
    check(
        &Fleet::new("main@2").greet("1.1.0", "Good day"),
        Outcome::Clean,
        &expect![[r#"
            main@1 -> main@2
            3 of 3 nodes change: 3 processes restart, 2 are asked; 4.5 kB travel

            core-1, core-2 (class core)
              changed  usr/lib/libgreet.so.1                library     greet 1.0.0 -> 1.1.0
              ask      chatd
                  it uses usr/lib/libgreet.so.1, which is changed
              restart  clockd
                  it uses usr/lib/libgreet.so.1, which is changed
              fetch    1 module, 1.5 kB for each node

            edge-1 (class edge)
              changed  usr/lib/libgreet.so.1                library     greet 1.0.0 -> 1.1.0
              restart  clockd
                  it uses usr/lib/libgreet.so.1, which is changed
              fetch    1 module, 1.5 kB

            Notes
              nodes that declare no architecture are taken to be x86_64, as all packages
                are for it

            Nothing breaks, and no rule objects.
        "#]],
    );
}

#[test]
fn a_rebuilt_library_of_the_same_substance_touches_nobody() {
    let mut same = library("libgreet.so.1", "Hello");
    same["digest"] = json!(Digest::of(b"built elsewhere"));
    check(
        &Fleet::new("main@2").package("base", "greet", "1.2.0", &[same]),
        Outcome::Clean,
        &expect![[r#"
            main@1 -> main@2
            3 of 3 nodes change; 0 bytes travel

            core-1, core-2 (class core)
              nothing that a process could notice

            edge-1 (class edge)
              nothing that a process could notice

            Notes
              nodes that declare no architecture are taken to be x86_64, as all packages
                are for it

            Nothing breaks, and no rule objects.
        "#]],
    );
}

#[test]
fn a_library_that_goes_breaks_its_users() {
    check(
        &Fleet::new("main@2").without("base", "greet"),
        Outcome::Objection,
        &expect![[r#"
            main@1 -> main@2
            3 of 3 nodes change: 3 processes restart, 2 are asked; 0 bytes travel

            core-1, core-2 (class core)
              removed  usr/lib/libgreet.so.1                library     greet 1.0.0
              ask      chatd
                  it uses usr/lib/libgreet.so.1, which is removed
              restart  clockd
                  it uses usr/lib/libgreet.so.1, which is removed

            edge-1 (class edge)
              removed  usr/lib/libgreet.so.1                library     greet 1.0.0
              restart  clockd
                  it uses usr/lib/libgreet.so.1, which is removed

            Stands in the way
              nodes core-1, core-2: usr/bin/chatd of package chat needs libgreet.so.1; it
                could come from greet 1.0.0
              nodes core-1, core-2: usr/bin/clockd of package clock needs libgreet.so.1;
                it could come from greet 1.0.0
              node edge-1: usr/bin/clockd of package clock needs libgreet.so.1; it could
                come from greet 1.0.0

            Notes
              nodes that declare no architecture are taken to be x86_64, as all packages
                are for it

            3 problems block the roll-out.
        "#]],
    );
}

#[test]
fn a_rule_objects_on_behalf_of_its_nodes() {
    let rule = "node.name != 'core-2' && change.processes.exists(p, p.name == 'chatd')";
    check(
        &Fleet::new("main@2")
            .greet("1.1.0", "Good day")
            .rule("core", rule),
        Outcome::Objection,
        &expect![[r#"
            main@1 -> main@2
            3 of 3 nodes change: 3 processes restart, 2 are asked; 4.5 kB travel

            core-1, core-2 (class core)
              changed  usr/lib/libgreet.so.1                library     greet 1.0.0 -> 1.1.0
              ask      chatd
                  it uses usr/lib/libgreet.so.1, which is changed
              restart  clockd
                  it uses usr/lib/libgreet.so.1, which is changed
              fetch    1 module, 1.5 kB for each node
              veto     rule office-hours of class core (core-1): the chat is in use until
                       six

            edge-1 (class edge)
              changed  usr/lib/libgreet.so.1                library     greet 1.0.0 -> 1.1.0
              restart  clockd
                  it uses usr/lib/libgreet.so.1, which is changed
              fetch    1 module, 1.5 kB

            Notes
              nodes that declare no architecture are taken to be x86_64, as all packages
                are for it

            1 rule objects.
        "#]],
    );
}

#[test]
fn nodes_come_and_go_and_some_cannot_be_judged() {
    let mut fleet = Fleet::new("main@2").node("edge-2").node("lab-1");
    fleet.0.desired.nodes.remove(&"core-2".parse().unwrap());
    check(
        &fleet,
        Outcome::Unknown,
        &expect![[r#"
            main@1 -> main@2
            1 of 4 nodes changes: 2 processes start; 4.5 kB travel

            edge-2 (class edge, new)
              added    usr/bin/clockd                       process     clock 1.0.0
              added    usr/bin/metricsd                     process     metrics 1.0.0
              added    usr/lib/libgreet.so.1                library     greet 1.0.0
              start    clockd
                  it is new
              start    metricsd
                  it is new
              fetch    3 modules, 4.5 kB

            Cannot be judged
              node lab-1: no class fits what is declared of it: complete spec.facts, or
                name its class

            Notes
              nodes that declare no architecture are taken to be x86_64, as all packages
                are for it

            Leave the fleet
              core-2: no longer declared; left as it is

            Nothing that is known breaks, but nothing can be said about 1 node.
        "#]],
    );
}

#[test]
fn nothing_changes_between_equal_revisions() {
    check(
        &Fleet::new("main@2"),
        Outcome::Clean,
        &expect![[r#"
            main@1 -> main@2
            0 of 3 nodes change

            Notes
              nodes that declare no architecture are taken to be x86_64, as all packages
                are for it

            No effect: nothing changes on any node.
        "#]],
    );
}

#[test]
fn a_package_that_cannot_be_had_leaves_nothing_to_say() {
    let mut fleet = Fleet::new("main@2");
    let why = Unresolved::Missing("there is no such tag".to_owned());
    let entries = &mut fleet.0.catalog.entries;
    entries.insert("oci-layout:chat:1.0.0".to_owned(), Err(why));
    let unknowable = compare(&Fleet::new("main@1").0, &fleet.0).unwrap_err();
    assert_eq!(
        messages(&unknowable),
        ["in main@2: package chat (oci-layout:chat:1.0.0): there is no such tag"]
    );
}

#[test]
fn packages_that_cannot_be_had_are_named_before_nodes_that_they_would_describe() {
    let mut fleet = Fleet::new("main@2");
    for entry in fleet.0.catalog.entries.values_mut() {
        *entry = Err(Unresolved::Missing("there is no such folder".to_owned()));
    }
    let unknowable = compare(&Fleet::new("main@1").0, &fleet.0).unwrap_err();
    let expected = "in main@2: package oci-layout:chat:1.0.0: there is no such folder";
    assert_eq!(messages(&unknowable)[0], expected);
    assert_eq!(unknowable.reasons.len(), 4);
}

#[test]
fn a_comment_shows_what_stands_in_the_way_first() {
    let rule = "change.processes.exists(p, p.name == 'chatd')";
    let to = Fleet::new("main@2")
        .greet("1.1.0", "Good day")
        .rule("core", rule);
    let effect = compare(&Fleet::new("main@1").0, &to.0).unwrap();
    expect![[r#"
        ### Placet: non placet

        1 rule objects.

        ```text
        main@1 -> main@2
        3 of 3 nodes change: 3 processes restart, 2 are asked; 4.5 kB travel
        ```

        **Rules that object**

        ```text
        core-1, core-2: rule office-hours of class core: the chat is in use until six
        ```

        **Notes**

        ```text
        nodes that declare no architecture are taken to be x86_64, as all packages are
          for it
        ```

        <details><summary>core-1, core-2 (class core): 1 module, 2 processes; 1 module, 1.5 kB to fetch</summary>

        ```text
          changed  usr/lib/libgreet.so.1                library     greet 1.0.0 -> 1.1.0
          ask      chatd
              it uses usr/lib/libgreet.so.1, which is changed
          restart  clockd
              it uses usr/lib/libgreet.so.1, which is changed
          fetch    1 module, 1.5 kB for each node
          veto     rule office-hours of class core: the chat is in use until six
        ```

        </details>

        <details><summary>edge-1 (class edge): 1 module, 1 process; 1 module, 1.5 kB to fetch</summary>

        ```text
          changed  usr/lib/libgreet.so.1                library     greet 1.0.0 -> 1.1.0
          restart  clockd
              it uses usr/lib/libgreet.so.1, which is changed
          fetch    1 module, 1.5 kB
        ```

        </details>

    "#]].assert_eq(&markdown(&effect));
}

#[test]
fn programs_read_the_same() {
    let to = Fleet::new("main@2").greet("1.1.0", "Good day");
    let effect = compare(&Fleet::new("main@1").0, &to.0).unwrap();
    let value: Value = serde_json::from_str(&json(&effect)).unwrap();
    assert_eq!(value["schema"], "placet.dev/check/v1");
    assert_eq!(value["outcome"], "clean");
    assert_eq!(value["changes"][0]["nodes"], json!(["core-1", "core-2"]));
    assert_eq!(value["changes"][1]["nodes"], json!(["edge-1"]));
    assert_eq!(value["travel"], json!({"modules": 3, "bytes": 4_500}));
    assert_eq!(json(&effect), json(&effect.clone()));
}

#[test]
fn a_comment_is_bounded_and_cannot_be_broken_out_of() {
    let mut hostile = Fleet::new("main@2").greet("1.1.0", "Good day");
    let class = hostile.0.desired.classes.get_mut("core").unwrap();
    class.veto_rules = (0..64)
        .map(|number| VetoRule {
            name: format!("rule-{number}").parse().unwrap(),
            rule: "true".to_owned(),
            message: format!("````` </details> @everyone {}", "x ".repeat(400)),
        })
        .collect();
    let effect = compare(&Fleet::new("main@1").0, &hostile.0).unwrap();
    let comment = markdown(&effect);
    assert!(comment.chars().count() <= LENGTH_MAX);
    assert!(comment.contains("and ") && comment.contains("``````text"));
    let mut inside = false;
    for line in comment.lines() {
        match line {
            "``````text" | "```text" => inside = true,
            "``````" | "```" => inside = false,
            line => assert!(inside || !line.contains("@everyone"), "{line}"),
        }
    }
}

#[test]
fn the_cost_grows_with_changes_and_not_with_nodes() {
    let (mut from, mut to) = (Fleet::new("main@1"), Fleet::new("main@2"));
    for number in 0..1_000 {
        let name = format!("edge-{}", number + 10);
        (from, to) = (from.node(&name), to.node(&name));
    }
    let to = to.greet("1.1.0", "Good day");
    let effect = compare(&from.0, &to.0).unwrap();
    assert_eq!(effect.nodes.changed, 1_003);
    assert_eq!(effect.changes.len(), 2);
}

#[cfg(feature = "schema")]
#[test]
fn the_generated_files_are_current() {
    for (name, text) in crate::generated() {
        let path = format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"));
        expect_test::expect_file![path].assert_eq(&text);
    }
}

/// What most likely causes a problem goes first: the line that changed, not the one that suffers.
#[test]
fn a_problem_is_traced_to_the_declaration_that_causes_it() {
    let places = |fleet: &Fleet| {
        let effect = compare(&Fleet::new("main@1").0, &fleet.0).unwrap();
        let places = effect.problems.iter().map(|problem| {
            let places = problem.places.iter();
            let names = places.map(|place| format!("{} {}", place.resource, place.field));
            names.collect::<Vec<_>>().join(", ")
        });
        places.collect::<Vec<_>>()
    };
    // A version that no longer has the library: first it, then who needs it.
    let fleet = Fleet::new("main@2").package(
        "base",
        "greet",
        "2.0.0",
        &[library("libgreet.so.2", "Hello again")],
    );
    let found = places(&fleet);
    assert_eq!(found.len(), 3, "{found:?}");
    for place in &found {
        assert!(
            place.starts_with("PackageSet/base spec.packages[2].version, PackageSet/"),
            "{found:?}"
        );
    }
    // A package that left its set, which is still there.
    let found = places(&Fleet::new("main@2").without("base", "greet"));
    for place in &found {
        assert!(
            place.starts_with("PackageSet/base spec.packages, "),
            "{found:?}"
        );
    }
    // A set that left the list of a class.
    let mut fleet = Fleet::new("main@2");
    let class = fleet.0.desired.classes.get_mut("core").unwrap();
    class.package_sets.retain(|set| set != "base");
    let found = places(&fleet);
    assert!(!found.is_empty());
    for place in &found {
        assert!(
            place.starts_with("NodeClass/core spec.packageSets, "),
            "{found:?}"
        );
    }
}

#[test]
fn a_snapshot_says_what_really_runs() {
    let (from, to) = (
        Fleet::new("main@1"),
        Fleet::new("main@2").greet("1.1.0", "Hi"),
    );
    let effect = compare(&from.0, &to.0).unwrap();
    assert_eq!(effect.nodes.changed, 3);
    let mut from = from;
    let new = placet_planner::target(
        &to.0.desired,
        &to.0.catalog,
        &[("edge-1".parse().unwrap(), x86_64())].into(),
    );
    let name = |name: &str| name.parse().unwrap();
    let runs = new.nodes[&name("edge-1")].manifest_digest;
    from.0.running = [
        (name("edge-1"), Some(runs)),
        (name("core-1"), Some(Digest::of(b"something else"))),
        (name("core-2"), None),
    ]
    .into();
    let effect = compare(&from.0, &to.0).unwrap();
    let changed: Vec<_> = effect.changes.iter().flat_map(|it| &it.nodes).collect();
    assert_eq!(changed, [&name("core-1"), &name("core-2")]);
    let whole = effect
        .changes
        .iter()
        .find(|it| it.nodes.contains(&name("core-2")));
    let whole = &whole.unwrap().change_set.modules;
    assert!(
        whole.iter().all(|it| it.from.is_none()),
        "it has nothing yet"
    );
    for told in [
        "core-2: nothing runs there yet",
        "edge-1: what the newer revision declares runs there already",
        "core-1: something else runs there than main@1 declares; compared with what it declares",
    ] {
        assert!(
            effect.notes.iter().any(|note| note == told),
            "{:?}",
            effect.notes
        );
    }
}

#[test]
fn a_node_that_no_repository_declares_takes_part_if_a_class_claims_it() {
    let with_strangers = |mut fleet: Fleet| {
        for (name, kind) in [("core-9", "core"), ("lab-1", "lab")] {
            let name: NodeName = name.parse().unwrap();
            let facts = NodeFacts {
                kind: Some(kind.to_owned()),
                ..x86_64()
            };
            fleet.0.announced.insert(name.clone(), facts);
            let declaration = NodeDeclaration::default();
            fleet.0.desired.nodes.insert(name.clone(), declaration);
            fleet.0.strangers.insert(name);
        }
        fleet.0
    };
    let from = with_strangers(Fleet::new("main@1"));
    let to = with_strangers(Fleet::new("main@2").greet("1.1.0", "Hi"));
    let effect = compare(&from, &to).unwrap();
    let changed: Vec<_> = effect.changes.iter().flat_map(|it| &it.nodes).collect();
    assert!(changed.contains(&&"core-9".parse().unwrap()), "{changed:?}");
    assert_eq!(effect.nodes.changed, 4);
    let (problems, unknown) = (&effect.problems, &effect.unknown);
    assert!(
        problems.is_empty() && unknown.is_empty(),
        "{problems:?} {unknown:?}"
    );
}

fn x86_64() -> NodeFacts {
    let facts = json!({"architecture": "x86_64"});
    serde_json::from_value(facts).unwrap()
}

#[test]
fn one_node_of_a_type_needs_packages_alone() {
    let fleet = |content: &str| Fleet::new("x").greet("1.0.0", content).0.catalog;
    let packages = |content: &str, names: &[&str]| -> Vec<NamedPackage> {
        let catalog = fleet(content);
        let named = names.iter().map(|name| {
            let reference = format!("oci-layout:{name}:1.0.0");
            let entry = catalog.entries[&reference].clone().unwrap();
            NamedPackage { reference, entry }
        });
        named.collect()
    };
    let trial = |from: &[NamedPackage], to: &[NamedPackage], without: &[&str]| {
        let trial = Trial {
            node_type: "edge".to_owned(),
            architecture: None,
            from: from.to_vec(),
            to: to.to_vec(),
            without: without.iter().map(|path| path.parse().unwrap()).collect(),
        };
        one_type(&trial).map(|(from, to)| compare(&from, &to).unwrap())
    };
    let from = packages("Hello", &["clock", "greet"]);
    let to = packages("Good day", &["clock", "greet"]);
    let effect = trial(&from, &to, &[]).unwrap();
    expect![[r#"
        clock 1.0.0, greet 1.0.0 -> clock 1.0.0, greet 1.0.0
        1 of 1 node changes: 1 process restarts; 1.5 kB travel

        edge (class edge)
          changed  usr/lib/libgreet.so.1                library     greet 1.0.0 -> 1.0.0
          restart  clockd
              it uses usr/lib/libgreet.so.1, which is changed
          fetch    1 module, 1.5 kB

        Nothing breaks, and no rule objects.
    "#]]
    .assert_eq(&text(&effect, Paint::default()));
    // Down to nothing, and without the library that the clock needs.
    let effect = trial(&to, &[], &[]).unwrap();
    assert_eq!(effect.processes.stopped, 1);
    let unknown = trial(&from, &to, &["usr/lib/none"]).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "no package has a module `usr/lib/none`"
    );
    // Two processors, of which nobody says one.
    let mut both = to.clone();
    both[0].entry.config.modules[0].architecture = Architecture("aarch64".to_owned());
    let open = trial(&from, &both, &[]).unwrap_err().to_string();
    assert!(
        open.starts_with("the packages are for aarch64 and x86_64"),
        "{open}"
    );
    // Scripts and data are for any.
    let mut neutral = [from.clone(), to.clone()];
    for package in neutral.iter_mut().flatten() {
        let modules = package.entry.config.modules.iter_mut();
        modules.for_each(|module| module.architecture = Architecture::default());
    }
    let effect = trial(&neutral[0], &neutral[1], &[]).unwrap();
    assert_eq!(effect.processes.restarted, 1);
    let effect = trial(&from, &to, &["usr/lib/libgreet.so.1"]).unwrap();
    assert_eq!(effect.outcome, Outcome::Objection);
    expect!["node edge: usr/bin/clockd of package clock needs libgreet.so.1; it could come from greet 1.0.0, greet 1.0.0"].assert_eq(&effect.problems[0].message);
}
