//! The way of a change through the fleet (V1, V5, C-D1, C-D3).

use expect_test::expect;
use placet_model::{Answer, DecisionKind, Digest, NodeManifest, NodeName, Verdict};

use super::build::text;
use super::world::{World, small};
use crate::{Presence, tally, verdict_of};

/// Core and edge get a new version; all four nodes are asked.
fn asked() -> World {
    let mut world = World::settled(small());
    world.commit("2", |fleet| {
        fleet
            .set("core", &["app 1.0.0", "base 2.0.0"])
            .set("edge", &["tool 2.0.0"])
    });
    world.turn();
    world
}

#[test]
fn a_fleet_that_runs_its_target_needs_nothing() {
    World::settled(small()).check(&expect![[r#"
        Done
    "#]]);
    let mut world = World::settled(small());
    world.commit("2", |fleet| fleet);
    let plan = world.turn();
    assert!(!plan.opens && plan.steps.is_empty());
}

#[test]
fn all_affected_nodes_are_asked_at_once_and_others_not_at_all() {
    let mut world = World::settled(small());
    world.commit("2", |fleet| fleet.set("core", &["app 1.0.0", "base 2.0.0"]));
    world.check(&expect![[r#"
        Proposing
        core-1 > propose
        core-2 > propose
        core-3 > propose
    "#]]);
}

#[test]
fn v5_when_all_agree_all_stage_and_only_then_anybody_activates() {
    let mut world = asked();
    world
        .accept(&["core-1", "core-2", "core-3"])
        .check(&expect![[r#"
            Proposing
            core-1 agrees, waits for edge-1
            core-2 agrees, waits for edge-1
            core-3 agrees, waits for edge-1
            edge-1 is asked
        "#]]);
    world.accept(&["edge-1"]).check(&expect![[r#"
        Staging
        core-1 > stage
        core-2 > stage
        core-3 > stage
        edge-1 > stage
    "#]]);
    world
        .stage(&["core-1", "core-2", "edge-1"])
        .check(&expect![[r#"
            Staging
            core-1 has fetched, waits for core-3
            core-2 has fetched, waits for core-3
            core-3 is fetching
            edge-1 has fetched, waits for core-3
        "#]]);
    world.stage(&["core-3"]).check(&expect![[r#"
        Activating
        core-1 > activate
        core-2 > activate
        core-3 > activate
        edge-1 > activate
    "#]]);
    world
        .activate(&["core-1", "core-2", "core-3"])
        .check(&expect![[r#"
            Activating
            edge-1 is changing
        "#]]);
    world.activate(&["edge-1"]).check(&expect![[r#"
        Done
    "#]]);
    assert_eq!(world.turn().nodes.len(), 0);
}

#[test]
fn v5_one_veto_holds_the_whole_fleet() {
    let mut world = asked();
    world
        .accept(&["core-1", "core-3"])
        .veto("core-2", "3 sessions")
        .check(&expect![[r#"
            Held
              objection node core-2: chatd (7) non placet: 3 sessions
            core-1 waits for a decision on hold 1
            core-2 waits for a decision on hold 1
            core-3 waits for a decision on hold 1
            edge-1 is asked
        "#]]);
    let tally = tally(&world.target(), &world.observed);
    assert_eq!(tally.agreed, [text("core-1"), text("core-3")].into());
    assert_eq!(tally.waiting, [text("edge-1")].into());
    assert_eq!(
        tally.objecting.keys().collect::<Vec<_>>(),
        [&text("core-2")]
    );
}

fn held() -> World {
    let mut world = asked();
    world
        .accept(&["core-1", "core-3", "edge-1"])
        .veto("core-2", "3 sessions");
    world.turn();
    world
}

#[test]
fn v5_skip_updates_those_that_agreed_and_leaves_the_others() {
    let mut world = held();
    world.decide(DecisionKind::Skip).check(&expect![[r#"
        Staging
        core-1 > stage
        core-3 > stage
        edge-1 > stage
        core-2 is left out by decision
    "#]]);
    world.stage(&["core-1", "core-3", "edge-1"]).turn();
    world
        .activate(&["core-1", "core-3", "edge-1"])
        .check(&expect![[r#"
            Done
            core-2 is left out by decision
        "#]]);
}

#[test]
fn v5_force_overrides_the_votes_and_nothing_else() {
    let mut world = held();
    world
        .decide(DecisionKind::Force { nodes: Vec::new() })
        .check(&expect![[r#"
            Staging
            core-1 > stage
            core-2 > stage
            core-3 > stage
            edge-1 > stage
        "#]]);
    world
        .stage(&["core-1", "core-2", "core-3", "edge-1"])
        .check(&expect![[r#"
            Activating
            core-1 > activate
            core-2 > activate forced
            core-3 > activate
            edge-1 > activate
        "#]]);
}

#[test]
fn v5_force_of_named_nodes_skips_the_other_objectors() {
    let mut world = asked();
    world
        .accept(&["core-1", "edge-1"])
        .veto("core-2", "busy")
        .veto("core-3", "busy too");
    world.turn();
    world
        .decide(DecisionKind::Force {
            nodes: vec![text("core-3")],
        })
        .check(&expect![[r#"
            Staging
            core-1 > stage
            core-3 > stage
            edge-1 > stage
            core-2 is left out by decision
        "#]]);
}

#[test]
fn v5_abort_releases_everybody() {
    let mut world = held();
    world.decide(DecisionKind::Abort).check(&expect![[r#"
        Aborted
        core-1 > release of r-bd87e431b28f: given up by ann: because
        core-2 > release of r-bd87e431b28f: given up by ann: because
        core-3 > release of r-bd87e431b28f: given up by ann: because
        edge-1 > release of r-bd87e431b28f: given up by ann: because
        core-1 is left as it is: the roll-out was given up
        core-2 is left as it is: the roll-out was given up
        core-3 is left as it is: the roll-out was given up
        edge-1 is left as it is: the roll-out was given up
    "#]]);
    world.check(&expect![[r#"
        Aborted
        core-1 is left as it is: the roll-out was given up
        core-2 is left as it is: the roll-out was given up
        core-3 is left as it is: the roll-out was given up
        edge-1 is left as it is: the roll-out was given up
    "#]]);
}

#[test]
fn v5_a_decision_answers_what_it_names_and_not_what_comes_up_later() {
    let mut world = asked();
    world
        .accept(&["core-1", "core-3"])
        .veto("core-2", "3 sessions")
        .turn();
    world
        .decide(DecisionKind::Force { nodes: Vec::new() })
        .veto("edge-1", "not now");
    world.check(&expect![[r#"
        Held
          objection node edge-1: chatd (7) non placet: not now
        core-1 waits for a decision on hold 2
        core-2 waits for a decision on hold 2
        core-3 waits for a decision on hold 2
        edge-1 waits for a decision on hold 2
    "#]]);
    assert_eq!(world.observed.rollout.as_ref().unwrap().holds, 2);
    world.decide(DecisionKind::Skip).check(&expect![[r#"
        Staging
        core-1 > stage
        core-2 > stage
        core-3 > stage
        edge-1 is left out by decision
    "#]]);
}

#[test]
fn a_hold_stays_the_same_while_nothing_changes_and_grows_with_new_objections() {
    let mut world = asked();
    world.veto("core-2", "3 sessions");
    let first = world.turn().hold.unwrap();
    world.tick(5);
    assert_eq!(world.turn().hold.unwrap(), first);
    world.veto("core-1", "busy");
    let second = world.turn().hold.unwrap();
    assert_eq!((second.number, second.since), (first.number, first.since));
    assert_eq!(second.objections.len(), 2);
}

#[test]
fn silence_counts_as_an_objection_until_the_answer_comes_after_all() {
    let mut world = asked();
    world.accept(&["core-1", "core-2", "core-3"]);
    assert_eq!(
        world.turn().wake,
        Some("2026-01-01T00:00:32Z".parse().unwrap())
    );
    world.tick(30);
    world.check(&expect![[r#"
        Held
          objection node edge-1: no answer within 30 s
        core-1 waits for a decision on hold 1
        core-2 waits for a decision on hold 1
        core-3 waits for a decision on hold 1
        edge-1 waits for a decision on hold 1
    "#]]);
    world.accept(&["edge-1"]).check(&expect![[r#"
        Staging
        core-1 > stage
        core-2 > stage
        core-3 > stage
        edge-1 > stage
    "#]]);
}

#[test]
fn v3_a_defer_waits_until_its_time_and_is_asked_again() {
    let mut world = asked();
    world
        .accept(&["core-1", "core-3", "edge-1"])
        .answer("core-2", Answer::Defer, "in a minute");
    world.check(&expect![[r#"
        Proposing
        core-1 agrees, waits for core-2
        core-2 wants to be asked again at 2026-01-01T00:01:02Z
        core-3 agrees, waits for core-2
        edge-1 agrees, waits for core-2
    "#]]);
    world.tick(60);
    world.check(&expect![[r#"
        Proposing
        core-2 > propose
        core-1 agrees, waits for core-2
        core-3 agrees, waits for core-2
        edge-1 agrees, waits for core-2
    "#]]);
    world.accept(&["core-2"]).check(&expect![[r#"
        Staging
        core-1 > stage
        core-2 > stage
        core-3 > stage
        edge-1 > stage
    "#]]);
}

#[test]
fn v3_whoever_defers_for_a_day_objects_however_often_it_is_asked() {
    let mut world = asked();
    let first = world.observed.now;
    let after = |hours| Some(first + jiff::SignedDuration::from_hours(hours));
    for (waited, until) in [(0, 10), (10, 20), (10, 40)] {
        world.tick(waited * 3_600);
        world.turn();
        world.answer_until("core-2", Answer::Defer, "later", after(until));
        world.turn();
    }
    let deferred = tally(&world.target(), &world.observed).deferred;
    assert_eq!(Some(deferred[&text("core-2")]), after(24));
    world.tick(4 * 3_600);
    let hold = world.turn().hold.unwrap();
    let objects = |line: &String| line.starts_with("node core-2: chatd (7) defers until");
    assert!(hold.objections.iter().any(objects), "{hold:?}");
}

#[test]
fn v4_an_accept_that_expired_is_asked_for_again_before_activation() {
    let mut world = asked();
    world
        .accept(&["core-1", "core-2", "core-3", "edge-1"])
        .turn();
    world.stage(&["core-1", "core-2", "core-3"]);
    world.tick(3_600);
    world.stage(&["edge-1"]).check(&expect![[r#"
        Proposing
        core-1 > propose
        core-2 > propose
        core-3 > propose
        edge-1 > propose
    "#]]);
    world
        .accept(&["core-1", "core-2", "core-3"])
        .veto("edge-1", "not any more");
    world.check(&expect![[r#"
        Held
          objection node edge-1: chatd (7) non placet: not any more
        core-1 waits for a decision on hold 1
        core-2 waits for a decision on hold 1
        core-3 waits for a decision on hold 1
        edge-1 waits for a decision on hold 1
    "#]]);
}

#[test]
fn v4_while_the_fleet_is_held_nobody_is_asked_again_for_a_promise_that_ran_out() {
    let mut world = held();
    world.tick(3_600);
    world.check(&expect![[r#"
        Held
          objection node core-2: chatd (7) non placet: 3 sessions
        core-1 waits for a decision on hold 1
        core-2 waits for a decision on hold 1
        core-3 waits for a decision on hold 1
        edge-1 waits for a decision on hold 1
    "#]]);
    world.decide(DecisionKind::Skip).check(&expect![[r#"
        Proposing
        core-1 > propose
        core-3 > propose
        edge-1 > propose
        core-2 is left out by decision
    "#]]);
}

#[test]
fn v4_a_node_that_restarts_between_vote_and_activation_is_asked_again() {
    let mut world = asked();
    world
        .accept(&["core-1", "core-2", "core-3", "edge-1"])
        .turn();
    world.reboot("core-2").check(&expect![[r#"
        Proposing
        core-2 > propose
        core-1 agrees, waits for core-2
        core-3 agrees, waits for core-2
        edge-1 agrees, waits for core-2
    "#]]);
}

#[test]
fn v4_a_verdict_to_another_change_or_roll_out_is_not_counted() {
    let mut world = asked();
    world.accept(&["core-1", "core-2", "core-3", "edge-1"]);
    let rollout = world.observed.rollout.as_mut().unwrap();
    let mut verdict = |node: &str, change: fn(&mut Verdict)| {
        let state = rollout.nodes.get_mut(&text::<NodeName>(node)).unwrap();
        change(state.verdict.as_mut().unwrap());
    };
    verdict("core-1", |verdict| verdict.rollout = "another".to_owned());
    verdict("core-2", |verdict| {
        verdict.change_digest = Digest::of(b"another");
    });
    world.node("edge-1").running = Some(NodeManifest::default().into());
    world.check(&expect![[r#"
        Proposing
        core-1 > propose
        core-2 > propose
        edge-1 > propose
        core-3 agrees, waits for core-1, core-2, edge-1
    "#]]);
}

#[test]
fn c_d3_no_more_nodes_of_a_class_change_at_once_than_it_allows() {
    let mut world = World::settled(small().with_class("core", |class| {
        class.strategy.max_unavailable = Some(1);
    }));
    world.commit("2", |fleet| {
        fleet
            .set("core", &["app 1.0.0", "base 2.0.0"])
            .set("edge", &["tool 2.0.0"])
    });
    world.turn();
    world
        .accept(&["core-1", "core-2", "core-3", "edge-1"])
        .turn();
    world
        .stage(&["core-1", "core-2", "core-3", "edge-1"])
        .check(&expect![[r#"
            Activating
            core-1 > activate
            edge-1 > activate
            core-2 waits for its turn: 1 of its class is changing
            core-3 waits for its turn: 1 of its class is changing
        "#]]);
    world.activate(&["core-1", "edge-1"]);
    world.node("core-1").not_ready.insert("chatd".to_owned());
    world.check(&expect![[r#"
        Activating
        core-1 is changing
        core-2 waits for its turn: 1 of its class is changing
        core-3 waits for its turn: 1 of its class is changing
    "#]]);
    world.node("core-1").not_ready.clear();
    world.check(&expect![[r#"
        Activating
        core-2 > activate
        core-3 waits for its turn: 1 of its class is changing
    "#]]);
}

#[test]
fn a_problem_blocks_before_anybody_is_asked() {
    let mut world = World::settled(small());
    world.commit("2", |fleet| fleet.set("core", &["app 2.0.0", "gone 1.0.0"]));
    world.check(&expect![[r#"
        Blocked
        core-1 waits until the problems are solved
        core-2 waits until the problems are solved
        core-3 waits until the problems are solved
    "#]]);
}

#[test]
fn a_node_that_joins_later_is_asked_in_the_same_roll_out_and_voids_nobodys_vote() {
    let mut world = World::settled(small());
    world.node("core-3").presence = Presence::NeverSeen;
    world.commit("2", |fleet| fleet.set("core", &["app 1.0.0", "base 2.0.0"]));
    world.check(&expect![[r#"
        Proposing
        core-1 > propose
        core-2 > propose
        core-3 has never joined
    "#]]);
    world.accept(&["core-1", "core-2"]).turn();
    world.stage(&["core-1"]).back("core-3").check(&expect![[r#"
            Proposing
            core-3 > propose
            core-1 agrees, waits for core-3
            core-2 agrees, waits for core-3
        "#]]);
    world.accept(&["core-3"]).check(&expect![[r#"
        Staging
        core-3 > stage
        core-1 has fetched, waits for core-2, core-3
        core-2 is fetching
    "#]]);
    world.stage(&["core-2", "core-3"]).turn();
    world
        .activate(&["core-1", "core-2", "core-3"])
        .check(&expect![[r#"
            Done
        "#]]);
}

#[test]
fn a_node_that_joins_after_the_end_reopens_the_roll_out() {
    let mut world = World::settled(small());
    world.node("core-3").presence = Presence::NeverSeen;
    world.commit("2", |fleet| fleet.set("core", &["app 1.0.0", "base 2.0.0"]));
    world.turn();
    world.accept(&["core-1", "core-2"]).turn();
    world.stage(&["core-1", "core-2"]).turn();
    world.activate(&["core-1", "core-2"]).check(&expect![[r#"
        Done
        core-3 has never joined
    "#]]);
    world.back("core-3").check(&expect![[r#"
        Proposing
        core-3 > propose
    "#]]);
}

#[test]
fn s4_a_suspended_node_is_left_alone() {
    let mut world = World::settled(small());
    world.commit("2", |fleet| {
        let fleet = fleet.set("core", &["app 1.0.0", "base 2.0.0"]);
        fleet.node("core-2", |node| {
            node.class = Some("core".to_owned());
            node.suspended = true;
        })
    });
    world.check(&expect![[r#"
        Proposing
        core-1 > propose
        core-3 > propose
        core-2 is suspended
    "#]]);
}

#[test]
fn v4_veto_precedes_error_precedes_no_answer_precedes_defer_precedes_accept() {
    use placet_model::VerdictKind as Kind;
    let order = [
        Answer::Accept,
        Answer::Defer,
        Answer::NoAnswer,
        Answer::Error,
        Answer::Veto,
    ];
    let mut world = asked();
    world.veto("core-1", "");
    let rollout = world.observed.rollout.as_ref().unwrap();
    let verdict = rollout.nodes[&text("core-1")].verdict.clone().unwrap();
    let record = |answer| placet_model::VoteRecord {
        voter: placet_model::Voter::Process,
        answer,
        ..verdict.records[0].clone()
    };
    for (index, strongest) in order.into_iter().enumerate() {
        let records: Vec<_> = order[..=index]
            .iter()
            .rev()
            .map(|answer| record(*answer))
            .collect();
        assert_eq!(verdict_of(&records), Kind::from(strongest));
    }
    assert_eq!(verdict_of(&[]), Kind::Accept);
}
