//! A controller with no mind of its own: tests say what it orders, and see what it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use placet_model::{Digest, NodeManifest, NodeName, Proposal, Verdict, canonical_json};
use placet_planner::change;
use placet_protocol::wire::Report;
use placet_protocol::wire::from_node::Message;
use placet_protocol::wire::join_server::Join;
use placet_protocol::wire::nodes_server::Nodes;
use placet_protocol::wire::to_node::Order;
use placet_protocol::wire::{
    Activate, Activated, Chunk, Drift, FetchRequest, FromNode, Hello, JoinRequest, JoinResponse,
    Memory, RenewRequest, RenewResponse, Stage, Staged, ToNode, Welcome,
};
use placet_protocol::{
    Authority, Token, TokenRefusal, incoming, join_server, nodes_server, peer_node, server,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::software::Software;

/// Nothing in these tests takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Controller {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    sessions: AsyncMutex<mpsc::UnboundedReceiver<Session>>,
    _folder: TempDir,
}

struct State {
    authority: Authority,
    lifetime: SignedDuration,
    tokens: Mutex<BTreeMap<String, (Token, NodeName, bool)>>,
    blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    patches: Mutex<BTreeMap<(Digest, Digest), Vec<u8>>>,
    fetched: AtomicU64,
    /// Streams break off after so many bytes, once.
    breaks_after: AtomicU64,
    refuses_renewal: AtomicBool,
    /// While true, sessions are refused.
    is_away: AtomicBool,
    welcome: Mutex<Welcome>,
    sessions: mpsc::UnboundedSender<Session>,
}

/// A session that a node has opened; its Hello was read and it was welcomed.
pub(crate) struct Session {
    pub(crate) node: NodeName,
    pub(crate) hello: Hello,
    pub(crate) epoch: u64,
    /// The trace that orders belong to.
    pub(crate) traceparent: String,
    /// For how long changes are watched.
    pub(crate) soak_seconds: u32,
    /// Given with every change, where it is to run from memory only.
    pub(crate) memory: Option<Memory>,
    /// The latest report.
    report: Report,
    incoming: Streaming<FromNode>,
    outgoing: mpsc::UnboundedSender<Result<ToNode, Status>>,
}

impl Controller {
    pub(crate) async fn start() -> Self {
        Self::with_lifetime(SignedDuration::from_hours(1)).await
    }

    /// A controller whose certificates live so long.
    pub(crate) async fn with_lifetime(lifetime: SignedDuration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority =
            Authority::open_or_create(folder.path(), &["127.0.0.1".to_owned()]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = incoming(listener, authority.server_config().unwrap());
        let (sender, sessions) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            authority,
            lifetime,
            tokens: Mutex::default(),
            blobs: Mutex::default(),
            patches: Mutex::default(),
            fetched: AtomicU64::new(0),
            breaks_after: AtomicU64::new(u64::MAX),
            refuses_renewal: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            welcome: Mutex::default(),
            sessions: sender,
        });
        let service = Service(Arc::clone(&state));
        let router = server()
            .add_service(join_server(service.clone()))
            .add_service(nodes_server(service));
        tokio::spawn(router.serve_with_incoming(connections));
        Self {
            address,
            state,
            sessions: AsyncMutex::new(sessions),
            _folder: folder,
        }
    }

    pub(crate) fn token(&self, node: &str) -> Token {
        let token = Token::generate(self.state.authority.pin());
        let entry = (token.clone(), node.parse().unwrap(), false);
        self.state
            .tokens
            .lock()
            .unwrap()
            .insert(token.id.clone(), entry);
        token
    }

    pub(crate) fn serve(&self, software: &Software) {
        self.state
            .blobs
            .lock()
            .unwrap()
            .extend(software.blobs.clone());
    }

    /// Serves other bytes than those of `digest` under its name.
    pub(crate) fn spoil(&self, digest: Digest, bytes: &[u8]) {
        self.state
            .blobs
            .lock()
            .unwrap()
            .insert(digest, bytes.to_vec());
    }

    /// Who has `base` gets `patch` in place of `wanted`.
    pub(crate) fn patch(&self, base: Digest, wanted: Digest, patch: &[u8]) {
        let mut patches = self.state.patches.lock().unwrap();
        patches.insert((base, wanted), patch.to_vec());
    }

    /// The next stream of a module breaks off after so many bytes.
    pub(crate) fn break_after(&self, bytes: u64) {
        self.state.breaks_after.store(bytes, Ordering::SeqCst);
    }

    /// From now on, or no longer, sessions are refused.
    pub(crate) fn go_away(&self, is_away: bool) {
        self.state.is_away.store(is_away, Ordering::SeqCst);
    }

    /// What nodes are welcomed with from now on.
    pub(crate) fn welcome_with(&self, welcome: Welcome) {
        *self.state.welcome.lock().unwrap() = welcome;
    }

    pub(crate) fn refuse_renewal(&self) {
        self.state.refuses_renewal.store(true, Ordering::SeqCst);
    }

    /// Bytes of modules that have left this controller.
    pub(crate) fn fetched(&self) -> u64 {
        self.state.fetched.load(Ordering::SeqCst)
    }

    /// The session of a node that has nothing yet and gets this software, with no fault.
    pub(crate) async fn settle(&self, software: &Software) -> Session {
        self.serve(software);
        let mut session = self.session().await;
        let pristine = NodeManifest::default();
        let done = session.change(&pristine, &software.manifest).await;
        assert_eq!((done.error.as_str(), done.generation), ("", 1));
        session
    }

    /// The next session that a node opens.
    pub(crate) async fn session(&self) -> Session {
        let mut sessions = self.sessions.lock().await;
        tokio::time::timeout(PATIENCE, sessions.recv())
            .await
            .expect("no session came")
            .unwrap()
    }
}

