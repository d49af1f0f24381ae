//! Changes that are watched for a while before they count as made.

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn soaking(habits: Habits) -> World {
    let habits = Habits {
        soak: seconds(10),
        ..habits
    };
    World::new([fleet(b"1"), fleet(b"2")], habits)
}

fn dying(name: &'static str, generation: u64, after: u64) -> Habits {
    Habits {
        die_after: BTreeMap::from([(name, (generation, seconds(after)))]),
        ..Habits::default()
    }
}

#[test]
fn a_change_counts_as_made_when_it_has_soaked() {
    let mut world = soaking(Habits::default());
    world.activate(1, 2);
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        10600 notice: Activated
        10600 answer: generation 2
    "]]);
}

#[test]
fn a_touched_process_that_dies_while_it_soaks_gives_the_change_back() {
    let mut world = soaking(dying("b", 2, 4));
    world.activate(1, 2);
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        4400 b (106) dies
        4400 record failure: b exited with code 3 (within the soak time of 10 s)
        4400 commit 1
        4400 terminate a (105)
        4400 start a from 1 as 107
        4400 start b from 1 as 108
        4400 tell s: Regressed
        4600 notice: Regressed
        4600 answer: b exited with code 3 (within the soak time of 10 s)
    "]]);
}

#[test]
fn what_dies_after_the_soak_is_only_started_again() {
    let mut world = soaking(dying("b", 2, 11));
    let order = world.order(1, 2);
    world.inbox.push_back(Event::Activate(order));
    while !world.transcript.contains("as 109") {
        assert!(world.step());
    }
    assert_eq!(world.committed, 2);
    assert!(world.transcript.contains("answer: generation 2"));
    assert!(!world.transcript.contains("failure"));
}

#[test]
fn another_process_that_loops_while_it_soaks_gives_the_change_back() {
    let mut world = soaking(Habits::default());
    let order = world.order(1, 2);
    world.inbox.push_back(Event::Activate(order));
    while world
        .machine
        .work
        .as_ref()
        .is_none_or(|work| work.looks_at(Moment::ZERO).is_none())
    {
        assert!(world.step());
    }
    let c: ProcessName = "c".parse().unwrap();
    for _ in 0..3 {
        while !world.running.contains_key(&c) || !world.inbox.is_empty() {
            assert!(world.step());
        }
        let pid = world.running[&c].pid;
        world.exit(&c, pid, Exit::Code(9));
        assert!(world.step());
    }
    world.settle();
    assert_eq!(world.committed, 1);
    let why = "answer: c exited with code 9 (within the soak time of 10 s, for the 3rd time; it was steady before)";
    assert!(world.transcript.contains(why), "{}", world.transcript);
}

#[test]
fn a_new_agent_watches_anew() {
    let mut world = soaking(dying("b", 2, 12));
    let order = world.order(1, 2);
    world.inbox.push_back(Event::Activate(order));
    while !world.note.as_ref().is_some_and(|note| note.soaks) {
        assert!(world.step());
    }
    world.now += seconds(9);
    world.crash();
    world.settle();
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        12400 b (106) dies
        12400 record failure: b exited with code 3 (within the soak time of 10 s)
        12400 commit 1
        12400 terminate a (105)
        12400 start a from 1 as 107
        12400 start b from 1 as 108
        12400 tell s: Regressed
        12600 notice: Regressed
        12600 answer: b exited with code 3 (within the soak time of 10 s)
    "]]);
}

#[test]
fn a_change_whose_needs_of_other_nodes_fail_is_given_back_while_it_is_watched() {
    let mut world = soaking(Habits::default());
    let order = world.order(1, 2);
    let change_digest = order.change_digest;
    let let_down = |change_digest| Event::GiveBack {
        change_digest,
        why: "package app needs its peer".to_owned(),
    };
    // Before it is watched, and about another change, nothing comes of it.
    world.inbox.push_back(let_down(change_digest));
    world.inbox.push_back(Event::Activate(order));
    while !world.note.as_ref().is_some_and(|note| note.soaks) {
        assert!(world.step());
    }
    world.inbox.push_back(let_down(Digest::of(b"another")));
    world.inbox.push_back(let_down(change_digest));
    world.settle();
    world.check(&expect![[r"
        400 notice: it begins
        400 prepare s
        400 commit 2
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 2 as 105
        400 start b from 2 as 106
        400 tell s: Activated
        600 record failure: package app needs its peer (within the soak time of 10 s)
        600 commit 1
        600 terminate b (106)
        600 terminate a (105)
        600 start a from 1 as 107
        600 start b from 1 as 108
        600 tell s: Regressed
        800 notice: Regressed
        800 answer: package app needs its peer (within the soak time of 10 s)
    "]]);
}

#[test]
fn what_died_while_no_agent_was_there_gives_the_change_back() {
    let mut world = soaking(Habits::default());
    let order = world.order(1, 2);
    world.inbox.push_back(Event::Activate(order));
    while !world.note.as_ref().is_some_and(|note| note.soaks) {
        assert!(world.step());
    }
    let name: ProcessName = "b".parse().unwrap();
    world.running.remove(&name);
    world.ended = BTreeMap::from([(name, "was ended by signal 11".to_owned())]);
    world.crash();
    world.settle();
    assert_eq!(world.committed, 1);
    let why = "answer: b was ended by signal 11 (within the soak time)";
    assert!(world.transcript.contains(why), "{}", world.transcript);
}
