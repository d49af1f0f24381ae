//! Sending blobs and manifests.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream;
use placet_model::Digest;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Body, StatusCode, Url};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::client::{Registry, slow};
use super::error::{Fault, Outcome};
use super::token::Scope;
use super::{Progress, RegistryReference, answer};

/// The bytes of a blob that is sent.
#[derive(Debug, Clone)]
pub(super) enum Source<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

const CHUNK: usize = 128 << 10;
/// An upload that broke begins anew this often.
const UPLOADS: u32 = 3;

impl Registry {
    /// True if the repository has the blob.
    pub(super) async fn has_blob(&self, scope: &Scope, digest: &Digest) -> Outcome<bool> {
        let what = format!("blob {digest}");
        let url = self.url(&scope.repository, &format!("blobs/{digest}"))?;
        let answer = self
            .ask(scope, &what, |http| http.head(url.clone()))
            .await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answer::expect(answer, &[StatusCode::OK], &what).await?;
        Ok(true)
    }

    /// Sends a blob unless the repository has it; returns the bytes that travelled.
    pub(super) async fn send_blob(
        &self,
        repository: &str,
        (digest, size): (Digest, u64),
        source: Source<'_>,
        progress: &dyn Progress,
    ) -> Outcome<u64> {
        let scope = Scope::push(repository);
        if self.has_blob(&scope, &digest).await? {
            progress.present(size);
            return Ok(0);
        }
        let mut attempt = 1;
        loop {
            let sent = self
                .upload(&scope, (digest, size), source.clone(), progress)
                .await;
            match sent {
                Err(fault) if fault.may_pass() && attempt < UPLOADS => attempt += 1,
                Err(fault) => return Err(fault),
                Ok(()) => return Ok(size),
            }
        }
    }

    async fn upload(
        &self,
        scope: &Scope,
        (digest, size): (Digest, u64),
        source: Source<'_>,
        progress: &dyn Progress,
    ) -> Outcome<()> {
        let what = format!("the upload of blob {digest}");
        let begin = self.url(&scope.repository, "blobs/uploads/")?;
        let answer = self
            .ask(scope, &what, |http| {
                http.post(begin.clone()).header(CONTENT_LENGTH, 0)
            })
            .await?;
        let answer = answer::expect(answer, &[StatusCode::ACCEPTED], &what).await?;
        let mut place = self.place(answer.headers(), &what)?;
        let query = [("digest", digest.to_string())];
        place.query_pairs_mut().extend_pairs(query);
        let own = self.is_own(&place);
        let moved = Arc::new(AtomicU64::new(0));
        let body = body(&source, Arc::clone(&moved)).await?;
        let request = self
            .http()
            .put(place)
            .header(CONTENT_LENGTH, size)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(body);
        let request = match self.shown(scope).filter(|_| own) {
            Some(shown) => request.header(reqwest::header::AUTHORIZATION, shown),
            None => request,
        };
        let time = self.limits.time_for(size);
        let sending = tokio::time::timeout(time, request.send());
        let answer = told(sending, &moved, progress).await;
        let answer = answer.map_err(|_| slow(&what, time))?;
        let answer = answer.map_err(|error| Fault::Unreachable(error.without_url()))?;
        answer::expect(answer, &[StatusCode::CREATED], &what).await?;
        Ok(())
    }

    /// Where an upload goes on: here, or at another place that gets no credentials.
    fn place(&self, headers: &HeaderMap, what: &str) -> Outcome<Url> {
        let place = headers.get(LOCATION).and_then(|place| place.to_str().ok());
        let place = place.ok_or_else(|| Fault::answer(what, "it names no place to send it to"))?;
        let place = self.origin().join(place);
        let place = place.map_err(|error| Fault::answer(what, error.to_string()))?;
        if place.scheme() == "https" || self.is_own(&place) {
            Ok(place)
        } else {
            Err(Fault::answer(what, "it names a place that is not https"))
        }
    }

    /// Stores a manifest under a tag or its digest; the answer's headers.
    pub(super) async fn send_manifest(
        &self,
        reference: &RegistryReference,
        media_type: &str,
        bytes: &[u8],
    ) -> Outcome<HeaderMap> {
        let (url, what) = self.manifest_url(reference)?;
        let scope = Scope::push(&reference.repository);
        let answer = self
            .ask(&scope, &what, |http| {
                http.put(url.clone())
                    .header(CONTENT_TYPE, media_type)
                    .body(bytes.to_vec())
            })
            .await?;
        let answer = answer::expect(answer, &[StatusCode::CREATED], &what).await?;
        Ok(answer.headers().clone())
    }
}

async fn body(source: &Source<'_>, moved: Arc<AtomicU64>) -> Outcome<Body> {
    let path = match source {
        Source::Bytes(bytes) => {
            moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            return Ok(Body::from(bytes.to_vec()));
        }
        Source::File(path) => path,
    };
    let file = File::open(path).await.map_err(Fault::keep("a module"))?;
    let chunks = stream::try_unfold((file, moved), |(mut file, moved)| async move {
        let mut buffer = vec![0; CHUNK];
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            return std::io::Result::Ok(None);
        }
        buffer.truncate(count);
        moved.fetch_add(count as u64, Ordering::Relaxed);
        Ok(Some((buffer, (file, moved))))
    });
    Ok(Body::wrap_stream(chunks))
}

/// Waits for the end, and tells of what has moved meanwhile.
async fn told<T>(
    sending: impl Future<Output = T>,
    moved: &AtomicU64,
    progress: &dyn Progress,
) -> T {
    let mut sending = std::pin::pin!(sending);
    let mut clock = tokio::time::interval(std::time::Duration::from_millis(100));
    let mut before = 0;
    let mut tell = || {
        let now = moved.load(Ordering::Relaxed);
        progress.moved(now - before);
        before = now;
    };
    loop {
        // Cancel safe: the sending goes on where it is.
        tokio::select! {
            done = &mut sending => {
                tell();
                return done;
            }
            _ = clock.tick() => tell(),
        }
    }
}
