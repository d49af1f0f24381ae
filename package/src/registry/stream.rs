//! Bodies of uploads: from a file, or from another registry without a stop on the disk.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream;
use placet_model::{Digest, Hasher};
use reqwest::{Body, Response};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::client::Registry;
use super::download::{Wanted, what};
use super::error::{Fault, Outcome};
use crate::error::Problem;
use crate::manifest::MANIFEST_MAX;

/// What went wrong with a body while it was being sent.
pub(super) type Wrong = Arc<Mutex<Option<Fault>>>;

/// A blob on its way. It ends well only if its bytes are those of its digest; otherwise whoever
/// receives it has not the whole.
pub(super) struct Passing {
    from: From,
    digest: Digest,
    size: u64,
    left: u64,
    hasher: Hasher,
    /// Bytes that have moved.
    moved: Arc<AtomicU64>,
    wrong: Wrong,
}

enum From {
    File(File),
    Response(Response),
}

const CHUNK: usize = 128 << 10;

impl Passing {
    /// From a file.
    pub(super) async fn file(path: &Path, blob: (Digest, u64)) -> Outcome<Self> {
        let file = File::open(path).await.map_err(Fault::keep("a module"))?;
        Ok(Self::new(From::File(file), blob))
    }

    /// From a registry.
    pub(super) async fn registry(registry: &Registry, wanted: Wanted<'_>) -> Outcome<Self> {
        let response = registry.ask_from(wanted, 0, &what(&wanted)).await?;
        let blob = (wanted.digest, wanted.size);
        Ok(Self::new(From::Response(response), blob))
    }

    fn new(from: From, (digest, size): (Digest, u64)) -> Self {
        Self {
            from,
            digest,
            size,
            left: size,
            hasher: Hasher::default(),
            moved: Arc::default(),
            wrong: Wrong::default(),
        }
    }

    /// The body, what has moved of it so far, and what went wrong with it.
    pub(super) fn into_body(self) -> (Body, Arc<AtomicU64>, Wrong) {
        let (moved, wrong) = (Arc::clone(&self.moved), Arc::clone(&self.wrong));
        let chunks = stream::try_unfold(Some(self), |passing| async {
            let Some(mut passing) = passing else {
                return Ok(None);
            };
            match passing.next().await {
                Ok(chunk) => {
                    let is_end = passing.left == 0;
                    Ok(Some((chunk, (!is_end).then_some(passing))))
                }
                Err(fault) => Err(passing.fail(fault)),
            }
        });
        (Body::wrap_stream(chunks), moved, wrong)
    }

    /// The next part; the last one is given only if all of them are what was wanted.
    async fn next(&mut self) -> Outcome<Vec<u8>> {
        let chunk = self.from.chunk().await?;
        let count = chunk.len() as u64;
        if count > self.left || (count == 0 && self.left > 0) {
            return Err(self.wrong_size(self.size - self.left + count));
        }
        self.hasher.update(&chunk);
        self.left -= count;
        self.moved.fetch_add(count, Ordering::Relaxed);
        if self.left > 0 {
            return Ok(chunk);
        }
        match self.hasher.clone().finish() {
            found if found == self.digest => Ok(chunk),
            found => Err(self.wrong_digest(found)),
        }
    }

    fn wrong_size(&self, found: u64) -> Fault {
        let (what, wanted) = (format!("blob {}", self.digest), self.size);
        match self.from {
            From::File(_) => Fault::Package(Problem::WrongSize {
                what,
                wanted,
                found,
            }),
            From::Response(_) => {
                let why = format!("{found} bytes have come of {wanted} that were announced");
                Fault::answer(&what, why)
            }
        }
    }

    fn wrong_digest(&self, found: Digest) -> Fault {
        let (what, wanted) = (format!("blob {}", self.digest), self.digest);
        match self.from {
            From::File(_) => Fault::Package(Problem::WrongDigest {
                what,
                wanted,
                found,
            }),
            From::Response(_) => Fault::WrongDigest {
                what,
                wanted,
                found,
            },
        }
    }

    fn fail(&self, fault: Fault) -> io::Error {
        let text = fault.to_string();
        *self.wrong.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        io::Error::other(text)
    }
}

impl From {
    async fn chunk(&mut self) -> Outcome<Vec<u8>> {
        match self {
            Self::File(file) => {
                let mut buffer = vec![0; CHUNK];
                let count = file.read(&mut buffer).await;
                buffer.truncate(count.map_err(Fault::keep("a module"))?);
                Ok(buffer)
            }
            Self::Response(response) => {
                let chunk = response.chunk().await;
                let chunk = chunk.map_err(|error| Fault::Unreachable(error.without_url()))?;
                Ok(chunk.unwrap_or_default().to_vec())
            }
        }
    }
}

impl Registry {
    /// A small blob, whole and compared.
    pub(crate) async fn small_blob(&self, wanted: Wanted<'_>) -> Outcome<Vec<u8>> {
        let what = what(&wanted);
        if wanted.size > MANIFEST_MAX {
            let most = MANIFEST_MAX;
            return Err(Fault::TooLarge { what, most });
        }
        let response = self.ask_from(wanted, 0, &what).await?;
        let bytes = self.body(response, wanted.size, &what).await?;
        match Digest::of(&bytes) {
            found if found == wanted.digest => Ok(bytes),
            found => Err(Fault::WrongDigest {
                what,
                wanted: wanted.digest,
                found,
            }),
        }
    }
}
