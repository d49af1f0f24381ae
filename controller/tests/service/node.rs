//! A node that follows a script: it speaks the protocol, and runs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use placet_model::{
    Answer, Digest, ModulePath, NodeFacts, NodeManifest, NodeName, ProcessAction, Proposal,
    Verdict, VoteRecord, canonical_json,
};
use placet_planner::{change, verdict_of};
use placet_protocol::wire::from_node::Message;
use placet_protocol::wire::nodes_client::NodesClient;
use placet_protocol::wire::to_node::Order;
use placet_protocol::wire::{
    Activate, Activated, Failed, FetchRequest, FromNode, Hello, Process, Report, Stage, Staged,
    ToNode,
};
use placet_protocol::{Identity, connect, join, nodes_client};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::bench::{Bench, PATIENCE};

/// How a node behaves; tests change it while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Script {
    /// What its chat server says, with code and message; it accepts where there is none.
    pub(crate) veto: Option<&'static str>,
    /// Orders that it does not obey: "propose", "stage", "activate".
    pub(crate) deaf_to: BTreeSet<&'static str>,
    /// Why an activation fails, if it does.
    pub(crate) fails: Option<&'static str>,
}

/// What a node has, which survives its sessions.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) name: NodeName,
    pub(crate) boot_id: String,
    /// The type that it announces.
    pub(crate) kind: &'static str,
    pub(crate) manifest: NodeManifest,
    pub(crate) generation: u64,
    pub(crate) pids: BTreeMap<String, u32>,
    next_pid: u32,
    staged: BTreeMap<Digest, NodeManifest>,
    failed: BTreeMap<Digest, String>,
    held: BTreeSet<Digest>,
    /// The greatest epoch of an order.
    pub(crate) epoch: u64,
    /// Orders that came, in words.
    pub(crate) orders: Vec<String>,
    /// The same, each with its `traceparent`.
    pub(crate) traces: Vec<(String, String)>,
    /// Manifests that it was told to make the running one, and did.
    pub(crate) changes: usize,
}

impl State {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.parse().unwrap(),
            boot_id: format!("boot-of-{name}"),
            kind: "core",
            manifest: NodeManifest::default(),
            generation: 0,
            pids: BTreeMap::new(),
            next_pid: 100,
            staged: BTreeMap::new(),
            failed: BTreeMap::new(),
            held: BTreeSet::new(),
            epoch: 0,
            orders: Vec::new(),
            traces: Vec::new(),
            changes: 0,
        }
    }

    pub(crate) fn hello(&self) -> Message {
        let manifest_json = if self.generation == 0 {
            Vec::new()
        } else {
            canonical_json(&self.manifest)
        };
        let facts = NodeFacts {
            kind: Some(self.kind.to_owned()),
            architecture: Some(placet_model::Architecture("x86_64".to_owned())),
            ..NodeFacts::default()
        };
        Message::Hello(Hello {
            version: "test".to_owned(),
            boot_id: self.boot_id.clone(),
            facts_json: canonical_json(&facts),
            report: Some(Report {
                manifest_json,
                ..self.report()
            }),
            staged: self.staged.keys().map(ToString::to_string).collect(),
            failed: self.failed.iter().map(failed).collect(),
            memory: true,
            protocol: None,
        })
    }

    fn report(&self) -> Report {
        let process = |(name, pid): (&String, &u32)| Process {
            name: name.clone(),
            pid: *pid,
            generation: self.generation,
            ready: true,
        };
        Report {
            generation: self.generation,
            manifest_digest: self.manifest.digest().to_string(),
            manifest_json: Vec::new(),
            changing: false,
            processes: self.pids.iter().map(process).collect(),
            drifts: Vec::new(),
            in_memory: None,
            failed_here: None,
            suites: Vec::new(),
        }
    }

    /// The verdict on a proposal: one record for each process that is asked.
    pub(crate) fn verdict(&self, proposal: &Proposal, veto: Option<&str>) -> Verdict {
        let computed = change(&self.manifest, &proposal.manifest);
        assert_eq!(
            computed.digest(),
            proposal.change_digest,
            "same code, same digest"
        );
        let now = Timestamp::now();
        let asked = computed.change_set.processes.iter();
        let asked = asked.filter(|process| process.action == ProcessAction::Ask);
        let records: Vec<VoteRecord> = asked
            .filter_map(|process| {
                Some(VoteRecord {
                    voter: placet_model::Voter::Process,
                    process: process.name.clone(),
                    pid: *self.pids.get(process.name.as_str())?,
                    modules: changed(&computed),
                    answer: if veto.is_some() {
                        Answer::Veto
                    } else {
                        Answer::Accept
                    },
                    code: veto.map_or_else(String::new, |_| "sessions-open".to_owned()),
                    message: veto.unwrap_or_default().to_owned(),
                    until: None,
                    time: now,
                    change_digest: proposal.change_digest,
                })
            })
            .collect();
        Verdict {
            node: self.name.clone(),
            rollout: proposal.rollout.clone(),
            plan_digest: proposal.plan_digest,
            change_digest: proposal.change_digest,
            boot_id: self.boot_id.clone(),
            verdict: verdict_of(&records),
            records,
            message: String::new(),
            time: now,
            expires: now + SignedDuration::from_hours(1),
        }
    }

    /// Takes a staged manifest; touched processes get new process ids.
    fn activate(&mut self, to: Digest) -> Result<(), String> {
        if self.manifest.digest() == to {
            return Ok(());
        }
        let Some(next) = self.staged.remove(&to) else {
            return Err(format!("manifest {to} is not staged"));
        };
        for process in change(&self.manifest, &next).change_set.processes {
            let name = process.name.to_string();
            if process.action == ProcessAction::Stop {
                self.pids.remove(&name);
            } else {
                self.next_pid += 1;
                self.pids.insert(name, self.next_pid);
            }
        }
        self.manifest = next;
        self.generation += 1;
        self.changes += 1;
        Ok(())
    }
}

