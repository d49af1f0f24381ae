//! Changes that run from memory only.

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Generation 2, or 3, runs in test mode for so long.
fn test(world: &mut World, from: u64, to: u64, limit: Limit) {
    let order = Order {
        test: Some(limit),
        ..world.order(from, to)
    };
    world.inbox.push_back(Event::Activate(order));
    while world.machine.is_busy() || !world.inbox.is_empty() {
        assert!(world.step());
    }
}

fn world() -> World {
    World::new([fleet(b"1"), fleet(b"2"), fleet(b"3")], Habits::default())
}

#[test]
fn what_is_stored_stays_until_the_time_is_over_and_comes_back() {
    let mut world = world();
    test(&mut world, 1, 2, Some(seconds(60)));
    assert_eq!(world.committed, 1);
    assert_eq!(world.machine.current().number, 2);
    world.settle();
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 test 2 over 1 for Some(60s)
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        600 notice: Activated
        600 answer: generation 2
        60400 record failure: it ran in test mode, and its time is over
        60400 commit 1
        60400 terminate b (106)
        60400 terminate a (105)
        60400 start a from 1 as 107
        60400 start b from 1 as 108
        60400 tell s: Regressed
        60600 notice: Regressed
    "]]);
    assert_eq!(world.machine.test(), None);
}

#[test]
fn a_disk_that_refuses_the_end_of_a_test_is_asked_again() {
    let mut world = world();
    test(&mut world, 1, 2, Some(seconds(60)));
    world.habits.no_commit = Some(1);
    world.transcript.clear();
    while !world.transcript.contains("70400 commit 1") {
        assert!(world.step());
    }
    assert!(world.transcript.contains("60400 commit 1"));
    assert_eq!(world.machine.current().number, 2);
    world.habits.no_commit = None;
    world.settle();
    assert_eq!(world.machine.current().number, 1);
    assert_eq!(world.machine.test(), None);
}

#[test]
fn without_a_limit_it_runs_on() {
    let mut world = world();
    test(&mut world, 1, 2, None);
    world.settle();
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 test 2 over 1 for None
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        600 notice: Activated
        600 answer: generation 2
    "]]);
}

#[test]
fn what_is_to_stay_is_committed_and_no_process_is_touched() {
    let mut world = world();
    test(&mut world, 1, 2, Some(seconds(60)));
    let before = world.pids().into_values().collect::<Vec<_>>();
    world.transcript.clear();
    world.activate(2, 2);
    world.check(&expect![[r"
        600 commit 2
        600 answer: generation 2
    "]]);
    assert_eq!(world.pids().into_values().collect::<Vec<_>>(), before);
    assert_eq!(world.committed, 2);
}

#[test]
fn a_test_of_what_runs_in_a_test_gets_its_time_anew() {
    let mut world = world();
    test(&mut world, 1, 2, Some(seconds(60)));
    world.transcript.clear();
    world.now = seconds(50);
    test(&mut world, 2, 2, Some(seconds(60)));
    world.settle();
    world.check(&expect![[r"
        50000 test 2 over 1 for Some(60s)
        50000 answer: generation 2
        110000 record failure: it ran in test mode, and its time is over
        110000 commit 1
        110000 terminate b (106)
        110000 terminate a (105)
        110000 start a from 1 as 107
        110000 start b from 1 as 108
        110000 tell s: Regressed
        110200 notice: Regressed
    "]]);
}

#[test]
fn a_stored_change_takes_the_place_of_a_test() {
    let mut world = world();
    test(&mut world, 1, 2, Some(seconds(60)));
    world.transcript.clear();
    world.activate(2, 3);
    world.check(&expect![[r"
        600 notice: it begins
        600 prepare s
        600 commit 3
        600 terminate b (106)
        600 terminate a (105)
        600 start a from 3 as 107
        600 start b from 3 as 108
        600 tell s: Activated
        800 notice: Activated
        800 answer: generation 3
    "]]);
    assert_eq!(world.committed, 3);
}

#[test]
fn a_change_that_fails_goes_back_to_the_test_and_what_was_stored_stays() {
    for is_test in [false, true] {
        let mut world = World::new(
            [fleet(b"1"), fleet(b"2"), fleet(b"3")],
            Habits {
                die_in: BTreeMap::from([("b", 3)]),
                ..Habits::default()
            },
        );
        test(&mut world, 1, 2, None);
        world.transcript.clear();
        let order = Order {
            test: is_test.then_some(None),
            ..world.order(2, 3)
        };
        world.inbox.push_back(Event::Activate(order));
        world.settle();
        let answer = "answer: b exited with code 127";
        assert!(world.transcript.contains(answer), "{}", world.transcript);
        assert!(world.transcript.contains("test 2 over 1"));
        assert_eq!((world.committed, world.machine.current().number), (1, 2));
    }
}

#[test]
fn a_new_agent_goes_on_with_the_test_and_its_time() {
    let mut world = world();
    test(&mut world, 1, 2, Some(seconds(60)));
    world.transcript.clear();
    world.crash();
    while world.machine.is_busy() {
        assert!(world.step());
    }
    world.check(&expect![[""]]);
    world.settle();
    assert!(world.transcript.contains("commit 1"));
}
