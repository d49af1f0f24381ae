//! The service of nodes that have a certificate.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::Stream;
use jiff::{SignedDuration, Timestamp};
use placet_protocol::wire::nodes_server::Nodes;
use placet_protocol::wire::{Chunk, FetchRequest, FromNode, RenewRequest, RenewResponse, ToNode};
use placet_protocol::{Authority, peer_node};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status, Streaming};

use super::join::stopping;
use crate::catalog::Packages;
use crate::fleet::news::News;
use crate::home::Home;
use crate::shared::Shared;

/// The service of nodes that have a certificate.
#[derive(Debug, Clone)]
pub(crate) struct NodesService {
    pub(crate) home: Home,
    pub(crate) authority: Authority,
    pub(crate) lifetime: SignedDuration,
    pub(crate) news: mpsc::Sender<News>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) packages: Packages,
    /// The number of the latest session.
    pub(crate) sessions: Arc<AtomicU64>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Nodes for NodesService {
    type SessionStream = Answers<ToNode>;
    type FetchStream = Answers<Chunk>;

    async fn session(
        &self,
        request: Request<Streaming<FromNode>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = peer_node(&request)?;
        let id = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let orders = super::session::open(node, id, request.into_inner(), self.news.clone());
        Ok(Response::new(Box::pin(orders)))
    }

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let node = peer_node(&request)?;
        let request = request.into_inner();
        let chunks = super::fetch::open(&self.shared, &self.packages, node, &request).await?;
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let node = peer_node(&request)?;
        let service = self.clone();
        let named = node.clone();
        let signed = spawn_blocking(move || {
            let known = service.home.get("FleetNode", named.as_str());
            match known {
                Ok(Some(_)) => {}
                Ok(None) => {
                    tracing::warn!(
                        "node {named} gets no new certificate: it is not in the fleet any more"
                    );
                    return Err(Status::permission_denied(format!(
                        "node {named} is not in the fleet any more"
                    )));
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a node cannot be looked up"
                    );
                    return Err(Status::internal(
                        "the controller's store failed; see its log",
                    ));
                }
            }
            let request = request.into_inner().certificate_request;
            let now = Timestamp::now();
            Ok(service
                .authority
                .sign_node(&request, &named, service.lifetime, now)?)
        });
        let certificate_chain = signed.await.map_err(|_| stopping())??;
        self.news
            .send(News::Renewed(node))
            .await
            .map_err(|_| stopping())?;
        Ok(Response::new(RenewResponse { certificate_chain }))
    }
}
