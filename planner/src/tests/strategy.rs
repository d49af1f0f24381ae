//! How a change goes through a class (C-D3): canaries, waves, windows, pauses, thresholds.

use expect_test::expect;
use jiff::Timestamp;
use placet_model::{Answer, DecisionKind, Strategy, Wave, Weekday, Window};

use super::build::{F, text};
use super::world::{World, small};
use crate::window_opens;

const CORE: [&str; 3] = ["core-1", "core-2", "core-3"];

fn with(set: impl FnOnce(&mut Strategy)) -> World {
    World::settled(small().with_class("core", |class| set(&mut class.strategy)))
}

fn commit(world: &mut World) -> &mut World {
    world.commit("2", |fleet| fleet.set("core", &["app 1.0.0", "base 2.0.0"]));
    world.turn();
    world
}

/// Everybody agrees and has fetched; nobody has been told to change.
fn ready(set: impl FnOnce(&mut Strategy)) -> World {
    let mut world = with(set);
    commit(&mut world).accept(&CORE).turn();
    world.stage(&CORE);
    world
}

fn wave(name: &str, key: &str) -> Wave {
    let mut wave = Wave {
        name: name.to_owned(),
        ..Wave::default()
    };
    wave.selector
        .labels
        .insert("ring".to_owned(), key.to_owned());
    wave
}

fn share(name: &str, percent: u32) -> Wave {
    Wave {
        name: name.to_owned(),
        percent: Some(percent),
        ..Wave::default()
    }
}

fn labelled(mut fleet: F, labels: &[(&str, &str)]) -> F {
    for (node, ring) in labels {
        let node = fleet.desired.nodes.get_mut(&text(node)).unwrap();
        node.labels.insert("ring".to_owned(), (*ring).to_owned());
    }
    fleet
}

