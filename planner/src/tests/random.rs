//! Properties over random fleets and random histories.

use std::collections::BTreeMap;

use placet_model::{Answer, DecisionKind, NodeName, OnUnreachable, RolloutPhase};
use proptest::prelude::*;

use super::build::{F, P, file, fleet, library, package, process, text};
use super::world::{Order, World};
use crate::{Presence, plan};

const PACKAGES: [&str; 4] = ["app", "mid", "base", "fix"];

/// A catalog of three versions of each package, with dependencies drawn at random.
fn packages(seed: &[u8]) -> Vec<P> {
    let bit = |index: usize| seed.get(index).copied().unwrap_or_default();
    let mut packages = Vec::new();
    for version in 1..=3_usize {
        let content = |package: usize| format!("{}", bit(version * 4 + package) % 2);
        let name = |package: &str| format!("{package} {version}.0.0");
        let mut app = process("app").content(&content(0)).needs("libmid.so");
        if bit(1) % 2 == 0 {
            app = app.self_managing();
        }
        packages.push(package(
            &name("app"),
            [app, file("etc/shared").content("app")],
        ));
        let mid = library("libmid.so")
            .content(&content(1))
            .needs("libbase.so");
        packages.push(package(
            &name("mid"),
            [mid, process("midd").needs("libmid.so")],
        ));
        packages.push(package(
            &name("base"),
            [
                library("libbase.so").content(&content(2)),
                file("etc/shared"),
                file("etc/base"),
            ],
        ));
        let fix = [library("libbase.so").content(&content(3))];
        packages.push(
            package(&name("fix"), fix).upgrades("base", if bit(2) % 2 == 0 { "=1" } else { "*" }),
        );
    }
    packages
}

/// The lists of two classes; the second byte of each pair is a version.
fn lists(fleet: F, choice: &[u8]) -> F {
    let version = |index: usize| choice.get(index).map_or(1, |byte| byte % 3 + 1);
    let has = |index: usize| choice.get(index).is_some_and(|byte| byte % 2 == 0);
    let list = |offset: usize| {
        let mut list = Vec::new();
        if has(offset) {
            list.push(format!("fix {}.0.0", version(offset + 1)));
        }
        for (index, name) in PACKAGES[..3].iter().enumerate() {
            list.push(format!("{name} {}.0.0", version(offset + 2 + index)));
        }
        list
    };
    let (core, edge) = (list(0), list(6));
    let core: Vec<&str> = core.iter().map(String::as_str).collect();
    let edge: Vec<&str> = edge.iter().map(String::as_str).collect();
    fleet.set("core", &core).set("edge", &edge)
}

fn random_fleet(seed: &[u8], choice: &[u8], policy: OnUnreachable) -> F {
    let mut fleet = fleet(packages(seed)).class("core", &[]).class("edge", &[]);
    for (name, class) in [("core-2", "core"), ("core-3", "core"), ("edge-2", "edge")] {
        fleet = fleet.node(name, |node| node.class = Some(class.to_owned()));
    }
    let fleet = fleet.with_class("core", |class| {
        class.strategy.max_unavailable = Some(u32::from(seed[0] % 3 + 1));
        class.strategy.on_unreachable = policy;
        class.strategy.canaries = u32::from(seed[3] % 3);
        class.strategy.halt_threshold = u32::from(seed[4] % 2 + 1);
        class.strategy.verify_seconds = u32::from(seed[5] % 2) * 100;
        if seed[6].is_multiple_of(3) {
            class.strategy.waves = vec![placet_model::Wave {
                name: "half".to_owned(),
                percent: Some(50),
                ..placet_model::Wave::default()
            }];
        }
    });
    lists(fleet, choice)
}

/// Something that happens to a fleet.
#[derive(Debug, Clone)]
enum Event {
    Tick(i64),
    /// A node does the next thing that it was told; the number says how it goes.
    Work(usize, u8),
    Away(usize),
    Back(usize),
    Reboot(usize),
    Decide(u8),
    Commit(Vec<u8>),
    Suspend(usize, bool),
    ControllerRestarts,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => prop_oneof![Just(1_i64), Just(31), Just(3_700), Just(90_000)].prop_map(Event::Tick),
        12 => (0..5_usize, any::<u8>()).prop_map(|(node, how)| Event::Work(node, how)),
        1 => (0..5_usize).prop_map(Event::Away),
        2 => (0..5_usize).prop_map(Event::Back),
        1 => (0..5_usize).prop_map(Event::Reboot),
        2 => any::<u8>().prop_map(Event::Decide),
        1 => prop::collection::vec(any::<u8>(), 12).prop_map(Event::Commit),
        1 => (0..5_usize, any::<bool>()).prop_map(|(node, on)| Event::Suspend(node, on)),
        1 => Just(Event::ControllerRestarts),
    ]
}

