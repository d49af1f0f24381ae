//! The session with the controller: join, dial, renew, and dial again.
//!
//! The controller being away changes nothing on this node. A certificate is renewed at half its
//! life, make before break: the old session ends when the new one was welcomed.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use placet_protocol::wire::to_node::Order;
use placet_protocol::wire::{ToNode, Welcome};
use placet_protocol::{
    Apart, Error, Identity, Pin, Side, Token, connect, is_not_leader, join, join_as_pod,
    nodes_client, renew,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::AgentError;
use super::core::{Handle, Input};
use crate::arguments::{Settings, Ticket};

/// Pause before the second attempt; doubles with each, up to `PAUSE_MAX`.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// While another controller takes over, the next answer may be a second away.
const PAUSE_OF_FOLLOWERS: Duration = Duration::from_secs(1);

/// A controller welcomes at once, or something is wrong with it.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);

/// Pause after a renewal that failed.
const RENEW_AGAIN: Duration = Duration::from_secs(5);

/// The least pause after one that succeeded, where certificates live for long.
const RENEW_PAUSE: Duration = Duration::from_mins(1);

/// Pauses that grow, each a little different so that a fleet does not come back in step.
struct BackOff(Duration);

impl BackOff {
    fn new() -> Self {
        Self(PAUSE)
    }

    fn at_most(&mut self, most: Duration) {
        self.0 = self.0.min(most);
    }

    async fn pause(&mut self) {
        let jitter = rand::random_range(0.5..1.5);
        tokio::time::sleep(self.0.mul_f64(jitter)).await;
        self.0 = PAUSE_MAX.min(self.0 * 2);
    }
}

/// Why a session could not be had, or ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Dial(Box<Error>),
    #[error("the controller refused the session: {}", placet_model::visible(.0.message()))]
    Refused(Box<tonic::Status>),
    #[error("the controller did not welcome this node within {} s", WELCOME_WITHIN.as_secs())]
    NoWelcome,
    #[error("the controller ended the session")]
    Ended,
    #[error("{0}")]
    Apart(Box<Apart>),
}

impl SessionError {
    fn is_of_a_follower(&self) -> bool {
        matches!(self, Self::Refused(status) if is_not_leader(status))
    }
}

/// Where the controller may be: whoever leads answers at one of these, and the others say that they
/// do not.
#[derive(Debug, Clone)]
struct Addresses(Vec<String>);

impl Addresses {
    /// Another address comes first from now on.
    fn next(&mut self) {
        if !self.0.is_empty() {
            self.0.rotate_left(1);
        }
    }
}

impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        Self::Dial(Box::new(error))
    }
}

impl From<tonic::Status> for SessionError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// Keeps a session with the controller. Returns only if this node can never have one.
pub(super) async fn run(settings: &Settings, core: Handle) -> AgentError {
    let mut dialer = match Dialer::new(settings, core).await {
        Ok(dialer) => dialer,
        Err(error) => return error,
    };
    let mut back_off = BackOff::new();
    loop {
        match dialer.open().await {
            Ok(session) => {
                back_off = BackOff::new();
                let why = dialer.serve(session).await;
                tracing::warn!("session with the controller ended: {}", crate::Chain(&why));
            }
            Err(error) => {
                tracing::warn!("no session with the controller: {}", crate::Chain(&error));
                if error.is_of_a_follower() {
                    dialer.addresses.next();
                    back_off.at_most(PAUSE_OF_FOLLOWERS);
                }
                dialer.join_again().await;
            }
        }
        back_off.pause().await;
    }
}

struct Dialer<'a> {
    settings: &'a Settings,
    addresses: Addresses,
    core: Handle,
    identity: Identity,
    sessions: u64,
}

/// A session that was welcomed.
struct Session {
    id: u64,
    core: Handle,
    channel: Channel,
    orders: Streaming<ToNode>,
}

/// The core is told however the session ends.
impl Drop for Session {
    fn drop(&mut self) {
        self.core.send(Input::Detach { session: self.id });
    }
}

/// What a renewal brings: the new identity, and the session that was opened with it.
type Renewal = JoinHandle<Result<(Identity, Session), SessionError>>;