fn changed(change: &placet_model::NodeChange) -> Vec<ModulePath> {
    let modules = change.change_set.modules.iter();
    modules.map(|module| module.path.clone()).collect()
}

/// A session, message by message.
pub(crate) struct Line {
    pub(crate) client: NodesClient<Channel>,
    pub(crate) sender: mpsc::UnboundedSender<FromNode>,
    pub(crate) orders: Streaming<ToNode>,
}

impl Line {
    /// Opens a session, and says nothing yet.
    pub(crate) async fn open(bench: &Bench, identity: &Identity) -> Result<Self, Status> {
        let channel = connect(&[bench.address()], identity)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let mut client = nodes_client(channel);
        let (sender, messages) = mpsc::unbounded_channel();
        let orders = client
            .session(UnboundedReceiverStream::new(messages))
            .await?;
        Ok(Self {
            client,
            sender,
            orders: orders.into_inner(),
        })
    }

    pub(crate) fn say(&self, message: Message) {
        let message = Some(message);
        // Whoever waits for an order finds that the session is over.
        let _ = self.sender.send(FromNode { message });
    }

    /// What a message of a kind looks like that this version does not know.
    pub(crate) fn say_nothing(&self) {
        let _ = self.sender.send(FromNode::default());
    }

    pub(crate) async fn order(&mut self) -> Result<Option<ToNode>, Status> {
        tokio::time::timeout(PATIENCE, self.orders.message())
            .await
            .expect("an order, or an end, in time")
    }

    /// The bytes of a module from `offset` on.
    pub(crate) async fn fetch(&self, digest: Digest, offset: u64) -> Result<Vec<u8>, Status> {
        let digest = digest.to_string();
        let request = FetchRequest {
            digest,
            offset,
            base: String::new(),
        };
        let mut chunks = self.client.clone().fetch(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            bytes.extend(chunk.data);
        }
        Ok(bytes)
    }
}

/// A node that is in the fleet and behaves by its script, until it is dropped.
pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) script: watch::Sender<Script>,
    pub(crate) state: Arc<Mutex<State>>,
    /// Rung when an order was obeyed.
    heard: watch::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) async fn join_as(bench: &Bench, name: &str) -> Identity {
    let token = bench.token(name, false).await.unwrap().parse().unwrap();
    join(&[bench.address()], &token, &name.parse().unwrap())
        .await
        .unwrap()
}

impl Node {
    /// Joins and opens a session.
    pub(crate) async fn join(bench: &Bench, name: &str) -> Self {
        let identity = join_as(bench, name).await;
        let state = Arc::new(Mutex::new(State::new(name)));
        Self::open(bench, identity, state, Script::default()).await
    }

    async fn open(
        bench: &Bench,
        identity: Identity,
        state: Arc<Mutex<State>>,
        script: Script,
    ) -> Self {
        let line = Line::open(bench, &identity).await.unwrap();
        line.say(state.lock().unwrap().hello());
        let (script, now) = watch::channel(script);
        let heard = watch::Sender::new(());
        let task = tokio::spawn(behave(line, Arc::clone(&state), now, heard.clone()));
        Self {
            identity,
            script,
            state,
            heard,
            task,
        }
    }

    /// Opens a session anew, perhaps with a controller that was started anew.
    pub(crate) async fn again(self, bench: &Bench) -> Self {
        self.task.abort();
        let script = self.script.borrow().clone();
        Self::open(
            bench,
            self.identity.clone(),
            Arc::clone(&self.state),
            script,
        )
        .await
    }

    pub(crate) fn vetoes(&self, why: Option<&'static str>) {
        self.script.send_modify(|script| script.veto = why);
    }

