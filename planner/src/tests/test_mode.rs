//! Changes that run from memory only (C-D2, C-R1).

use expect_test::expect;
use placet_model::NodeName;

use super::build::{F, text};
use super::world::{World, small};

/// One of the core nodes runs the new version in test mode.
fn test_of(fleet: F, seconds: Option<u32>) -> F {
    fleet.node("core-2", |node| {
        node.class = Some("core".to_owned());
        node.test_seconds = seconds;
    })
}

/// The change has gone through the core.
fn testing() -> World {
    let mut world = World::settled(small());
    world.commit("2", |fleet| {
        test_of(fleet.set("core", &["app 2.0.0", "base 1.0.0"]), Some(600))
    });
    let nodes = ["core-1", "core-2", "core-3"];
    world.turn();
    world.accept(&nodes).turn();
    world.stage(&nodes).turn();
    world.activate(&nodes);
    world
}

#[test]
fn a_node_in_test_mode_is_asked_as_any_other_and_stores_nothing() {
    let mut world = World::settled(small());
    world.commit("2", |fleet| {
        test_of(fleet.set("core", &["app 2.0.0", "base 1.0.0"]), Some(600))
    });
    world.check(&expect![[r#"
        Proposing
        core-1 > propose
        core-2 > propose
        core-3 > propose
    "#]]);
    let nodes = ["core-1", "core-2", "core-3"];
    world.accept(&nodes).check(&expect![[r#"
        Staging
        core-1 > stage
        core-2 > stage in memory
        core-3 > stage
    "#]]);
    world.stage(&nodes).check(&expect![[r#"
        Activating
        core-1 > activate
        core-2 > activate in test mode for 600 s
        core-3 > activate
    "#]]);
    world.activate(&nodes).check(&expect![[r#"
        Done
    "#]]);
}

#[test]
fn a_node_that_cannot_run_from_memory_only_is_left_as_it_is() {
    let mut world = World::settled(small());
    world.node("core-2").has_memory = false;
    world.commit("2", |fleet| {
        test_of(fleet.set("core", &["app 2.0.0", "base 1.0.0"]), Some(600))
    });
    world.check(&expect![[r#"
        Proposing
        core-1 > propose
        core-3 > propose
        core-2 is not to store all that it is given, and cannot have it in memory only: its placetd is too old, or its --memory is not on a tmpfs
    "#]]);
}

#[test]
fn nodes_of_a_class_that_stores_nothing_run_from_memory_without_end() {
    let mut world = World::settled(small());
    world.commit("2", |mut fleet| {
        fleet.desired.classes.get_mut("edge").unwrap().memory_only = true;
        fleet.set("edge", &["tool 2.0.0"])
    });
    world.turn();
    world.accept(&["edge-1"]).check(&expect![[r#"
        Staging
        edge-1 > stage in memory
    "#]]);
    world.stage(&["edge-1"]).check(&expect![[r#"
        Activating
        edge-1 > activate in memory
    "#]]);
    world.activate(&["edge-1"]).check(&expect![[r#"
        Done
    "#]]);
}

#[test]
fn the_end_of_a_test_holds_nobody_and_is_not_tried_again() {
    let mut world = testing();
    world.check(&expect![[r#"
        Done
    "#]]);
    let before = World::settled(small()).node("core-2").running.clone();
    let wanted = world
        .node("core-2")
        .running
        .replace(before.unwrap())
        .unwrap();
    world.node("core-2").stored = None;
    world.node("core-2").failed.insert(wanted.digest());
    world.check(&expect![[r#"
        Done
        core-2 ran it and has given it back: `placet node retry` has it tried again
    "#]]);
    // Somebody says so.
    world.node("core-2").failed.clear();
    let nodes = &mut world.observed.rollout.as_mut().unwrap().nodes;
    nodes.remove(&text::<NodeName>("core-2"));
    world.check(&expect![[r#"
        Proposing
        core-2 > propose
    "#]]);
}

#[test]
fn what_ran_in_test_mode_is_stored_once_the_node_is_not_in_test_mode_any_more() {
    let mut world = testing();
    world.turn();
    world.commit("3", |fleet| test_of(fleet, None));
    world.check(&expect![[r#"
        Proposing
        core-2 > propose
    "#]]);
    world.accept(&["core-2"]).check(&expect![[r#"
        Staging
        core-2 > stage
    "#]]);
    world.stage(&["core-2"]).check(&expect![[r#"
        Activating
        core-2 > activate
    "#]]);
    world.activate(&["core-2"]).check(&expect![[r#"
        Done
    "#]]);
}

#[test]
fn a_restart_of_a_node_in_test_mode_has_it_asked_again() {
    let mut world = testing();
    world.turn();
    world.reboot("core-2");
    let before = World::settled(small()).node("core-2").running.clone();
    world.node("core-2").running = before;
    world.node("core-2").stored = None;
    world.check(&expect![[r#"
        Proposing
        core-2 > propose
    "#]]);
}
