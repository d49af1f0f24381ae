//! Class, package list, order and selection (D2 to D6, D8).

use expect_test::{Expect, expect};
use placet_model::{ClassDeclaration, ModuleType};

use super::build::{F, file, fleet, library, package, process, text};
use super::world::World;

/// What every node is to run, and what there is to say.
#[track_caller]
pub(super) fn check(fleet: &F, expected: &Expect) {
    use std::fmt::Write as _;
    let target = fleet.target();
    let mut shown = String::new();
    for (name, node) in &target.nodes {
        let packages: Vec<_> = node
            .manifest
            .packages
            .iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect();
        writeln!(shown, "{name} ({}): {}", node.class, packages.join(", ")).unwrap();
        for entry in &node.manifest.modules {
            writeln!(shown, "  {} <- {}", entry.module.path, entry.package).unwrap();
        }
    }
    for name in &target.awaited {
        writeln!(shown, "{name}: awaited").unwrap();
    }
    for problem in &target.problems {
        writeln!(shown, "problem: {problem}").unwrap();
    }
    for note in &target.notes {
        writeln!(shown, "note: {note}").unwrap();
    }
    expected.assert_eq(&shown);
}

#[test]
fn d2_a_node_gets_what_its_class_lists() {
    let fleet = fleet([
        package("app 1.0.0", [process("app")]),
        package("base 2.0.0", [file("etc/base")]),
    ])
    .class("core", &["app 1.0.0", "base 2.0.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0, base 2.0.0
          etc/base <- base
          usr/bin/app <- app
    "#]],
    );
}

#[test]
fn d2_a_class_is_found_by_selector_and_by_nothing_else() {
    let fleet = fleet([package("app 1.0.0", [process("app")])])
        .class("core", &["app 1.0.0"])
        .class("edge", &["app 1.0.0"])
        .with_class("core", |class| {
            class.selector.types = ["router".to_owned()].into();
        })
        .with_class("edge", |class| {
            class.selector.locations = ["attic".to_owned()].into();
        })
        .node("found", |node| node.facts.kind = Some("router".to_owned()))
        .node("none", |node| node.facts.kind = Some("switch".to_owned()))
        .node("several", |node| {
            node.facts.kind = Some("router".to_owned());
            node.facts.location = Some("attic".to_owned());
        })
        .node("wrong", |node| node.class = Some("moon".to_owned()))
        .announces("none", |facts| facts.kind = Some("switch".to_owned()));
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0
          usr/bin/app <- app
        edge-1 (edge): app 1.0.0
          usr/bin/app <- app
        found (core): app 1.0.0
          usr/bin/app <- app
        problem: FleetNode wrong names NodeClass moon, which does not exist
        problem: node none belongs to no class: name one in spec.class, or widen a class's selector
        problem: node several belongs to several classes (core, edge): name one in spec.class
    "#]],
    );
}

#[test]
fn d2_a_node_may_replace_the_package_sets_of_its_class() {
    let fleet = fleet([
        package("app 1.0.0", [process("app")]),
        package("app 2.0.0", [process("app")]),
    ])
    .class("core", &["app 1.0.0"])
    .set("trial", &["app 2.0.0"])
    .node("core-2", |node| {
        node.class = Some("core".to_owned());
        node.package_sets = Some(vec!["trial".to_owned()]);
    })
    .node("core-3", |node| {
        node.class = Some("core".to_owned());
        node.package_sets = Some(vec!["missing".to_owned()]);
    });
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0
          usr/bin/app <- app
        core-2 (core): app 2.0.0
          usr/bin/app <- app
        core-3 (core): 
        problem: FleetNode core-3 names PackageSet missing, which does not exist
    "#]],
    );
}

#[test]
fn d2_what_a_node_has_not_said_yet_is_awaited_and_is_no_problem() {
    let fleet = fleet([package("app 1.0.0", [process("app")])])
        .class("core", &["app 1.0.0"])
        .with_class("core", |class| {
            class.selector.types = ["router".to_owned()].into();
        })
        .node("unseen", |node| {
            node.facts = placet_model::NodeFacts::default();
        });
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0
          usr/bin/app <- app
        unseen: awaited
    "#]],
    );
    let joined = fleet.announces("unseen", |facts| {
        facts.kind = Some("router".to_owned());
        facts.architecture = Some(placet_model::Architecture("x86_64".to_owned()));
    });
    assert!(joined.target().nodes.contains_key(&text("unseen")));
}

