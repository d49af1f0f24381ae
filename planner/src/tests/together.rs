//! Requirements on other nodes while a change is on its way (D7).

use expect_test::expect;
use placet_model::{DecisionKind, OnUnreachable, Quantifier};
use proptest::prelude::*;

use super::build::{F, file, fleet, package, text};
use super::random::drive_to_the_end;
use super::world::World;
use crate::{Refusal, check_decision};

/// Version 2 of the application needs version 2 of its peer on nodes of the other class, and
/// version 1 needs version 1.
fn bound(quantifier: Quantifier) -> F {
    let app = |version: &str| {
        package(
            &format!("app {version}.0.0"),
            [file("etc/app").content(version)],
        )
        .requires_on_others(&format!("peer ^{version}"), quantifier, "edge")
    };
    let peer = |version: &str| {
        package(
            &format!("peer {version}.0.0"),
            [file("etc/peer").content(version)],
        )
    };
    let mut fleet = fleet([app("1"), app("2"), peer("1"), peer("2")])
        .class("core", &["app 1.0.0"])
        .class("edge", &["peer 1.0.0"]);
    for (name, class) in [("core-2", "core"), ("edge-2", "edge")] {
        fleet = fleet.node(name, |node| node.class = Some(class.to_owned()));
    }
    fleet
}

const ALL: [&str; 4] = ["core-1", "core-2", "edge-1", "edge-2"];

fn asked(fleet: F) -> World {
    let mut world = World::settled(fleet);
    world.commit("2", |fleet| {
        fleet
            .set("core", &["app 2.0.0"])
            .set("edge", &["peer 2.0.0"])
    });
    world.turn();
    world
}

fn canary(fleet: F) -> F {
    fleet.with_class("core", |class| class.strategy.canaries = 1)
}

