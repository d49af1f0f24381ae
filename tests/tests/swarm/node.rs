//! A node of which only the protocol is real: it runs nothing and agrees to everything.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use placet_model::{Architecture, Digest, NodeFacts, NodeManifest, NodeName, Proposal, Verdict};
use placet_model::{VerdictKind, canonical_json};
use placet_planner::change;
use placet_protocol::wire::from_node::Message;
use placet_protocol::wire::to_node::Order;
use placet_protocol::wire::{
    Activate, Activated, Boot, FromNode, Hello, Process, Report, Stage, Staged,
};
use placet_protocol::{Error, Identity, Token, connect, join, nodes_client};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Pause of a node that was turned away; doubles with each up to the last, as in the daemon.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// What a node can run.
#[derive(Debug)]
struct Software {
    manifest: NodeManifest,
    json: Vec<u8>,
    digest: String,
    processes: Vec<String>,
}

impl Software {
    /// That of a node that never ran anything.
    fn none() -> Self {
        let manifest = NodeManifest::default();
        Self {
            json: Vec::new(),
            digest: manifest.digest().to_string(),
            processes: Vec::new(),
            manifest,
        }
    }

    fn of(json: &[u8]) -> Self {
        let manifest: NodeManifest = serde_json::from_slice(json).unwrap();
        let started = change(&NodeManifest::default(), &manifest).change_set;
        Self {
            json: json.to_owned(),
            digest: manifest.digest().to_string(),
            processes: started
                .processes
                .iter()
                .map(|it| it.name.to_string())
                .collect(),
            manifest,
        }
    }
}

/// What all nodes of the swarm share.
#[derive(Debug, Default)]
pub(crate) struct Common {
    /// By the digest of a manifest's bytes: there are few, and many nodes that have them.
    software: Mutex<HashMap<Digest, Arc<Software>>>,
    /// Nodes that were told to go on with what they have, ever.
    pub(crate) told: watch::Sender<usize>,
    /// Nodes that have a session now.
    pub(crate) connected: watch::Sender<usize>,
    /// Sessions that ended before their node did.
    pub(crate) lost: AtomicUsize,
}

/// A session that the controller has welcomed; the number goes down with it.
struct Welcomed(Arc<Common>);

impl Welcomed {
    fn of(common: &Arc<Common>) -> Self {
        common.connected.send_modify(|connected| *connected += 1);
        Self(Arc::clone(common))
    }
}

impl Drop for Welcomed {
    fn drop(&mut self) {
        self.0.connected.send_modify(|connected| *connected -= 1);
    }
}

impl Common {
    fn software(&self, json: &[u8]) -> Arc<Software> {
        let mut software = self.software.lock().unwrap();
        let read = || Arc::new(Software::of(json));
        Arc::clone(software.entry(Digest::of(json)).or_insert_with(read))
    }
}

/// One node, between its sessions too.
#[derive(Debug)]
pub(crate) struct Node {
    address: String,
    name: NodeName,
    identity: Identity,
    common: Arc<Common>,
    boot: u64,
    generation: u64,
    runs: Arc<Software>,
    staged: Option<Arc<Software>>,
}

impl Node {
    /// Joins the fleet.
    pub(crate) async fn join(
        address: String,
        token: &Token,
        name: NodeName,
        common: Arc<Common>,
    ) -> Self {
        let mut pause = PAUSE;
        let identity = loop {
            match join(std::slice::from_ref(&address), token, &name).await {
                Ok(identity) => break identity,
                Err(error @ Error::Token { .. }) => panic!("{name}: {error}"),
                // So many at once: whoever is not let in waits.
                Err(_) => later(&mut pause).await,
            }
        };
        Self {
            address,
            name,
            identity,
            common,
            boot: 0,
            generation: 0,
            runs: Arc::new(Software::none()),
            staged: None,
        }
    }

