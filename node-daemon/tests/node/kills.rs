//! The agent is killed at random instants: no process notices, and nothing that was stored is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use placet_tests::{Sample, evidence};
use serde_json::json;

use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, is_alive, signal};
use crate::software::Software;

/// An activation takes less than this.
const ACTIVATION: Duration = Duration::from_millis(60);
const ALL: [&str; 3] = ["keeps", "simple", "user"];
/// These do not use what changes.
const OTHERS: [&str; 2] = ["keeps", "simple"];

/// `user` depends on the library; it and `keeps` store a descriptor.
fn fleet(library: &[u8]) -> Software {
    let stores = ["told", "store:one", "say:READY=1"];
    Software::new()
        .file("lib/data", library)
        .actor_that_needs("bin/user", &stores, &["lib/data"], |spec| {
            spec.notify = true;
            spec.stored_descriptors = 1;
        })
        .actor("bin/keeps", &stores, |spec| {
            spec.notify = true;
            spec.stored_descriptors = 1;
        })
        .notifier("bin/simple", &[])
}

struct World {
    controller: Controller,
    daemon: Daemon,
    session: Session,
    versions: [Software; 2],
    /// Process ids as they have to be.
    pids: BTreeMap<String, u32>,
    rollouts: usize,
}

impl World {
    async fn start() -> Self {
        let controller = Controller::start().await;
        let versions = [fleet(b"zero"), fleet(b"one")];
        for version in &versions {
            controller.serve(version);
        }
        let (daemon, mut session) = Daemon::settled(&controller, &versions[0]).await;
        let pids = session.running(&ALL).await;
        Self {
            controller,
            daemon,
            session,
            versions,
            pids,
            rollouts: 0,
        }
    }

    /// Kills the agent, and waits for the next one's session.
    async fn kill(&mut self) {
        let agent = self.daemon.agent().try_into().unwrap();
        signal(agent, Signal::SIGKILL);
        self.session = self.controller.session().await;
    }

    /// In normal life: at rest, or still busy with its own start.
    async fn kill_at_rest(&mut self, instant: Duration) {
        // Not a wait for something: the instant is what is tried.
        tokio::time::sleep(instant).await;
        self.kill().await;
        assert_eq!(self.session.running(&ALL).await, self.pids);
        assert!(self.pids.values().all(|pid| is_alive(*pid)));
    }

    async fn kill_in_a_rollout(&mut self, instant: Duration) {
        let from = self.versions[self.rollouts % 2].manifest.clone();
        self.rollouts += 1;
        let to = self.versions[self.rollouts % 2].manifest.clone();
        self.session.stage(&from, &to);
        assert_eq!(self.session.staged().await.error, "");
        self.session.activate(&from, &to);
        let _ = tokio::time::timeout(instant, self.session.activated()).await;
        self.kill().await;
        self.session.activate(&from, &to);
        assert_eq!(self.session.activated().await.error, "");
        let after = self.session.running(&ALL).await;
        for name in OTHERS {
            assert_eq!(after[name], self.pids[name], "{name}");
        }
        assert_ne!(after["user"], self.pids["user"]);
        self.pids = after;
    }

    /// Each roll-out has restarted `user` once, and each successor was handed what was stored.
    /// Returns how often it was started.
    async fn end(self) -> usize {
        signal(self.pids["keeps"], Signal::SIGKILL);
        let log = self.daemon.wrote("keeps", "told one.\n").await;
        assert_eq!(log.matches("told").count(), 2, "{log}");
        let log = self.daemon.wrote("user", "told").await;
        assert_eq!(log.matches("told one.\n").count(), self.rollouts, "{log}");
        assert_eq!(log.matches("told.\n").count(), 1, "{log}");
        log.matches("told").count()
    }
}

/// Each kill makes the keeper wait longer before it starts another agent.
const KILLS_OF_A_NODE: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn no_process_is_restarted_and_no_descriptor_lost_because_the_agent_dies() {
    let mut sample = Sample::new("kill-agent", 100, 10);
    let (mut rollouts, mut starts) = (0, 0);
    for _ in 0..sample.cases / KILLS_OF_A_NODE {
        let mut world = World::start().await;
        for _ in 0..KILLS_OF_A_NODE {
            let instant = sample.instant(ACTIVATION);
            if *sample.pick(&[true, false]) {
                world.kill_in_a_rollout(instant).await;
            } else {
                world.kill_at_rest(instant).await;
            }
        }
        rollouts += world.rollouts;
        starts += world.end().await;
    }
    evidence(
        "kill-agent",
        &json!({
            "kills": sample.cases, "inRollouts": rollouts,
            "startsOfWhomRolloutsTouch": starts, "firstStartsOfThem": sample.cases / KILLS_OF_A_NODE,
        }),
    );
}
