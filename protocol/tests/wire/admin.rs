//! The socket of the command line.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use placet_protocol::wire::admin_server::Admin;
use placet_protocol::wire::{
    ApplyRequest, ApplyResponse, BackupRequest, Chunk, DecideRequest, DecideResponse,
    DeleteRequest, DeleteResponse, DryRunRequest, DryRunResponse, Event, GetRequest, GetResponse,
    OrderNodeRequest, OrderNodeResponse, TokenRequest, TokenResponse, WatchRequest,
};
use placet_protocol::{
    AdminError, AdminPeer, admin_client, admin_connect, admin_incoming, admin_server, server,
};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};

/// Answers `Delete` with the caller's name and number.
struct WhoAmI;

#[tonic::async_trait]
impl Admin for WhoAmI {
    type WatchStream = tokio_stream::Empty<Result<Event, Status>>;
    type BackupStream = tokio_stream::Empty<Result<Chunk, Status>>;

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn apply(&self, _: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn dry_run(&self, _: Request<DryRunRequest>) -> Result<Response<DryRunResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let peer = request.extensions().get::<AdminPeer>().unwrap();
        Ok(Response::new(DeleteResponse {
            result: format!("{} {}", peer.uid, peer.user),
        }))
    }

    async fn decide(&self, _: Request<DecideRequest>) -> Result<Response<DecideResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn order_node(
        &self,
        _: Request<OrderNodeRequest>,
    ) -> Result<Response<OrderNodeResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn create_token(
        &self,
        _: Request<TokenRequest>,
    ) -> Result<Response<TokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn backup(
        &self,
        _: Request<BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

fn serve(path: &Path) -> JoinHandle<()> {
    let connections = admin_incoming(path).unwrap();
    tokio::spawn(async move {
        server()
            .add_service(admin_server(WhoAmI))
            .serve_with_incoming(connections)
            .await
            .unwrap();
    })
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_controller_knows_who_calls() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/admin.sock");
    let serving = serve(&path);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);

    let mut client = admin_client(admin_connect(&path).await.unwrap());
    let answer = client.delete(DeleteRequest::default()).await.unwrap();
    let me = nix::unistd::User::from_uid(nix::unistd::getuid())
        .unwrap()
        .unwrap();
    assert_eq!(
        answer.into_inner().result,
        format!("{} {}", me.uid, me.name)
    );

    let second = admin_incoming(&path).unwrap_err();
    assert!(matches!(second, AdminError::InUse(_)), "{second}");

    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    assert!(!path.exists(), "the socket goes with its listener");
    let gone = admin_connect(&path).await.unwrap_err();
    assert!(matches!(gone, AdminError::NotRunning { .. }), "{gone}");
}

#[tokio::test]
async fn a_socket_that_was_left_behind_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let error = admin_connect(&path).await.unwrap_err();
    assert!(matches!(error, AdminError::NotRunning { .. }), "{error}");
    let serving = serve(&path);
    let mut client = admin_client(admin_connect(&path).await.unwrap());
    client.delete(DeleteRequest::default()).await.unwrap();
    serving.abort();
}

#[tokio::test]
async fn a_controller_that_is_too_busy_to_answer_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let busy = tokio::net::UnixSocket::new_stream().unwrap();
    busy.bind(&path).unwrap();
    let _listener = busy.listen(0).unwrap();
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let error = admin_incoming(&path).unwrap_err();
    assert!(matches!(error, AdminError::InUse(_)), "{error}");
    assert!(path.exists());
}

#[tokio::test]
async fn what_is_not_a_socket_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    std::fs::write(&path, "precious").unwrap();
    let error = admin_incoming(&path).unwrap_err();
    assert!(matches!(error, AdminError::InTheWay(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let long = directory.path().join("x".repeat(120));
    let error = admin_incoming(&long).unwrap_err();
    assert!(matches!(error, AdminError::Listen { .. }), "{error}");
}