    /// Starts anew: opens sessions, one after the other, and does as it is told, until `ends`.
    pub(crate) async fn run(mut self, mut ends: watch::Receiver<bool>) -> Self {
        self.boot += 1;
        let mut pause = PAUSE;
        loop {
            let ended = ends.wait_for(|ends| *ends);
            tokio::select! {
                _ = ended => return self,
                () = async {
                    // A session that cannot be had, or is lost, is opened anew.
                    let _ = self.session(&mut pause).await;
                    self.common.lost.fetch_add(1, Ordering::Relaxed);
                    later(&mut pause).await;
                } => {}
            }
        }
    }

    async fn session(
        &mut self,
        pause: &mut Duration,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let channel = connect(std::slice::from_ref(&self.address), &self.identity).await?;
        let (sender, messages) = mpsc::unbounded_channel();
        let say = |message| {
            let message = Some(message);
            // Whoever waits for an order finds that the session is over.
            let _ = sender.send(FromNode { message });
        };
        say(self.hello());
        let messages = UnboundedReceiverStream::new(messages);
        let orders = nodes_client(channel).session(messages).await?;
        let mut orders = orders.into_inner();
        let mut welcomed = None;
        while let Some(order) = orders.message().await? {
            match order.order {
                Some(Order::Welcome(welcome)) => {
                    *pause = PAUSE;
                    welcomed.get_or_insert_with(|| Welcomed::of(&self.common));
                    if welcome.boot() == Boot::Continue {
                        self.common.told.send_modify(|told| *told += 1);
                    }
                }
                Some(Order::ProposalJson(json)) => {
                    let verdict = self.verdict(&serde_json::from_slice(&json)?);
                    say(Message::VerdictJson(canonical_json(&verdict)));
                }
                Some(Order::Stage(stage)) => say(self.stage(stage)),
                Some(Order::Activate(order)) => {
                    say(self.activate(order));
                    say(Message::Report(self.report()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn boot_id(&self) -> String {
        format!("boot {} of {}", self.boot, self.name)
    }

    fn hello(&self) -> Message {
        let facts = NodeFacts {
            kind: Some("core".to_owned()),
            architecture: Some(Architecture("x86_64".to_owned())),
            ..NodeFacts::default()
        };
        Message::Hello(Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: self.boot_id(),
            facts_json: canonical_json(&facts),
            report: Some(Report {
                manifest_json: self.runs.json.clone(),
                ..self.report()
            }),
            memory: true,
            ..Hello::default()
        })
    }

    fn report(&self) -> Report {
        let runs = |(pid, name): (u32, &String)| Process {
            name: name.clone(),
            pid,
            generation: self.generation,
            ready: true,
        };
        Report {
            generation: self.generation,
            manifest_digest: self.runs.digest.clone(),
            processes: (100..).zip(&self.runs.processes).map(runs).collect(),
            ..Report::default()
        }
    }

    /// Computes the change, as a node does before it asks anybody; nobody here objects.
    fn verdict(&self, proposal: &Proposal) -> Verdict {
        let computed = change(&self.runs.manifest, &proposal.manifest).digest();
        assert_eq!(computed, proposal.change_digest, "{}", self.name);
        let now = Timestamp::now();
        Verdict {
            node: self.name.clone(),
            rollout: proposal.rollout.clone(),
            plan_digest: proposal.plan_digest,
            change_digest: proposal.change_digest,
            boot_id: self.boot_id(),
            verdict: VerdictKind::Accept,
            records: Vec::new(),
            message: String::new(),
            time: now,
            expires: now + SignedDuration::from_hours(1),
        }
    }

    fn stage(&mut self, order: Stage) -> Message {
        self.staged = Some(self.common.software(&order.manifest_json));
        Message::Staged(Staged {
            rollout: order.rollout,
            change_digest: order.change_digest,
            ..Staged::default()
        })
    }

    fn activate(&mut self, order: Activate) -> Message {
        if let Some(staged) = self.staged.take() {
            self.runs = staged;
            self.generation += 1;
        }
        Message::Activated(Activated {
            rollout: order.rollout,
            change_digest: order.change_digest,
            generation: self.generation,
            error: String::new(),
        })
    }
}

/// A pause that is another for each node, and longer the next time.
async fn later(pause: &mut Duration) {
    tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
    *pause = PAUSE_MAX.min(*pause * 2);
}
