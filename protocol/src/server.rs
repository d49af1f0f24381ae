//! The controller's side: connections from nodes, each with the name that its certificate proves.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use futures_util::Stream;
use jiff::Timestamp;
use placet_model::NodeName;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::accept::Patience;
use crate::certificate::facts;

/// Who is at the other end of a connection: `request.extensions().get::<Peer>()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The node that the client certificate names; nothing for a client without one.
    pub node: Option<NodeName>,
    /// When the certificate ends, and the connection with it.
    pub not_after: Option<Timestamp>,
}

/// How long clients may take for what costs the controller memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the handshake, from the accepted connection on.
    pub handshake: Duration,
    /// For everything, if the client has no certificate: all that it can do is to join.
    pub anonymous: Duration,
    /// Handshakes at a time. When there are as many, the next client waits for one to end.
    pub handshakes: usize,
    /// While somebody waits, a handshake that has taken longer than this is given up: whoever is
    /// served takes milliseconds, and what a whole fleet takes that comes at once is less.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            anonymous: Duration::from_mins(1),
            handshakes: 256,
            stall: Duration::from_secs(2),
        }
    }
}

/// Connections from `listener` whose handshake is done, for tonic's `serve_with_incoming`.
///
/// # Guarantees
///
/// Handshakes run beside each other, so that a client that stalls hinders no other. The stream
/// never ends and never fails. A connection ends when its client's certificate does. Dropping the
/// stream closes the listener.
///
/// # Assumptions
///
/// Called within a tokio runtime; `config` is [`crate::Authority::server_config`].
pub fn incoming(listener: TcpListener, config: Arc<ServerConfig>) -> Incoming {
    incoming_with(listener, config, Limits::default())
}

/// [`incoming`] with other limits.
pub fn incoming_with(listener: TcpListener, config: Arc<ServerConfig>, limits: Limits) -> Incoming {
    let (sender, connections) = mpsc::channel(1);
    let accepting = tokio::spawn(accept(listener, config.into(), limits, sender));
    Incoming {
        connections,
        accepting: accepting.abort_handle(),
    }
}

/// See [`incoming`].
#[derive(Debug)]
pub struct Incoming {
    connections: mpsc::Receiver<TlsConnection>,
    accepting: AbortHandle,
}

impl Stream for Incoming {
    type Item = io::Result<TlsConnection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.connections
            .poll_recv(context)
            .map(|connection| connection.map(Ok))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    limits: Limits,
    sender: mpsc::Sender<TlsConnection>,
) {
    let mut handshakes = Handshakes::default();
    let mut patience = Patience::default();
    loop {
        handshakes.make_room(limits).await;
        let Some((tcp, _)) = patience.take(listener.accept().await).await else {
            continue;
        };
        handshakes.begin(greet(tcp, acceptor.clone(), limits, sender.clone()));
    }
}

/// Handshakes that are under way.
#[derive(Default)]
struct Handshakes {
    all: JoinSet<()>,
    /// The same, oldest first, and some that have ended.
    begun: VecDeque<(Instant, AbortHandle)>,
}

impl Handshakes {
    fn begin(&mut self, handshake: impl Future<Output = ()> + Send + 'static) {
        let handle = self.all.spawn(handshake);
        self.begun.push_back((Instant::now(), handle));
    }

    /// Waits until another one may begin. The network keeps those who come meanwhile waiting, so
    /// that a fleet that comes at once gets in, instead of pushing each other out.
    async fn make_room(&mut self, limits: Limits) {
        while self.all.try_join_next().is_some() {}
        while self.all.len() >= limits.handshakes.max(1) {
            self.begun.retain(|(_, handshake)| !handshake.is_finished());
            let oldest = self.begun.front();
            let stalls = oldest.map_or_else(Instant::now, |(since, _)| *since + limits.stall);
            tokio::select! {
                _ = self.all.join_next() => {}
                () = sleep_until(stalls) => {
                    if let Some((_, oldest)) = self.begun.pop_front() {
                        oldest.abort();
                    }
                }
            }
        }
    }
}

async fn greet(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    limits: Limits,
    sender: mpsc::Sender<TlsConnection>,
) {
    let address = tcp.peer_addr();
    let handshake = async {
        tcp.set_nodelay(true)?;
        let stream = acceptor.accept(tcp).await?;
        TlsConnection::new(stream, limits.anonymous)
    };
    let result = timeout(limits.handshake, handshake)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match result {
        // Fails only if nobody wants connections any more.
        Ok(connection) => drop(sender.send(connection).await),
        Err(error) => {
            tracing::debug!(%error, ?address, "a client did not get through the handshake");
        }
    }
}

/// A connection after its handshake, which ends with the certificate of its client.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    expiry: Expiry,
}

impl TlsConnection {
    fn new(stream: TlsStream<TcpStream>, anonymous: Duration) -> io::Result<Self> {
        let peer = match stream.get_ref().1.peer_certificates() {
            Some(chain) => Peer::of(chain)?,
            None => Peer {
                node: None,
                not_after: None,
            },
        };
        let end = peer
            .not_after
            .map_or_else(|| SystemTime::now() + anonymous, SystemTime::from);
        // The verifier takes a certificate to be valid throughout its last second.
        if end <= SystemTime::now() {
            return Err(refuse("the client's certificate has just expired"));
        }
        Ok(Self {
            stream,
            peer,
            expiry: Expiry::new(end),
        })
    }

    /// Fails from the certificate's end on; until then, the task is woken when it comes.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.expiry.poll(context).is_pending() {
            return Ok(());
        }
        let why = match &self.peer.node {
            Some(node) => format!("the certificate of node `{node}` has expired"),
            None => "the time to join is over".to_owned(),
        };
        tracing::debug!("connection cut: {why}");
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    }
}

fn refuse(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

impl Peer {
    /// The holder of a certificate that was verified.
    fn of(chain: &[CertificateDer<'_>]) -> io::Result<Self> {
        chain
            .first()
            .and_then(facts)
            .filter(|facts| facts.node.is_some())
            .map(|facts| Self {
                node: facts.node,
                not_after: Some(facts.not_after),
            })
            .ok_or_else(|| refuse("the client's certificate names no node"))
    }
}

impl Connected for TlsConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A moment of the wall clock, which certificates go by.
#[derive(Debug)]
struct Expiry {
    end: SystemTime,
    sleep: Pin<Box<Sleep>>,
}

/// Timers stand still while a machine sleeps and know nothing of a clock that is set; so the clock
/// is looked at this often.
const LOOK: Duration = Duration::from_secs(30);

impl Expiry {
    fn new(end: SystemTime) -> Self {
        Self {
            end,
            sleep: Box::pin(sleep(Duration::ZERO)),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(context));
            let left = self.end.duration_since(SystemTime::now());
            match left {
                Ok(left) if !left.is_zero() => {
                    self.sleep.as_mut().reset(Instant::now() + left.min(LOOK));
                }
                _ => return Poll::Ready(()),
            }
        }
    }
}