#[test]
fn c_d3_canaries_change_first_and_alone() {
    let mut world = ready(|strategy| strategy.canaries = 1);
    world.check(&expect![[r#"
        Activating
        core-1 > activate
        core-2 waits for its wave: 1 left in wave canary
        core-3 waits for its wave: 1 left in wave canary
    "#]]);
    world.activate(&["core-1"]).check(&expect![[r#"
        Activating
        core-2 > activate
        core-3 > activate
    "#]]);
}

#[test]
fn c_d3_the_next_wave_waits_until_all_processes_of_the_one_before_are_ready() {
    let mut world = ready(|strategy| strategy.canaries = 1);
    world.turn();
    world.activate(&["core-1"]);
    world.node("core-1").not_ready.insert("chatd".to_owned());
    world.check(&expect![[r#"
        Activating
        core-1 is changing
        core-2 waits for its wave: 1 left in wave canary
        core-3 waits for its wave: 1 left in wave canary
    "#]]);
    world.node("core-1").not_ready.clear();
    world.check(&expect![[r#"
        Activating
        core-2 > activate
        core-3 > activate
    "#]]);
}

#[test]
fn c_a8_a_node_counts_as_changed_when_its_change_has_soaked() {
    let mut world = ready(|strategy| {
        strategy.canaries = 1;
        strategy.soak_seconds = 60;
    });
    world.turn();
    world.soak("core-1").check(&expect![[r#"
        Activating
        core-1 is changing
        core-2 waits for its wave: 1 left in wave canary
        core-3 waits for its wave: 1 left in wave canary
    "#]]);
    // What the soak comes to may be said in another session.
    world.away("core-1").back("core-1").check(&expect![[r#"
        Activating
        core-1 is changing
        core-2 waits for its wave: 1 left in wave canary
        core-3 waits for its wave: 1 left in wave canary
    "#]]);
    world.soaked("core-1", None).check(&expect![[r#"
        Activating
        core-2 > activate
        core-3 > activate
    "#]]);
}

#[test]
fn c_a8_a_node_that_fails_while_its_change_soaks_halts_the_rest() {
    let mut world = ready(|strategy| {
        strategy.canaries = 1;
        strategy.soak_seconds = 60;
    });
    world.turn();
    world.soak("core-1").turn();
    world
        .soaked("core-1", Some("chatd died"))
        .check(&expect![[r#"
            Halted
              objection node core-1: activation failed: chatd died
            core-1 failed and is not tried again by itself: chatd died
            core-2 waits for a decision on hold 1
            core-3 waits for a decision on hold 1
        "#]]);
}

#[test]
fn c_a8_a_newer_revision_waits_until_what_soaks_is_decided() {
    let mut world = ready(|strategy| {
        strategy.canaries = 1;
        strategy.soak_seconds = 60;
    });
    world.turn();
    world.soak("core-1").turn();
    world.commit("3", |fleet| fleet.set("core", &["app 2.0.0", "base 2.0.0"]));
    world.check(&expect![[r#"
        Activating
        core-2 > release of r-d121a40ace4a: superseded by revision main@sha1:3
        core-3 > release of r-d121a40ace4a: superseded by revision main@sha1:3
        core-1 is changing
        core-2 waits until the roll-out before has ended on core-1
        core-3 waits until the roll-out before has ended on core-1
    "#]]);
    world.soaked("core-1", None).check(&expect![[r#"
        Proposing
        core-1 > propose
        core-2 > propose
        core-3 > propose
    "#]]);
}

#[test]
fn c_d3_the_next_wave_waits_until_the_one_before_has_run_well_for_a_while() {
    let mut world = ready(|strategy| {
        strategy.canaries = 1;
        strategy.verify_seconds = 600;
    });
    world.turn();
    world.activate(&["core-1"]).check(&expect![[r#"
        Activating
        core-2 waits: the wave before is watched until 2026-01-01T00:10:02Z
        core-3 waits: the wave before is watched until 2026-01-01T00:10:02Z
    "#]]);
    let wake = world.turn().wake;
    assert_eq!(wake, Some("2026-01-01T00:10:02Z".parse().unwrap()));
    world.tick(300);
    world.node("core-1").not_ready.insert("chatd".to_owned());
    world.tick(300);
    world.check(&expect![[r#"
        Activating
        core-1 is changing
        core-2 waits for its wave: 1 left in wave canary
        core-3 waits for its wave: 1 left in wave canary
    "#]]);
    world.node("core-1").not_ready.clear();
    world.check(&expect![[r#"
        Activating
        core-2 > activate
        core-3 > activate
    "#]]);
}

#[test]
fn c_d3_waves_follow_one_another_and_who_is_in_none_comes_last() {
    let fleet = small().with_class("core", |class| {
        class.strategy.waves = vec![wave("inner", "a"), wave("outer", "b")];
    });
    let mut world = World::settled(labelled(fleet, &[("core-1", "b"), ("core-2", "a")]));
    commit(&mut world).accept(&CORE).turn();
    world.stage(&CORE).check(&expect![[r#"
        Activating
        core-2 > activate
        core-1 waits for its wave: 1 left in wave inner
        core-3 waits for its wave: 1 left in wave inner
    "#]]);
    world.activate(&["core-2"]).check(&expect![[r#"
        Activating
        core-1 > activate
        core-3 waits for its wave: 1 left in wave outer
    "#]]);
    world.activate(&["core-1"]).check(&expect![[r#"
        Activating
        core-3 > activate
    "#]]);
    world.activate(&["core-3"]).check(&expect![[r#"
        Done
    "#]]);
}

#[test]
fn c_d3_a_wave_by_percentage_takes_its_share_rounded_up_of_those_that_are_left() {
    let mut world = ready(|strategy| strategy.waves = vec![share("first", 34), share("more", 10)]);
    world.check(&expect![[r#"
        Activating
        core-1 > activate
        core-2 > activate
        core-3 waits for its wave: 2 left in wave first
    "#]]);
    world.activate(&["core-1", "core-2"]).check(&expect![[r#"
        Activating
        core-3 > activate
    "#]]);
}

#[test]
fn c_d3_the_limit_of_nodes_that_change_at_once_may_be_a_share_of_the_class() {
    let mut world = ready(|strategy| strategy.max_unavailable_percent = Some(70));
    world.check(&expect![[r#"
        Activating
        core-1 > activate
        core-2 > activate
        core-3 waits for its turn: 2 of its class are changing
    "#]]);
    let mut world = ready(|strategy| strategy.max_unavailable_percent = Some(1));
    world.check(&expect![[r#"
        Activating
        core-1 > activate
        core-2 waits for its turn: 1 of its class is changing
        core-3 waits for its turn: 1 of its class is changing
    "#]]);
}

#[test]
fn v4_before_its_wave_a_node_whose_promise_ran_out_is_asked_again_and_not_sooner() {
    let mut world = ready(|strategy| {
        strategy.canaries = 1;
        strategy.verify_seconds = 7_200;
    });
    world.turn();
    world.activate(&["core-1"]).turn();
    world.tick(3_600);
    world.check(&expect![[r#"
        Activating
        core-2 waits: the wave before is watched until 2026-01-01T02:00:02Z
        core-3 waits: the wave before is watched until 2026-01-01T02:00:02Z
    "#]]);
    world.tick(3_600);
    world.check(&expect![[r#"
        Proposing
        core-2 > propose
        core-3 > propose
    "#]]);
    world.accept(&["core-2"]).veto("core-3", "not any more");
    world.check(&expect![[r#"
        Held
          objection node core-3: chatd (7) non placet: not any more
        core-2 waits for a decision on hold 1
        core-3 waits for a decision on hold 1
    "#]]);
    world.decide(DecisionKind::Skip).check(&expect![[r#"
        Activating
        core-2 > activate
        core-3 is left out by decision
    "#]]);
}

#[test]
fn c_d3_nodes_are_asked_and_fetch_at_any_time_but_change_only_in_a_window() {
    let mut world = with(|strategy| strategy.windows = vec![window("UTC", 1, 30, 60)]);
    commit(&mut world).accept(&CORE).turn();
    world.stage(&CORE).check(&expect![[r#"
        Activating
        core-1 waits for its window, which opens at 2026-01-01T01:30:00Z
        core-2 waits for its window, which opens at 2026-01-01T01:30:00Z
        core-3 waits for its window, which opens at 2026-01-01T01:30:00Z
    "#]]);
    let wake = world.turn().wake;
    assert_eq!(wake, Some("2026-01-01T01:00:02Z".parse().unwrap()));
    // An accept that runs out before the window opens is asked for when it does.
    world.tick(3_600);
    world.check(&expect![[r#"
        Activating
        core-1 waits for its window, which opens at 2026-01-01T01:30:00Z
        core-2 waits for its window, which opens at 2026-01-01T01:30:00Z
        core-3 waits for its window, which opens at 2026-01-01T01:30:00Z
    "#]]);
    world.tick(1_800);
    world.check(&expect![[r#"
        Proposing
        core-1 > propose
        core-2 > propose
        core-3 > propose
    "#]]);
    world.accept(&CORE).check(&expect![[r#"
        Activating
        core-1 > activate
        core-2 > activate
        core-3 > activate
    "#]]);
}

#[test]
fn c_d3_who_has_begun_when_the_window_closes_goes_on_and_the_others_wait_for_the_next() {
    let mut world = ready(|strategy| {
        strategy.windows = vec![window("UTC", 0, 0, 1)];
        strategy.max_unavailable = Some(1);
    });
    world.turn();
    world.tick(60);
    world.activate(&["core-1"]).check(&expect![[r#"
        Activating
        core-2 waits for its window, which opens at 2026-01-02T00:00:00Z
        core-3 waits for its window, which opens at 2026-01-02T00:00:00Z
    "#]]);
}

#[test]
fn a_paused_roll_out_asks_and_fetches_but_lets_nobody_begin() {
    let mut world = with(|strategy| strategy.max_unavailable = Some(1));
    commit(&mut world);
    let pause = |world: &mut World, paused| {
        world.observed.rollout.as_mut().unwrap().paused = paused;
    };
    pause(&mut world, true);
    world.accept(&CORE).check(&expect![[r#"
        Staging
        core-1 > stage
        core-2 > stage
        core-3 > stage
    "#]]);
    world.stage(&CORE).check(&expect![[r#"
        Activating
        core-1 waits: the roll-out is paused
        core-2 waits: the roll-out is paused
        core-3 waits: the roll-out is paused
    "#]]);
    pause(&mut world, false);
    world.turn();
    pause(&mut world, true);
    world.activate(&["core-1"]).check(&expect![[r#"
        Activating
        core-2 waits: the roll-out is paused
        core-3 waits: the roll-out is paused
    "#]]);
    pause(&mut world, false);
    world.check(&expect![[r#"
        Activating
        core-2 > activate
        core-3 waits for its turn: 1 of its class is changing
    "#]]);
}

#[test]
fn c_d3_fewer_failures_than_the_threshold_do_not_halt() {
    let mut world = ready(|strategy| {
        strategy.halt_threshold = 2;
        strategy.max_unavailable = Some(1);
    });
    world.turn();
    world
        .finish("core-1", Some("chatd died"))
        .check(&expect![[r#"
        Activating
        core-2 > activate
        core-1 failed and is not tried again by itself: chatd died
        core-3 waits for its turn: 1 of its class is changing
    "#]]);
    let mut bad = world.clone();
    bad.finish("core-2", Some("chatd died")).check(&expect![[r#"
        Halted
          objection node core-1: activation failed: chatd died
          objection node core-2: activation failed: chatd died
        core-1 failed and is not tried again by itself: chatd died
        core-2 failed and is not tried again by itself: chatd died
        core-3 waits for a decision on hold 1
    "#]]);
    world.activate(&["core-2"]).turn();
    world.activate(&["core-3"]).check(&expect![[r#"
        Done
        core-1 failed and is not tried again by itself: chatd died
    "#]]);
}

#[test]
fn c_d3_a_canary_that_fails_halts_whatever_the_threshold() {
    let mut world = ready(|strategy| {
        strategy.halt_threshold = 3;
        strategy.canaries = 1;
    });
    world.turn();
    world
        .finish("core-1", Some("chatd died"))
        .check(&expect![[r#"
        Halted
          objection node core-1: activation failed: chatd died
        core-1 failed and is not tried again by itself: chatd died
        core-2 waits for a decision on hold 1
        core-3 waits for a decision on hold 1
    "#]]);
}

#[test]
fn v3_how_long_an_answer_may_be_put_off_is_the_class_s_to_say() {
    let mut world = with(|strategy| strategy.max_defer_seconds = 30);
    commit(&mut world);
    world
        .accept(&["core-1", "core-3"])
        .answer("core-2", Answer::Defer, "later");
    world.tick(30);
    world.check(&expect![[r#"
        Held
          objection node core-2: chatd (7) defers until 2026-01-01T00:01:02Z: later
        core-1 waits for a decision on hold 1
        core-2 waits for a decision on hold 1
        core-3 waits for a decision on hold 1
    "#]]);
}

#[test]
fn a_change_that_reaches_too_far_waits_for_a_person_to_confirm_it() {
    let mut world = with(|strategy| strategy.confirm_above_percent = Some(50));
    commit(&mut world).check(&expect![[r#"
        Held
          objection class core: the change touches 3 of 4 nodes, more than 50 % of the fleet: `force` confirms it, `skip` leaves the class as it is
        core-1 is asked
        core-2 is asked
        core-3 is asked
    "#]]);
    world
        .accept(&["core-1", "core-3"])
        .veto("core-2", "busy")
        .turn();
    let mut skipped = world.clone();
    skipped.decide(DecisionKind::Skip).check(&expect![[r#"
        Done
        core-1 is left out by decision
        core-2 is left out by decision
        core-3 is left out by decision
    "#]]);
    world
        .decide(DecisionKind::Force { nodes: Vec::new() })
        .check(&expect![[r#"
            Held
              objection node core-2: chatd (7) non placet: busy
            core-1 waits for a decision on hold 2
            core-2 waits for a decision on hold 2
            core-3 waits for a decision on hold 2
        "#]]);
    world.decide(DecisionKind::Skip).check(&expect![[r#"
        Staging
        core-1 > stage
        core-3 > stage
        core-2 is left out by decision
    "#]]);
    let mut near = with(|strategy| strategy.confirm_above_percent = Some(75));
    assert_eq!(commit(&mut near).turn().hold, None);
}

fn window(zone: &str, hour: u8, minute: u8, minutes: u32) -> Window {
    Window {
        days: [].into(),
        hour,
        minute,
        minutes,
        time_zone: zone.to_owned(),
    }
}

#[track_caller]
fn opens(window: &Window, now: &str, expected: &str) {
    let now: Timestamp = now.parse().unwrap();
    let opens = window_opens(std::slice::from_ref(window), now);
    assert_eq!(opens.unwrap().to_string(), expected);
}

#[test]
fn a_window_is_open_from_its_time_on_and_not_at_its_end() {
    let hour = window("UTC", 22, 0, 60);
    opens(&hour, "2026-01-01T21:59:59Z", "2026-01-01T22:00:00Z");
    opens(&hour, "2026-01-01T22:00:00Z", "2026-01-01T22:00:00Z");
    opens(&hour, "2026-01-01T22:59:59Z", "2026-01-01T22:59:59Z");
    opens(&hour, "2026-01-01T23:00:00Z", "2026-01-02T22:00:00Z");
    // Past midnight it belongs to the day on which it opened.
    let mut night = window("UTC", 22, 0, 240);
    night.days = [Weekday::Sunday].into();
    opens(&night, "2026-01-05T01:30:00Z", "2026-01-05T01:30:00Z");
    opens(&night, "2026-01-05T22:30:00Z", "2026-01-11T22:00:00Z");
}

#[test]
fn a_window_opens_by_the_clock_of_its_zone_in_summer_and_in_winter() {
    let early = window("Europe/Stockholm", 4, 0, 60);
    opens(&early, "2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z");
    opens(&early, "2026-07-01T00:00:00Z", "2026-07-01T02:00:00Z");
}

#[test]
fn a_time_that_the_clock_skips_is_as_much_later_as_is_skipped() {
    // On 29 March 2026 the clock goes from 02:00 to 03:00.
    let gap = window("Europe/Stockholm", 2, 30, 60);
    opens(&gap, "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z");
    opens(&gap, "2026-03-29T02:30:00Z", "2026-03-30T00:30:00Z");
}

#[test]
fn a_time_that_the_clock_shows_twice_is_the_first_one_and_opens_once() {
    // On 25 October 2026 the clock goes from 03:00 back to 02:00.
    let fold = window("Europe/Stockholm", 2, 30, 30);
    opens(&fold, "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z");
    opens(&fold, "2026-10-25T01:00:00Z", "2026-10-26T01:30:00Z");
    // Its minutes are minutes, whatever the clock does.
    let long = window("Europe/Stockholm", 1, 30, 120);
    opens(&long, "2026-10-25T01:29:59Z", "2026-10-25T01:29:59Z");
    opens(&long, "2026-10-25T01:30:00Z", "2026-10-26T00:30:00Z");
}

#[test]
fn without_windows_it_is_always_time_and_in_no_time_zone_never() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(window_opens(&[], now), Some(now));
    assert_eq!(
        window_opens(&[window("Europe/Nowhere", 0, 0, 1)], now),
        None
    );
}