impl<'a> Dialer<'a> {
    async fn new(settings: &'a Settings, core: Handle) -> Result<Self, AgentError> {
        let path = folder(settings);
        let found = Identity::load(&path).map_err(|source| AgentError::Identity {
            path: path.clone(),
            source: Box::new(source),
        })?;
        let identity = match found {
            Some(identity) if *identity.node() == settings.node => identity,
            Some(identity) => {
                let found = identity.node().clone();
                return Err(AgentError::OtherNode {
                    path,
                    found,
                    wanted: settings.node.clone(),
                });
            }
            None => first_join(settings).await?,
        };
        Ok(Self {
            settings,
            addresses: Addresses(settings.controllers.clone()),
            core,
            identity,
            sessions: 0,
        })
    }

    async fn open(&mut self) -> Result<Session, SessionError> {
        self.sessions += 1;
        let (id, core) = (self.sessions, self.core.clone());
        open(&self.addresses.0, &self.identity, id, core).await
    }

    /// Passes orders on until the session ends; changes over to a new one when it is time to
    /// renew the certificate.
    async fn serve(&mut self, mut session: Session) -> SessionError {
        let mut renew_in = until_renewal(&self.identity);
        let mut renewal: Option<Renewal> = None;
        loop {
            // Cancel safe: `message` keeps what it has read of an order; the other two hold
            // nothing.
            let renewed = tokio::select! {
                order = session.orders.message() => {
                    let ended = match order {
                        Ok(Some(order)) => {
                            self.core.send(Input::Order(order));
                            continue;
                        }
                        Ok(None) => SessionError::Ended,
                        Err(status) => status.into(),
                    };
                    // The controller ends a session when the node's next one begins; the renewal
                    // that opened it may be about to say so.
                    if renewal.is_none() {
                        return ended;
                    }
                    match finished(&mut renewal).await {
                        Ok(renewed) => Ok(renewed),
                        Err(_) => return ended,
                    }
                }
                () = tokio::time::sleep_until(renew_in), if renewal.is_none() => {
                    renewal = Some(self.renew(session.channel.clone()));
                    continue;
                }
                outcome = finished(&mut renewal), if renewal.is_some() => outcome,
            };
            renewal = None;
            match renewed {
                Ok((identity, next)) => {
                    tracing::info!(until = %identity.not_after(), "certificate is renewed");
                    self.identity = identity;
                    session = next;
                    renew_in = until_next_renewal(&self.identity);
                }
                Err(error) => {
                    tracing::warn!(until = %self.identity.not_after(), "failed to renew the certificate: {}", crate::Chain(&error));
                    renew_in = tokio::time::Instant::now() + RENEW_AGAIN;
                }
            }
        }
    }

    fn renew(&mut self, channel: Channel) -> Renewal {
        self.sessions += 1;
        let (id, core) = (self.sessions, self.core.clone());
        let (identity, settings) = (self.identity.clone(), self.settings.clone());
        let addresses = self.addresses.clone();
        tokio::spawn(async move {
            let next = renew(channel, &identity).await?;
            next.save(&folder(&settings)).map_err(Error::Identity)?;
            let session = open(&addresses.0, &next, id, core).await?;
            Ok((next, session))
        })
    }

    /// A node that was away for longer than its certificate lives may have been given a new token.
    async fn join_again(&mut self) {
        if self.identity.not_after() > Timestamp::now() {
            return;
        }
        match first_join(self.settings).await {
            Ok(identity) => self.identity = identity,
            Err(error) => {
                tracing::warn!("the certificate has expired, and: {}", crate::Chain(&error));
            }
        }
    }
}

/// Dials, says Hello, and waits for the welcome.
async fn open(
    controllers: &[String],
    identity: &Identity,
    id: u64,
    core: Handle,
) -> Result<Session, SessionError> {
    let channel = connect(controllers, identity).await?;
    let (sender, messages) = mpsc::unbounded_channel();
    // The core sends the Hello, and what follows it, in one order of events.
    core.send(Input::Attach {
        session: id,
        sender,
        channel: channel.clone(),
    });
    let detach = Detach(Some((core.clone(), id)));
    let mut client = nodes_client(channel.clone());
    let welcomed = async {
        let mut orders = client
            .session(UnboundedReceiverStream::new(messages))
            .await?
            .into_inner();
        let first = orders.message().await?.ok_or(SessionError::Ended)?;
        Ok::<_, SessionError>((orders, first))
    };
    let (orders, first) = tokio::time::timeout(WELCOME_WITHIN, welcomed)
        .await
        .map_err(|_| SessionError::NoWelcome)??;
    let Some(Order::Welcome(welcome)) = &first.order else {
        return Err(SessionError::NoWelcome);
    };
    if let Some(apart) = apart(identity, welcome) {
        return Err(SessionError::Apart(Box::new(apart)));
    }
    core.send(Input::Order(first));
    detach.keep();
    Ok(Session {
        id,
        core,
        channel,
        orders,
    })
}