fn policy() -> impl Strategy<Value = OnUnreachable> {
    prop_oneof![
        Just(OnUnreachable::Wait),
        Just(OnUnreachable::Skip),
        Just(OnUnreachable::Fail)
    ]
}

fn work(world: &mut World, node: &str, how: u8) {
    let next = world
        .orders
        .get(&text::<NodeName>(node))
        .and_then(|orders| orders.first());
    match next.cloned() {
        None => {}
        Some(Order::Propose(_)) => {
            let answer = match how % 8 {
                0 => Answer::Veto,
                1 => Answer::Defer,
                2 => Answer::Error,
                _ => Answer::Accept,
            };
            world.answer(node, answer, "so be it");
        }
        Some(Order::Stage(..)) if how.is_multiple_of(6) => {
            world.take(node);
            let rollout = world.observed.rollout.as_mut().unwrap();
            if let Some(state) = rollout.nodes.get_mut(&text::<NodeName>(node)) {
                state.stage_error = Some("no".to_owned());
            }
        }
        Some(Order::Stage(..)) => {
            world.stage(&[node]);
        }
        Some(Order::Activate(..)) => {
            world.finish(node, how.is_multiple_of(6).then_some("it died"));
        }
    }
}

fn decide(world: &mut World, how: u8) {
    let rollout = world.observed.rollout.as_ref();
    let open = rollout.and_then(|rollout| rollout.hold.clone());
    if let Some(hold) = open {
        world.decide(match how % 8 {
            0 => DecisionKind::Abort,
            1..=3 => DecisionKind::Skip,
            4..=5 => DecisionKind::Force { nodes: Vec::new() },
            _ => DecisionKind::Force {
                nodes: hold.nodes.into_iter().take(1).collect(),
            },
        });
    }
}

/// What the controller forgets, and the nodes tell again when they are back.
fn controller_restarts(world: &mut World) {
    for name in world.names() {
        if world.node(name.as_str()).presence == Presence::Connected {
            world.away(name.as_str()).back(name.as_str());
        }
    }
}

fn happen(world: &mut World, event: &Event, revision: usize) {
    let names: Vec<_> = world.names().into_iter().collect();
    let name = |index: &usize| names[*index % names.len()].as_str().to_owned();
    match event {
        Event::Tick(seconds) => world.tick(*seconds),
        Event::Work(node, how) => {
            if world.node(&name(node)).presence == Presence::Connected {
                work(world, &name(node), *how);
            }
        }
        Event::Away(node) => {
            world.away(&name(node));
        }
        Event::Back(node) => {
            world.back(&name(node));
        }
        Event::Reboot(node) => {
            world.reboot(&name(node));
        }
        Event::Decide(how) => decide(world, *how),
        Event::Commit(choice) => {
            world.commit(&format!("{revision}"), |fleet| lists(fleet, choice));
        }
        Event::Suspend(node, on) => {
            let name = text::<NodeName>(&name(node));
            world.declare(|fleet| fleet.desired.nodes.get_mut(&name).unwrap().suspended = *on);
        }
        Event::ControllerRestarts => controller_restarts(world),
    }
}

