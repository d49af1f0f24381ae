//! Symbols in a fleet of which part has changed: between waves, with nodes that a decision left out, and
//! in test mode (D7).

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use placet_model::{DecisionKind, NodeName, RolloutPhase};

use super::build::{F, M, fleet, library, package, process, text};
use super::world::World;
use crate::{Plan, Refusal, check_decision};

/// Version 2 of the program calls a function that version 1 of the library has not, and version 3 of the
/// library has lost the one that every program calls.
fn versions() -> F {
    let greeter = |symbols: &str| process("greeter").needs("libgreet.so.1").imports(symbols);
    let greet = |symbols: &str| -> M { library("libgreet.so.1").exports(symbols) };
    fleet([
        package("app 1.0.0", [greeter("greet")]),
        package("app 2.0.0", [greeter("greet greet_twice")]),
        package("greet 1.0.0", [greet("greet")]),
        package("greet 2.0.0", [greet("greet greet_twice")]),
        package("greet 3.0.0", [greet("greet_twice")]),
    ])
}

const CORE: [&str; 3] = ["core-1", "core-2", "core-3"];

/// Three nodes that run version 1 of both; one of them goes first.
fn settled() -> World {
    let mut fleet = versions()
        .class("core", &["app 1.0.0", "greet 1.0.0"])
        .with_class("core", |class| class.strategy.canaries = 1);
    for name in &CORE[1..] {
        fleet = fleet.node(name, |node| node.class = Some("core".to_owned()));
    }
    World::settled(fleet)
}

/// A node with packages of its own in the place of those of its class.
fn pinned(fleet: F, node: &str, packages: &[&str]) -> F {
    fleet.set("own", packages).node(node, |node| {
        node.class = Some("core".to_owned());
        node.package_sets = Some(vec!["own".to_owned()]);
    })
}

/// Lists of the symbols of version 3 of the library cannot be had, or can be had again.
fn lists_are_known(world: &mut World, are_known: bool) {
    let known = versions().catalog;
    world.declare(|fleet| {
        for (reference, entry) in &mut fleet.catalog.entries {
            if reference.ends_with("greet-3.0.0") {
                let entry = entry.as_mut().unwrap();
                entry.symbols.clear();
                if are_known {
                    let known = known.entries[reference].as_ref().unwrap();
                    entry.symbols.clone_from(&known.symbols);
                }
            }
        }
    });
}

/// The phase, problems and notes, and what every node does or waits for.
#[track_caller]
fn tells(plan: &Plan, expected: &Expect) {
    let mut said = format!("{}\n", plan.phase);
    for problem in &plan.problems {
        writeln!(said, "problem {problem}").unwrap();
    }
    for note in &plan.notes {
        writeln!(said, "note {note}").unwrap();
    }
    for step in &plan.steps {
        let words = step.action.to_string();
        writeln!(said, "{} > {}", step.node, words.split(' ').next().unwrap()).unwrap();
    }
    for (node, waiting) in &plan.held {
        writeln!(said, "{node} {waiting}").unwrap();
    }
    expected.assert_eq(&said);
}

/// What a node runs now, as packages with their versions.
fn runs(world: &mut World, node: &str) -> String {
    let running = world.node(node).running.clone().unwrap();
    let packages = running.manifest().packages.iter();
    let packages: Vec<_> = packages
        .map(|it| format!("{} {}", it.name, it.version))
        .collect();
    packages.join(", ")
}