#[test]
fn s1_declared_facts_win_and_a_mismatch_holds_the_node_alone() {
    let fleet = fleet([package("app 1.0.0", [process("app")])])
        .class("core", &["app 1.0.0"])
        .announces("core-1", |facts| {
            facts.architecture = Some(placet_model::Architecture("aarch64".to_owned()));
            facts.kind = Some("router".to_owned());
        });
    check(&fleet, &expect![""]);
}

/// A class that lists `app` and wants a feature beside.
fn wanting(packages: impl IntoIterator<Item = super::build::P>) -> super::build::F {
    fleet(packages)
        .class("core", &["app 1.0.0"])
        .with_class("core", |class| {
            class.wants.features = ["cli".to_owned(), "routing/bgp".to_owned()].into();
        })
}

fn app() -> super::build::P {
    package("app 1.0.0", [process("app")]).feature("cli")
}

#[test]
fn d3_the_only_package_that_offers_a_wanted_feature_is_chosen_and_said() {
    let bgp = package("bgp 1.0.0", [process("bgpd")]).feature("routing/bgp");
    check(
        &wanting([app(), bgp]),
        &expect![[r#"
            core-1 (core): bgp 1.0.0, app 1.0.0
              usr/bin/app <- app
              usr/bin/bgpd <- bgp
            note: NodeClass core: bgp 1.0.0 is chosen for feature routing/bgp
        "#]],
    );
}

#[test]
fn d3_a_wanted_feature_that_several_packages_offer_is_a_problem_that_lists_them() {
    let bgp = |name: &str| package(name, [process("bgpd")]).feature("routing/bgp");
    let mut small = bgp("small 1.0.0");
    let weight = |value: &str| ("weight".to_owned(), value.to_owned());
    small.0.characteristics.extend([weight("light")]);
    let mut full = bgp("full 2.0.0");
    full.0.characteristics.extend([weight("heavy")]);
    let fleet = wanting([app(), small, full]);
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): app 1.0.0
              usr/bin/app <- app
            problem: node core-1: several packages offer feature routing/bgp: list one of full 2.0.0, small 1.0.0, or say by `wants.characteristics` which is meant
        "#]],
    );
    let fleet = fleet.with_class("core", |class| {
        class.wants.characteristics.extend([weight("light")]);
    });
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): small 1.0.0, app 1.0.0
              usr/bin/app <- app
              usr/bin/bgpd <- small
            note: NodeClass core: small 1.0.0 is chosen for feature routing/bgp
        "#]],
    );
}

#[test]
fn d6_modules_that_contradict_wanted_characteristics_are_not_received() {
    let size = |value: &str| [("size".to_owned(), value.to_owned())];
    let mut large = file("etc/large");
    large.0.characteristics.extend(size("large"));
    let mut small = file("etc/small");
    small.0.characteristics.extend(size("small"));
    let fleet = fleet([package("app 1.0.0", [large, small, file("etc/any")])])
        .class("core", &["app 1.0.0"])
        .with_class("core", |class| {
            class.wants.characteristics.extend(size("small"));
        });
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0
          etc/any <- app
          etc/small <- app
    "#]],
    );
}

