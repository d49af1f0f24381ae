//! The controller on Kubernetes: several replicas, of which one leads at a time.
//!
//! A replica that does not lead answers nodes that another one does, and waits for its turn. When
//! it leads it has a home for exactly that term; when the term is over everything of it ends, and
//! the replica waits again.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use placet_protocol::{Authority, incoming, join_server, nodes_server, server};
use reqwest::header::{HeaderValue, USER_AGENT};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::admission::{Admission, AdmissionOptions, Lifetimes};
use crate::events;
use crate::home::{Home, HomeError, Kubernetes, kubernetes};
use crate::http;
use crate::leader::{ADDRESS, Election, Term};
use crate::memory;
use crate::receiver::{self, Receiver, Sources};
use crate::run::{self, Controller, Error, Ground};
use crate::secrets::Secrets;
use crate::sessions::Follower;
use crate::telemetry::{self, Counted, Role, Telemetry};

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
    /// As much of it as modules from registries may take, in bytes.
    pub modules_most: u64,
    /// How many roll-outs are kept, with their history.
    pub rollouts_kept: NonZeroU64,
    /// Where nodes reach the controller.
    pub listen: Vec<SocketAddr>,
    /// Where git hosts say, over HTTP, that something was pushed.
    pub receiver_listen: SocketAddr,
    /// Where metrics and health are told over HTTP.
    pub metrics_listen: SocketAddr,
    /// The collector that gets traces, by OTLP over HTTP.
    pub otlp_endpoint: Option<Url>,
    /// Names and addresses under which nodes reach the controllers; they stand in the certificate.
    pub names: Vec<String>,
    /// Folder that relative package references start from; the state folder where none is given.
    pub packages: Option<PathBuf>,
    /// How long a node's certificate is valid.
    pub certificate_lifetime: SignedDuration,
    /// The admission webhook; none where none is to be answered.
    pub webhook: Option<WebhookOptions>,
}

/// How the admission webhook is set up.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// Where API servers reach it.
    pub listen: SocketAddr,
    /// The names and addresses under which they do; they stand in its certificate.
    pub names: Vec<String>,
    /// The name of the webhook configurations whose `caBundle` is kept right.
    pub configuration: String,
    /// How long an authority for its certificates lasts.
    pub authority_lifetime: SignedDuration,
    /// The address of this replica, by which the others pass on what only the leader knows.
    pub own: Option<IpAddr>,
}

/// One replica.
struct Replica {
    options: KubernetesOptions,
    client: Client,
    authority: Authority,
    election: Election,
    listeners: Vec<std::net::TcpListener>,
    addresses: Vec<SocketAddr>,
    webhook: Option<Webhook>,
    telemetry: Telemetry,
}

/// The admission webhook, which answers whether this replica leads or not.
struct Webhook {
    admission: Admission,
    /// Where other replicas reach it.
    address: Option<SocketAddr>,
    /// Ends with the replica.
    _tasks: JoinSet<()>,
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
    memory::share();
    let telemetry = run::telemetry(options.otlp_endpoint.as_ref(), "placet-controller")?;
    let ended = run_replica(options, telemetry.clone(), shutdown).await;
    telemetry.close().await;
    ended
}

