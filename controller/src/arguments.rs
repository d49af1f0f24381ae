//! The command line of `placet-controller`.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use jiff::SignedDuration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::kubernetes::{KubernetesOptions, WebhookOptions, run_kubernetes};
use crate::options::ROLLOUTS_KEPT;

/// Placet's controller on Kubernetes: from a commit to running processes, asking first.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "placet-controller",
    version,
    after_help = "Example:\n  placet-controller --namespace placet-system --name nodes.example.net"
)]
pub struct Arguments {
    /// The kubeconfig to use; the pod's service account, or the user's own, where left out
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// The controller's own namespace: its Lease, its Secrets
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "PLACET_NAMESPACE",
        default_value = "placet-system"
    )]
    namespace: String,
    /// What this replica is called among the others; the host name where left out
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
    /// The Lease by which one replica leads
    #[arg(long, value_name = "NAME", default_value = "placet-controller")]
    lease: String,
    /// Folder for clones of repositories and whatever else can be had again
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/placet")]
    state: PathBuf,
    /// As much of it as modules from registries may take; older ones make room, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16_384, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    module_cache_mib: u64,
    /// How many roll-outs are kept, with their history; the oldest go first
    #[arg(long, value_name = "COUNT", default_value_t = ROLLOUTS_KEPT)]
    rollouts_kept: NonZeroU64,
    /// Where nodes reach this replica; may be repeated
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:7443")]
    listen: Vec<SocketAddr>,
    /// Where git hosts say, over HTTP, that something was pushed
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8082")]
    receiver_listen: SocketAddr,
    /// Where metrics and health are told over HTTP: `/metrics`, `/healthz`, `/readyz`
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8081")]
    metrics_listen: SocketAddr,
    /// The collector that gets traces, by OTLP (protobuf over HTTP), as `http://collector:4318`
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<Url>,
    /// A name or address under which nodes reach the controller; may be repeated
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    /// Folder that relative package references start from; the state folder where left out
    #[arg(long, value_name = "FOLDER")]
    packages: Option<PathBuf>,
    /// How long a node's certificate is valid, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(1..))]
    certificate_seconds: u32,
    /// Where API servers reach the admission webhook of this replica
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9443")]
    webhook_listen: SocketAddr,
    /// The Service through which API servers reach the admission webhook; without this or
    /// `--webhook-url` none is answered
    #[arg(long, value_name = "NAME")]
    webhook_service: Option<String>,
    /// The URL by which API servers reach the admission webhook, where that is no Service
    #[arg(long, value_name = "URL", conflicts_with = "webhook_service")]
    webhook_url: Option<Url>,
    /// The name of the webhook configurations whose caBundle is kept right
    #[arg(long, value_name = "NAME", default_value = "placet")]
    webhook_configuration: String,
    /// How long an authority for the webhook's certificates lasts, in seconds; the next is made,
    /// and trusted beside it, when two thirds of that are over
    #[arg(long, value_name = "SECONDS", default_value_t = 31_536_000, value_parser = clap::value_parser!(u32).range(60..))]
    webhook_authority_seconds: u32,
    /// The address under which other replicas reach this one
    #[arg(long, value_name = "IP", env = "POD_IP")]
    pod_ip: Option<IpAddr>,
    /// What goes into the log, as `info` or `placet_controller=debug`
    #[arg(
        long,
        value_name = "FILTER",
        env = "PLACET_LOG",
        default_value = "info,kube_client::client::builder=off"
    )]
    log_filter: String,
    /// How the log is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Arguments {
    fn options(&self) -> KubernetesOptions {
        KubernetesOptions {
            kubeconfig: self.kubeconfig.clone(),
            namespace: self.namespace.clone(),
            identity: self.identity.clone().unwrap_or_else(host_name),
            lease: self.lease.clone(),
            state: self.state.clone(),
            modules_most: self.module_cache_mib << 20,
            rollouts_kept: self.rollouts_kept,
            listen: self.listen.clone(),
            receiver_listen: self.receiver_listen,
            metrics_listen: self.metrics_listen,
            otlp_endpoint: self.otlp_endpoint.clone(),
            names: self.names.clone(),
            packages: self.packages.clone(),
            certificate_lifetime: SignedDuration::from_secs(self.certificate_seconds.into()),
            webhook: self.webhook(),
        }
    }

    /// The webhook, if API servers are to reach it by some name.
    fn webhook(&self) -> Option<WebhookOptions> {
        let of_service = self.webhook_service.as_ref().map(|service| {
            let short = format!("{service}.{}.svc", self.namespace);
            vec![format!("{short}.cluster.local"), short]
        });
        let host = |url: &Url| {
            let host = url.host_str().unwrap_or_default();
            vec![host.trim_matches(['[', ']']).to_owned()]
        };
        let names = of_service.or_else(|| self.webhook_url.as_ref().map(host))?;
        Some(WebhookOptions {
            listen: self.webhook_listen,
            names,
            configuration: self.webhook_configuration.clone(),
            authority_lifetime: SignedDuration::from_secs(self.webhook_authority_seconds.into()),
            own: self.pod_ip,
        })
    }

    fn begin_log(&self) {
        // A filter that cannot be read hides nothing.
        let filter =
            EnvFilter::try_new(&self.log_filter).unwrap_or_else(|_| EnvFilter::new("info"));
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        match self.log {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
    }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok();
    name.and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| format!("placet-{}", std::process::id()))
}

/// Runs `placet-controller` as its command line says, until it is told to end.
pub fn main(arguments: &Arguments) -> ExitCode {
    arguments.begin_log();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "failed to start");
            return ExitCode::from(2);
        }
    };
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let told = async move {
            // Cancel safe: both only wait.
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        run_kubernetes(arguments.options(), told)
            .await
            .map_err(std::io::Error::other)
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the controller cannot run");
            ExitCode::from(2)
        }
    }
}
