//! A controller that knows how to join, renew and welcome nodes, and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::Stream;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use placet_model::{Digest, NodeName};
use placet_protocol::wire::join_server::Join;
use placet_protocol::wire::nodes_server::Nodes;
use placet_protocol::wire::{
    Chunk, FetchRequest, FromNode, JoinRequest, JoinResponse, RenewRequest, RenewResponse, ToNode,
    Welcome, to_node::Order,
};
use placet_protocol::{
    Authority, Identity, Limits, Token, TokenRefusal, incoming_with, join_server, nodes_server,
    peer_node, same_digest, secret_hash, server,
};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status, Streaming};

pub(crate) struct Controller {
    pub(crate) authority: Authority,
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    pub(crate) directory: tempfile::TempDir,
    task: JoinHandle<()>,
}

pub(crate) struct State {
    authority: Authority,
    /// Of the certificates that it makes.
    lifetime: SignedDuration,
    tokens: Mutex<BTreeMap<String, Kept>>,
    /// Connections whose handshake was done.
    pub(crate) connections: AtomicUsize,
    /// Calls of Join.
    pub(crate) joins: AtomicUsize,
}

pub(crate) struct Kept {
    hash: Digest,
    pub(crate) node: String,
    used: bool,
    pub(crate) expires: Timestamp,
}

pub(crate) const HOUR: SignedDuration = SignedDuration::from_hours(1);

impl Controller {
    pub(crate) async fn start() -> Self {
        Self::start_with(HOUR, Limits::default(), &["127.0.0.1"]).await
    }

    pub(crate) async fn start_with(
        lifetime: SignedDuration,
        limits: Limits,
        names: &[&str],
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let authority =
            Authority::open_or_create(&directory.path().join("authority"), &names).unwrap();
        let state = Arc::new(State {
            authority: authority.clone(),
            lifetime,
            tokens: Mutex::default(),
            connections: AtomicUsize::new(0),
            joins: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counting = Arc::clone(&state);
        let connections = incoming_with(listener, authority.server_config().unwrap(), limits).map(
            move |connection| {
                counting.connections.fetch_add(1, Ordering::SeqCst);
                connection
            },
        );
        let router = server()
            .add_service(join_server(Service(Arc::clone(&state))))
            .add_service(nodes_server(Service(Arc::clone(&state))));
        let task = tokio::spawn(async move {
            router.serve_with_incoming(connections).await.unwrap();
        });
        Self {
            authority,
            address,
            state,
            directory,
            task,
        }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        vec![self.address.to_string()]
    }

    pub(crate) fn token(&self, node: &str) -> Token {
        self.token_until(node, Timestamp::now() + HOUR)
    }

    pub(crate) fn token_until(&self, node: &str, expires: Timestamp) -> Token {
        let token = Token::generate(self.authority.pin());
        let kept = Kept {
            hash: token.secret.hash(),
            node: node.to_owned(),
            used: false,
            expires,
        };
        let mut tokens = self.state.tokens.lock().unwrap();
        tokens.insert(token.id.clone(), kept);
        token
    }

    pub(crate) async fn joined(&self, node: &str) -> Identity {
        let token = self.token(node);
        placet_protocol::join(&self.addresses(), &token, &name(node))
            .await
            .unwrap()
    }

    /// The certificate of its authority, as everybody sees it.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        let chain = self
            .authority
            .sign_node(&request().1, &name("any"), HOUR, Timestamp::now())
            .unwrap();
        chain[1].clone().into()
    }

    /// A connection of a client that is not Placet's; `client` is its certificate and key.
    pub(crate) async fn strange_connection(
        &self,
        client: Option<(Vec<CertificateDer<'static>>, rcgen::KeyPair)>,
    ) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key.serialize_der().try_into().unwrap())
                .unwrap(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let host = ServerName::from(self.address.ip());
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(host, tcp).await.unwrap()
    }

    /// A channel of a client without a certificate.
    pub(crate) async fn strange_channel(&self) -> Channel {
        channel(self.strange_connection(None).await).await
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// HTTP/2 over one connection.
async fn channel(stream: TlsStream<TcpStream>) -> Channel {
    let mut once = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = once.take().ok_or(std::io::ErrorKind::NotConnected);
        std::future::ready(stream.map_err(std::io::Error::from))
    });
    Endpoint::from_static("http://test")
        .connect_with_connector(connector)
        .await
        .unwrap()
}

pub(crate) fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

/// A key and a request for a certificate for it.
pub(crate) fn request() -> (rcgen::KeyPair, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::default();
    let request = params.serialize_request(&key).unwrap();
    (key, request.der().to_vec())
}

struct Service(Arc<State>);

impl State {
    fn take(&self, call: &JoinRequest) -> Result<NodeName, TokenRefusal> {
        let mut tokens = self.tokens.lock().unwrap();
        let kept = tokens
            .get_mut(&call.token_id)
            .filter(|kept| same_digest(&kept.hash, &secret_hash(&call.token_secret)))
            .ok_or(TokenRefusal::Wrong)?;
        if kept.used {
            return Err(TokenRefusal::Used);
        }
        if kept.expires <= Timestamp::now() {
            return Err(TokenRefusal::Expired);
        }
        if kept.node != call.node {
            return Err(TokenRefusal::OtherNode);
        }
        kept.used = true;
        Ok(name(&kept.node))
    }

    fn sign(&self, request: &[u8], node: &NodeName) -> Result<Vec<Vec<u8>>, Status> {
        Ok(self
            .authority
            .sign_node(request, node, self.lifetime, Timestamp::now())?)
    }
}

#[tonic::async_trait]
impl Join for Service {
    async fn join(&self, call: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        self.0.joins.fetch_add(1, Ordering::SeqCst);
        let call = call.into_inner();
        let node = self.0.take(&call)?;
        let certificate_chain = self.0.sign(&call.certificate_request, &node)?;
        Ok(Response::new(JoinResponse { certificate_chain }))
    }
}

type Orders<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Nodes for Service {
    type SessionStream = Orders<ToNode>;
    type FetchStream = Orders<Chunk>;

    /// Welcomes the node and again whenever it says something.
    async fn session(
        &self,
        call: Request<Streaming<FromNode>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = peer_node(&call)?.to_string();
        let orders = call.into_inner().map(move |message| {
            message.map(|_| ToNode {
                epoch: 1,
                order: Some(Order::Welcome(Welcome {
                    node: node.clone(),
                    ..Welcome::default()
                })),
                traceparent: String::new(),
            })
        });
        Ok(Response::new(Box::pin(orders)))
    }

    async fn fetch(
        &self,
        call: Request<FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let node = peer_node(&call)?;
        Err(Status::not_found(format!("{node} asks for too much")))
    }

    async fn renew(&self, call: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let node = peer_node(&call)?;
        let certificate_chain = self.0.sign(&call.into_inner().certificate_request, &node)?;
        Ok(Response::new(RenewResponse { certificate_chain }))
    }
}