async fn run_replica(
    options: KubernetesOptions,
    telemetry: Telemetry,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let work = Replica::start(options, telemetry, stop.clone());
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
    async fn start(
        options: KubernetesOptions,
        telemetry: Telemetry,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let (listener, _) = run::listen_at(options.metrics_listen).await?;
        let telling = telemetry::serve(listener, telemetry.clone(), stop.clone());
        tokio::spawn(telling);
        telemetry.is(Role::Starts(
            "waits for the API server to give the authority that all replicas share",
        ));
        let client = client(options.kubeconfig.as_ref(), &telemetry).await?;
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
        let webhook = match &options.webhook {
            Some(webhook) => {
                let namespace = &options.namespace;
                Some(Webhook::start(&client, namespace, webhook, &telemetry, &stop).await?)
            }
            None => None,
        };
        let address = webhook.as_ref().and_then(|webhook| webhook.address);
        Ok(Self {
            election: Election::new(
                &client,
                &options.namespace,
                &options.lease,
                &options.identity,
                address.map(|address| address.to_string()),
            ),
            webhook,
            telemetry,
            client,
            authority,
            listeners,
            addresses,
            options,
        })
    }

    /// Hears git hosts, whether or not this replica leads.
    async fn receive(&self, stop: CancellationToken) -> Result<(), Error> {
        let (listener, _) = run::listen_at(self.options.receiver_listen).await?;
        let secrets = Secrets::kubernetes(&self.client, &self.options.namespace);
        let receiver = Receiver::new(Sources::api(self.client.clone(), secrets));
        tokio::spawn(async move {
            if let Err(error) = receiver::serve(listener, receiver, stop).await {
                tracing::error!(%error, "calls of git hosts are not received any more");
            }
        });
        Ok(())
    }

    /// Follows and leads in turn.
    async fn serve(self, stop: CancellationToken) -> Result<(), Error> {
        self.receive(stop.clone()).await?;
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
        self.telemetry.is(Role::Follows(None));
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
            term = self.election.win(|lease| self.hear_of(lease)) => Some(term),
            () = stop.cancelled() => None,
        };
        end.cancel();
        serving.shutdown().await;
        Ok(won)
    }

    /// Leads until the term is over or it is time to stop.
    async fn lead(&self, term: &Term, stop: &CancellationToken) -> Result<(), Error> {
        let namespace = &self.options.namespace;
        self.telemetry.is(Role::Opens);
        let events = events::writer(&self.client, &self.options.identity, term.clone());
        let home = Kubernetes::open(&self.client, namespace, term.clone(), Some(events)).await?;
        let addresses = run::reachable(&self.addresses, &self.options.names);
        kubernetes::publish(&self.client, namespace, &self.authority, &addresses).await?;
        let ground = Ground {
            home: Home::from(home),
            authority: self.authority.clone(),
            secrets: Secrets::kubernetes(&self.client, namespace),
            state: self.options.state.clone(),
            modules_most: self.options.modules_most,
            rollouts_kept: self.options.rollouts_kept,
            base: self
                .options
                .packages
                .clone()
                .unwrap_or_else(|| self.options.state.clone()),
            certificate_lifetime: self.options.certificate_lifetime,
            telemetry: self.telemetry.clone(),
        };
        let (controller, asker) =
            Controller::lead(ground, self.listeners()?, self.addresses.clone()).await?;
        if let Some(webhook) = &self.webhook {
            webhook.admission.lead(asker);
        }
        let (term, stop) = (term.clone(), stop.clone());
        let over = async move {
            // Cancel safe: both only wait.
            tokio::select! {
                () = term.ended() => {}
                () = stop.cancelled() => {}
            }
        };
        let ended = controller.until(over).await;
        if let Some(webhook) = &self.webhook {
            webhook.admission.set_leader(None);
        }
        ended
    }

    /// Takes note of who leads.
    fn hear_of(&self, lease: &Lease) {
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.clone());
        let holder = holder.filter(|holder| !holder.is_empty());
        self.telemetry.is(Role::Follows(holder));
        if let Some(webhook) = &self.webhook {
            let annotations = lease.metadata.annotations.as_ref();
            let address = annotations.and_then(|all| all.get(ADDRESS)?.parse().ok());
            webhook.admission.set_leader(address);
        }
    }

    /// The sockets that this replica listens on, for those who serve next.
    fn listeners(&self) -> Result<Vec<TcpListener>, Error> {
        let again =
            |listener: &std::net::TcpListener| listener.try_clone().and_then(TcpListener::from_std);
        let listeners = self.listeners.iter().map(again);
        listeners.collect::<Result<_, _>>().map_err(Error::Socket)
    }
}

impl Webhook {
    async fn start(
        client: &Client,
        namespace: &str,
        options: &WebhookOptions,
        telemetry: &Telemetry,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let (mut listeners, addresses) = run::listen(&[options.listen]).await?;
        let (listener, listens) = (listeners.remove(0), addresses[0]);
        let own = options.own.unwrap_or(listens.ip());
        let address = (!own.is_unspecified()).then(|| SocketAddr::new(own, listens.port()));
        let mut names = options.names.clone();
        names.extend(address.map(|address| address.ip().to_string()));
        names.sort();
        names.dedup();
        tracing::info!("answers admission reviews on {listens}");
        let options = AdmissionOptions {
            namespace: namespace.to_owned(),
            names,
            configuration: options.configuration.clone(),
            lifetimes: Lifetimes::of(options.authority_lifetime),
            telemetry: telemetry.clone(),
        };
        let (admission, tasks) = Admission::start(listener, client, options, stop.clone())
            .map_err(|error| Error::Webhook(Box::new(error)))?;
        Ok(Self {
            admission,
            address,
            _tasks: tasks,
        })
    }
}

/// How the API server's audit log names the controller.
const AGENT: &str = concat!("placet-controller/", env!("CARGO_PKG_VERSION"));

async fn client(kubeconfig: Option<&PathBuf>, telemetry: &Telemetry) -> Result<Client, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Access(source);
    let mut config = match kubeconfig {
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
    let agent = (USER_AGENT, HeaderValue::from_static(AGENT));
    config.headers.push(agent);
    let is_https = config.cluster_url.scheme_str() == Some("https");
    if is_https && config.root_cert.is_none() && !config.accept_invalid_certs {
        http::system().map_err(|_| Error::NoAuthorities)?;
    }
    let client = ClientBuilder::try_from(config).map_err(|error| failed(error.into()))?;
    let counted = Counted::by(telemetry.clone());
    Ok(client.with_layer(&counted).build())
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