/// From now on everybody is there, answers, and a person forces whatever is held.
pub(super) fn drive_to_the_end(world: &mut World) {
    let names: Vec<_> = world.names().into_iter().collect();
    for name in &names {
        world.declare(|fleet| fleet.desired.nodes.get_mut(name).unwrap().suspended = false);
        if world.node(name.as_str()).presence == Presence::Away {
            world.back(name.as_str());
        }
    }
    for _ in 0..200 {
        let plan = world.turn();
        if plan.phase.is_over() && plan.steps.is_empty() {
            return;
        }
        if plan.hold.is_some() {
            world.decide(DecisionKind::Force { nodes: Vec::new() });
        }
        let is_idle = names
            .iter()
            .all(|name| world.orders.get(name).is_none_or(Vec::is_empty));
        if is_idle {
            world.tick(31);
        }
        for name in &names {
            while world
                .orders
                .get(name)
                .is_some_and(|orders| !orders.is_empty())
            {
                work(world, name.as_str(), 7);
            }
        }
    }
    panic!(
        "no end in sight:\n{}",
        plan(&world.target(), &world.observed)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Every plan on the way passes the audit and says nothing new when nothing is new
    /// ([`World::turn`]); and whatever happened, the fleet can be brought to its end.
    #[test]
    fn every_history_comes_to_its_end(
        seed in prop::collection::vec(any::<u8>(), 16),
        choice in prop::collection::vec(any::<u8>(), 12),
        policy in policy(),
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut world = World::pristine(random_fleet(&seed, &choice, policy));
        world.turn();
        for (revision, event) in events.iter().enumerate() {
            happen(&mut world, event, revision + 2);
            world.turn();
        }
        drive_to_the_end(&mut world);
        let target = world.target();
        let plan = plan(&target, &world.observed);
        let rollout = world.observed.rollout.clone();
        let is_given_up = rollout.is_some_and(|rollout| rollout.phase == RolloutPhase::Aborted);
        for (name, node) in &target.nodes {
            let runs = world.observed.nodes[name].running.as_ref().unwrap().digest();
            let is_explained = is_given_up || plan.held.contains_key(name);
            prop_assert!(runs == node.manifest_digest || is_explained, "{name}\n{plan}");
        }
    }

    /// In a fleet where nobody objects, everybody arrives and each is told to activate once.
    #[test]
    fn a_willing_fleet_runs_its_target_after_one_activation_each(
        seed in prop::collection::vec(any::<u8>(), 16),
        choice in prop::collection::vec(any::<u8>(), 12),
    ) {
        let mut world = World::pristine(random_fleet(&seed, &choice, OnUnreachable::Wait));
        drive_to_the_end(&mut world);
        let target = world.target();
        prop_assert_eq!(&target.problems, &[]);
        for (name, node) in &target.nodes {
            let runs = world.observed.nodes[name].running.as_ref().unwrap().digest();
            prop_assert_eq!(runs, node.manifest_digest);
            prop_assert_eq!(world.activations.get(name), Some(&1));
        }
    }

    /// D8: neither the names of references nor the order of modules in a package matters.
    #[test]
    fn the_order_of_the_input_does_not_matter(
        seed in prop::collection::vec(any::<u8>(), 16),
        choice in prop::collection::vec(any::<u8>(), 12),
        prefixes in prop::collection::vec("[a-z]{4}", 12),
    ) {
        let plain = random_fleet(&seed, &choice, OnUnreachable::Wait);
        let mut shuffled = plain.clone();
        let entries = std::mem::take(&mut shuffled.catalog.entries);
        let mut renamed = BTreeMap::new();
        for ((reference, entry), prefix) in entries.into_iter().zip(&prefixes) {
            let name = format!("{prefix}-{reference}");
            let entry = entry.map(|mut entry| {
                entry.config.modules.reverse();
                entry
            });
            shuffled.catalog.entries.insert(name.clone(), entry);
            renamed.insert(reference, name);
        }
        for set in shuffled.desired.package_sets.values_mut() {
            for package in &mut set.packages {
                package.reference = renamed[&package.reference].clone();
            }
        }
        prop_assert_eq!(plain.target(), shuffled.target());
    }

    /// D4: each path comes from the first package of the list that has it.
    #[test]
    fn the_first_package_of_the_list_wins_every_path(
        seed in prop::collection::vec(any::<u8>(), 16),
        choice in prop::collection::vec(any::<u8>(), 12),
    ) {
        let fleet = random_fleet(&seed, &choice, OnUnreachable::Wait);
        for node in fleet.target().nodes.values() {
            for entry in &node.manifest.modules {
                let first = node.manifest.packages.iter().find(|chosen| {
                    let configs = fleet.catalog.entries.values().flatten();
                    configs.map(|entry| &entry.config).any(|config| {
                        (&config.name, &config.version) == (&chosen.name, &chosen.version)
                            && config.modules.iter().any(|it| it.path == entry.module.path)
                    })
                });
                prop_assert_eq!(first.map(|chosen| &chosen.name), Some(&entry.package));
            }
        }
    }
}
