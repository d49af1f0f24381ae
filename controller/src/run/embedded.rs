//! A controller on the embedded home: one machine, a socket for the command line.

use std::net::SocketAddr;
use std::path::Path;

use placet_crds::{GitReference, GitSource, GitSourceSpec, Object};
use placet_protocol::{Authority, admin_incoming, admin_server, server};
use tokio::task::spawn_blocking;

use super::{Controller, Error, Ground, listen, listen_at, reachable, telemetry};
use crate::admin::{AdminService, Backups};
use crate::catalog::MODULES_MOST;
use crate::home::{Embedded, Home, Owner};
use crate::observe::Observers;
use crate::receiver::{self, Receiver, Sources};
use crate::secrets::Secrets;
use crate::telemetry::serve;
use crate::{InitialSource, Options};

impl Controller {
    /// Starts a controller on the embedded home; when this returns, it answers nodes and the
    /// command line.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let (listeners, addresses) = listen(&options.listen).await?;
        let receiver = match options.receiver_listen {
            Some(address) => Some(listen_at(address).await?),
            None => None,
        };
        let metrics = match options.metrics_listen {
            Some(address) => Some(listen_at(address).await?),
            None => None,
        };
        let ground = open(&options, &addresses).await?;
        announce(&options.state, &addresses).await?;
        let reachable = reachable(&addresses, &options.names);
        let (mut controller, parts) = Self::begin(ground.clone(), listeners, addresses).await?;
        let admin = AdminService {
            home: ground.home,
            authority: ground.authority,
            dry_runs: parts.dry_runs(),
            news: parts.news.clone(),
            addresses: reachable,
            backups: Backups::of(&options.state),
            stopping: controller.stopping.clone(),
        };
        controller.serve_admin(&options.state, admin)?;
        if let Some((listener, address)) = metrics {
            controller.metrics = Some(address);
            let stop = controller.stopping.clone();
            let serving = serve(listener, ground.telemetry, stop);
            controller.tasks.spawn(async move {
                serving.await;
                Ok(())
            });
        }
        if let Some((listener, address)) = receiver {
            let Observers { wanted, pokes, .. } = parts.observers;
            let sources = Sources::here(wanted, pokes, ground.secrets);
            controller.receiver = Some(address);
            let stop = controller.stopping.clone();
            let serving = receiver::serve(listener, Receiver::new(sources), stop);
            let ended = async move { serving.await.map_err(Error::Receive) };
            controller.tasks.spawn(ended);
        }
        Ok(controller)
    }

    fn serve_admin(&mut self, state: &Path, service: AdminService) -> Result<(), Error> {
        let connections = admin_incoming(&state.join("admin.sock"))?;
        let serving = server()
            .add_service(admin_server(service))
            .serve_with_incoming_shutdown(connections, self.stopping.clone().cancelled_owned());
        self.serve(serving);
        Ok(())
    }
}

async fn open(options: &Options, addresses: &[SocketAddr]) -> Result<Ground, Error> {
    let mut names = options.names.clone();
    let own = addresses
        .iter()
        .filter(|address| !address.ip().is_unspecified());
    names.extend(own.map(|address| address.ip().to_string()));
    names.sort();
    names.dedup();
    let (state, source) = (options.state.clone(), options.source.clone());
    let base = options.packages.clone();
    let certificate_lifetime = options.certificate_lifetime;
    let rollouts_kept = options.rollouts_kept;
    let telemetry = telemetry(options.otlp_endpoint.as_ref(), "placet")?;
    let opened = spawn_blocking(move || {
        let home = Home::from(Embedded::open(&state)?);
        if let Some(source) = source {
            home.apply(&initial(source), &Owner::Controller)?;
        }
        let authority = Authority::open_or_create(&state.join("authority"), &names)?;
        Ok(Ground {
            home,
            authority,
            secrets: Secrets::Folder(state.join("secrets")),
            base: base.unwrap_or_else(|| state.clone()),
            state,
            modules_most: MODULES_MOST,
            rollouts_kept,
            certificate_lifetime,
            telemetry,
        })
    });
    opened.await.map_err(Error::Ended)?
}

/// The source that was named at the start, as somebody would apply it.
fn initial(source: InitialSource) -> Object {
    let spec = serde_json::json!({ "url": source.url });
    let mut spec: GitSourceSpec = serde_json::from_value(spec).expect("only the URL is required");
    spec.reference = GitReference {
        branch: source.branch,
        ..GitReference::default()
    };
    if let Some(path) = source.path {
        spec.path = path;
    }
    Object::GitSource(GitSource::new("fleet", spec))
}

/// Writes down where the controller listens, one address a line.
async fn announce(state: &Path, addresses: &[SocketAddr]) -> Result<(), Error> {
    let path = state.join("listen");
    let lines: Vec<String> = addresses
        .iter()
        .map(|address| format!("{address}\n"))
        .collect();
    tracing::info!(
        "listens for nodes on {}",
        lines.concat().trim().replace('\n', ", ")
    );
    let written = async {
        let draft = path.with_extension("new");
        tokio::fs::write(&draft, lines.concat()).await?;
        tokio::fs::rename(&draft, &path).await
    };
    let result = written.await;
    result.map_err(|source| Error::Announce { path, source })
}
