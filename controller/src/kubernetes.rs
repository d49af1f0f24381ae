//! The controller on Kubernetes: several replicas, of which one leads at a time.
//!
//! A replica that does not lead answers nodes that another one does, and waits for its turn. When
//! it leads it has a home for exactly that term; when the term is over everything of it ends, and
//! the replica waits again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use placet_protocol::{Authority, incoming, join_server, nodes_server, server};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::home::{Home, HomeError, Kubernetes, kubernetes};
use crate::leader::{Election, Term};
use crate::run::{self, Controller, Error, Ground};
use crate::secrets::Secrets;
use crate::sessions::Follower;

/// Between two attempts at what a replica needs before it can take part.
const PAUSE: Duration = Duration::from_secs(2);

/// How a controller on Kubernetes is set up.
#[derive(Debug, Clone)]
pub struct KubernetesOptions {
    /// The kubeconfig to use; the one of the pod, or of the user, where left out.
    pub kubeconfig: Option<PathBuf>,
    /// The controller's own namespace.
    pub namespace: String,
    /// What this replica is called among the others.
    pub identity: String,
    /// The name of the Lease.
    pub lease: String,
    /// Folder for clones of repositories and whatever else can be had again.
    pub state: PathBuf,
    /// Where nodes reach the controller.
    pub listen: Vec<SocketAddr>,
    /// Names and addresses under which nodes reach the controllers; they stand in the certificate.
    pub names: Vec<String>,
    /// Folder that relative package references start from; the state folder where none is given.
    pub packages: Option<PathBuf>,
    /// How long a node's certificate is valid.
    pub certificate_lifetime: SignedDuration,
    /// Where this replica answers the admission webhook of the others, while it leads.
    pub address: Option<String>,
}

/// One replica.
struct Replica {
    options: KubernetesOptions,
    client: Client,
    authority: Authority,
    election: Election,
    listeners: Vec<std::net::TcpListener>,
    addresses: Vec<SocketAddr>,
}

/// Runs one replica until `shutdown` comes.
///
/// # Errors
///
/// It cannot listen, or has no access to the API server at all. An API server that is away is
/// waited for.
pub async fn run_kubernetes(
    options: KubernetesOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let work = Replica::start(options, stop.clone());
    let mut shutdown = std::pin::pin!(shutdown);
    // Cancel safe: nothing of a start has to outlive it.
    let replica = tokio::select! {
        replica = work => replica?,
        () = &mut shutdown => return Ok(()),
    };
    let mut serving = std::pin::pin!(replica.serve(stop.clone()));
    // Cancel safe: what serves is polled to its end below.
    tokio::select! {
        ended = &mut serving => return ended,
        () = shutdown => stop.cancel(),
    }
    serving.await
}

impl Replica {
    async fn start(options: KubernetesOptions, stop: CancellationToken) -> Result<Self, Error> {
        let client = client(options.kubeconfig.as_ref()).await?;
        let (listeners, addresses) = run::listen(&options.listen).await?;
        let listeners = listeners
            .into_iter()
            .map(TcpListener::into_std)
            .collect::<Result<_, _>>()
            .map_err(Error::Socket)?;
        tracing::info!(
            "{} listens for nodes on {addresses:?} and waits for its turn to lead",
            options.identity
        );
        let names = names(&options, &addresses);
        let authority = shared_authority(&client, &options.namespace, &names, &stop).await?;
        Ok(Self {
            election: Election::new(
                &client,
                &options.namespace,
                &options.lease,
                &options.identity,
                options.address.clone(),
            ),
            client,
            authority,
            listeners,
            addresses,
            options,
        })
    }

    /// Follows and leads in turn.
    async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        while !stop.is_cancelled() {
            let Some(term) = self.follow(&stop).await? else {
                return Ok(());
            };
            tracing::info!(epoch = term.epoch(), "{} leads", self.options.identity);
            let led = self.lead(&term, &stop).await;
            self.election.resign(&term).await;
            match led {
                Ok(()) | Err(Error::Home(HomeError::Deposed)) => {}
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the term ends");
                    // Cancel safe: both only wait.
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
            tracing::info!("{} does not lead any more", self.options.identity);
        }
        Ok(())
    }

