//! Everything that a controller is made of, started and stopped in order.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use placet_protocol::{
    AdminError, Authority, AuthorityError, incoming, join_server, nodes_server, server,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::admission::Asker;
use crate::catalog::Packages;
use crate::dry_run::DryRuns;
use crate::fleet::Fleet;
use crate::fleet::news::News;
use crate::git::Repositories;
use crate::home::{Home, HomeError};
use crate::host;
use crate::observe::{Observers, Pokes};
use crate::secrets::Secrets;
use crate::sessions::{JoinService, NodesService};
use crate::shared::{Shared, Wanted};
use crate::telemetry::{Role, Telemetry, Traces, TracesError};
use crate::{Counters, Options, memory};

mod embedded;

/// News that waits to be worked off; whoever brings more waits.
const NEWS_WAITING: usize = 4_096;

/// What is being served at the end may take this long.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a controller cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its store failed: nothing can be done safely without.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// It has no authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// It has no admin socket.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// It was told to listen nowhere.
    #[error("the controller has no address to listen on; name one with `--listen`")]
    NoAddress,
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// It cannot listen.
    #[error("failed to listen on {address}; is another program using it?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A socket that it listens on cannot be used.
    #[error("failed to use a socket that the controller listens on")]
    Socket(#[source] io::Error),
    /// It has no access to an API server.
    #[error(
        "failed to find an API server; name a kubeconfig with `--kubeconfig`, or run in a pod with a service account"
    )]
    Access(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing tells whether the API server is who it says.
    #[error(
        "there are no CA certificates on this machine or in this image, and the kubeconfig gives none for the API server; give it certificate-authority-data, install the package `ca-certificates`, or name a PEM file with SSL_CERT_FILE"
    )]
    NoAuthorities,
    /// The admission webhook cannot be served.
    #[error("failed to set up the admission webhook")]
    Webhook(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file with its addresses cannot be written.
    #[error("failed to write `{}`", path.display())]
    Announce {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Serving failed.
    #[error("failed to serve")]
    Serve(#[source] tonic::transport::Error),
    /// Serving git hosts failed.
    #[error("failed to receive calls of git hosts")]
    Receive(#[source] io::Error),
    /// Part of it came to an end that it must not have.
    #[error("a part of the controller ended")]
    Ended(#[source] JoinError),
}

/// Runs a controller until `shutdown` comes: [`Controller::start`], then [`Controller::until`].
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    memory::share();
    let controller = Controller::start(options).await?;
    let telemetry = controller.shared.telemetry.clone();
    let ended = controller.until(shutdown).await;
    telemetry.close().await;
    ended
}

/// A controller that runs.
///
/// # Guarantees
///
/// Whatever the instant at which it is killed, a controller that is started again in the same state
/// folder goes on from there: nothing is lost, and nothing is done twice.
///
/// # Assumptions
///
/// Made and used within a multi-threaded tokio runtime. Dropping it ends it less orderly than
/// [`Controller::until`] does.
#[derive(Debug)]
pub struct Controller {
    tasks: JoinSet<Result<(), Error>>,
    stopping: CancellationToken,
    addresses: Vec<SocketAddr>,
    receiver: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    shared: Arc<Shared>,
}

/// What a controller stands on.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) home: Home,
    pub(crate) authority: Authority,
    pub(crate) secrets: Secrets,
    /// Folder for clones of repositories and whatever else can be had again.
    pub(crate) state: PathBuf,
    /// As much of it as modules from registries may take, in bytes.
    pub(crate) modules_most: u64,
    /// How many roll-outs are kept, with their history.
    pub(crate) rollouts_kept: NonZeroU64,
    /// What relative package references start from.
    pub(crate) base: PathBuf,
    pub(crate) certificate_lifetime: SignedDuration,
    pub(crate) telemetry: Telemetry,
}

/// The loop and those around it, before any of them runs.
struct Parts {
    news: mpsc::Sender<News>,
    shared: Arc<Shared>,
    observers: Observers,
}

impl Parts {
    fn dry_runs(&self) -> DryRuns {
        let Observers { packages, base, .. } = &self.observers;
        DryRuns::new(self.news.clone(), packages.clone(), base.clone())
    }
}

impl Controller {
    /// Serves nodes, recovers the fleet, and lets the loop turn.
    async fn begin(
        ground: Ground,
        listeners: Vec<TcpListener>,
        addresses: Vec<SocketAddr>,
    ) -> Result<(Self, Parts), Error> {
        let (news, heard) = mpsc::channel(NEWS_WAITING);
        let (wanted, watched) = watch::channel(Wanted::default());
        let parts = Parts {
            shared: Arc::new(Shared::new(ground.telemetry.clone())),
            observers: Observers {
                telemetry: ground.telemetry.clone(),
                wanted: watched,
                news: news.clone(),
                repositories: Arc::new(
                    Repositories::new(&ground.state).with_secrets(ground.secrets.clone()),
                ),
                pokes: Pokes::default(),
                packages: Packages::with_registries(
                    &ground.state,
                    ground.modules_most,
                    ground.secrets.clone(),
                ),
                base: ground.base.clone(),
            },
            news,
        };
        let mut controller = Self {
            tasks: JoinSet::new(),
            stopping: CancellationToken::new(),
            addresses,
            receiver: None,
            metrics: None,
            shared: Arc::clone(&parts.shared),
        };
        ground.telemetry.is(Role::Opens);
        if let Some(until) = ground.authority.not_after() {
            ground.telemetry.certificate("nodes", until);
        }
        controller.serve_nodes(listeners, &ground, &parts)?;
        let shared = Arc::clone(&parts.shared);
        let fleet = recover(ground.home.clone(), shared, wanted).await?;
        let fleet = fleet.keeping(ground.rollouts_kept);
        ground.telemetry.is(Role::Leads);
        controller.observe(&parts, ground.secrets.clone());
        controller.hear_others(&ground.home, parts.news.clone());
        let end = controller.stopping.clone();
        controller.tasks.spawn(async move {
            // Cancel safe: a turn that has begun is finished by its own thread, and nothing of it
            // is half written.
            tokio::select! {
                result = fleet.run(heard) => result.map_err(Error::Home),
                () = end.cancelled() => Ok(()),
            }
        });
        Ok((controller, parts))
    }

    /// A controller that acts on what others write too, as long as `term` lasts.
    pub(crate) async fn lead(
        ground: Ground,
        listeners: Vec<TcpListener>,
        addresses: Vec<SocketAddr>,
    ) -> Result<(Self, Asker), Error> {
        let (controller, parts) = Self::begin(ground, listeners, addresses).await?;
        let asker = Asker::new(parts.news.clone(), parts.dry_runs());
        Ok((controller, asker))
    }

    /// Brings what others write to the home to the loop.
    fn hear_others(&mut self, home: &Home, news: mpsc::Sender<News>) {
        let Some(mut seen) = home.seen() else { return };
        let end = self.stopping.clone();
        self.tasks.spawn(async move {
            // Cancel safe: what was not told is told to the next controller.
            let forward = async {
                while let Some(seen) = seen.recv().await {
                    if news.send(News::Seen(seen)).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = forward => {}
                () = end.cancelled() => {}
            }
            Ok(())
        });
    }

    fn observe(&mut self, parts: &Parts, secrets: Secrets) {
        let end = self.stopping.clone();
        let (observers, dry_runs) = (parts.observers.clone(), parts.dry_runs());
        let repositories = Arc::clone(&observers.repositories);
        self.tasks.spawn(async move {
            // Cancel safe: looks are told as a whole or not at all.
            tokio::select! {
                () = observers.clone().follow_sources() => {}
                () = host::tell(observers.wanted.clone(), secrets) => {}
                () = dry_runs.follow(observers.wanted.clone(), repositories) => {}
                () = observers.resolve() => {}
                () = end.cancelled() => {}
            }
            Ok(())
        });
    }

    fn serve_nodes(
        &mut self,
        listeners: Vec<TcpListener>,
        ground: &Ground,
        parts: &Parts,
    ) -> Result<(), Error> {
        let join = JoinService {
            home: ground.home.clone(),
            authority: ground.authority.clone(),
            lifetime: ground.certificate_lifetime,
            news: parts.news.clone(),
        };
        let nodes = NodesService {
            home: ground.home.clone(),
            authority: ground.authority.clone(),
            lifetime: ground.certificate_lifetime,
            news: parts.news.clone(),
            shared: Arc::clone(&parts.shared),
            packages: parts.observers.packages.clone(),
            sessions: Arc::default(),
        };
        for listener in listeners {
            let connections = incoming(listener, ground.authority.server_config()?);
            let serving = server()
                .add_service(join_server(join.clone()))
                .add_service(nodes_server(nodes.clone()))
                .serve_with_incoming_shutdown(connections, self.stopping.clone().cancelled_owned());
            self.serve(serving);
        }
        Ok(())
    }

    fn serve(
        &mut self,
        serving: impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    ) {
        self.tasks
            .spawn(async move { serving.await.map_err(Error::Serve) });
    }

    /// Where it listens for nodes.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it listens for git hosts.
    pub fn receiver(&self) -> Option<SocketAddr> {
        self.receiver
    }

    /// Where it tells metrics and health.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// What it counts.
    pub fn counters(&self) -> Counters {
        Counters(Arc::clone(&self.shared))
    }

    /// Runs until `shutdown` comes or a part ends; then everything ends.
    pub async fn until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        // Cancel safe: a part that has ended stays so.
        let mut result = tokio::select! {
            () = shutdown => Ok(()),
            Some(ended) = self.tasks.join_next() => flatten(ended),
        };
        tracing::info!("the controller stops");
        self.stopping.cancel();
        let rest = async {
            while let Some(ended) = self.tasks.join_next().await {
                result = std::mem::replace(&mut result, Ok(())).and(flatten(ended));
            }
        };
        // Whoever is served longer finds the connection closed, and comes back.
        let _ = tokio::time::timeout(PATIENCE, rest).await;
        result
    }
}

fn flatten(ended: Result<Result<(), Error>, JoinError>) -> Result<(), Error> {
    ended.map_err(Error::Ended)?
}

pub(crate) async fn listen(
    wanted: &[SocketAddr],
) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), Error> {
    if wanted.is_empty() {
        return Err(Error::NoAddress);
    }
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for address in wanted {
        let (listener, address) = listen_at(*address).await?;
        addresses.push(address);
        listeners.push(listener);
    }
    Ok((listeners, addresses))
}

pub(crate) async fn listen_at(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Where nodes find the controller: an address that stands for all of the machine's is replaced by
/// the names that were given.
pub(crate) fn reachable(addresses: &[SocketAddr], names: &[String]) -> Vec<String> {
    let places = |address: &SocketAddr| -> Vec<String> {
        let port = address.port();
        if !address.ip().is_unspecified() || names.is_empty() {
            return vec![address.to_string()];
        }
        names
            .iter()
            .map(|name| match name.parse() {
                Ok(ip) => SocketAddr::new(ip, port).to_string(),
                Err(_) => format!("{name}:{port}"),
            })
            .collect()
    };
    addresses.iter().flat_map(places).collect()
}

/// What is told, and where traces go.
pub(crate) fn telemetry(
    collector: Option<&Url>,
    service: &'static str,
) -> Result<Telemetry, TracesError> {
    let traces = collector.map(|endpoint| Traces::to(endpoint, service));
    Ok(Telemetry::new(traces.transpose()?.unwrap_or_default()))
}

async fn recover(
    home: Home,
    shared: Arc<Shared>,
    wanted: watch::Sender<Wanted>,
) -> Result<Fleet, Error> {
    let recovered = spawn_blocking(move || Fleet::recover(home, shared, wanted));
    Ok(recovered.await.map_err(Error::Ended)??)
}