    pub(crate) fn is_deaf_to(&self, orders: &[&'static str]) {
        self.script
            .send_modify(|script| script.deaf_to = orders.iter().copied().collect());
    }

    pub(crate) fn pid(&self, process: &str) -> u32 {
        self.state.lock().unwrap().pids[process]
    }

    pub(crate) fn orders(&self) -> Vec<String> {
        self.state.lock().unwrap().orders.clone()
    }

    /// Waits until an order of this kind has come.
    pub(crate) async fn has_order(&self, wanted: &str) {
        let mut heard = self.heard.subscribe();
        let come = heard.wait_for(|()| self.orders().iter().any(|order| order == wanted));
        tokio::time::timeout(PATIENCE, come)
            .await
            .expect("the order, in time")
            .unwrap();
    }

    pub(crate) fn changes(&self) -> usize {
        self.state.lock().unwrap().changes
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn behave(
    mut line: Line,
    state: Arc<Mutex<State>>,
    script: watch::Receiver<Script>,
    heard: watch::Sender<()>,
) {
    while let Ok(Some(order)) = line.orders.message().await {
        let script = script.borrow().clone();
        {
            let mut state = state.lock().unwrap();
            assert!(order.epoch >= state.epoch, "epochs never go back");
            state.epoch = order.epoch;
            let word = match order.order {
                Some(Order::ProposalJson(_)) => "propose",
                Some(Order::Stage(_)) => "stage",
                Some(Order::Activate(_)) => "activate",
                _ => "",
            };
            let trace = (word.to_owned(), order.traceparent.clone());
            state.traces.push(trace);
        }
        match order.order.expect("an order") {
            Order::Welcome(_) | Order::Policy(_) => {}
            Order::Forget(_) => state.lock().unwrap().orders.push("forget".to_owned()),
            Order::GiveBack(_) => state.lock().unwrap().orders.push("give back".to_owned()),
            Order::Regress(_) => state.lock().unwrap().orders.push("regress".to_owned()),
            Order::ProposalJson(bytes) => {
                let proposal: Proposal = serde_json::from_slice(&bytes).unwrap();
                let mut state = state.lock().unwrap();
                let word = if proposal.dry_run { "try" } else { "propose" };
                state.orders.push(word.to_owned());
                if !script.deaf_to.contains("propose") {
                    let verdict = state.verdict(&proposal, script.veto);
                    line.say(Message::VerdictJson(canonical_json(&verdict)));
                }
            }
            Order::Release(order) => {
                let word = if order.dry_run { "untry" } else { "release" };
                state.lock().unwrap().orders.push(word.to_owned());
            }
            Order::Stage(order) => {
                state.lock().unwrap().orders.push("stage".to_owned());
                if !script.deaf_to.contains("stage") {
                    line.say(stage_for(&line, &state, order).await);
                }
            }
            Order::Activate(order) => {
                state.lock().unwrap().orders.push("activate".to_owned());
                if !script.deaf_to.contains("activate") {
                    activate(&line, &state, order, script.fails);
                }
            }
        }
        heard.send_replace(());
    }
}

/// Fetches what the node lacks, and checks it.
async fn stage_for(line: &Line, state: &Mutex<State>, order: Stage) -> Message {
    let manifest: NodeManifest = serde_json::from_slice(&order.manifest_json).unwrap();
    let (mut modules, mut bytes) = (0, 0);
    let mut error = String::new();
    for entry in &manifest.modules {
        let digest = entry.module.digest;
        if state.lock().unwrap().held.contains(&digest) {
            continue;
        }
        match line.fetch(digest, 0).await {
            Ok(fetched) => {
                assert_eq!(Digest::of(&fetched), digest, "{}", entry.module.path);
                modules += 1;
                bytes += fetched.len() as u64;
                state.lock().unwrap().held.insert(digest);
            }
            Err(status) => status.message().clone_into(&mut error),
        }
    }
    if error.is_empty() {
        let mut state = state.lock().unwrap();
        state.staged.insert(manifest.digest(), manifest);
    }
    Message::Staged(Staged {
        rollout: order.rollout,
        change_digest: order.change_digest,
        modules,
        bytes,
        error,
    })
}

fn activate(line: &Line, state: &Mutex<State>, order: Activate, fails: Option<&str>) {
    let mut state = state.lock().unwrap();
    let to = order.to.parse().unwrap();
    let result = match fails {
        Some(why) => {
            state.failed.insert(to, why.to_owned());
            Err(why.to_owned())
        }
        None => state.activate(to),
    };
    line.say(Message::Activated(Activated {
        rollout: order.rollout,
        change_digest: order.change_digest,
        generation: state.generation,
        error: result.err().unwrap_or_default(),
    }));
    line.say(Message::Report(state.report()));
}

fn failed((manifest, reason): (&Digest, &String)) -> Failed {
    Failed {
        manifest_digest: manifest.to_string(),
        reason: reason.clone(),
    }
}
