//! As many nodes as a large fleet has, all over the real protocol, and what they cost a controller.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod node;

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use placet_model::NodeName;
use placet_protocol::wire::TokenRequest;
use placet_protocol::wire::admin_client::AdminClient;
use placet_protocol::{Token, admin_connect};
use placet_tests::{Fleet, FleetOptions, evidence, is_full, placet, usage};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use self::node::{Common, Node};

/// Nodes that join at once; afterwards all do everything at once.
const JOINING: usize = 64;

/// Nodes in one file of declarations.
const IN_FILE: usize = 500;

/// Longer than any step of the largest swarm takes, in seconds.
const PATIENCE: u32 = 600;

fn count() -> usize {
    if is_full() { 10_000 } else { 100 }
}

fn name(number: usize) -> NodeName {
    format!("core-{number}").parse().unwrap()
}

fn declare(fleet: &Fleet) {
    for first in (0..count()).step_by(IN_FILE) {
        let mut text = String::new();
        for number in first..count().min(first + IN_FILE) {
            let name = name(number);
            writeln!(
                text,
                "---\napiVersion: placet.dev/v1alpha1\nkind: FleetNode\nmetadata: {{name: {name}}}\nspec: {{facts: {{type: core}}}}"
            )
            .unwrap();
        }
        fs::write(fleet.path(&format!("fleet/nodes-{first}.yaml")), text).unwrap();
    }
}

async fn join_all(fleet: &Fleet, common: &Arc<Common>) -> Vec<Node> {
    let socket = fleet.path("controller/admin.sock");
    let admin = AdminClient::new(admin_connect(&socket).await.unwrap());
    let permits = Arc::new(Semaphore::new(JOINING));
    let mut joining = JoinSet::new();
    for number in 0..count() {
        let (mut admin, permits) = (admin.clone(), Arc::clone(&permits));
        let (address, common) = (fleet.address().to_owned(), Arc::clone(common));
        joining.spawn(async move {
            let _permit = permits.acquire_owned().await.unwrap();
            let request = TokenRequest {
                node: name(number).to_string(),
                ..TokenRequest::default()
            };
            let made = admin.create_token(request).await.unwrap().into_inner();
            let token: Token = made.token.parse().unwrap();
            Node::join(address, &token, name(number), common).await
        });
    }
    joining.join_all().await
}

/// Nodes that are at work, and how to end it.
struct AtWork {
    ends: watch::Sender<bool>,
    nodes: Vec<JoinHandle<Node>>,
}

impl AtWork {
    fn begin(nodes: Vec<Node>) -> Self {
        let ends = watch::Sender::new(false);
        let start = |node: Node| tokio::spawn(node.run(ends.subscribe()));
        let nodes = nodes.into_iter().map(start).collect();
        Self { ends, nodes }
    }

    async fn end(self) -> Vec<Node> {
        self.ends.send_replace(true);
        let mut nodes = Vec::new();
        for node in self.nodes {
            nodes.push(node.await.unwrap());
        }
        nodes
    }
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 100.0).round() / 100.0
}

fn between(earlier: f64, later: f64) -> f64 {
    ((later - earlier) * 100.0).round() / 100.0
}

async fn come_to(counted: &watch::Sender<usize>, wanted: usize, what: &str) {
    let mut counted = counted.subscribe();
    let all = counted.wait_for(|counted| *counted >= wanted);
    let patience = Duration::from_secs(PATIENCE.into());
    timeout(patience, all).await.expect(what).unwrap();
}

/// A commit until its tally, and until it runs everywhere.
async fn roll_out(fleet: &mut Fleet) -> Value {
    let since = fleet.feed.latest();
    let (cpu, _) = usage(fleet.controller());
    let began = Instant::now();
    let commit = fleet.commit_greet("1.1.0");
    let is_tally = |event: &placet_tests::Event| event.name == "tally";
    let feed = &mut fleet.feed;
    let tally = feed.wait_long(since, "the tally", PATIENCE, is_tally).await;
    let (tallied, cpu_tallied) = (seconds(began), usage(fleet.controller()).0 - cpu);
    assert_eq!(tally.data["accepts"], count());
    verified(fleet, &commit).await;
    let (cpu_done, peak) = usage(fleet.controller());
    json!({
        "commitToTallyMilliseconds": tally.data["milliseconds"], "commitToTallySeconds": tallied,
        "tallyCpuSeconds": cpu_tallied, "rolloutSeconds": seconds(began),
        "rolloutCpuSeconds": cpu_done - cpu, "peakMiB": peak.round(),
    })
}

async fn verified(fleet: &mut Fleet, commit: &str) {
    let is_it = |event: &placet_tests::Event| {
        event.name == "verified" && event.text("revision").ends_with(commit)
    };
    let what = format!("{commit} to be verified");
    fleet.feed.wait_long(0, &what, PATIENCE, is_it).await;
}

/// All nodes start at the same time with what they are to run, until each was told to go on.
async fn boot_together(fleet: &Fleet, nodes: Vec<Node>, common: &Common) -> (Value, Vec<Node>) {
    let before = *common.told.borrow();
    let (cpu, _) = usage(fleet.controller());
    let began = Instant::now();
    let at_work = AtWork::begin(nodes);
    come_to(&common.told, before + count(), "all are told").await;
    let took = seconds(began);
    let (cpu_done, peak) = usage(fleet.controller());
    let figures = json!({
        "bootTogetherSeconds": took, "bootCpuSeconds": cpu_done - cpu,
        "bootPeakMiB": peak.round(),
    });
    (figures, at_work.end().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_fleet_votes_and_boots_together() {
    let options = FleetOptions {
        nodes: Vec::new(),
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::start(options).await;
    declare(&fleet);
    let commit = fleet.commit("The fleet begins");
    let common = Arc::<Common>::default();
    let began = Instant::now();
    let nodes = join_all(&fleet, &common).await;
    let joined = seconds(began);
    let at_work = AtWork::begin(nodes);
    come_to(&common.connected, count(), "all are connected").await;
    let connected = seconds(began);
    fleet.follow_repository();
    verified(&mut fleet, &commit).await;
    let first = seconds(began);
    let rollout = roll_out(&mut fleet).await;
    let lost = common.lost.load(Ordering::Relaxed);
    let nodes = at_work.end().await;
    let (boot, _) = boot_together(&fleet, nodes, &common).await;
    let is_release = placet()
        .components()
        .any(|part| part.as_os_str() == "release");
    let mut figures = json!({
        "build": if is_release { "release" } else { "debug" },
        "nodes": count(), "joinSeconds": joined, "connectSeconds": between(joined, connected),
        "firstRolloutSeconds": between(connected, first), "lostSessions": lost,
    });
    for part in [rollout, boot] {
        let of_part = part.as_object().unwrap().clone();
        figures.as_object_mut().unwrap().extend(of_part);
    }
    evidence("swarm", &figures);
}
