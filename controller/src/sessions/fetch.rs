//! The bytes of modules, for nodes that were told to stage them.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use futures_util::Stream;
use placet_model::{Digest, NodeName};
use placet_protocol::wire::{Chunk, FetchRequest};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::join::stopping;
use crate::catalog::{NoBlob, Packages};
use crate::shared::Shared;

const CHUNK: usize = 64 * 1024;

/// Chunks that are read ahead of a node that is slow.
const AHEAD: usize = 4;

/// The bytes of a module from an offset on.
///
/// # Errors
///
/// The node was not told to stage a manifest with this module: nothing travels before the fleet has
/// agreed, or somebody decided.
pub(super) async fn open(
    shared: &Arc<Shared>,
    packages: &Packages,
    node: NodeName,
    request: &FetchRequest,
) -> Result<impl Stream<Item = Result<Chunk, Status>> + use<>, Status> {
    let parsed = request.digest.parse();
    let digest: Digest = parsed
        .map_err(|error: placet_model::DigestError| Status::invalid_argument(error.to_string()))?;
    if !shared.may_fetch(&node, &digest) {
        return Err(Status::permission_denied(format!(
            "module {digest} is not one that node {node} was told to stage"
        )));
    }
    let offset = request.offset;
    let (mut file, size) = packages.fetch_blob(&digest).await.map_err(|why| {
        // Nodes say which module they asked for.
        let text = why.to_string();
        match why {
            NoBlob::Later(_) => Status::unavailable(text),
            NoBlob::Absent | NoBlob::Refused(_) => Status::not_found(text),
        }
    })?;
    let opened = spawn_blocking(move || {
        if offset > size {
            return Err(Status::out_of_range(format!(
                "module {digest} has {size} bytes, fewer than the offset {offset}"
            )));
        }
        file.seek(SeekFrom::Start(offset))
            .map_err(|error| unreadable(&digest, &error))?;
        // What was appended to the file since does not belong to the module.
        Ok(file.take(size - offset))
    });
    let mut file = opened.await.map_err(|_| stopping())??;
    let (sender, chunks) = mpsc::channel(AHEAD);
    let shared = Arc::clone(shared);
    spawn_blocking(move || {
        loop {
            let mut data = vec![0; CHUNK];
            let chunk = match file.read(&mut data) {
                Ok(0) => return,
                Ok(read) => {
                    data.truncate(read);
                    Ok(Chunk { data })
                }
                Err(error) => Err(unreadable(&digest, &error)),
            };
            let sent = chunk.as_ref().map_or(0, |chunk| chunk.data.len());
            let failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || failed {
                return;
            }
            shared.count(&node, sent as u64);
        }
    });
    Ok(ReceiverStream::new(chunks))
}

fn unreadable(digest: &Digest, error: &std::io::Error) -> Status {
    tracing::error!(%error, "module {digest} cannot be read");
    Status::internal(format!("module {digest} cannot be read: {error}"))
}
