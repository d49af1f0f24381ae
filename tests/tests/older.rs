//! An earlier build of Placet and this one in one fleet, as while a fleet is being updated.
//!
//! `cargo xtask skew REVISION` builds the earlier one.

use std::env;
use std::path::PathBuf;

use placet_tests::{Fleet, FleetOptions, Programs, pids, poll};

fn older() -> PathBuf {
    let program = env::var_os("PLACET_OLDER").map(PathBuf::from);
    program.expect("PLACET_OLDER names the `placet` of an earlier build")
}

fn options(programs: Programs) -> FleetOptions {
    FleetOptions {
        nodes: vec!["core-1", "edge-1"],
        programs,
        ..FleetOptions::default()
    }
}

/// A change that an open session holds, until a person forces it.
async fn held_and_forced(fleet: &mut Fleet, version: &str) {
    let session = fleet.open_session("core-1");
    let commit = fleet.commit_greet(version);
    let held = fleet.held(&commit).await;
    let rollout = held.text("rollout").to_owned();
    drop(session);
    fleet.decide(&rollout, "--force", "at night");
    fleet.verified(&commit).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs another build: `cargo xtask skew REVISION`"]
async fn a_fleet_is_updated_controller_first_and_goes_on_all_the_while() {
    let all = |program: PathBuf| Programs {
        controller: program.clone(),
        nodes: program,
    };
    let mut fleet = Fleet::settled(options(all(older()))).await;
    let before = [pids(&fleet, "core-1"), pids(&fleet, "edge-1")];
    fleet.kill_controller();
    fleet.use_programs(Programs {
        nodes: older(),
        ..Programs::default()
    });
    fleet.start_controller();
    let commit = fleet.commit_greet("1.1.0");
    fleet.verified(&commit).await;
    held_and_forced(&mut fleet, "1.0.0").await;

    // Nodes follow one by one, each of them an end of its processes as any restart of a keeper.
    fleet.use_programs(Programs::default());
    for (node, before) in ["core-1", "edge-1"].into_iter().zip(before) {
        fleet.kill_node(node);
        fleet.start_node(node);
        poll("its processes to run", || {
            pids(&fleet, node).keys().eq(before.keys()).then_some(())
        });
    }
    let commit = fleet.commit_greet("1.1.0");
    fleet.verified(&commit).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs another build: `cargo xtask skew REVISION`"]
async fn nodes_that_are_newer_than_their_controller_do_as_it_asks() {
    let programs = Programs {
        controller: older(),
        ..Programs::default()
    };
    let mut fleet = Fleet::settled(options(programs)).await;
    let commit = fleet.commit_greet("1.1.0");
    fleet.verified(&commit).await;
    held_and_forced(&mut fleet, "1.0.0").await;
}
