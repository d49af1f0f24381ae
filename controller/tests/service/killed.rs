//! A controller that is killed at any point of a roll-out, and started again.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use placet_controller::{Controller, Options};
use placet_model::DecisionKind;

use crate::bench::{Bench, Feed};
use crate::node::Node;

/// Names the folder to the process that is killed, and says by that that it is one.
const FOLDER: &str = "PLACET_TEST_CONTROLLER";

/// Not a test by itself: the others start it as a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let options = Options {
        packages: Some(folder.join("packages")),
        ..Options::new(folder.join("state"))
    };
    let controller = Controller::start(options).await.unwrap();
    println!("started");
    controller.until(std::future::pending()).await.unwrap();
}

/// A controller as a process of its own.
struct Process(Child);

impl Process {
    /// Starts it, and waits until it answers.
    fn start(bench: &Bench) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "killed::the_process_that_is_killed",
                "--nocapture",
            ])
            .env(FOLDER, bench.path(""))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let started = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("started")));
        assert!(started.is_some(), "the controller starts");
        // It writes nothing more; its pipe is kept open by the thread that drains it.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Fleet {
    bench: Bench,
    controller: Process,
    nodes: Vec<Node>,
    feed: Feed,
}

const NAMES: [&str; 2] = ["core-1", "core-2"];

impl Fleet {
    async fn settled() -> Self {
        let bench = Bench::lay_out();
        let controller = Process::start(&bench);
        let mut nodes = Vec::new();
        for name in NAMES {
            nodes.push(Node::join(&bench, name).await);
        }
        let mut feed = bench.feed(0).await;
        let commit = bench.commit_version("1.0.0", &NAMES);
        bench.follow().await;
        feed.verified(&commit).await;
        Self {
            bench,
            controller,
            nodes,
            feed,
        }
    }

    /// Kills the controller and starts another, to which the nodes find their way.
    async fn kill_and_start(&mut self) {
        self.controller.kill();
        self.controller = Process::start(&self.bench);
        let last = self.feed.heard.last().map_or(0, |event| event.sequence);
        let heard = std::mem::take(&mut self.feed.heard);
        self.feed = self.bench.feed(last).await;
        self.feed.heard = heard;
        let nodes = std::mem::take(&mut self.nodes);
        for node in nodes {
            self.nodes.push(node.again(&self.bench).await);
        }
    }

    /// The change arrived on every node, once.
    fn check(&self, changes: [usize; 2]) {
        let made: Vec<usize> = self.nodes.iter().map(Node::changes).collect();
        assert_eq!(made, changes);
        assert_eq!(self.feed.count("verified"), 2, "each roll-out ends once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nodes_are_asked() {
    let mut fleet = Fleet::settled().await;
    fleet.nodes[1].is_deaf_to(&["propose"]);
    let commit = fleet.bench.commit_version("1.1.0", &NAMES);
    fleet.feed.named("verdict").await;
    fleet.kill_and_start().await;
    let rollout = fleet.bench.get("ro", "ro-2").await;
    assert_eq!(
        rollout["status"]["verdicts"]["accept"], 1,
        "no vote is lost"
    );
    fleet.nodes[1].is_deaf_to(&[]);
    fleet.kill_and_start().await;
    fleet.feed.verified(&commit).await;
    fleet.check([2, 2]);
    let asked = fleet.nodes[0]
        .orders()
        .iter()
        .filter(|order| *order == "propose")
        .count();
    assert_eq!(asked, 2, "whose vote is known is not asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_rollout_is_held_and_right_after_the_decision() {
    let mut fleet = Fleet::settled().await;
    fleet.nodes[0].vetoes(Some("no"));
    let commit = fleet.bench.commit_version("1.1.0", &NAMES);
    fleet.feed.named("tally").await;
    let before = fleet.bench.get("ro", "ro-2").await["status"]["hold"].clone();
    fleet.kill_and_start().await;
    let after = fleet.bench.get("ro", "ro-2").await["status"]["hold"].clone();
    assert_eq!(after, before);
    fleet.nodes[1].is_deaf_to(&["stage"]);
    fleet
        .bench
        .decide("ro-2", 1, DecisionKind::Skip)
        .await
        .unwrap();
    fleet.kill_and_start().await;
    let again = fleet
        .bench
        .decide("ro-2", 1, DecisionKind::Abort)
        .await
        .unwrap_err();
    assert!(again.message().contains("not held"), "{again}");
    fleet.nodes[1].is_deaf_to(&[]);
    fleet.kill_and_start().await;
    fleet.feed.verified(&commit).await;
    fleet.check([1, 2]);
    let decisions = fleet.bench.get("ro", "ro-2").await["status"]["decisions"].clone();
    assert_eq!(decisions.as_array().unwrap().len(), 1);
    assert_eq!(fleet.feed.count("held"), 1, "a hold is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nodes_change() {
    let mut fleet = Fleet::settled().await;
    fleet.nodes[1].is_deaf_to(&["activate"]);
    let commit = fleet.bench.commit_version("1.1.0", &NAMES);
    fleet
        .feed
        .wait("core-1 to have changed", |event| {
            event.name == "processes"
                && event.text("node") == "core-1"
                && event.data["generation"] == 2
        })
        .await;
    fleet.kill_and_start().await;
    let rollout = fleet.bench.get("ro", "ro-2").await;
    assert_eq!(rollout["status"]["phase"], "Activating");
    fleet.nodes[1].is_deaf_to(&[]);
    fleet.kill_and_start().await;
    fleet.feed.verified(&commit).await;
    fleet.check([2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_came_meanwhile_is_found() {
    let mut fleet = Fleet::settled().await;
    fleet.controller.kill();
    let commit = fleet.bench.commit_version("1.1.0", &NAMES);
    fleet.kill_and_start().await;
    fleet.feed.verified(&commit).await;
    fleet.check([2, 2]);
}

/// How many roll-outs are interrupted at a random point.
const ROUNDS: usize = 6;

/// A roll-out to two nodes tells about this many events.
const EVENTS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn at_random_points() {
    let mut fleet = Fleet::settled().await;
    for round in 0..ROUNDS {
        let after = rand::random_range(1..=EVENTS);
        println!("round {round}: killed after {after} events");
        let version = if round % 2 == 0 { "1.1.0" } else { "1.0.0" };
        let commit = fleet.bench.commit_version(version, &NAMES);
        let is_end = |event: &crate::bench::Event| {
            event.name == "verified" && event.text("revision").ends_with(&commit)
        };
        let mut ended = false;
        for _ in 0..after {
            let event = fleet.feed.wait("another event", |_| true).await;
            ended = is_end(&event);
            if ended {
                break;
            }
        }
        fleet.kill_and_start().await;
        if !ended {
            fleet.feed.verified(&commit).await;
        }
        let made: Vec<usize> = fleet.nodes.iter().map(Node::changes).collect();
        assert_eq!(made, [round + 2; 2], "each node changed once");
    }
    assert_eq!(fleet.feed.count("verified"), ROUNDS + 1);
    let rollouts = fleet.bench.list("ro", "").await;
    assert_eq!(rollouts.len(), ROUNDS + 1);
    assert!(
        rollouts
            .iter()
            .all(|rollout| rollout["status"]["phase"] == "Done")
    );
}
