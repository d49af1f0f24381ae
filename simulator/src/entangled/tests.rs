//! What hangs together, in sentences, and against what a change says that is tried out.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::collections::{BTreeMap, BTreeSet};

use expect_test::{Expect, expect};
use placet_model::{
    Architecture, Digest, ModulePath, NodeManifest, PackageConfig, ProcessAction, ProcessName,
};
use placet_planner::change;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Configuration, Entangled, FleetError, How, Link, Shown, dot, entangled, of_fleet, of_packages,
    text,
};
use crate::Paint;
use crate::alone::node;
use crate::tests::{Fleet, library, process};

fn package(modules: &[Value]) -> PackageConfig {
    serde_json::from_value(json!({
        "name": "app", "version": "1.0.0", "created": "2026-01-01T00:00:00Z", "modules": modules,
    }))
    .unwrap()
}

fn needing(mut library: Value, needed: &[&str]) -> Value {
    library["elf"]["needed"] = json!(needed);
    library
}

fn alone(modules: &[Value]) -> Entangled {
    let digest = Digest::of(b"app");
    let mut of = of_packages(&[(digest, &package(modules))], usize::MAX);
    assert_eq!(of.len(), 1);
    of.remove(0).entangled
}

#[track_caller]
fn check(modules: &[Value], expected: &Expect) {
    let shown = Shown {
        all: true,
        paint: Paint::default(),
    };
    let text = text(&alone(modules), shown);
    let is_narrow = |line: &str| line.chars().count() <= 80;
    assert!(text.lines().all(is_narrow), "{text}");
    expected.assert_eq(&text);
}

