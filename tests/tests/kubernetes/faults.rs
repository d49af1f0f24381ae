//! While things fail: the fleet ends as declared, and nothing is lost, doubled
//! or pruned.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use placet_tests::{KubeFleet, evidence};

use crate::common::{OnKubernetes, all_run, kubernetes, settled};

/// What fails, and comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    ApiServer,
    Etcd,
    Leader,
    BothControllers,
    Git,
    Node,
}

const FAULTS: [Fault; 6] = [
    Fault::ApiServer,
    Fault::Etcd,
    Fault::Leader,
    Fault::BothControllers,
    Fault::Git,
    Fault::Node,
];

/// Longer than a term of leadership.
const OUTAGE: Duration = Duration::from_secs(6);
const OUTAGE_IN_FULL: Duration = Duration::from_secs(30);

fn is_full() -> bool {
    std::env::var("PLACET_FULL").is_ok_and(|full| full == "1")
}

fn outage() -> Duration {
    if is_full() { OUTAGE_IN_FULL } else { OUTAGE }
}

/// Makes something fail, for a while.
fn fail(fleet: &mut OnKubernetes, fault: Fault) {
    match fault {
        Fault::ApiServer => {
            fleet.cluster().kill_api_server();
            thread::sleep(outage());
            fleet.cluster().start_api_server();
        }
        Fault::Etcd => {
            fleet.cluster().signal_etcd(Signal::SIGSTOP);
            thread::sleep(outage());
            fleet.cluster().signal_etcd(Signal::SIGCONT);
        }
        Fault::Leader => {
            if let Some(leader) = fleet.leader() {
                fleet.kill_controller(&leader);
                fleet.start_controller(&leader);
            }
        }
        Fault::BothControllers => {
            for name in ["a", "b"] {
                fleet.kill_controller(name);
            }
            for name in ["a", "b"] {
                fleet.start_controller(name);
            }
        }
        Fault::Git => {
            let (there, away) = (fleet.path("fleet"), fleet.path("away"));
            fs::rename(&there, &away).expect("the repository can be moved");
            thread::sleep(Duration::from_secs(3));
            fs::rename(&away, &there).expect("the repository can be moved back");
        }
        Fault::Node => {
            fleet.kill_node("core-2");
            fleet.start_node("core-2");
        }
    }
}

fn declared(fleet: &KubeFleet) -> Vec<String> {
    let kinds = ["nodeclasses", "packagesets", "fleetnodes", "gitsources"];
    let objects = kinds.iter().flat_map(|kind| fleet.objects(kind));
    let name = |it: &serde_json::Value| format!("{} {}", it["kind"], it["metadata"]["uid"]);
    objects.map(|it| name(&it)).collect()
}

/// How often a node changed over to another generation.
pub(crate) fn activations(fleet: &KubeFleet, node: &str) -> usize {
    fleet.log(node).matches("activates generation").count()
}

#[test]
fn whatever_fails_and_whenever_the_fleet_ends_as_declared() {
    let Some(mut fleet) = kubernetes(&["a", "b"]) else {
        return;
    };
    settled(&mut fleet);
    let declared_before = declared(&fleet);
    let rounds = if is_full() { 5 } else { 1 };
    let mut versions = ("1.0.0", "1.1.0");
    let mut sample = Vec::new();
    for round in 0..rounds {
        for fault in FAULTS {
            let wait = Duration::from_millis(rand::random_range(0..1_500));
            println!("round {round}: {fault:?} fails {wait:?} after the commit");
            let before = (
                fleet.objects("rollouts").len(),
                activations(&fleet, "core-1"),
            );
            let commit = fleet.commit_greet(versions.0, versions.1);
            versions = (versions.1, versions.0);
            // A fault comes at any instant: there is no event to wait for.
            thread::sleep(wait);
            fail(&mut fleet, fault);
            fleet.rollout(&commit, "Done");
            all_run(&fleet);
            let after = (
                fleet.objects("rollouts").len(),
                activations(&fleet, "core-1"),
            );
            assert_eq!(
                after,
                (before.0 + 1, before.1 + 1),
                "{fault:?}: once, and only once"
            );
            assert_eq!(
                declared(&fleet),
                declared_before,
                "{fault:?}: nothing was pruned"
            );
            sample.push(serde_json::json!({
                "fault": format!("{fault:?}"),
                "afterCommitMs": u64::try_from(wait.as_millis()).unwrap_or_default(),
            }));
        }
    }
    if is_full() {
        evidence(
            "kubernetes-faults",
            &serde_json::json!({ "outageSeconds": outage().as_secs(), "rounds": sample }),
        );
    }
}