#[test]
fn d7_nodes_that_a_requirement_binds_change_together_even_across_waves() {
    let mut world = asked(canary(bound(Quantifier::All)));
    world.accept(&ALL).turn();
    world.stage(&ALL).check(&expect![[r#"
        Activating
        core-1 > activate
        core-2 > activate
        edge-1 > activate
        edge-2 > activate
    "#]]);
}

#[test]
fn d7_what_would_be_left_when_a_test_ends_is_looked_at_before() {
    let mut world = World::settled(bound(Quantifier::All));
    world.commit("2", |fleet| {
        fleet
            .set("core", &["app 2.0.0"])
            .set("edge", &["peer 2.0.0"])
            .node("edge-2", |node| {
                node.class = Some("edge".to_owned());
                node.test_seconds = Some(600);
            })
    });
    world.turn();
    world.accept(&ALL).turn();
    world.stage(&ALL).check(&expect![[r#"
        Activating
        core-1 cannot stand the end of a test: nodes core-1, core-2: package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2
        core-2 cannot stand the end of a test: nodes core-1, core-2: package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2
        edge-1 cannot stand the end of a test: nodes core-1, core-2: package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2
        edge-2 cannot stand the end of a test: nodes core-1, core-2: package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2
    "#]]);
}

#[test]
fn a8_a_node_gives_back_what_it_watches_when_the_one_it_needs_has_failed() {
    let mut world = asked(bound(Quantifier::All));
    world.accept(&ALL).turn();
    world.stage(&ALL).turn();
    world.soak("core-1").soak("edge-1");
    // Nothing is decided while the other is still changing.
    world.check(&expect![[r#"
        Activating
        core-1 is changing
        core-2 is changing
        edge-1 is changing
        edge-2 is changing
    "#]]);
    world.finish("edge-2", Some("peerd died"));
    world.check(&expect![[r#"
        Halted
          objection node edge-2: activation failed: peerd died
        core-1 > give back package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2
        core-2 is changing
        edge-1 is changing
        edge-2 failed and is not tried again by itself: peerd died
    "#]]);
    // It is told once, and again when it comes back with the change still open.
    world.check(&expect![[r#"
        Halted
          objection node edge-2: activation failed: peerd died
        core-1 is changing
        core-2 is changing
        edge-1 is changing
        edge-2 failed and is not tried again by itself: peerd died
    "#]]);
    world.away("core-1").back("core-1");
    world.check(&expect![[r#"
        Halted
          objection node edge-2: activation failed: peerd died
        core-1 > give back package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2
        core-2 is changing
        edge-1 is changing
        edge-2 failed and is not tried again by itself: peerd died
    "#]]);
    world.soaked("core-1", Some("package app needs its peer"));
    // What comes to watch later hears it then; whoever needs nothing keeps what it has.
    world.soak("core-2").check(&expect![[r#"
        Halted
          objection node core-1: activation failed: package app needs its peer
          objection node edge-2: activation failed: peerd died
        core-2 > give back package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2
        core-1 failed and is not tried again by itself: package app needs its peer
        edge-1 is changing
        edge-2 failed and is not tried again by itself: peerd died
    "#]]);
    world.soaked("core-2", Some("package app needs its peer"));
    world.soaked("edge-1", None);
    world.check(&expect![[r#"
        Halted
          objection node core-1: activation failed: package app needs its peer
          objection node core-2: activation failed: package app needs its peer
          objection node edge-2: activation failed: peerd died
        core-1 failed and is not tried again by itself: package app needs its peer
        core-2 failed and is not tried again by itself: package app needs its peer
        edge-2 failed and is not tried again by itself: peerd died
    "#]]);
}

#[test]
fn a8_a_requirement_that_holds_by_others_lets_nobody_down() {
    let mut world = asked(bound(Quantifier::Any));
    world.accept(&ALL).turn();
    world.stage(&ALL).turn();
    world.soak("core-1").soak("core-2").soak("edge-1");
    world.finish("edge-2", Some("peerd died"));
    world.check(&expect![[r#"
        Halted
          objection node edge-2: activation failed: peerd died
        core-1 is changing
        core-2 is changing
        edge-1 is changing
        edge-2 failed and is not tried again by itself: peerd died
    "#]]);
}

#[test]
fn d7_no_more_nodes_are_pulled_along_than_it_takes() {
    // The others still need a peer of version 1.
    let mut world = asked(canary(bound(Quantifier::Any)).with_class("edge", |class| {
        class.strategy.max_unavailable = Some(1);
    }));
    world.accept(&ALL).turn();
    world.stage(&ALL).check(&expect![[r#"
        Activating
        core-1 > activate
        edge-1 > activate
        core-2 waits for its wave: 1 left in wave canary
        edge-2 waits for its turn: 1 of its class is changing
    "#]]);
    world.activate(&["core-1", "edge-1"]).check(&expect![[r#"
        Activating
        core-2 > activate
        edge-2 > activate
    "#]]);
    world.activate(&["core-2", "edge-2"]).check(&expect![[r#"
        Done
    "#]]);
}

#[test]
fn d7_a_node_that_needs_one_that_is_away_waits_and_says_for_what() {
    let mut world = asked(bound(Quantifier::All));
    world.accept(&ALL).turn();
    world.stage(&ALL);
    world.away("edge-2").check(&expect![[r#"
        Staging
        core-1 has fetched, waits for edge-2
        core-2 has fetched, waits for edge-2
        edge-1 has fetched, waits for edge-2
        edge-2 has no connection
    "#]]);
    world.back("edge-2").check(&expect![[r#"
        Activating
        core-1 > activate
        core-2 > activate
        edge-1 > activate
        edge-2 > activate
    "#]]);
}

#[test]
fn d7_a_skip_that_would_leave_a_requirement_unmet_is_refused_with_it() {
    let mut world = asked(bound(Quantifier::All));
    world
        .accept(&["core-1", "core-2", "edge-1"])
        .veto("edge-2", "3 sessions")
        .turn();
    let refusal = refusal(&world, DecisionKind::Skip).unwrap_err();
    expect!["`skip` would leave node edge-2 unchanged, and then requirements would not hold: nodes core-1, core-2: package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2; force what is left out too, or abort"].assert_eq(&refusal.to_string());
    let of_others = DecisionKind::Force {
        nodes: vec![text("edge-1")],
    };
    assert!(matches!(
        refusal_of(&world, of_others),
        Some(Refusal::Requirements { .. })
    ));
    assert_eq!(refusal_of(&world, DecisionKind::Abort), None);
    let all = DecisionKind::Force { nodes: Vec::new() };
    assert_eq!(refusal_of(&world, all), None);
}

#[test]
fn d7_a_skip_that_leaves_enough_is_taken() {
    let mut world = asked(bound(Quantifier::Any));
    world
        .accept(&["core-1", "core-2", "edge-1"])
        .veto("edge-2", "3 sessions")
        .turn();
    assert_eq!(refusal_of(&world, DecisionKind::Skip), None);
}

#[test]
fn v5_a_decision_answers_the_hold_that_is_open_and_once() {
    let mut world = asked(bound(Quantifier::Any));
    world
        .accept(&["core-1", "core-2", "edge-1"])
        .veto("edge-2", "3 sessions")
        .turn();
    let mut decision = decision(&world, DecisionKind::Skip);
    decision.hold = 7;
    let target = world.target();
    let refusal = check_decision(&target, &world.observed, &decision).unwrap_err();
    assert_eq!(refusal, Refusal::Hold(Some(1)));
    world.decide(DecisionKind::Abort);
    expect!["hold 1 has just been decided by ann: abort"]
        .assert_eq(&refusal_of(&world, DecisionKind::Skip).unwrap().to_string());
}

#[test]
fn c_a8_what_does_not_hold_where_the_roll_out_rests_is_said() {
    let mut world = asked(bound(Quantifier::All));
    world.accept(&ALL).turn();
    world.stage(&ALL).turn();
    world.activate(&["core-1", "core-2", "edge-1"]);
    let plan = world.finish("edge-2", Some("it died")).turn();
    let notes: Vec<_> = plan.notes.iter().map(ToString::to_string).collect();
    expect!["as the fleet is now, nodes core-1, core-2: package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2"].assert_eq(&notes.join("\n"));
}

#[test]
fn d7_a_node_that_is_left_out_because_it_is_away_blocks_those_that_need_it() {
    let policy = |fleet: F| {
        fleet.with_class("edge", |class| {
            class.strategy.on_unreachable = OnUnreachable::Skip;
        })
    };
    let mut world = asked(policy(bound(Quantifier::All)));
    world.accept(&ALL).turn();
    world.stage(&ALL);
    world.away("edge-2").tick(60);
    world.check(&expect![[r#"
        Activating
        core-1 cannot change by itself: nodes core-1, core-2: package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2
        core-2 cannot change by itself: nodes core-1, core-2: package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2
        edge-1 cannot change by itself: nodes core-1, core-2: package app 2.0.0 needs peer ^2 on every other node with class edge; not so on node edge-2
        edge-2 has no connection
    "#]]);
}

fn decision(world: &World, kind: DecisionKind) -> placet_model::Decision {
    let rollout = world.observed.rollout.as_ref().unwrap();
    let hold = rollout.hold.as_ref().unwrap();
    placet_model::Decision {
        hold: hold.number,
        kind,
        author: "ann".to_owned(),
        reason: "because".to_owned(),
        time: world.observed.now + jiff::SignedDuration::from_secs(1),
        overrides: hold.objections.clone(),
    }
}

fn refusal(world: &World, kind: DecisionKind) -> Result<(), Refusal> {
    check_decision(&world.target(), &world.observed, &decision(world, kind))
}

fn refusal_of(world: &World, kind: DecisionKind) -> Option<Refusal> {
    refusal(world, kind).err()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the strategy, bound nodes get there, and no mixture on the way breaks what held: the
    /// audit looks at every plan.
    #[test]
    fn d7_every_strategy_brings_bound_nodes_to_their_target(
        quantifier in prop_oneof![
            Just(Quantifier::All),
            Just(Quantifier::Any),
            Just(Quantifier::AtLeast(2)),
        ],
        canaries in 0..3_u32,
        most in prop::option::of(1..3_u32),
        percent in prop::option::of(1..101_u32),
    ) {
        let set = |strategy: &mut placet_model::Strategy| {
            strategy.canaries = canaries;
            strategy.max_unavailable = most;
            strategy.max_unavailable_percent = percent;
        };
        let fleet = bound(quantifier)
            .with_class("core", |class| set(&mut class.strategy))
            .with_class("edge", |class| set(&mut class.strategy));
        let mut world = asked(fleet);
        drive_to_the_end(&mut world);
        let target = world.target();
        for (name, node) in &target.nodes {
            let runs = world.observed.nodes[name].running.as_ref().unwrap().digest();
            prop_assert_eq!(runs, node.manifest_digest);
        }
    }
}
