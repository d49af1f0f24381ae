//! Failures, absences and newer revisions.

use expect_test::expect;
use placet_model::{DecisionKind, OnUnreachable};

use super::build::text;
use super::world::{World, small};
use crate::Presence;

const CORE: [&str; 3] = ["core-1", "core-2", "core-3"];

fn asked_with(strategy: impl FnOnce(&mut placet_model::Strategy)) -> World {
    let mut world =
        World::settled(small().with_class("core", |class| strategy(&mut class.strategy)));
    world.commit("2", |fleet| fleet.set("core", &["app 1.0.0", "base 2.0.0"]));
    world.turn();
    world
}

/// One node of three has changed, the second is at it.
fn activating() -> World {
    let mut world = asked_with(|strategy| strategy.max_unavailable = Some(1));
    world.accept(&CORE).turn();
    world.stage(&CORE).turn();
    world.activate(&["core-1"]).turn();
    world
}

#[test]
fn c_a8_a_failed_activation_halts_the_waves() {
    let mut world = activating();
    world
        .finish("core-2", Some("chatd died"))
        .check(&expect![[r#"
            Halted
              objection node core-2: activation failed: chatd died
            core-2 failed and is not tried again by itself: chatd died
            core-3 waits for a decision on hold 1
        "#]]);
}

#[test]
fn c_r1_what_failed_is_not_tried_again_unless_a_person_says_so() {
    let mut world = activating();
    world.finish("core-2", Some("chatd died")).turn();
    let mut skipped = world.clone();
    skipped.decide(DecisionKind::Skip).check(&expect![[r#"
        Activating
        core-3 > activate
        core-2 failed and is not tried again by itself: chatd died
    "#]]);
    skipped.activate(&["core-3"]).check(&expect![[r#"
        Done
        core-2 failed and is not tried again by itself: chatd died
    "#]]);
    world
        .decide(DecisionKind::Force { nodes: Vec::new() })
        .check(&expect![[r#"
            Activating
            core-2 > activate forced
            core-3 waits for its turn: 1 of its class is changing
        "#]]);
    world
        .finish("core-2", Some("chatd died"))
        .check(&expect![[r#"
            Halted
              objection node core-2: activation failed: chatd died
            core-2 failed and is not tried again by itself: chatd died
            core-3 waits for a decision on hold 2
        "#]]);
    assert_eq!(world.observed.rollout.as_ref().unwrap().holds, 2);
    world.decide(DecisionKind::Abort).check(&expect![[r#"
        Aborted
        core-3 > release of r-d121a40ace4a: given up by ann: because
        core-2 is left as it is: the roll-out was given up
        core-3 is left as it is: the roll-out was given up
    "#]]);
}

#[test]
fn c_r1_a_manifest_that_failed_in_another_roll_out_is_an_objection_from_the_start() {
    let mut world = activating();
    world.finish("core-2", Some("chatd died")).turn();
    world.decide(DecisionKind::Abort).turn();
    world.commit("3", |fleet| fleet);
    world.check(&expect![[r#"
        Held
          objection node core-2: activation failed: this manifest failed on it before
        core-3 > propose
        core-2 failed and is not tried again by itself: this manifest failed on it before
    "#]]);
    world.accept(&["core-3"]).decide(DecisionKind::Force {
        nodes: vec![text("core-2")],
    });
    world.check(&expect![[r#"
        Activating
        core-2 > activate forced
        core-3 waits for its turn: 1 of its class is changing
    "#]]);
}

#[test]
fn an_order_that_may_be_lost_is_given_again() {
    let mut world = asked_with(|_| {});
    world.away("core-1").back("core-1").check(&expect![[r#"
        Proposing
        core-1 > propose
        core-2 is asked
        core-3 is asked
    "#]]);
    world.accept(&CORE).turn();
    world
        .stage(&["core-1", "core-2"])
        .away("core-3")
        .back("core-3")
        .check(&expect![[r#"
            Staging
            core-3 > stage
            core-1 has fetched, waits for core-3
            core-2 has fetched, waits for core-3
        "#]]);
    world.stage(&["core-3"]).turn();
    world
        .activate(&["core-1", "core-2"])
        .away("core-3")
        .back("core-3")
        .check(&expect![[r#"
            Activating
            core-3 > activate
        "#]]);
    world.activate(&["core-3"]).check(&expect![[r#"
        Done
    "#]]);
}

#[test]
fn a_node_that_restarts_while_it_changes_is_asked_again() {
    let mut world = activating();
    world.reboot("core-2").check(&expect![[r#"
        Proposing
        core-2 > propose
        core-3 agrees, waits for core-2
    "#]]);
}

#[test]
fn staging_that_failed_is_tried_again_after_a_while() {
    let mut world = asked_with(|_| {});
    world.accept(&CORE).turn();
    world.stage(&["core-1", "core-2"]).take("core-3");
    let rollout = world.observed.rollout.as_mut().unwrap();
    rollout.nodes.get_mut(&text("core-3")).unwrap().stage_error = Some("disk full".to_owned());
    world.check(&expect![[r#"
        Staging
        core-1 has fetched, waits for core-3
        core-2 has fetched, waits for core-3
        core-3 is fetching
    "#]]);
    world.tick(10);
    world.check(&expect![[r#"
        Staging
        core-3 > stage
        core-1 has fetched, waits for core-3
        core-2 has fetched, waits for core-3
    "#]]);
    let rollout = world.observed.rollout.as_ref().unwrap();
    assert_eq!(rollout.nodes[&text("core-3")].stage_error, None);
}

#[test]
fn a_node_that_goes_away_before_its_turn_does_not_stop_those_that_are_there() {
    let mut world = asked_with(|strategy| strategy.max_unavailable = Some(1));
    world.accept(&CORE).turn();
    world.stage(&CORE).turn();
    world
        .activate(&["core-1"])
        .away("core-2")
        .check(&expect![[r#"
            Activating
            core-3 > activate
            core-2 has no connection
        "#]]);
    world.activate(&["core-3"]).check(&expect![[r#"
        Activating
        core-2 has no connection
    "#]]);
    world.back("core-2").check(&expect![[r#"
        Activating
        core-2 > activate
    "#]]);
}

fn one_is_away(policy: OnUnreachable) -> World {
    let mut world = World::settled(small().with_class("core", |class| {
        class.strategy.on_unreachable = policy;
    }));
    world.away("core-2");
    world.commit("2", |fleet| fleet.set("core", &["app 1.0.0", "base 2.0.0"]));
    world.turn();
    world.accept(&["core-1", "core-3"]);
    world
}

#[test]
fn an_unreachable_node_is_waited_for() {
    let mut world = one_is_away(OnUnreachable::Wait);
    world.tick(100);
    world.check(&expect![[r#"
        Proposing
        core-1 agrees, waits for core-2
        core-2 has no connection
        core-3 agrees, waits for core-2
    "#]]);
    world.back("core-2").check(&expect![[r#"
        Proposing
        core-2 > propose
        core-1 agrees, waits for core-2
        core-3 agrees, waits for core-2
    "#]]);
}

#[test]
fn an_unreachable_node_is_left_out_and_asked_when_it_comes_back() {
    let mut world = one_is_away(OnUnreachable::Skip);
    world.check(&expect![[r#"
        Proposing
        core-1 agrees, waits for core-2
        core-2 has no connection
        core-3 agrees, waits for core-2
    "#]]);
    world.tick(30);
    world.check(&expect![[r#"
        Staging
        core-1 > stage
        core-3 > stage
        core-2 has no connection
    "#]]);
    world.back("core-2").check(&expect![[r#"
        Proposing
        core-2 > propose
        core-1 agrees, waits for core-2
        core-3 agrees, waits for core-2
    "#]]);
}

#[test]
fn an_unreachable_node_holds_the_roll_out() {
    let mut world = one_is_away(OnUnreachable::Fail);
    world.tick(30);
    world.check(&expect![[r#"
        Held
          objection node core-2: it cannot be reached
        core-1 waits for a decision on hold 1
        core-2 waits for a decision on hold 1
        core-3 waits for a decision on hold 1
    "#]]);
    let mut forced = world.clone();
    forced
        .decide(DecisionKind::Force { nodes: Vec::new() })
        .check(&expect![[r#"
            Staging
            core-1 > stage
            core-3 > stage
            core-2 has no connection
        "#]]);
    forced.back("core-2").check(&expect![[r#"
        Staging
        core-2 > stage
        core-1 is fetching
        core-3 is fetching
    "#]]);
    world.decide(DecisionKind::Skip).check(&expect![[r#"
        Staging
        core-1 > stage
        core-3 > stage
        core-2 is left out by decision
    "#]]);
}

/// A controller that starts anew knows no node's state until it hears of it.
fn controller_restarts(world: &mut World) {
    for name in world.names() {
        let known = world.node(name.as_str()).presence != Presence::NeverSeen;
        if known {
            world.away(name.as_str());
            let node = world.node(name.as_str());
            node.running = None;
            node.staged.clear();
            node.failed.clear();
            node.boot_id.clear();
        }
    }
}

#[test]
fn a_restart_of_the_controller_changes_neither_hold_nor_phase() {
    let mut world = asked_with(|_| {});
    world
        .accept(&["core-1", "core-3"])
        .veto("core-2", "3 sessions")
        .turn();
    let hold = world.observed.rollout.as_ref().unwrap().hold.clone();
    let before = world.observed.nodes.clone();
    controller_restarts(&mut world);
    world.check(&expect![[r#"
        Held
          objection node core-2: chatd (7) non placet: 3 sessions
        core-1 waits for a decision on hold 1
        core-2 waits for a decision on hold 1
        core-3 waits for a decision on hold 1
        edge-1 has no connection
    "#]]);
    world.observed.nodes.clone_from(&before);
    assert_eq!(world.turn().hold, hold);
    world.decide(DecisionKind::Skip).turn();
    world.stage(&["core-1", "core-3"]).turn();
    world.activate(&["core-1", "core-3"]).turn();
    controller_restarts(&mut world);
    world.check(&expect![[r#"
        Done
        core-2 has no connection
        edge-1 has no connection
    "#]]);
}

#[test]
fn v4_a_newer_revision_supersedes_a_held_roll_out_and_releases_its_votes() {
    let mut world = asked_with(|_| {});
    world
        .accept(&["core-1", "core-3"])
        .veto("core-2", "3 sessions")
        .turn();
    world.commit("3", |fleet| fleet.set("core", &["app 2.0.0", "base 1.0.0"]));
    world.check(&expect![[r#"
        Proposing
        core-1 > release of r-d121a40ace4a: superseded by revision main@sha1:3
        core-2 > release of r-d121a40ace4a: superseded by revision main@sha1:3
        core-3 > release of r-d121a40ace4a: superseded by revision main@sha1:3
        core-1 > propose
        core-2 > propose
        core-3 > propose
    "#]]);
    assert_eq!(world.superseded.len(), 1);
    let rollout = world.observed.rollout.as_ref().unwrap();
    assert_eq!(
        (rollout.revision.as_str(), rollout.nodes.len()),
        ("main@sha1:3", 3)
    );
}

#[test]
fn a_revert_of_what_nobody_has_yet_takes_the_roll_out_down() {
    let mut world = asked_with(|_| {});
    world.veto("core-2", "3 sessions").turn();
    world.commit("3", |fleet| fleet.set("core", &["app 1.0.0", "base 1.0.0"]));
    world.check(&expect![[r#"
        Done
        core-1 > release of r-d121a40ace4a: superseded by revision main@sha1:3
        core-2 > release of r-d121a40ace4a: superseded by revision main@sha1:3
        core-3 > release of r-d121a40ace4a: superseded by revision main@sha1:3
    "#]]);
}

#[test]
fn a_newer_revision_waits_for_nodes_in_the_midst_of_their_change() {
    let mut world = activating();
    world.commit("3", |fleet| fleet.set("core", &["app 2.0.0", "base 2.0.0"]));
    world.check(&expect![[r#"
        Activating
        core-3 > release of r-d121a40ace4a: superseded by revision main@sha1:3
        core-1 waits until the roll-out before has ended on core-2
        core-2 is changing
        core-3 waits until the roll-out before has ended on core-2
    "#]]);
    world.activate(&["core-2"]).check(&expect![[r#"
        Proposing
        core-1 > propose
        core-2 > propose
        core-3 > propose
    "#]]);
    world.accept(&CORE).turn();
    world.stage(&CORE).turn();
    world.activate(&["core-1"]).turn();
    world.activate(&["core-2"]).turn();
    world.activate(&["core-3"]).check(&expect![[r#"
        Done
    "#]]);
}

/// People work on `core-2` from now on.
fn maintain(world: &mut World) {
    world.declare(|fleet| {
        let node = fleet.desired.nodes.get_mut(&text("core-2")).unwrap();
        node.maintenance = true;
    });
}

#[test]
fn s4_the_failure_of_a_node_in_maintenance_halts_nobody() {
    let mut world = activating();
    maintain(&mut world);
    world
        .finish("core-2", Some("chatd died"))
        .check(&expect![[r#"
            Activating
            core-3 > activate
            core-2 is in maintenance, and left out: chatd died
        "#]]);
}

#[test]
fn s4_the_absence_of_a_node_in_maintenance_holds_nobody() {
    let mut world = asked_with(|strategy| strategy.on_unreachable = OnUnreachable::Fail);
    world.accept(&["core-1", "core-3"]).away("core-2").tick(31);
    let mut held = world.clone();
    held.check(&expect![[r#"
        Held
          objection node core-2: it cannot be reached
        core-1 waits for a decision on hold 1
        core-2 waits for a decision on hold 1
        core-3 waits for a decision on hold 1
    "#]]);
    maintain(&mut world);
    world.check(&expect![[r#"
        Staging
        core-1 > stage
        core-3 > stage
        core-2 is in maintenance, and left out: it has no connection
    "#]]);
    world.stage(&["core-1", "core-3"]).turn();
    world.activate(&["core-1", "core-3"]).check(&expect![[r#"
            Done
            core-2 is in maintenance, and left out: it has no connection
        "#]]);
    world.back("core-2").check(&expect![[r#"
        Proposing
        core-2 > propose
    "#]]);
}

#[test]
fn s4_a_veto_on_a_node_in_maintenance_counts() {
    let mut world = asked_with(|_| {});
    maintain(&mut world);
    world.accept(&["core-1", "core-3"]).veto("core-2", "busy");
    world.check(&expect![[r#"
        Held
          objection node core-2: chatd (7) non placet: busy
        core-1 waits for a decision on hold 1
        core-2 waits for a decision on hold 1
        core-3 waits for a decision on hold 1
    "#]]);
}