impl Session {
    pub(crate) fn order(&self, order: Order) {
        let _ = self.outgoing.send(Ok(ToNode {
            epoch: self.epoch,
            order: Some(order),
            traceparent: self.traceparent.clone(),
        }));
    }

    /// What an order of a kind looks like that this version does not know.
    pub(crate) fn say_nothing(&self) {
        let _ = self.outgoing.send(Ok(ToNode {
            epoch: self.epoch,
            ..ToNode::default()
        }));
    }

    /// The next message; `None` if the node hung up.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let message = tokio::time::timeout(PATIENCE, self.incoming.message()).await;
        let message = message
            .expect("the node said nothing")
            .ok()
            .flatten()?
            .message?;
        if let Message::Report(report) = &message {
            self.report = report.clone();
        }
        Some(message)
    }

    async fn find<T>(&mut self, mut pick: impl FnMut(Message) -> Option<T>) -> T {
        loop {
            let message = self.next().await.expect("the session ended");
            if let Some(found) = pick(message) {
                return found;
            }
        }
    }

    pub(crate) async fn staged(&mut self) -> Staged {
        self.find(|message| {
            if let Message::Staged(staged) = message {
                Some(staged)
            } else {
                None
            }
        })
        .await
    }

    pub(crate) async fn activated(&mut self) -> Activated {
        self.find(|message| {
            if let Message::Activated(done) = message {
                Some(done)
            } else {
                None
            }
        })
        .await
    }

    pub(crate) async fn verdict(&mut self) -> Verdict {
        let pick = |message| {
            if let Message::VerdictJson(bytes) = message {
                Some(bytes)
            } else {
                None
            }
        };
        serde_json::from_slice(&self.find(pick).await).unwrap()
    }

    /// The first report of which this is true.
    pub(crate) async fn report(&mut self, is: impl Fn(&Report) -> bool) -> Report {
        while !is(&self.report) {
            self.next().await.expect("the session ended");
        }
        self.report.clone()
    }

    /// The drifts of the first report that tells of some.
    pub(crate) async fn drifts(&mut self) -> Vec<Drift> {
        while self.report.drifts.is_empty() {
            self.next().await.expect("the session ended");
        }
        std::mem::take(&mut self.report.drifts)
    }

    /// Waits until the node says that the change which it has made is watched.
    pub(crate) async fn soaking(&mut self, to: &NodeManifest) {
        let digest = to.digest().to_string();
        while !self.report.changing || self.report.manifest_digest != digest {
            self.next().await.expect("the session ended");
        }
    }

    /// Process ids by name, once all of these processes are ready.
    pub(crate) async fn running(&mut self, names: &[&str]) -> BTreeMap<String, u32> {
        loop {
            let processes = &self.report.processes;
            let ready = |name: &&str| {
                processes
                    .iter()
                    .any(|process| process.name == *name && process.ready)
            };
            if names.iter().all(ready) {
                return processes
                    .iter()
                    .map(|process| (process.name.clone(), process.pid))
                    .collect();
            }
            self.next().await.expect("the session ended");
        }
    }

    /// The process id of a process once it is ready as another than `before`.
    pub(crate) async fn running_other(&mut self, name: &str, before: u32) -> u32 {
        loop {
            let pid = self.running(&[name]).await[name];
            if pid != before {
                return pid;
            }
            self.next().await.expect("the session ended");
        }
    }

    pub(crate) fn stage(&self, from: &NodeManifest, to: &NodeManifest) {
        self.order(Order::Stage(Stage {
            rollout: "r".to_owned(),
            change_digest: change(from, to).digest().to_string(),
            manifest_json: canonical_json(to),
            memory: self.memory.is_some(),
        }));
    }

    pub(crate) fn activate(&self, from: &NodeManifest, to: &NodeManifest) {
        self.activate_as(from, to, false);
    }

    pub(crate) fn activate_as(&self, from: &NodeManifest, to: &NodeManifest, forced: bool) {
        self.order(Order::Activate(Activate {
            rollout: "r".to_owned(),
            change_digest: change(from, to).digest().to_string(),
            from: from.digest().to_string(),
            to: to.digest().to_string(),
            forced,
            soak_seconds: self.soak_seconds,
            memory: self.memory,
        }));
    }

    /// Stages and activates; returns how that ended.
    pub(crate) async fn change(&mut self, from: &NodeManifest, to: &NodeManifest) -> Activated {
        self.stage(from, to);
        let staged = self.staged().await;
        assert_eq!(staged.error, "");
        self.activate(from, to);
        self.activated().await
    }

    pub(crate) fn propose(&self, proposal: &Proposal) {
        self.order(Order::ProposalJson(canonical_json(proposal)));
    }

    pub(crate) fn proposal(&self, from: &NodeManifest, to: &NodeManifest) -> Proposal {
        Proposal {
            rollout: "r".to_owned(),
            plan_digest: Digest::of(b"plan"),
            revision: "main@sha1:1".to_owned(),
            node: self.node.clone(),
            from: from.digest(),
            manifest: to.clone().into(),
            change_digest: change(from, to).digest(),
            dry_run: false,
            about: None,
            vote_seconds: 5,
            promise_seconds: 60,
        }
    }
}