#[test]
fn modules_that_touch_the_same_processes_are_one_group_and_the_link_between_them_parts_it() {
    check(
        &[
            process("a", "simple", &["libnet.so"]),
            process("b", "self-managing", &["libnet.so"]),
            process("c", "simple", &["libnet.so"]),
            process("d", "simple", &["libcrypto.so"]),
            needing(library("libnet.so", "net"), &["libtls.so"]),
            needing(library("libtls.so", "tls"), &["libcrypto.so"]),
            library("libcrypto.so", "crypto"),
        ],
        &expect![[r#"
            PROCESSES  MODULES THAT CAN ONLY CHANGE TOGETHER
                    4  usr/lib/libcrypto.so
                       restart a, c, d
                       ask b
                       cut usr/lib/libnet.so -> libtls.so: 3 fewer
                       cut usr/lib/libtls.so -> libcrypto.so: 3 fewer
                       cut usr/bin/a -> libnet.so: 1 fewer
                       cut usr/bin/b -> libnet.so: 1 fewer
                       cut usr/bin/c -> libnet.so: 1 fewer
                       cut usr/bin/d -> libcrypto.so: 1 fewer
                    3  usr/lib/libnet.so
                       usr/lib/libtls.so
                       restart a, c
                       ask b
                       cut usr/lib/libnet.so -> libtls.so: 3 fewer for libtls.so
                       cut usr/bin/a -> libnet.so: 1 fewer
                       cut usr/bin/b -> libnet.so: 1 fewer
                       cut usr/bin/c -> libnet.so: 1 fewer
                    1  usr/bin/a
                       restart a
                    1  usr/bin/b
                       ask b
                    1  usr/bin/c
                       restart c
                    1  usr/bin/d
                       restart d
            7 modules in 6 groups; 4 processes on 1 node
        "#]],
    );
}

#[test]
fn where_no_dependency_makes_a_difference_alone_the_fewest_that_do_are_named() {
    check(
        &[
            process("a", "simple", &["libone.so"]),
            process("b", "simple", &["libone.so"]),
            process("c", "simple", &["libbase.so"]),
            needing(library("libone.so", "one"), &["libleft.so", "libright.so"]),
            needing(library("libleft.so", "left"), &["libbase.so"]),
            needing(library("libright.so", "right"), &["libbase.so"]),
            library("libbase.so", "base"),
        ],
        &expect![[r#"
            PROCESSES  MODULES THAT CAN ONLY CHANGE TOGETHER
                    3  usr/lib/libbase.so
                       restart a, b, c
                       cut usr/bin/a -> libone.so: 1 fewer
                       cut usr/bin/b -> libone.so: 1 fewer
                       cut usr/bin/c -> libbase.so: 1 fewer
                       cut all 2 together, 2 fewer: usr/lib/libleft.so -> libbase.so,
                           usr/lib/libright.so -> libbase.so
                    2  usr/lib/libleft.so
                       usr/lib/libone.so
                       usr/lib/libright.so
                       restart a, b
                       cut usr/lib/libone.so -> libleft.so: 2 fewer for libleft.so
                       cut usr/lib/libone.so -> libright.so: 2 fewer for libright.so
                       cut usr/bin/a -> libone.so: 1 fewer
                       cut usr/bin/b -> libone.so: 1 fewer
                    1  usr/bin/a
                       restart a
                    1  usr/bin/b
                       restart b
                    1  usr/bin/c
                       restart c
            7 modules in 5 groups; 3 processes on 1 node
        "#]],
    );
}

#[test]
fn circles_are_named_and_files_that_are_read_again_restart_nothing() {
    let mut settings = library("x", "settings");
    settings["path"] = json!("etc/a.conf");
    settings["type"] = json!("data");
    settings["elf"] = Value::Null;
    let mut reader = process("a", "simple", &["libone.so"]);
    reader["process"]["follows"] = json!([{"paths": ["etc/*"], "action": "reload"}]);
    check(
        &[
            reader,
            settings,
            needing(library("libone.so", "one"), &["libtwo.so"]),
            needing(library("libtwo.so", "two"), &["libone.so"]),
        ],
        &expect![[r#"
            PROCESSES  MODULES THAT CAN ONLY CHANGE TOGETHER
                    1  usr/bin/a
                       usr/lib/libone.so
                       usr/lib/libtwo.so
                       restart a
                       cut usr/bin/a -> libone.so: 1 fewer for libone.so, libtwo.so
                       cut usr/lib/libone.so -> libtwo.so: 1 fewer for libtwo.so
            a circle of dependencies: usr/lib/libone.so, usr/lib/libtwo.so
            1 module restarts nothing:
                       etc/a.conf
                       told: a
            4 modules in 1 group; 1 process on 1 node
        "#]],
    );
}

#[test]
fn an_arrow_of_the_graph_says_what_its_cut_is_worth() {
    let entangled = alone(&[
        process("a", "simple", &["libnet.so"]),
        process("b", "simple", &["libnet.so"]),
        process("c", "simple", &["libtls\".so"]),
        needing(library("libnet.so", "net"), &["libtls\".so"]),
        library("libtls\".so", "tls"),
    ]);
    expect![[r#"
        digraph entangled {
          rankdir=LR;
          node [shape=box, fontname="monospace"];
          g0 [label="usr/lib/libtls\".so\n3 processes"];
          g1 [label="usr/lib/libnet.so\n2 processes"];
          g2 [label="usr/bin/a\n1 process"];
          g3 [label="usr/bin/b\n1 process"];
          g4 [label="usr/bin/c\n1 process"];
          g1 -> g0 [label="-2", color=red];
          g2 -> g1 [label="-1"];
          g3 -> g1 [label="-1"];
          g4 -> g0 [label="-1"];
        }
    "#]]
    .assert_eq(&dot(&entangled));
}

#[test]
fn processes_of_a_fleet_are_counted_on_every_node_that_has_them() {
    let fleet = Fleet::new("main@1").0;
    let of = |class| of_fleet(&fleet, class, 3).unwrap().entangled;
    let shown = Shown {
        all: false,
        paint: Paint::default(),
    };
    expect![[r#"
        PROCESSES  MODULES THAT CAN ONLY CHANGE TOGETHER
                5  usr/lib/libgreet.so.1
                   restart clockd
                   ask chatd
                   cut usr/bin/clockd -> libgreet.so.1: 3 fewer
                   cut usr/bin/chatd -> libgreet.so.1: 2 fewer
        3 groups touch one process each (--all lists them)
        4 modules in 4 groups; 8 processes on 3 nodes
    "#]]
    .assert_eq(&text(&of(None), shown));
    let reach = of(Some("core")).groups[0].reach;
    assert_eq!((reach.processes, reach.nodes), (4, 2));
    let Err(FleetError::Class { known, .. }) = of_fleet(&fleet, Some("cor"), 3) else {
        panic!("there is no such class");
    };
    assert_eq!(known, ["core", "edge"]);
}

const LIBRARIES: usize = 6;
const PROCESSES: usize = 3;
const MODULES: usize = LIBRARIES + PROCESSES;

/// What a module needs, opens, and opens where it is present, as numbers of others; and whether the
/// second kind of node has it.
type Shape = (Vec<usize>, Vec<usize>, Vec<usize>, bool);

fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let some = |most| prop::collection::vec(0..LIBRARIES, 0..most);
    let shape = (some(4), some(2), some(2), prop::bool::weighted(0.8));
    prop::collection::vec(shape, MODULES)
}

fn soname(index: usize) -> String {
    format!("lib{index}.so")
}

fn module(index: usize, (needs, opens, may_open, _): &Shape) -> Value {
    let paths = |numbers: &[usize]| -> BTreeSet<String> {
        let names = numbers
            .iter()
            .map(|number| format!("usr/lib/{}", soname(*number)));
        names.collect()
    };
    let needs: BTreeSet<_> = needs.iter().map(|number| soname(*number)).collect();
    let mut module = if index < LIBRARIES {
        library(&soname(index), &soname(index))
    } else {
        process(&format!("p{index}"), "simple", &[])
    };
    module["elf"]["needed"] = json!(needs);
    module["supplemental"] = json!([]);
    for path in paths(opens) {
        module["supplemental"] = json!([{"oneOf": [path]}]);
    }
    module["optional"] = json!(paths(may_open));
    module
}

fn manifest(shapes: &[Shape], is_second: bool) -> NodeManifest {
    let modules = shapes.iter().enumerate();
    let modules = modules.filter(|(_, shape)| shape.3 || !is_second);
    let modules: Vec<_> = modules.map(|(index, shape)| module(index, shape)).collect();
    let architecture = Architecture("x86_64".to_owned());
    node(&[(Digest::of(b"app"), &package(&modules))], &architecture)
}

/// The same manifest without a dependency.
fn without(manifest: &NodeManifest, links: &[&Link]) -> NodeManifest {
    let mut manifest = manifest.clone();
    for link in links {
        let mut modules = manifest.modules.iter_mut().map(|entry| &mut entry.module);
        let Some(user) = modules.find(|module| module.path == link.user.path) else {
            continue;
        };
        let is_it = |path: &ModulePath| path.as_str() == link.needs;
        match link.how {
            How::Linked => {
                let facts = user.elf.as_mut().unwrap();
                facts.needed.retain(|name| *name != link.needs);
            }
            How::Supplemental => user.supplemental.retain(|it| !it.one_of.iter().any(is_it)),
            How::Optional => user.optional.retain(|path| !is_it(path)),
            How::Interpreter => unreachable!("none has one"),
        }
    }
    manifest
}

/// The processes that restart where one module has another signature.
fn restarted(manifest: &NodeManifest, path: &ModulePath) -> BTreeSet<ProcessName> {
    let mut other = manifest.clone();
    let mut modules = other.modules.iter_mut();
    let Some(entry) = modules.find(|entry| entry.module.path == *path) else {
        return BTreeSet::new();
    };
    let another = serde_json::from_value(library("x", "another")["signature"].clone());
    entry.module.signature = another.unwrap();
    let processes = change(manifest, &other).change_set.processes.into_iter();
    let restarted = processes.filter(|it| it.action == ProcessAction::Restart);
    restarted.map(|it| it.name).collect()
}

/// The second kind of node is there three times.
const NODES: [usize; 2] = [1, 3];

/// What restarts on both kinds of nodes without some dependencies.
fn tried(
    manifests: &[NodeManifest; 2],
    path: &ModulePath,
    links: &[&Link],
) -> [BTreeSet<ProcessName>; 2] {
    manifests
        .each_ref()
        .map(|it| restarted(&without(it, links), path))
}

fn counted(restarted: &[BTreeSet<ProcessName>; 2]) -> usize {
    let counts = restarted.iter().zip(NODES);
    counts.map(|(names, nodes)| names.len() * nodes).sum()
}

/// All that restarts when any of `paths` changes.
fn together(
    manifests: &[NodeManifest; 2],
    paths: &[&ModulePath],
    links: &[&Link],
) -> [BTreeSet<ProcessName>; 2] {
    let mut all = [BTreeSet::new(), BTreeSet::new()];
    for path in paths {
        for (all, more) in all.iter_mut().zip(tried(manifests, path, links)) {
            all.extend(more);
        }
    }
    all
}

/// The processes that use some of `paths` by themselves, or are one of them.
fn direct(manifest: &NodeManifest, paths: &[&ModulePath]) -> BTreeSet<ProcessName> {
    let is_meant = |name: &str| {
        let mut paths = paths.iter().filter(|path| manifest.get(path).is_some());
        paths.any(|path| path.file_name() == name)
    };
    let direct = manifest.services().filter(|(module, _)| {
        let needed = module.elf.iter().flat_map(|facts| &facts.needed);
        let opened = module.supplemental.iter().flat_map(|it| &it.one_of);
        let mut opened = opened.chain(&module.optional);
        paths.contains(&&module.path)
            || needed.map(String::as_str).any(is_meant)
            || opened.any(|path| is_meant(path.file_name()))
    });
    direct.map(|(_, spec)| spec.name.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn groups_part_the_modules_by_what_each_restarts_and_cuts_do_what_they_say(shapes in shapes()) {
        let manifests = [manifest(&shapes, false), manifest(&shapes, true)];
        let configurations = manifests.iter().zip(NODES);
        let configurations: Vec<_> = configurations
            .map(|(manifest, nodes)| Configuration { manifest, nodes })
            .collect();
        let entangled = entangled(&configurations, usize::MAX);
        let links: Vec<_> = entangled.dependencies.iter().map(|it| &it.link).collect();

        let mut seen = BTreeMap::new();
        for member in &entangled.idle {
            let touched = tried(&manifests, &member.name.path, &[]);
            prop_assert_eq!(counted(&touched), 0);
            prop_assert!(seen.insert(&member.name.path, touched).is_none());
        }
        for group in &entangled.groups {
            let paths: Vec<_> = group.modules.iter().map(|it| &it.name.path).collect();
            let touched = tried(&manifests, paths[0], &[]);
            prop_assert!(!seen.values().any(|other| *other == touched), "one group for one reach");
            for path in &paths {
                let touched = tried(&manifests, path, &[]);
                prop_assert_eq!(group.reach.processes, counted(&touched));
                prop_assert!(seen.insert(*path, touched).is_none());
            }
            for link in &links {
                let frees = group.cuts.iter().find(|cut| cut.link == **link);
                for path in &paths {
                    let left = counted(&tried(&manifests, path, &[link]));
                    let freed = frees.and_then(|cut| cut.frees.get(*path)).copied();
                    prop_assert_eq!(group.reach.processes - left, freed.unwrap_or_default());
                }
            }
            let kept = [direct(&manifests[0], &paths), direct(&manifests[1], &paths)];
            let Some(apart) = &group.apart else {
                prop_assert_eq!(kept, touched);
                continue;
            };
            let cut: Vec<_> = apart.links.iter().collect();
            let left = together(&manifests, &paths, &cut);
            prop_assert_eq!(apart.left.processes, counted(&left));
            let is_apart = |left: &[BTreeSet<_>; 2]| left.iter().zip(&kept).all(|(left, kept)| left.is_subset(kept));
            prop_assert!(is_apart(&left));
            // No single dependency does what takes several.
            for link in links.iter().filter(|_| cut.len() > 1) {
                prop_assert!(!is_apart(&together(&manifests, &paths, &[link])));
            }
        }
        prop_assert_eq!(seen.len(), manifests[0].modules.len());
    }
}
