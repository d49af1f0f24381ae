//! Processes that are started anew though nothing has changed.

use super::*;

fn world() -> World {
    World::new([fleet(b"1"), fleet(b"2")], Habits::default())
}

fn renew(world: &mut World, names: &[(&str, u32)]) {
    let names = names
        .iter()
        .map(|(name, pid)| (name.parse().unwrap(), *pid));
    world.inbox.push_back(Event::Renew(names.collect()));
}

#[test]
fn they_stop_and_start_in_the_order_of_a_change_and_others_are_left_alone() {
    let mut world = world();
    renew(&mut world, &[("a", 101), ("b", 103), ("s", 104)]);
    world.settle();
    world.check(&expect![[r"
        400 terminate b (103)
        400 terminate s (104)
        400 terminate a (101)
        400 start a from 1 as 105
        400 start b from 1 as 106
        400 start s from 1 as 107
    "]]);
    assert!(!world.machine.is_busy());
}

#[test]
fn one_that_is_another_by_now_is_left_alone() {
    let mut world = world();
    renew(&mut world, &[("a", 100), ("nobody", 103)]);
    world.settle();
    world.check(&expect![""]);
}

#[test]
fn nobody_is_restarted_while_something_changes() {
    let mut world = world();
    let order = world.order(1, 2);
    world.inbox.push_back(Event::Activate(order));
    renew(&mut world, &[("c", 102)]);
    world.settle();
    assert_eq!(world.pids()["c"], 102);
}

#[test]
fn a_change_that_is_ordered_meanwhile_follows() {
    let mut world = world();
    renew(&mut world, &[("c", 102)]);
    world.step();
    let order = world.order(1, 2);
    world.inbox.push_back(Event::Activate(order));
    world.settle();
    world.check(&expect![[r"
        400 terminate c (102)
        400 start c from 1 as 105
        600 notice: it begins
        600 prepare s
        600 commit 2
        600 terminate b (103)
        600 terminate a (101)
        600 start a from 2 as 106
        600 start b from 2 as 107
        600 tell s: Activated
        800 notice: Activated
        800 answer: generation 2
    "]]);
}

#[test]
fn one_that_does_not_come_up_again_is_tried_as_any_other_and_holds_nobody_up() {
    let mut world = world();
    world.habits.die_in = BTreeMap::from([("a", 1)]);
    renew(&mut world, &[("a", 101), ("b", 103)]);
    for _ in 0..20 {
        world.step();
    }
    world.check(&expect![[r"
        400 terminate b (103)
        400 terminate a (101)
        400 start a from 1 as 105
        400 start b from 1 as 106
        500 start a from 1 as 107
        700 start a from 1 as 108
        1100 start a from 1 as 109
        1900 start a from 1 as 110
        3500 start a from 1 as 111
    "]]);
    assert!(!world.machine.is_busy());
}
