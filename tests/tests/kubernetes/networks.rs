//! Networks that fail: between a controller and the API server, and between a node and everything.

use std::thread;

use placet_tests::{Cluster, KubeFleet, Network, free_port};
use serde_json::Value;

use crate::common::{
    NODES, OnKubernetes, activations, all_run, kubernetes, outage, settled, wait_for_line,
};

/// A watch that goes on from a version which the API server has forgotten is answered with 410: what
/// is there now is listed, and what changed or went meanwhile is found.
#[test]
fn a_watch_that_expired_is_begun_anew_and_nothing_is_missed() {
    // Without its cache the API server remembers what etcd does.
    let Some(cluster) = Cluster::start_with(&["--watch-cache=false"]) else {
        return;
    };
    let (way, access) = cluster.way();
    let (kubectl, kubeconfig) = (cluster.kubectl(), cluster.kubeconfig());
    let mut fleet = KubeFleet::with_access(&kubectl, &kubeconfig, &access, &["a"]);
    settled(&mut fleet);
    let class = |name: &str| {
        format!(
            "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {{name: {name}}}\nspec: {{packageSets: [base]}}\n"
        )
    };
    fleet.apply(&class("gone"), &[]);
    fleet.until("the class to be seen", |fleet| {
        let class = fleet.object("nodeclass", "gone");
        class["status"]["observedGeneration"].as_i64()
    });
    let epoch = |fleet: &KubeFleet| {
        let lease = fleet.object("lease/placet-controller", "--namespace=placet-system");
        lease["spec"]["leaseTransitions"].clone()
    };
    let before = epoch(&fleet);
    assert!(before.is_i64(), "{before}");

    let seen = cluster.audit().len();
    way.cut();
    // Shorter than a term: the same controller has to find out.
    fleet.apply(&class("new"), &[]);
    fleet.kubectl(&["delete", "nodeclass", "gone"]);
    cluster.compact();
    way.mend();

    fleet.until("the new class to be seen", |fleet| {
        let class = fleet.object("nodeclass", "new");
        class["status"]["observedGeneration"].as_i64()
    });
    // The answer itself comes inside the watch; what follows from it is a list.
    let listed = cluster.audit()[seen..].iter().any(|request| {
        let agent = request["userAgent"].as_str().unwrap_or_default();
        let is_controllers = !agent.contains("kubectl");
        let resource = &request["objectRef"]["resource"];
        is_controllers && request["verb"] == "list" && resource == "nodeclasses"
    });
    assert!(listed, "the watch could not go on from where it was");
    assert_eq!(epoch(&fleet), before, "nobody took over");
    // What was deleted is not written again, and the fleet goes on.
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    assert_eq!(fleet.object("nodeclass", "gone"), Value::Null);
}

/// A fleet of which core-2 has a network of its own.
fn with_a_network() -> Option<(Network, OnKubernetes)> {
    let network = Network::start()?;
    let mut fleet = kubernetes(&[])?;
    let host = network.host().to_string();
    let address = format!("{host}:{}", free_port());
    let arguments = ["--listen", &address, "--name", &host];
    fleet.add_controller("a", &arguments.map(str::to_owned));
    for node in ["core-1", "edge-1"] {
        fleet.join(node);
    }
    fleet.join_from(&network, &[address], "core-2");
    let commit = fleet.commit_example();
    fleet.follow_repository();
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
    Some((network, fleet))
}

/// What the log of a node says when a phase of the change has just reached it.
const PHASES: [&str; 3] = ["is asked about", "is staged", "activates generation"];

#[test]
fn a_node_whose_network_is_cut_in_any_phase_ends_as_declared() {
    let Some((network, fleet)) = with_a_network() else {
        return;
    };

    let mut versions = ("1.0.0", "1.1.0");
    for phase in PHASES {
        println!("the network is cut when core-2 {phase}");
        let before: Vec<_> = NODES.iter().map(|it| activations(&fleet, it)).collect();
        let rollouts = fleet.objects("rollouts").len();
        let seen = fleet.log("core-2").len();
        let commit = fleet.commit_greet(versions.0, versions.1);
        versions = (versions.1, versions.0);
        wait_for_line(&fleet, "core-2", seen, phase);
        network.cut();
        thread::sleep(outage());
        network.mend();
        fleet.rollout(&commit, "Done");
        all_run(&fleet);
        let after: Vec<_> = NODES.iter().map(|it| activations(&fleet, it)).collect();
        let once: Vec<_> = before.iter().map(|count| count + 1).collect();
        assert_eq!(after, once, "{phase}: every node changed once");
        assert_eq!(fleet.objects("rollouts").len(), rollouts + 1, "{phase}");
    }
}

/// What is out of reach for good is said, and does not keep the others from their answers.
#[test]
fn a_node_out_of_reach_is_named_and_everything_else_goes_on() {
    let Some((network, fleet)) = with_a_network() else {
        return;
    };
    network.cut();
    fleet.until("core-2 to be away", |fleet| {
        let node = fleet.object("fleetnode", "core-2");
        (node["status"]["presence"] == "Away").then_some(())
    });
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    let waiting = fleet.rollout(&commit, "Proposing");
    let name = waiting["metadata"]["name"].as_str().expect("a name");
    fleet.until("the roll-out to say whom it waits for", |fleet| {
        let conditions = fleet.object("rollout", name)["status"]["conditions"].to_string();
        conditions.contains("core-2").then_some(())
    });
    fleet.until("the others to have answered", |fleet| {
        let node = fleet.object("fleetnode", "core-1");
        let verdict = node["status"]["lastVerdict"]["verdict"]
            .as_str()?
            .to_owned();
        (verdict == "accept").then_some(())
    });
    network.mend();
    fleet.rollout(&commit, "Done");
    all_run(&fleet);
}
