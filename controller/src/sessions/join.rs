//! First contact: a token buys a certificate.

use jiff::{SignedDuration, Timestamp};
use placet_model::NodeName;
use placet_protocol::Authority;
use placet_protocol::wire::join_server::Join;
use placet_protocol::wire::{JoinRequest, JoinResponse};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status};

use crate::fleet::news::News;
use crate::home::{Home, TakeTokenError};

/// The service for nodes without a certificate.
#[derive(Debug, Clone)]
pub(crate) struct JoinService {
    pub(crate) home: Home,
    pub(crate) authority: Authority,
    pub(crate) lifetime: SignedDuration,
    pub(crate) news: mpsc::Sender<News>,
}

#[tonic::async_trait]
impl Join for JoinService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        let node: NodeName = request
            .node
            .parse()
            .map_err(|error: placet_model::NameError| {
                Status::invalid_argument(error.to_string())
            })?;
        let service = self.clone();
        let named = node.clone();
        let signed = spawn_blocking(move || service.sell(&request, &named));
        let chain = signed.await.map_err(|_| stopping())??;
        let (reply, noted) = oneshot::channel();
        let joined = News::Joined { node, reply };
        self.news.send(joined).await.map_err(|_| stopping())?;
        noted.await.map_err(|_| stopping())?;
        Ok(Response::new(JoinResponse {
            certificate_chain: chain,
        }))
    }
}

impl JoinService {
    /// A certificate for a token. The token is taken last, so that a request that cannot be signed
    /// costs none.
    fn sell(&self, request: &JoinRequest, node: &NodeName) -> Result<Vec<Vec<u8>>, Status> {
        let now = Timestamp::now();
        let chain =
            self.authority
                .sign_node(&request.certificate_request, node, self.lifetime, now)?;
        let taken = if request.service_account_token.is_empty() {
            let (id, secret) = (&request.token_id, &request.token_secret);
            self.home.take_token(id, secret, node, now)
        } else {
            self.home.review(&request.service_account_token, node)
        };
        match taken {
            Ok(()) => Ok(chain),
            Err(TakeTokenError::Refused(refusal)) => {
                tracing::warn!("node {node} cannot join: {refusal}");
                Err(refusal.into())
            }
            Err(TakeTokenError::Home(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a token cannot be taken"
                );
                Err(Status::internal(
                    "the controller's store failed; see its log",
                ))
            }
        }
    }
}

pub(super) fn stopping() -> Status {
    Status::unavailable("the controller is stopping")
}