#[test]
fn no_canary_is_asked_while_a_node_of_a_later_wave_would_miss_a_symbol() {
    let mut world = settled();
    world.commit("2", |fleet| {
        let fleet = fleet.set("core", &["app 2.0.0", "greet 2.0.0"]);
        pinned(fleet, "core-3", &["app 2.0.0", "greet 1.0.0"])
    });
    tells(
        &world.turn(),
        &expect![[r#"
        Blocked
        problem node core-3: usr/bin/greeter of package app needs symbol greet_twice, which libgreet.so.1 does not define, in process greeter; it could come from greet 2.0.0, greet 3.0.0
        core-1 waits until the problems are solved
        core-2 waits until the problems are solved
        core-3 waits until the problems are solved
    "#]],
    );
    assert!(world.orders.values().all(Vec::is_empty));
}

#[test]
fn each_node_takes_program_and_library_in_one_step_whatever_the_wave() {
    let mut world = settled();
    world.commit("2", |fleet| {
        fleet.set("core", &["app 2.0.0", "greet 2.0.0"])
    });
    world.turn();
    world.accept(&CORE).turn();
    world.stage(&CORE).turn();
    let plan = world.activate(&["core-1"]).turn();
    tells(
        &plan,
        &expect![[r#"
        Activating
        core-2 > activate
        core-3 > activate
    "#]],
    );
    assert_eq!(runs(&mut world, "core-1"), "app 2.0.0, greet 2.0.0");
    assert_eq!(runs(&mut world, "core-2"), "app 1.0.0, greet 1.0.0");
}

#[test]
fn a_symbol_that_is_seen_to_be_missing_between_two_waves_stops_the_second() {
    let mut world = settled();
    lists_are_known(&mut world, false);
    world.commit("2", |fleet| {
        fleet.set("core", &["app 1.0.0", "greet 3.0.0"])
    });
    tells(
        &world.turn(),
        &expect![[r#"
        Proposing
        note NodeClass core: not known whether all symbols are there for usr/bin/greeter: no package says what usr/lib/libgreet.so.1 defines
        core-1 > propose
        core-2 > propose
        core-3 > propose
    "#]],
    );
    world.accept(&CORE).turn();
    world.stage(&CORE).turn();
    world.activate(&["core-1"]);
    lists_are_known(&mut world, true);
    // The canary has no better library any more, and the others keep theirs.
    tells(
        &world.turn(),
        &expect![[r#"
        Blocked
        problem nodes core-1, core-2, core-3: usr/bin/greeter of package app needs symbol greet, which libgreet.so.1 does not define, in process greeter; it could come from greet 1.0.0, greet 2.0.0; on node core-2 it runs with usr/lib/libgreet.so.1 of greet 1.0.0 now
        core-2 waits until the problems are solved
        core-3 waits until the problems are solved
    "#]],
    );
    let back = |fleet: F| fleet.set("core", &["app 1.0.0", "greet 2.0.0"]);
    world.commit("3", back);
    tells(
        &world.turn(),
        &expect![[r#"
        Proposing
        core-2 > release
        core-3 > release
        core-1 > propose
        core-2 > propose
        core-3 > propose
    "#]],
    );
}

#[test]
fn no_decision_overrides_a_missing_symbol() {
    let mut world = settled();
    lists_are_known(&mut world, false);
    world.commit("2", |fleet| {
        fleet.set("core", &["app 1.0.0", "greet 3.0.0"])
    });
    world.turn();
    world
        .accept(&["core-1", "core-3"])
        .veto("core-2", "busy")
        .turn();
    let rollout = world.observed.rollout.clone().unwrap();
    let hold = rollout.hold.unwrap();
    let decision = |kind| placet_model::Decision {
        hold: hold.number,
        kind,
        author: "ann".to_owned(),
        reason: "because".to_owned(),
        time: world.observed.now,
        overrides: hold.objections.clone(),
    };
    let decisions = [
        decision(DecisionKind::Skip),
        decision(DecisionKind::Force { nodes: Vec::new() }),
    ];
    lists_are_known(&mut world, true);
    tells(
        &world.turn(),
        &expect![[r#"
        Blocked
        problem nodes core-1, core-2, core-3: usr/bin/greeter of package app needs symbol greet, which libgreet.so.1 does not define, in process greeter; it could come from greet 1.0.0, greet 2.0.0; on node core-1 it runs with usr/lib/libgreet.so.1 of greet 1.0.0 now
        core-1 waits until the problems are solved
        core-2 waits until the problems are solved
        core-3 waits until the problems are solved
    "#]],
    );
    for decision in decisions {
        let refusal = check_decision(&world.target(), &world.observed, &decision);
        assert_eq!(refusal, Err(Refusal::Hold(None)));
    }
}

/// Version 2 of the library went to all but one node, which a decision left out.
fn one_left_out() -> World {
    let mut world = settled();
    world.commit("2", |fleet| {
        fleet.set("core", &["app 1.0.0", "greet 2.0.0"])
    });
    world.turn();
    world
        .accept(&["core-1", "core-3"])
        .veto("core-2", "busy")
        .turn();
    world.decide(DecisionKind::Skip).turn();
    let others = ["core-1", "core-3"];
    world.stage(&others).turn();
    world.activate(&["core-1"]).turn();
    assert_eq!(world.activate(&["core-3"]).turn().phase, RolloutPhase::Done);
    world
}

#[test]
fn a_node_that_was_left_out_takes_the_library_with_the_program_that_wants_it() {
    let mut world = one_left_out();
    world.commit("3", |fleet| {
        fleet.set("core", &["app 2.0.0", "greet 2.0.0"])
    });
    let plan = world.turn();
    tells(
        &plan,
        &expect![[r#"
        Proposing
        core-1 > propose
        core-2 > propose
        core-3 > propose
    "#]],
    );
    let change = &plan.nodes[&text::<NodeName>("core-2")].change_set;
    let modules = change.modules.iter();
    let paths: Vec<_> = modules.map(|module| module.path.as_str()).collect();
    assert_eq!(paths, ["usr/bin/greeter", "usr/lib/libgreet.so.1"]);
}

#[test]
fn a_node_that_is_to_keep_the_library_which_it_was_left_out_with_cannot_have_the_program() {
    let mut world = one_left_out();
    world.commit("3", |fleet| {
        let fleet = fleet.set("core", &["app 2.0.0", "greet 2.0.0"]);
        pinned(fleet, "core-2", &["app 2.0.0", "greet 1.0.0"])
    });
    tells(
        &world.turn(),
        &expect![[r#"
        Blocked
        problem node core-2: usr/bin/greeter of package app needs symbol greet_twice, which libgreet.so.1 does not define, in process greeter; it could come from greet 2.0.0, greet 3.0.0
        core-1 waits until the problems are solved
        core-2 waits until the problems are solved
        core-3 waits until the problems are solved
    "#]],
    );
}

fn tested(fleet: F, packages: &[&str]) -> F {
    pinned(fleet, "core-2", packages).node("core-2", |node| {
        node.class = Some("core".to_owned());
        node.package_sets = Some(vec!["own".to_owned()]);
        node.test_seconds = Some(600);
    })
}

#[test]
fn test_mode_is_no_way_around_a_missing_symbol() {
    let mut world = settled();
    world.commit("2", |fleet| tested(fleet, &["app 2.0.0", "greet 1.0.0"]));
    tells(
        &world.turn(),
        &expect![[r#"
        Blocked
        problem node core-2: usr/bin/greeter of package app needs symbol greet_twice, which libgreet.so.1 does not define, in process greeter; it could come from greet 2.0.0, greet 3.0.0
        core-2 waits until the problems are solved
    "#]],
    );
}

#[test]
fn a_test_that_ends_leaves_the_program_with_the_library_that_it_was_stored_with() {
    let mut world = settled();
    world.commit("2", |fleet| tested(fleet, &["app 1.0.0", "greet 2.0.0"]));
    world.turn();
    world.accept(&["core-2"]).turn();
    world.stage(&["core-2"]).turn();
    world.activate(&["core-2"]).turn();
    // What comes next builds on what is in memory only, and takes all of it along.
    world.commit("3", |fleet| tested(fleet, &["app 2.0.0", "greet 2.0.0"]));
    tells(
        &world.turn(),
        &expect![[r#"
        Proposing
        core-2 > propose
    "#]],
    );
    world.accept(&["core-2"]).turn();
    world.stage(&["core-2"]).turn();
    world.activate(&["core-2"]).turn();
    assert_eq!(runs(&mut world, "core-2"), "app 2.0.0, greet 2.0.0");
    let stored = settled().node("core-2").running.clone().unwrap();
    assert_eq!(world.node("core-2").stored, Some(stored.digest()));
    // With what is stored the program would miss what it has in memory.
    world.commit("4", |fleet| {
        pinned(fleet, "core-2", &["app 2.0.0", "greet 1.0.0"])
    });
    tells(
        &world.turn(),
        &expect![[r#"
        Blocked
        problem node core-2: usr/bin/greeter of package app needs symbol greet_twice, which libgreet.so.1 does not define, in process greeter; it could come from greet 2.0.0, greet 3.0.0; on node core-2 it runs with usr/lib/libgreet.so.1 of greet 2.0.0 now
        core-2 waits until the problems are solved
    "#]],
    );
}
