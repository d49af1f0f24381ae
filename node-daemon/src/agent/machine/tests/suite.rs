//! Test suites of what runs in test mode.

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// For how long the node is in test mode: longer than any test takes.
const TIME: Duration = Duration::from_mins(15);

/// `manifest` with the suite `checks`, whose tests run in the order of their names.
pub(super) fn tested(mut manifest: NodeManifest, tests: &[&str]) -> NodeManifest {
    let mut package = manifest.packages[0].clone();
    package.name = "checks".parse().unwrap();
    package.test = true;
    manifest.packages.push(package);
    for test in tests {
        let mut entry = entry(process(test, test));
        entry.package = "checks".parse().unwrap();
        manifest.modules.push(entry);
    }
    let modules = &mut manifest.modules;
    modules.sort_by(|one, other| one.module.path.cmp(&other.module.path));
    manifest
}

/// A service that changes, and two tests.
fn version(number: &str, tests: &[&str]) -> NodeManifest {
    tested(manifest([entry(process("a", number))]), tests)
}

fn world(tests: impl IntoIterator<Item = (&'static str, (i32, u64))>) -> World {
    let tests = tests.into_iter();
    let tests = tests.map(|(name, (code, after))| (name, (code, seconds(after))));
    let habits = Habits {
        tests: tests.collect(),
        ..Habits::default()
    };
    let versions = ["1", "2", "3"].map(|number| version(number, &["t1", "t2"]));
    World::new(versions, habits)
}

/// Generation 2 is to run in test mode, and nothing has happened yet.
pub(super) fn order_test(world: &mut World) {
    let order = Order {
        test: Some(Some(TIME)),
        ..world.order(1, 2)
    };
    world.inbox.push_back(Event::Activate(order));
}

/// Generation 2 runs in test mode, and `test` runs.
fn during(world: &mut World, test: &str) {
    order_test(world);
    while !world.running.keys().any(|name| name.as_str() == test) {
        assert!(world.step());
    }
    while let Some(event) = world.inbox.pop_front() {
        let effects = world.machine.handle(event, world.now);
        world.perform(effects);
    }
    world.transcript.clear();
}

/// Lets everything happen but the end of the test mode.
fn go_on(world: &mut World) {
    let is_over = |world: &World| world.machine.deadline().is_none_or(|at| at >= TIME);
    while !(world.inbox.is_empty() && world.doomed.is_empty() && is_over(world)) {
        assert!(world.step());
    }
}

fn store(world: &mut World) {
    let order = world.order(2, 2);
    world.inbox.push_back(Event::Activate(order));
}

#[track_caller]
fn check_outcomes(world: &World, expected: &Expect) {
    let mut text = String::new();
    for suite in world.machine.suites() {
        writeln!(text, "{} {}", suite.package, suite.version).unwrap();
        for (test, outcome) in &suite.tests {
            writeln!(text, "  {test}: {outcome:?}").unwrap();
        }
    }
    expected.assert_eq(&text);
}

#[test]
fn in_test_mode_tests_run_one_after_another_once_the_change_is_made() {
    let mut world = world([("t1", (0, 3)), ("t2", (77, 1))]);
    order_test(&mut world);
    go_on(&mut world);
    world.check(&expect![[r"
        200 notice: it begins
        200 test 2 over 1 for Some(900s)
        200 terminate a (101)
        200 start a from 2 as 102
        400 notice: Activated
        400 answer: generation 2
        400 start t1 from 2 as 103
        3400 t1 (103) ends
        3400 retire t1
        3400 start t2 from 2 as 104
        4400 t2 (104) ends
        4400 retire t2
    "]]);
    check_outcomes(
        &world,
        &expect![[r"
            checks 1.0.0
              t1: Passed
              t2: Skipped
        "]],
    );
    assert!(world.machine.running().all(|it| it.process.as_str() == "a"));
}

#[test]
fn outside_of_test_mode_no_test_runs() {
    // It is stored, or runs in memory on a node that stores nothing.
    for memory in [None, Some(None)] {
        let mut world = world([]);
        let order = Order {
            test: memory,
            ..world.order(1, 2)
        };
        world.inbox.push_back(Event::Activate(order));
        world.settle();
        assert_eq!(world.machine.current().number, 2);
        assert!(!world.transcript.contains("t1"), "{}", world.transcript);
        check_outcomes(&world, &expect![""]);
    }
}

#[test]
fn the_end_of_the_test_mode_ends_the_tests() {
    let mut world = world([("t1", (0, 4))]);
    let order = Order {
        test: Some(Some(seconds(2))),
        ..world.order(1, 2)
    };
    world.inbox.push_back(Event::Activate(order));
    world.settle();
    world.check(&expect![[r"
        200 notice: it begins
        200 test 2 over 1 for Some(2s)
        200 terminate a (101)
        200 start a from 2 as 102
        400 notice: Activated
        400 answer: generation 2
        400 start t1 from 2 as 103
        2200 terminate t1 (103)
        2200 record failure: it ran in test mode, and its time is over
        2200 commit 1
        2200 retire t1
        2200 terminate a (102)
        2200 start a from 1 as 104
        2400 notice: Regressed
    "]]);
    check_outcomes(&world, &expect![""]);
}

#[test]
fn a_change_that_is_given_back_is_not_tested() {
    let mut world = world([]);
    world.habits.die_in.insert("a", 2);
    order_test(&mut world);
    go_on(&mut world);
    assert!(world.transcript.contains("answer: a exited with code 127"));
    assert!(!world.transcript.contains("t1"), "{}", world.transcript);
}

#[test]
fn what_is_tested_is_stored_once_its_tests_have_passed() {
    let mut world = world([]);
    during(&mut world, "t1");
    store(&mut world);
    go_on(&mut world);
    world.check(&expect![[r"
        1400 t1 (103) ends
        1400 retire t1
        1400 start t2 from 2 as 104
        2400 t2 (104) ends
        2400 retire t2
        2400 commit 2
        2400 answer: generation 2
    "]]);
    check_outcomes(&world, &expect![""]);
}

#[test]
fn what_failed_is_not_stored_until_its_tests_pass() {
    let mut world = world([("t1", (3, 1))]);
    during(&mut world, "t1");
    store(&mut world);
    go_on(&mut world);
    store(&mut world);
    go_on(&mut world);
    world.check(&expect![[r"
        1400 t1 (103) ends
        1400 retire t1
        1400 start t2 from 2 as 104
        2400 t2 (104) ends
        2400 retire t2
        2400 answer: test t1 of suite checks 1.0.0 failed: it exited with code 3. Change what it finds, or have the tests run anew (`placet node retry`), or go back (`placet node regress`)
        2400 answer: test t1 of suite checks 1.0.0 failed: it exited with code 3. Change what it finds, or have the tests run anew (`placet node retry`), or go back (`placet node regress`)
    "]]);
    assert_eq!(world.committed, 1);
    world.habits.tests.clear();
    world.inbox.push_back(Event::Retest);
    go_on(&mut world);
    store(&mut world);
    go_on(&mut world);
    assert_eq!(world.committed, 2);
}

#[test]
fn a_test_that_does_not_end_in_time_is_ended_and_has_failed() {
    for stubborn in [false, true] {
        let mut world = world([("t1", (0, 100))]);
        world.habits.stubborn.extend(stubborn.then_some("t1"));
        during(&mut world, "t1");
        go_on(&mut world);
        let killed = world.transcript.contains("10400 kill t1 (103)");
        assert!(world.transcript.contains("5400 terminate t1 (103)"));
        assert_eq!(killed, stubborn, "{}", world.transcript);
        check_outcomes(
            &world,
            &expect![[r#"
                checks 1.0.0
                  t1: Failed("did not end within 5 s")
                  t2: Passed
            "#]],
        );
    }
}

#[test]
fn a_test_that_cannot_be_started_has_failed() {
    let mut world = world([]);
    during(&mut world, "t1");
    let effects = world.machine.handle(
        Event::Exited {
            process: "t1".parse().unwrap(),
            pid: 103,
            exit: Exit::NotStarted("no such file".to_owned()),
            output: vec!["x".repeat(1_000)],
        },
        world.now,
    );
    world.perform(effects);
    let suites = world.machine.suites();
    let Tested::Failed(why) = &suites[0].tests[0].1 else {
        panic!("it failed: {suites:?}");
    };
    let expected = "could not be started: no such file; it wrote: ";
    assert_eq!(*why, format!("{expected}{}", "x".repeat(120)));
}

#[test]
fn a_change_waits_until_the_test_has_ended_that_runs_and_is_tested_itself() {
    let mut world = world([]);
    during(&mut world, "t1");
    let order = Order {
        test: Some(Some(TIME)),
        ..world.order(2, 3)
    };
    world.inbox.push_back(Event::Activate(order));
    go_on(&mut world);
    world.check(&expect![[r"
        400 terminate t1 (103)
        400 retire t1
        400 notice: it begins
        400 test 3 over 1 for Some(900s)
        400 terminate a (102)
        400 start a from 3 as 104
        600 notice: Activated
        600 answer: generation 3
        600 start t1 from 3 as 105
        1600 t1 (105) ends
        1600 retire t1
        1600 start t2 from 3 as 106
        2600 t2 (106) ends
        2600 retire t2
    "]]);
}

#[test]
fn a_change_that_is_refused_leaves_the_tests_to_run_anew() {
    let mut world = world([]);
    during(&mut world, "t1");
    let order = world.order(1, 3);
    world.inbox.push_back(Event::Activate(order));
    go_on(&mut world);
    assert!(world.transcript.contains("plan again"));
    check_outcomes(
        &world,
        &expect![[r"
            checks 1.0.0
              t1: Passed
              t2: Passed
        "]],
    );
}

#[test]
fn the_way_back_ends_the_tests() {
    let mut world = world([]);
    during(&mut world, "t1");
    world.inbox.push_back(Event::Regress {
        to: world.generation(1),
        why: "a person wants it".to_owned(),
    });
    go_on(&mut world);
    world.check(&expect![[r"
        400 terminate t1 (103)
        400 record failure: a person wants it
        400 commit 1
        400 retire t1
        400 terminate a (102)
        400 start a from 1 as 104
        600 notice: Regressed
    "]]);
    check_outcomes(&world, &expect![""]);
}

#[test]
fn a_new_agent_ends_the_test_that_it_finds_and_begins_anew() {
    let mut world = world([("t1", (0, 2))]);
    during(&mut world, "t2");
    world.crash();
    go_on(&mut world);
    world.check(&expect![[r"
        2400 terminate t2 (104)
        2400 retire t2
        2600 start t1 from 2 as 105
        4600 t1 (105) ends
        4600 retire t1
        4600 start t2 from 2 as 106
        5600 t2 (106) ends
        5600 retire t2
    "]]);
}