#[derive(Clone)]
struct Service(Arc<State>);

#[tonic::async_trait]
impl Join for Service {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        let mut tokens = self.0.tokens.lock().unwrap();
        let entry = tokens.get_mut(&request.token_id);
        let (token, node, used) = entry.ok_or(TokenRefusal::Wrong)?;
        if token.secret.reveal() != request.token_secret {
            return Err(TokenRefusal::Wrong.into());
        }
        if node.as_str() != request.node {
            return Err(TokenRefusal::OtherNode.into());
        }
        if std::mem::replace(used, true) {
            return Err(TokenRefusal::Used.into());
        }
        let certificate_chain = self.0.sign(&request.certificate_request, node)?;
        Ok(Response::new(JoinResponse { certificate_chain }))
    }
}

impl State {
    fn sign(&self, request: &[u8], node: &NodeName) -> Result<Vec<Vec<u8>>, Status> {
        let signed = self
            .authority
            .sign_node(request, node, self.lifetime, Timestamp::now());
        signed.map_err(|error| Status::internal(error.to_string()))
    }
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Nodes for Service {
    type SessionStream = Boxed<ToNode>;
    type FetchStream = Boxed<Chunk>;

    async fn session(
        &self,
        request: Request<Streaming<FromNode>>,
    ) -> Result<Response<Boxed<ToNode>>, Status> {
        let node = peer_node(&request)?;
        if self.0.is_away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("the controller is away"));
        }
        let mut incoming = request.into_inner();
        let Some(FromNode {
            message: Some(Message::Hello(hello)),
        }) = incoming.message().await?
        else {
            return Err(Status::invalid_argument("no Hello"));
        };
        let (outgoing, orders) = mpsc::unbounded_channel();
        let session = Session {
            node,
            report: hello.report.clone().unwrap_or_default(),
            hello,
            epoch: 1,
            traceparent: String::new(),
            soak_seconds: 0,
            memory: None,
            incoming,
            outgoing,
        };
        session.order(Order::Welcome(Welcome {
            node: session.node.to_string(),
            ..self.0.welcome.lock().unwrap().clone()
        }));
        let _ = self.0.sessions.send(session);
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            orders,
        ))))
    }

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<Boxed<Chunk>>, Status> {
        peer_node(&request)?;
        let request = request.into_inner();
        let digest: Digest = request
            .digest
            .parse()
            .map_err(|_| Status::invalid_argument("no digest"))?;
        let blob = self.0.blobs.lock().unwrap().get(&digest).cloned();
        let blob = blob.ok_or_else(|| Status::not_found("no such module"))?;
        let base = request.base.parse().ok();
        let patches = self.0.patches.lock().unwrap();
        let found = base.and_then(|base: Digest| patches.get(&(base, digest)).cloned());
        drop(patches);
        let (blob, patch) = found.map_or((blob, false), |found| (found, true));
        let from = usize::try_from(request.offset).unwrap().min(blob.len());
        let breaks = usize::try_from(self.0.breaks_after.swap(u64::MAX, Ordering::SeqCst)).unwrap();
        let rest = &blob[from..];
        let mut chunks: Vec<Result<Chunk, Status>> = Vec::new();
        for chunk in rest[..rest.len().min(breaks)].chunks(1_000) {
            self.0
                .fetched
                .fetch_add(chunk.len() as u64, Ordering::SeqCst);
            chunks.push(Ok(Chunk {
                data: chunk.to_vec(),
                patch,
            }));
        }
        if breaks < rest.len() {
            chunks.push(Err(Status::unavailable("the line broke")));
        }
        Ok(Response::new(tokio_stream::iter(chunks).boxed()))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let node = peer_node(&request)?;
        if self.0.refuses_renewal.load(Ordering::SeqCst) {
            return Err(Status::permission_denied("this node is not renewed"));
        }
        let certificate_chain = self
            .0
            .sign(&request.into_inner().certificate_request, &node)?;
        Ok(Response::new(RenewResponse { certificate_chain }))
    }
}
