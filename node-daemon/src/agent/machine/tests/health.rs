//! Changes whose processes have to be found well.

use placet_model::HealthCommand;

use super::*;

/// Where `a` and `c` have health commands; a change of the library touches `a` alone of these.
pub(super) fn watched(mut manifest: NodeManifest) -> NodeManifest {
    let modules = manifest.modules.iter_mut().map(|entry| &mut entry.module);
    for module in modules.filter(|module| ["a", "c"].contains(&module.path.as_str())) {
        let spec = module.process.as_mut().unwrap();
        spec.health = Some(HealthCommand {
            command: vec!["bin/check".to_owned()],
            every_seconds: 2,
            seconds: 1,
            failures: 2,
        });
    }
    manifest
}

/// What a health command says, one after the other; true where all is well.
pub(super) fn answers(answers: impl IntoIterator<Item = bool>) -> VecDeque<Result<(), String>> {
    let trouble = || "no upstream".to_owned();
    let answers = answers.into_iter();
    answers
        .map(|is_well| if is_well { Ok(()) } else { Err(trouble()) })
        .collect()
}

fn world(looks: impl IntoIterator<Item = bool>, soak: u64) -> World {
    let habits = Habits {
        health: BTreeMap::from([("a", answers(looks))]),
        soak: Duration::from_secs(soak),
        ..Habits::default()
    };
    let mut world = World::new([watched(fleet(b"1")), watched(fleet(b"2"))], habits);
    world.activate(1, 2);
    let begin = world.transcript.find("tell s: Activated").unwrap();
    world.transcript.replace_range(..begin, "");
    world
}

#[test]
fn without_a_soak_time_it_has_to_be_well_once() {
    world([true], 0).check(&expect![[r"
        tell s: Activated
        600 look at a (105): well
        600 notice: Activated
        600 answer: generation 2
    "]]);
}

#[test]
fn it_is_looked_at_again_while_the_change_soaks() {
    world([], 5).check(&expect![[r"
        tell s: Activated
        600 look at a (105): well
        2600 look at a (105): well
        4600 look at a (105): well
        5600 notice: Activated
        5600 answer: generation 2
    "]]);
}

#[test]
fn it_may_get_well() {
    world([false, true], 0).check(&expect![[r"
        tell s: Activated
        600 look at a (105): no upstream
        2600 look at a (105): well
        2600 notice: Activated
        2600 answer: generation 2
    "]]);
}

#[test]
fn one_that_is_not_well_again_and_again_gives_the_change_back() {
    world([true, false, false], 5).check(&expect![[r"
        tell s: Activated
        600 look at a (105): well
        2600 look at a (105): no upstream
        4600 look at a (105): no upstream
        4600 record failure: a is not well: no upstream (2 times in a row) (within the soak time of 5 s)
        4600 commit 1
        4600 terminate b (106)
        4600 terminate a (105)
        4600 start a from 1 as 107
        4600 start b from 1 as 108
        4600 tell s: Regressed
        4800 notice: Regressed
        4800 answer: a is not well: no upstream (2 times in a row) (within the soak time of 5 s)
    "]]);
}

#[test]
fn the_end_of_the_soak_waits_for_one_that_may_not_be_well() {
    world([true, true, false], 4).check(&expect![[r"
        tell s: Activated
        600 look at a (105): well
        2600 look at a (105): well
        4600 look at a (105): no upstream
        6600 look at a (105): well
        6600 notice: Activated
        6600 answer: generation 2
    "]]);
}

#[test]
fn a_crash_while_it_is_looked_at_has_it_looked_at_anew() {
    let mut world = World::new(
        [watched(fleet(b"1")), watched(fleet(b"2"))],
        Habits::default(),
    );
    let order = world.order(1, 2);
    world.inbox.push_back(Event::Activate(order));
    while !world.transcript.contains("look at a") {
        assert!(world.step());
    }
    world.transcript.clear();
    world.crash();
    world.settle();
    world.check(&expect![[r"
        800 look at a (105): well
        800 notice: Activated
        800 answer: generation 2
    "]]);
}
