//! The bytes of modules, for nodes that were told to stage them.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::sync::Arc;

use futures_util::Stream;
use placet_model::{Digest, NodeName};
use placet_protocol::wire::{Chunk, FetchRequest};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::join::stopping;
use super::patch::Bytes;
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
    let patch = patch(shared, packages, &node, request, (&file, digest, size)).await;
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
    let file = opened.await.map_err(|_| stopping())??;
    let (sender, chunks) = mpsc::channel(AHEAD);
    let shared = Arc::clone(shared);
    spawn_blocking(move || {
        let sending = Sending {
            shared,
            node,
            digest,
            sender,
        };
        match patch {
            Some(patch) => sending.send(&*patch, true),
            None => sending.send(file, false),
        }
    });
    Ok(ReceiverStream::new(chunks))
}

/// A patch against what the node has, if it asked for one and that is smaller.
async fn patch(
    shared: &Shared,
    packages: &Packages,
    node: &NodeName,
    request: &FetchRequest,
    (file, digest, size): (&File, Digest, u64),
) -> Option<Arc<[u8]>> {
    let base: Digest = request.base.parse().ok()?;
    if request.offset > 0 || !shared.runs(node, &base) {
        return None;
    }
    let file = file.try_clone().ok()?;
    let wanted = Bytes { digest, file, size };
    let (file, size) = packages.fetch_blob(&base).await.ok()?;
    let base = Bytes {
        digest: base,
        file,
        size,
    };
    shared.patches.between(base, wanted).await
}

/// What is sent to whom.
struct Sending {
    shared: Arc<Shared>,
    node: NodeName,
    digest: Digest,
    sender: mpsc::Sender<Result<Chunk, Status>>,
}

impl Sending {
    fn send(&self, mut content: impl Read, patch: bool) {
        loop {
            let mut data = vec![0; CHUNK];
            let chunk = match content.read(&mut data) {
                Ok(0) => return,
                Ok(read) => {
                    data.truncate(read);
                    Ok(Chunk { data, patch })
                }
                Err(error) => Err(unreadable(&self.digest, &error)),
            };
            let sent = chunk.as_ref().map_or(0, |chunk| chunk.data.len());
            let failed = chunk.is_err();
            if self.sender.blocking_send(chunk).is_err() || failed {
                return;
            }
            self.shared.count(&self.node, sent as u64);
        }
    }
}

fn unreadable(digest: &Digest, error: &std::io::Error) -> Status {
    tracing::error!(%error, "module {digest} cannot be read");
    Status::internal(format!("module {digest} cannot be read: {error}"))
}
