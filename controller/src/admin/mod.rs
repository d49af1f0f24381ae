//! What the command line uses: resources, decisions, tokens, events.

mod apply;
mod backup;
mod watch;

use std::pin::Pin;

use futures_util::Stream;
use placet_crds::{KindInfo, find_kind, kinds};
use placet_model::{DecisionKind, NodeName, visible};
use placet_protocol::wire::admin_server::Admin;
use placet_protocol::wire::{
    ApplyRequest, ApplyResponse, BackupRequest, Chunk, DecideRequest, DecideResponse,
    DeleteRequest, DeleteResponse, DryRunRequest, DryRunResponse, Event, GetRequest, GetResponse,
    OrderNodeRequest, OrderNodeResponse, TokenRequest, TokenResponse, WatchRequest,
};
use placet_protocol::{AdminPeer, Authority, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

pub(crate) use self::backup::Backups;
use crate::dry_run::DryRuns;
use crate::fleet::news::{Instruction, News, Reply, Ruling};
use crate::home::{Home, HomeError, NewToken, TokenUsage};

/// The service behind the admin socket.
#[derive(Debug, Clone)]
pub(crate) struct AdminService {
    pub(crate) home: Home,
    pub(crate) authority: Authority,
    pub(crate) news: mpsc::Sender<News>,
    pub(crate) dry_runs: DryRuns,
    /// Where nodes reach the controller.
    pub(crate) addresses: Vec<String>,
    pub(crate) backups: Backups,
    /// Ends the streams that would go on for ever.
    pub(crate) stopping: CancellationToken,
}

type Events = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;
type Chunks = Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send>>;

#[tonic::async_trait]
impl Admin for AdminService {
    type WatchStream = Events;
    type BackupStream = Chunks;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let GetRequest { kind, name } = request.into_inner();
        let wanted: Vec<&'static KindInfo> = if kind.is_empty() {
            kinds().iter().collect()
        } else {
            vec![known_kind(&kind)?]
        };
        let found = self.with_home(move |home| {
            let mut found = Vec::new();
            for info in wanted {
                if name.is_empty() {
                    found.extend(home.list(&info.kind)?);
                } else {
                    found.extend(home.get(&info.kind, &name)?);
                }
            }
            Ok(found)
        });
        let found = found.await?;
        let objects_json = found.iter().map(|it| it.to_json().to_string().into_bytes());
        Ok(Response::new(GetResponse {
            objects_json: objects_json.collect(),
        }))
    }

    async fn apply(
        &self,
        request: Request<ApplyRequest>,
    ) -> Result<Response<ApplyResponse>, Status> {
        let author = author(&request)?;
        let request = request.into_inner();
        self.apply_files(request, author).await.map(Response::new)
    }

    async fn dry_run(
        &self,
        request: Request<DryRunRequest>,
    ) -> Result<Response<DryRunResponse>, Status> {
        let author = author(&request)?;
        let request = request.into_inner();
        self.try_files(request, author).await.map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let DeleteRequest { kind, name } = request.into_inner();
        let kind = known_kind(&kind)?.kind.as_str();
        let result = self
            .ask(|reply| News::Delete { kind, name, reply })
            .await??;
        Ok(Response::new(DeleteResponse { result }))
    }

    async fn decide(
        &self,
        request: Request<DecideRequest>,
    ) -> Result<Response<DecideResponse>, Status> {
        let author = author(&request)?;
        let request = request.into_inner();
        let kind: DecisionKind = json(&request.kind_json, "decision")?;
        let ruling = Ruling {
            rollout: request.rollout,
            hold: (request.hold != 0).then_some(request.hold),
            kind,
            author,
            reason: request.reason,
            overrides: Vec::new(),
        };
        let decision = self.ask(|reply| News::Decide { ruling, reply }).await??;
        Ok(Response::new(DecideResponse {
            decision_json: placet_model::canonical_json(&decision),
        }))
    }

    async fn order_node(
        &self,
        request: Request<OrderNodeRequest>,
    ) -> Result<Response<OrderNodeResponse>, Status> {
        let author = author(&request)?;
        let request = request.into_inner();
        let node = request.node.parse();
        let node = node.map_err(|error: placet_model::NameError| {
            Status::invalid_argument(error.to_string())
        })?;
        let action = serde_json::from_value(request.action.into()).map_err(|_| {
            Status::invalid_argument("`commit`, `regress` and `retry` can be ordered for a node")
        })?;
        let instruction = Instruction {
            action,
            author,
            reason: request.reason,
        };
        let ask = |reply| News::OrderNode {
            node,
            instruction,
            reply,
        };
        let outcome = self.ask(ask).await??;
        Ok(Response::new(OrderNodeResponse { outcome }))
    }

    async fn create_token(
        &self,
        request: Request<TokenRequest>,
    ) -> Result<Response<TokenResponse>, Status> {
        let request = request.into_inner();
        let node: NodeName = request
            .node
            .parse()
            .map_err(|error: placet_model::NameError| {
                Status::invalid_argument(error.to_string())
            })?;
        let usage = TokenUsage::of(request.replace, request.every_boot);
        let (token, kept) =
            NewToken::make(self.authority.pin(), node, request.valid_seconds, usage);
        let expires = kept.expires;
        self.with_home(move |home| home.create_token(&kept)).await?;
        Ok(Response::new(TokenResponse {
            token: token.to_string(),
            addresses: self.addresses.clone(),
            expires: expires.to_string(),
        }))
    }

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let events = watch::open(
            self.home.clone(),
            request.into_inner(),
            self.stopping.clone(),
        );
        Ok(Response::new(Box::pin(events)))
    }

    async fn backup(
        &self,
        request: Request<BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        tracing::info!("{} takes a backup", author(&request)?);
        Ok(Response::new(Box::pin(self.backups.open())))
    }
}

impl AdminService {
    /// Asks the fleet's loop something.
    async fn ask<T>(&self, news: impl FnOnce(Reply<T>) -> News) -> Result<T, Status> {
        let stopping = || Status::unavailable("the controller is stopping");
        let (reply, answer) = oneshot::channel();
        self.news.send(news(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    /// Uses the home where waiting is no harm.
    async fn with_home<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Home) -> Result<T, HomeError> + Send + 'static,
    ) -> Result<T, Status> {
        let home = self.home.clone();
        let done = spawn_blocking(move || work(&home)).await;
        done.map_err(|_| Status::unavailable("the controller is stopping"))?
            .map_err(|error| status_of(&error))
    }
}

fn status_of(error: &HomeError) -> Status {
    if let HomeError::NameTaken { .. } = error {
        return Status::already_exists(error.to_string());
    }
    tracing::error!(error = error as &dyn std::error::Error, "the store failed");
    Status::internal("the controller's store failed; see its log")
}

fn known_kind(text: &str) -> Result<&'static KindInfo, Status> {
    find_kind(text).ok_or_else(|| {
        let known: Vec<_> = kinds().iter().map(|info| info.plural.as_str()).collect();
        let text = visible(text);
        Status::invalid_argument(format!(
            "`{text}` is not a kind; there are {}",
            known.join(", ")
        ))
    })
}

/// The person at the other end, as the kernel knows them.
fn author<T>(request: &Request<T>) -> Result<String, Status> {
    let peer = request.extensions().get::<AdminPeer>();
    peer.map(|peer| peer.user.clone())
        .ok_or_else(|| Status::unauthenticated("nobody knows who asks; use the admin socket"))
}
