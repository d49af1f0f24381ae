//! What nodes hear from a controller that does not lead.

use std::pin::Pin;

use futures_util::Stream;
use placet_protocol::not_leader;
use placet_protocol::wire::join_server::Join;
use placet_protocol::wire::nodes_server::Nodes;
use placet_protocol::wire::{
    Chunk, FetchRequest, FromNode, JoinRequest, JoinResponse, RenewRequest, RenewResponse, ToNode,
};
use tonic::{Request, Response, Status, Streaming};

/// Answers every node that another controller leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Follower;

type None<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Join for Follower {
    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        Err(not_leader())
    }
}

#[tonic::async_trait]
impl Nodes for Follower {
    type SessionStream = None<ToNode>;
    type FetchStream = None<Chunk>;

    async fn session(
        &self,
        _: Request<Streaming<FromNode>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(not_leader())
    }

    async fn fetch(&self, _: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        Err(not_leader())
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        Err(not_leader())
    }
}