/// How this node is apart from a controller that does not look at it itself.
fn apart(identity: &Identity, welcome: &Welcome) -> Option<Apart> {
    let controller = Side::said(&welcome.version, welcome.protocol.as_ref());
    Apart::find(identity.node(), Side::own(), controller)
}

/// Takes an attached session back unless it was welcomed.
struct Detach(Option<(Handle, u64)>);

impl Detach {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Detach {
    fn drop(&mut self) {
        if let Some((core, session)) = self.0.take() {
            core.send(Input::Detach { session });
        }
    }
}

async fn finished(renewal: &mut Option<Renewal>) -> Result<(Identity, Session), SessionError> {
    match renewal {
        Some(task) => task.await.unwrap_or(Err(SessionError::Ended)),
        None => std::future::pending().await,
    }
}

/// When a certificate that was just given is renewed. By a clock that is ahead it may be late for
/// that already: asking again at once would bring no other.
fn until_next_renewal(identity: &Identity) -> tokio::time::Instant {
    if identity.renew_at() <= Timestamp::now() {
        tracing::warn!(until = %identity.not_after(), "the certificate that was just given has passed half of its life by the clock of this node: put the clock right");
    }
    let half = identity.not_after().duration_since(identity.renew_at());
    let least = half.unsigned_abs().min(RENEW_PAUSE);
    until_renewal(identity).max(tokio::time::Instant::now() + least)
}

fn until_renewal(identity: &Identity) -> tokio::time::Instant {
    let left = identity.renew_at().duration_since(Timestamp::now());
    tokio::time::Instant::now() + Duration::try_from(left).unwrap_or(Duration::ZERO)
}

fn folder(settings: &Settings) -> PathBuf {
    settings.state.join("identity")
}

/// Buys an identity with the join token; waits for a controller that is not there yet.
async fn first_join(settings: &Settings) -> Result<Identity, AgentError> {
    let node = settings.node.clone();
    let mut back_off = BackOff::new();
    let mut addresses = Addresses(settings.controllers.clone());
    loop {
        match show(settings, &addresses.0).await? {
            Ok(identity) => {
                let path = folder(settings);
                identity
                    .save(&path)
                    .map_err(|source| AgentError::Identity {
                        path,
                        source: Box::new(source),
                    })?;
                tracing::info!(until = %identity.not_after(), "node {node} has joined");
                return Ok(identity);
            }
            Err(error) if may_pass(&error) => {
                tracing::warn!("node {node} cannot join yet: {}", crate::Chain(&error));
                if matches!(&error, Error::Call { status, .. } if is_not_leader(status)) {
                    addresses.next();
                    back_off.at_most(PAUSE_OF_FOLLOWERS);
                }
                back_off.pause().await;
            }
            Err(source) => {
                return Err(AgentError::Join {
                    node,
                    source: Box::new(source),
                });
            }
        }
    }
}

/// Shows what this node has to show, once.
async fn show(
    settings: &Settings,
    addresses: &[String],
) -> Result<Result<Identity, Error>, AgentError> {
    let node = &settings.node;
    Ok(match settings.token.read()? {
        None => return Err(AgentError::NoToken { node: node.clone() }),
        Some(Ticket::Token(text)) => {
            let token: Token = text.parse().map_err(AgentError::Token)?;
            join(addresses, &token, node).await
        }
        Some(Ticket::Pod { token, authority }) => {
            let pin = Pin::of_certificate(&authority).ok_or(AgentError::Authority)?;
            join_as_pod(addresses, token, pin, node).await
        }
    })
}

/// True if the controller may just not be there yet.
fn may_pass(error: &Error) -> bool {
    matches!(
        error,
        Error::Connect { .. }
            | Error::Handshake { .. }
            | Error::Unreachable { .. }
            | Error::Channel(_)
            | Error::Call { .. }
            | Error::Silent { .. }
    )
}
