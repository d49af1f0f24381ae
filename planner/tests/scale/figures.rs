//! The figures.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use placet_planner::{Plan, Planner, Target, audit, plan, target};
use serde_json::{Value, json};

use crate::fleet::{CLASSES, Fleet, MODULES, OF_ALL, OF_SOME, PACKAGES};
use crate::sample::{evidence, is_full};

/// Nodes of a fleet of which every plan is checked.
const SMALL: usize = 24;

#[test]
fn planning_costs_what_changed() {
    let (sizes, rounds): (&[usize], usize) = if is_full() {
        (&[SMALL, 1_000, 10_000, 100_000], 21)
    } else {
        (&[SMALL], 3)
    };
    let fleets: Vec<Value> = sizes.iter().map(|nodes| measure(*nodes, rounds)).collect();
    let figures = json!({
        "classes": CLASSES,
        "packages": PACKAGES,
        "modules": PACKAGES * MODULES,
        "rounds": rounds,
        "fleets": fleets,
    });
    let name = if cfg!(debug_assertions) {
        "planner-scale-debug"
    } else {
        "planner-scale"
    };
    evidence(name, &figures);
}

/// The times of one fleet, in milliseconds.
fn measure(nodes: usize, rounds: usize) -> Value {
    let mut fleet = Fleet::new(nodes);
    let input = resident("VmRSS:");
    let mut all = Vec::new();
    for _ in 0..rounds.min(5) {
        let (time, (target, plan)) = timed(|| {
            let target = target(&fleet.desired, &fleet.catalog, &fleet.announced);
            let plan = plan(&target, &fleet.observed);
            (target, plan)
        });
        all.push(time);
        assert_eq!(target.problems, []);
        assert_eq!(plan.steps.len(), nodes);
        check(&fleet, &target, &plan);
    }
    let peak = resident("VmHWM:");
    let mut planner = fleet.planner();
    fleet.settle(&planner.target());
    let mut packages = |of: usize| {
        let times = (0..rounds).map(|_| package(&mut fleet, &mut planner, of));
        median(times.collect())
    };
    let (of_some, of_all) = (packages(OF_SOME), packages(OF_ALL));
    let facts = (0..rounds).map(|round| facts(&mut fleet, &mut planner, round));
    let facts = facts.collect();
    let times = json!({
        "nodes": nodes,
        "full": median(all),
        "package": of_some,
        "basePackage": of_all,
        "facts": median(facts),
        "inputMegabytes": input,
        "peakMegabytes": peak,
    });
    eprintln!("{times}");
    times
}

/// A commit changes one package.
fn package(fleet: &mut Fleet, planner: &mut Planner, package: usize) -> f64 {
    fleet.commit(package);
    let desired = fleet.desired.clone();
    let catalog = Arc::new(fleet.catalog.clone());
    let (time, (target, plan)) = timed(|| {
        planner.declare(desired, catalog);
        let target = planner.target();
        let plan = plan(&target, &fleet.observed);
        (target, plan)
    });
    let is_of_all = plan.nodes.len() == fleet.desired.nodes.len();
    assert_eq!(is_of_all, package == OF_ALL, "{}", plan.nodes.len());
    assert_eq!(plan.steps.len(), plan.nodes.len());
    check(fleet, &target, &plan);
    fleet.settle(&target);
    time
}

/// One node says that it stands somewhere else, while all run what they should.
fn facts(fleet: &mut Fleet, planner: &mut Planner, round: usize) -> f64 {
    let (node, facts) = fleet.move_node(round, &format!("hall-{round}"));
    let (time, (target, plan)) = timed(|| {
        planner.announce(&node, &facts);
        let target = planner.target();
        let plan = plan(&target, &fleet.observed);
        (target, plan)
    });
    assert_eq!((plan.steps.len(), plan.nodes.len()), (0, 0));
    check(fleet, &target, &plan);
    time
}

/// Small fleets are compared with a whole plan, and the plan is audited.
fn check(fleet: &Fleet, made: &Target, of: &Plan) {
    if fleet.desired.nodes.len() <= SMALL {
        let whole = target(&fleet.desired, &fleet.catalog, &fleet.announced);
        assert_eq!(*made, whole);
        assert_eq!(*of, plan(&whole, &fleet.observed));
        assert_eq!(audit(made, of, &fleet.observed), []);
    }
}

/// Milliseconds of the processor, which others on the machine do not change much.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let clock = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let begun = clock();
    let result = work();
    (
        clock().saturating_sub(begun).as_secs_f64() * 1_000.0,
        result,
    )
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2] * 1_000.0).round() / 1_000.0
}

/// What the kernel says of this process's memory, in megabytes.
#[expect(clippy::disallowed_methods, reason = "it is measured from outside")]
fn resident(what: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kibibytes.unwrap().parse::<u64>().unwrap() / 1_024
}