    /// Waits for a term; none if it is time to stop.
    async fn follow(&self, stop: &CancellationToken) -> Result<Option<Term>, Error> {
        let mut serving = JoinSet::new();
        let end = stop.child_token();
        for listener in self.listeners()? {
            let connections = incoming(listener, self.authority.server_config()?);
            let served = server()
                .add_service(join_server(Follower))
                .add_service(nodes_server(Follower))
                .serve_with_incoming_shutdown(connections, end.clone().cancelled_owned());
            serving.spawn(served);
        }
        // Cancel safe: an election that was won after all is given up by its end.
        let won = tokio::select! {
            term = self.election.win(|_| {}) => Some(term),
            () = stop.cancelled() => None,
        };
        end.cancel();
        serving.shutdown().await;
        Ok(won)
    }

    /// Leads until the term is over or it is time to stop.
    async fn lead(&self, term: &Term, stop: &CancellationToken) -> Result<(), Error> {
        let namespace = &self.options.namespace;
        let home = Kubernetes::open(&self.client, namespace, term.clone(), None).await?;
        let addresses = run::reachable(&self.addresses, &self.options.names);
        kubernetes::publish(&self.client, namespace, &self.authority, &addresses).await?;
        let ground = Ground {
            home: Home::from(home),
            authority: self.authority.clone(),
            secrets: Secrets::kubernetes(&self.client, namespace),
            state: self.options.state.clone(),
            base: self
                .options
                .packages
                .clone()
                .unwrap_or_else(|| self.options.state.clone()),
            certificate_lifetime: self.options.certificate_lifetime,
        };
        let controller =
            Controller::lead(ground, self.listeners()?, self.addresses.clone()).await?;
        let (term, stop) = (term.clone(), stop.clone());
        let over = async move {
            // Cancel safe: both only wait.
            tokio::select! {
                () = term.ended() => {}
                () = stop.cancelled() => {}
            }
        };
        controller.until(over).await
    }

    /// The sockets that this replica listens on, for those who serve next.
    fn listeners(&self) -> Result<Vec<TcpListener>, Error> {
        let again =
            |listener: &std::net::TcpListener| listener.try_clone().and_then(TcpListener::from_std);
        let listeners = self.listeners.iter().map(again);
        listeners.collect::<Result<_, _>>().map_err(Error::Socket)
    }
}

async fn client(kubeconfig: Option<&PathBuf>) -> Result<Client, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Access(source);
    let config = match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| failed(error.into()))?;
            let options = KubeConfigOptions::default();
            kube::Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| failed(error.into()))?
        }
        None => kube::Config::infer()
            .await
            .map_err(|error| failed(error.into()))?,
    };
    Client::try_from(config).map_err(|error| failed(error.into()))
}

/// Waits until the API server gives the authority that all replicas share.
async fn shared_authority(
    client: &Client,
    namespace: &str,
    names: &[String],
    stop: &CancellationToken,
) -> Result<Authority, Error> {
    loop {
        match kubernetes::authority(client, namespace, names).await {
            Ok(authority) => return Ok(authority),
            Err(error @ HomeError::Damaged { .. }) => return Err(error.into()),
            Err(error) => {
                let error = Arc::new(error);
                tracing::warn!(
                    error = &*error as &dyn std::error::Error,
                    "waits for the API server"
                );
            }
        }
        // Cancel safe: both only wait.
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return Err(HomeError::Deposed.into()),
        }
    }
}

fn names(options: &KubernetesOptions, addresses: &[SocketAddr]) -> Vec<String> {
    let own = addresses
        .iter()
        .filter(|address| !address.ip().is_unspecified());
    let mut names = options.names.clone();
    names.extend(own.map(|address| address.ip().to_string()));
    if names.is_empty() {
        names.push(options.identity.clone());
    }
    names.sort();
    names.dedup();
    names
}
