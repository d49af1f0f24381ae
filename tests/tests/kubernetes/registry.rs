//! A registry that goes away in every phase of a roll-out: what needs it waits and says so, and
//! what does not goes on.

use std::collections::BTreeSet;
use std::fs;

use placet_tests::{KubeFleet, NAMESPACE, REGISTRY_PASSWORD, REGISTRY_USER, RegistryServer};

use crate::common::{NODES, OnKubernetes, activations, all_run, kubernetes, open_session, ready};

const AWAY: &str = "failed to reach the registry";

/// A fleet that has its packages from a registry with a password and an authority of its own.
fn settled(fleet: &mut KubeFleet, server: &RegistryServer) {
    server.push_examples();
    fleet.create_secret(
        "registry",
        &[
            &format!("--from-literal=username={REGISTRY_USER}"),
            &format!("--from-literal=password={REGISTRY_PASSWORD}"),
            &format!("--from-file=ca.crt={}", server.path("ca.crt").display()),
        ],
    );
    for node in NODES {
        fleet.join(node);
    }
    let text = KubeFleet::example()
        .replace("oci-layout:", &server.at("fleet/"))
        .replace(
            "  packages:\n",
            "  secretRef: {name: registry}\n  packages:\n",
        );
    fs::write(fleet.path("fleet/fleet.yaml"), text).expect("declarations");
    let commit = fleet.commit("Packages from a registry");
    fleet.follow_repository();
    fleet.rollout(&commit, "Done");
    all_run(fleet);
}

fn start() -> Option<(OnKubernetes, RegistryServer)> {
    let server = RegistryServer::private()?;
    let mut fleet = kubernetes(&["a"])?;
    fleet.try_kubectl(&["-n", NAMESPACE, "delete", "secret", "registry"]);
    settled(&mut fleet, &server);
    Some((fleet, server))
}

/// Waits until an object says somewhere in its status that the registry is away.
fn tells(fleet: &KubeFleet, kind: &str, name: &str) {
    fleet.until(&format!("{kind} {name} to tell of the registry"), |fleet| {
        let status = fleet.object(kind, name)["status"].to_string();
        status.contains(AWAY).then_some(())
    });
}

/// What happened so far: roll-outs, and changes of generation on a node that they touch.
fn history(fleet: &KubeFleet) -> (usize, usize) {
    (
        fleet.objects("rollouts").len(),
        activations(fleet, "core-1"),
    )
}

/// Each module came from the registry once.
fn nothing_travelled_twice(fleet: &KubeFleet) {
    let log = fleet.log("a");
    let came = log.lines().filter(|line| line.contains(" came from "));
    let came = came.map(|line| line.split("module ").nth(1).expect("a module"));
    let came: Vec<_> = came
        .map(|text| text.split(' ').next().expect("a digest"))
        .collect();
    let once: BTreeSet<_> = came.iter().collect();
    assert!(!once.is_empty(), "modules came from the registry");
    assert_eq!(
        once.len(),
        came.len(),
        "no module travelled twice: {came:?}"
    );
    assert!(!log.contains(REGISTRY_PASSWORD), "no secret is logged");
}

#[test]
fn a_registry_that_is_away_before_packages_are_known_is_waited_for() {
    let Some((mut fleet, mut server)) = start() else {
        return;
    };
    let before = history(&fleet);
    let processes = fleet.pids("core-1");
    server.kill();
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    tells(&fleet, "packageset", "base");
    assert_eq!(ready(&fleet.object("packageset", "base")), Some("False"));
    let blocked = fleet.rollout(&commit, "Blocked");
    assert!(blocked["status"].to_string().contains(AWAY), "{blocked}");
    let others = fleet.object("packageset", "tools");
    assert_eq!(
        ready(&others),
        Some("True"),
        "what was seen once goes on to count"
    );
    // A controller that begins while the registry is away knows as much as the one before.
    fleet.kill_controller("a");
    fleet.start_controller("a");
    tells(&fleet, "packageset", "base");
    let meanwhile = (before.0 + 1, before.1);
    assert_eq!(history(&fleet), meanwhile, "no node was told anything");
    assert_eq!(fleet.pids("core-1"), processes, "what runs goes on running");

    server.run();
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    assert_eq!(history(&fleet), (before.0 + 1, before.1 + 1), "once");
    nothing_travelled_twice(&fleet);

    // What is known needs no registry: not the way back, not another controller, not a new node.
    server.kill();
    let commit = fleet.commit_greet("1.1.0", "1.0.0");
    fleet.rollout(&commit, "Done");
    fleet.kill_controller("a");
    fleet.start_controller("a");
    fleet.join("core-3");
    fleet.until("the new node to be ready", |fleet| {
        (ready(&fleet.object("fleetnode", "core-3")) == Some("True")).then_some(())
    });
    assert_eq!(
        fleet.pids("core-3").len(),
        fleet.pids("core-1").len(),
        "it runs what its like run"
    );
    nothing_travelled_twice(&fleet);
}

#[test]
fn a_registry_that_goes_away_while_nodes_stage_holds_up_nothing_but_the_staging() {
    let Some((mut fleet, mut server)) = start() else {
        return;
    };
    let before = history(&fleet);
    // The veto holds the roll-out while its packages are known and no module has travelled.
    let session = open_session(&fleet, "core-1");
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    let held = fleet.rollout(&commit, "Held");
    let name = held["metadata"]["name"].as_str().expect("a name");
    let processes = fleet.pids("core-1");
    server.kill();
    let force = r#"{"spec":{"decision":{"hold":1,"action":"force","reason":"it cannot wait"}}}"#;
    fleet.kubectl(&["patch", "rollout", name, "--type=merge", "-p", force]);
    tells(&fleet, "rollout", name);
    fleet.kill_controller("a");
    fleet.start_controller("a");
    tells(&fleet, "rollout", name);
    assert_eq!(fleet.pids("core-1"), processes, "nothing runs half staged");
    assert_eq!(
        history(&fleet),
        (before.0 + 1, before.1),
        "it is the same roll-out"
    );

    server.run();
    // After the staging nobody needs the registry: it goes as soon as the modules are here.
    let modules = fleet.log("a").matches(" came from ").count();
    fleet.until("the modules to travel", |fleet| {
        (fleet.log("a").matches(" came from ").count() > modules).then_some(())
    });
    server.kill();
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    assert_eq!(history(&fleet), (before.0 + 1, before.1 + 1), "once");
    nothing_travelled_twice(&fleet);
    drop(session);
}
