//! While things fail: the fleet ends as declared, and nothing is lost, doubled
//! or pruned.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use placet_tests::{KubeFleet, evidence, is_full};

use crate::common::{
    NODES, OnKubernetes, activations, all_run, kubernetes, outage, settled, wait_for_line,
};

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

/// Where a change is when something fails, by what the leader's log says at that instant.
const PHASES: [(&str, &str); 3] = [
    ("Proposing", "roll-out ro-"),
    ("Staging", "staging {"),
    ("Activating", "activating {"),
];

/// Something fails while edge-1 does not answer, so that the phase cannot end meanwhile.
fn fail_in(fleet: &mut OnKubernetes, fault: Fault, phase: &str, versions: (&str, &str)) -> String {
    let leader = fleet.leader().expect("somebody leads");
    let seen = fleet.log(&leader).len();
    let commit = fleet.commit_greet(versions.0, versions.1);
    wait_for_line(fleet, &leader, seen, phase);
    fleet.signal_node("edge-1", Signal::SIGSTOP);
    fail(fleet, fault);
    fleet.signal_node("edge-1", Signal::SIGCONT);
    commit
}

#[test]
fn whatever_fails_in_whichever_phase_the_fleet_ends_as_declared() {
    let Some(mut fleet) = kubernetes(&["a", "b"]) else {
        return;
    };
    settled(&mut fleet);
    let declared_before = declared(&fleet);
    let mut versions = ("1.0.0", "1.1.0");
    let mut sample = Vec::new();
    for (index, fault) in FAULTS.into_iter().enumerate() {
        let tried = PHASES.iter().enumerate();
        let tried = tried.filter(|(phase, _)| is_full() || index % PHASES.len() == *phase);
        for (_, (phase, words)) in tried {
            println!("{fault:?} fails while {phase}");
            let rollouts = fleet.objects("rollouts").len();
            let before: Vec<_> = NODES.iter().map(|it| activations(&fleet, it)).collect();
            let commit = fail_in(&mut fleet, fault, words, versions);
            versions = (versions.1, versions.0);
            fleet.rollout(&commit, "Done");
            all_run(&fleet);
            for (node, before) in NODES.iter().zip(before) {
                let times = activations(&fleet, node) - before;
                // Who dies right after the swap has no time to say so.
                let least = usize::from(!(fault == Fault::Node && *node == "core-2"));
                assert!(
                    (least..=1).contains(&times),
                    "{fault:?} while {phase}: {node} changed {times} times, not once"
                );
            }
            assert_eq!(
                fleet.objects("rollouts").len(),
                rollouts + 1,
                "{fault:?} while {phase}: one roll-out"
            );
            assert_eq!(
                declared(&fleet),
                declared_before,
                "{fault:?} while {phase}: nothing was pruned"
            );
            sample.push(serde_json::json!({ "fault": format!("{fault:?}"), "phase": phase }));
        }
    }
    if is_full() {
        evidence(
            "kubernetes-faults",
            &serde_json::json!({ "outageSeconds": outage().as_secs(), "rounds": sample }),
        );
    }
}