#[test]
fn d3_a_wanted_feature_that_no_fitting_package_offers_is_a_problem() {
    let bgp = package("bgp 1.0.0", [process("bgpd")])
        .feature("routing/bgp")
        .node_type("switch");
    check(
        &wanting([app(), bgp]),
        &expect![[r#"
            core-1 (core): app 1.0.0
              usr/bin/app <- app
            problem: node core-1: no package offers feature routing/bgp; nothing in the catalog provides it
        "#]],
    );
}

#[test]
fn d3_a_package_that_cannot_be_had_is_named_with_the_reason() {
    let fleet = fleet([package("app 1.0.0", [process("app").needs("libnone.so.1")])])
        .unresolved("gone 1.0.0", "no such tag")
        .class("core", &["app 1.0.0", "gone 1.0.0", "late 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0
          usr/bin/app <- app
        problem: package gone (oci-layout:/packages:gone-1.0.0): no such tag
        problem: package late (oci-layout:/packages:late-1.0.0): it has not been resolved yet
    "#]],
    );
}

#[test]
fn d3_a_reference_that_leads_to_another_package_is_refused() {
    let mut fleet = fleet([package("app 1.0.0", [process("app")])]).class("core", &["app 1.0.0"]);
    for set in fleet.desired.package_sets.values_mut() {
        set.packages[0].version = text("1.0.1");
    }
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): 
        problem: package app (oci-layout:/packages:app-1.0.0): the declaration says app 1.0.1, but what is there is app 1.0.0
    "#]],
    );
}

#[test]
fn d4_of_several_packages_with_one_path_the_first_wins_and_that_is_said() {
    let fleet = fleet([
        package("first 1.0.0", [file("etc/motd")]),
        package("second 1.0.0", [file("etc/motd"), file("etc/hosts")]),
        package("third 1.0.0", [file("etc/motd")]),
    ])
    .class("core", &["first 1.0.0", "second 1.0.0", "third 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): first 1.0.0, second 1.0.0, third 1.0.0
          etc/hosts <- second
          etc/motd <- first
        note: NodeClass core: etc/motd is taken from first, which stands before second, third
    "#]],
    );
}

#[test]
fn d4_an_upgrade_replaces_only_its_own_modules_and_that_needs_no_note() {
    let fleet = fleet([
        package("fix 1.0.1", [file("etc/a").content("fixed")]).upgrades("base", "^1"),
        package("base 1.0.0", [file("etc/a"), file("etc/b")]),
    ])
    .class("core", &["fix 1.0.1", "base 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): fix 1.0.1, base 1.0.0
          etc/a <- fix
          etc/b <- base
    "#]],
    );
}

#[test]
fn d4_an_upgrade_stands_before_its_base() {
    let fleet = fleet([
        package("fix 1.0.1", [file("etc/a")]).upgrades("base", "^1"),
        package("base 1.0.0", [file("etc/a")]),
    ])
    .class("core", &["base 1.0.0", "fix 1.0.1"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): base 1.0.0, fix 1.0.1
          etc/a <- base
        problem: NodeClass core: base stands before fix, but fix must stand first: it upgrades base
        note: NodeClass core: etc/a is taken from base, which stands before fix
    "#]],
    );
}

#[test]
fn d4_packages_that_upgrade_each_other_are_named_in_their_circle() {
    let circle = |names: &[&str]| {
        let next = names.iter().cycle().skip(1);
        let packages = names.iter().zip(next).map(|(name, next)| {
            let path = format!("etc/{name}");
            package(&format!("{name} 1.0.0"), [file(&path)]).upgrades(next, "^1")
        });
        let base = package("base 1.0.0", [file("etc/base")]);
        let all: Vec<_> = packages.chain([base]).collect();
        let list: Vec<_> = names.iter().map(|name| format!("{name} 1.0.0")).collect();
        let list: Vec<&str> = list
            .iter()
            .map(String::as_str)
            .chain(["base 1.0.0"])
            .collect();
        fleet(all).class("core", &list)
    };
    check(
        &circle(&["a", "b"]),
        &expect![[r#"
        core-1 (core): a 1.0.0, b 1.0.0, base 1.0.0
          etc/a <- a
          etc/b <- b
          etc/base <- base
        problem: NodeClass core: a upgrades b, b upgrades a; no order is right for that: list fewer of them, or build one anew without the upgrade
    "#]],
    );
    check(
        &circle(&["c", "a", "d", "b"]),
        &expect![[r#"
        core-1 (core): c 1.0.0, a 1.0.0, d 1.0.0, b 1.0.0, base 1.0.0
          etc/a <- a
          etc/b <- b
          etc/base <- base
          etc/c <- c
          etc/d <- d
        problem: NodeClass core: c upgrades a, a upgrades d, d upgrades b, b upgrades c; no order is right for that: list fewer of them, or build one anew without the upgrade
    "#]],
    );
}

#[test]
fn d4_an_order_that_contradicts_dependencies_names_both_packages() {
    let fleet = fleet([
        package(
            "base 1.0.0",
            [library("libbase.so.1").provides("base", "1")],
        ),
        package("app 1.0.0", [process("app").needs("libbase.so.1")]),
        package("tool 1.0.0", [file("etc/tool")]).requires("base", "^1"),
        package("plug 1.0.0", [process("plug").uses("base", "1")]),
    ])
    .class("core", &["base 1.0.0", "app 1.0.0"])
    .class("edge", &["base 1.0.0", "tool 1.0.0"])
    .class("hub", &["base 1.0.0", "plug 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): base 1.0.0, app 1.0.0
              usr/bin/app <- app
              usr/lib/libbase.so.1 <- base
            edge-1 (edge): base 1.0.0, tool 1.0.0
              etc/tool <- tool
              usr/lib/libbase.so.1 <- base
            hub-1 (hub): base 1.0.0, plug 1.0.0
              usr/bin/plug <- plug
              usr/lib/libbase.so.1 <- base
            problem: NodeClass core: base stands before app, but app must stand first: usr/bin/app needs libbase.so.1
            problem: NodeClass edge: base stands before tool, but tool must stand first: it requires base ^1
            problem: NodeClass hub: base stands before plug, but plug must stand first: usr/bin/plug needs base 1
        "#]],
    );
}

#[test]
fn d4_a_set_may_say_which_package_stands_before_another_though_nothing_needs_it() {
    let motd = |package_and_version: &str| package(package_and_version, [file("etc/motd")]);
    let fleet = fleet([motd("app 1.0.0"), motd("base 1.0.0"), motd("tool 1.0.0")])
        .set("tools", &["tool 1.0.0"])
        .before("tools", "tool", "app")
        // Of a package that is not there nothing is wanted.
        .before("tools", "tool", "gone")
        .class("core", &["app 1.0.0", "base 1.0.0"])
        .with_class("core", |class| class.package_sets.push("tools".to_owned()));
    let problems = |fleet: &F| {
        let problems = fleet.target().problems;
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let contradiction = "NodeClass core: app stands before tool, but tool must stand first: PackageSet tools says so";
    assert_eq!(problems(&fleet), [contradiction]);
    let first = |class: &mut ClassDeclaration| class.package_sets.rotate_right(1);
    assert_eq!(problems(&fleet.clone().with_class("core", first)), [""; 0]);
    // Whoever wants both ways is told of one, whichever stands first.
    let ordered = fleet.with_class("core", first);
    let both = ordered.clone().before("core", "app", "tool");
    let contradiction =
        "NodeClass core: tool stands before app, but app must stand first: PackageSet core says so";
    assert_eq!(problems(&both), [contradiction]);
    // It counts from the commit on that says it, though the list is the same.
    let mut world = World::settled(ordered);
    world.commit("2", |fleet| fleet.before("core", "app", "tool"));
    assert_eq!(world.target().problems.len(), 1);
}

#[test]
fn d4_a_user_need_not_stand_before_the_upgrade_of_what_it_uses() {
    let fleet = fleet([
        package("fix 1.0.1", [library("libbase.so.1").content("fixed")]).upgrades("base", "^1"),
        package("app 1.0.0", [process("app").needs("libbase.so.1")]),
        package("base 1.0.0", [library("libbase.so.1")]),
    ])
    .class("core", &["fix 1.0.1", "app 1.0.0", "base 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): fix 1.0.1, app 1.0.0, base 1.0.0
          usr/bin/app <- app
          usr/lib/libbase.so.1 <- fix
    "#]],
    );
}

#[test]
fn d4_dependencies_in_a_circle_force_no_order() {
    let fleet = fleet([
        package("one 1.0.0", [library("libone.so").needs("libtwo.so")]),
        package("two 1.0.0", [library("libtwo.so").needs("libone.so")]),
    ])
    .class("core", &["one 1.0.0", "two 1.0.0"])
    .class("edge", &["two 1.0.0", "one 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): one 1.0.0, two 1.0.0
          usr/lib/libone.so <- one
          usr/lib/libtwo.so <- two
        edge-1 (edge): two 1.0.0, one 1.0.0
          usr/lib/libone.so <- one
          usr/lib/libtwo.so <- two
    "#]],
    );
}

#[test]
fn d4_a_package_listed_with_two_versions_is_used_once() {
    let fleet = fleet([
        package("app 1.0.0", [process("app")]),
        package("app 2.0.0", [process("app")]),
    ])
    .class("core", &["app 2.0.0", "app 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 2.0.0
          usr/bin/app <- app
        note: NodeClass core: app 2.0.0 is used, 1.0.0 stands later in the list and is not
    "#]],
    );
}

#[test]
fn d4_what_cannot_stand_in_one_tree_or_under_one_name_is_a_problem() {
    let fleet = fleet([
        package("file 1.0.0", [file("etc/conf"), process("app")]),
        package(
            "dir 1.0.0",
            [file("etc/conf/x"), process("app").at("opt/app")],
        ),
    ])
    .class("core", &["file 1.0.0", "dir 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): file 1.0.0, dir 1.0.0
          etc/conf <- file
          etc/conf/x <- dir
          opt/app <- dir
          usr/bin/app <- file
        problem: NodeClass core: etc/conf is a file of file but a directory of dir (etc/conf/x)
        problem: NodeClass core: several modules run as process app: opt/app, usr/bin/app
    "#]],
    );
}

#[test]
fn d5_an_upgrade_leaves_the_list_when_its_base_moves_on_and_takes_its_own_upgrades_along() {
    let fleet = fleet([
        package("fixfix 1.0.0", [file("etc/a").content("twice")]).upgrades("fix", "^1"),
        package("fix 1.0.0", [file("etc/a").content("once")]).upgrades("base", "=1.0.0"),
        package("base 1.1.0", [file("etc/a")]),
    ])
    .class("core", &["fixfix 1.0.0", "fix 1.0.0", "base 1.1.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): base 1.1.0
          etc/a <- base
        note: NodeClass core: fix left the list: it does not apply to base 1.1.0
        note: NodeClass core: fixfix left the list with fix, which it upgrades
    "#]],
    );
}

#[test]
fn d6_modules_of_other_architectures_stay_away() {
    let fleet = fleet([package(
        "app 1.0.0",
        [
            process("app"),
            process("app").on("aarch64").content("arm"),
            process("tool").on("neutral").content("script"),
            process("tool").content("native"),
            file("etc/app"),
            file("etc/arm-only").on("aarch64"),
        ],
    )])
    .class("core", &["app 1.0.0"])
    .node("core-2", |node| {
        node.class = Some("core".to_owned());
        node.facts.architecture = Some(placet_model::Architecture("aarch64".to_owned()));
    });
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0
          etc/app <- app
          usr/bin/app <- app
          usr/bin/tool <- app
        core-2 (core): app 1.0.0
          etc/app <- app
          etc/arm-only <- app
          usr/bin/app <- app
          usr/bin/tool <- app
    "#]],
    );
    let target = fleet.target();
    let tool = |node: &str| {
        let manifest = &target.nodes[&text(node)].manifest;
        manifest
            .get(&text("usr/bin/tool"))
            .unwrap()
            .module
            .architecture
            .to_string()
    };
    assert_eq!(
        (tool("core-1"), tool("core-2")),
        ("x86_64".into(), "neutral".into())
    );
}

#[test]
fn d6_types_functions_and_features_choose_and_node_wants_add_to_class_wants() {
    let fleet = fleet([package(
        "app 1.0.0",
        [
            file("data/plain"),
            file("data/maps").function("maps"),
            file("data/logs").function("logs"),
            file("data/bgp").feature("bgp"),
            file("data/ospf").feature("ospf"),
            process("app"),
        ],
    )])
    .class("core", &["app 1.0.0"])
    .with_class("core", |class| {
        class.wants.types = [ModuleType::Data].into();
        class.wants.functions = ["maps".to_owned()].into();
    })
    .node("core-2", |node| {
        node.class = Some("core".to_owned());
        node.wants.types = [ModuleType::Process].into();
        node.wants.features = ["bgp".to_owned()].into();
    });
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0
          data/maps <- app
          data/plain <- app
        core-2 (core): app 1.0.0
          data/bgp <- app
          data/maps <- app
          data/plain <- app
          usr/bin/app <- app
    "#]],
    );
}

#[test]
fn b8_a_package_for_other_node_types_is_an_error() {
    let fleet = fleet([package("card 1.0.0", [process("card")]).node_type("line-card")])
        .class("core", &["card 1.0.0"])
        .node("core-2", |node| {
            node.class = Some("core".to_owned());
            node.facts.kind = Some("line-card".to_owned());
        });
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): card 1.0.0
              usr/bin/card <- card
            core-2 (core): card 1.0.0
              usr/bin/card <- card
            problem: node core-1: package card does not apply to nodes of unknown type
        "#]],
    );
}

#[test]
fn d8_nodes_of_one_configuration_share_one_manifest() {
    let mut fleet = fleet([package("app 1.0.0", [process("app")])]).class("core", &["app 1.0.0"]);
    for name in ["core-2", "core-3"] {
        fleet = fleet.node(name, |node| node.class = Some("core".to_owned()));
    }
    let target = fleet.target();
    let manifests: Vec<_> = target.nodes.values().map(|node| &node.manifest).collect();
    assert!(
        manifests
            .windows(2)
            .all(|pair| std::sync::Arc::ptr_eq(pair[0], pair[1]))
    );
}

#[test]
fn d8_the_plan_digest_covers_what_is_rolled_out_and_not_to_whom() {
    let fleet = fleet([
        package("app 1.0.0", [process("app")]),
        package("app 2.0.0", [process("app")]),
    ])
    .class("core", &["app 1.0.0"]);
    let digest = fleet.target().digest;
    let joined = fleet
        .clone()
        .node("core-2", |node| node.class = Some("core".to_owned()));
    assert_eq!(joined.target().digest, digest);
    assert_ne!(
        fleet.clone().set("core", &["app 2.0.0"]).target().digest,
        digest
    );
    let mut renamed = fleet;
    renamed.desired.revision = "main@sha1:2".to_owned();
    assert_ne!(renamed.target().digest, digest);
}
