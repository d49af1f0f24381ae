//! Sending blobs and manifests.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use placet_model::Digest;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Body, StatusCode, Url};

use super::client::{Registry, slow};
use super::download::Wanted;
use super::error::{Fault, Outcome};
use super::stream::{Passing, Wrong};
use super::token::Scope;
use super::{Progress, RegistryReference, answer};

/// Where the bytes of a blob that is sent come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
    /// A repository, of this registry or another one.
    Repository(&'a Registry, &'a str),
}

/// What began an upload: a place to send the bytes to, or none where the registry has them.
enum Begun {
    At(Url),
    Mounted,
}

/// An upload that broke begins anew this often.
const UPLOADS: u32 = 3;

impl Registry {
    /// True if the repository has the blob.
    async fn has_blob(&self, repository: &str, digest: &Digest) -> Outcome<bool> {
        let what = format!("blob {digest}");
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        let scope = Scope::push(repository);
        let answer = self
            .ask(&scope, &what, |http| http.head(url.clone()))
            .await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answer::expect(answer, &[StatusCode::OK], &what).await?;
        Ok(true)
    }

    /// Sends a blob unless the repository has it, or the registry in the repository that it is
    /// taken from; returns the bytes that travelled.
    pub(crate) async fn send_blob(
        &self,
        repository: &str,
        (digest, size): (Digest, u64),
        source: Source<'_>,
        progress: &dyn Progress,
    ) -> Outcome<u64> {
        if self.has_blob(repository, &digest).await? {
            progress.present(size);
            return Ok(0);
        }
        let mut attempt = 1;
        loop {
            let sent = self.upload(repository, (digest, size), source, progress);
            match sent.await {
                Err(fault) if fault.may_pass() && attempt < UPLOADS => attempt += 1,
                sent => return sent,
            }
        }
    }

    async fn upload(
        &self,
        repository: &str,
        (digest, size): (Digest, u64),
        source: Source<'_>,
        progress: &dyn Progress,
    ) -> Outcome<u64> {
        let what = format!("the upload of blob {digest}");
        let scope = Scope::Push {
            to: repository.to_owned(),
            from: self.mounted_from(source).map(str::to_owned),
        };
        let mut place = match self
            .begin(&scope, repository, &digest, source, &what)
            .await?
        {
            Begun::At(place) => place,
            Begun::Mounted => {
                progress.present(size);
                return Ok(0);
            }
        };
        let query = [("digest", digest.to_string())];
        place.query_pairs_mut().extend_pairs(query);
        let own = self.is_own(&place);
        let (body, moved, wrong) = body(source, (digest, size)).await?;
        let request = self
            .http()
            .put(place)
            .header(CONTENT_LENGTH, size)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(body);
        let request = match self.shown(&scope).filter(|_| own) {
            Some(shown) => request.header(AUTHORIZATION, shown),
            None => request,
        };
        let time = self.limits.time_for(size);
        let sending = tokio::time::timeout(time, request.send());
        let answer = told(sending, &moved, progress).await;
        if let Some(fault) = wrong.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(fault);
        }
        let answer = answer.map_err(|_| slow(&what, time))?;
        let answer = answer.map_err(|error| Fault::Unreachable(error.without_url()))?;
        if answer::is_passing(answer.status()) {
            self.wait(answer::retry_after(answer.headers()), 1).await;
        }
        answer::expect(answer, &[StatusCode::CREATED], &what).await?;
        Ok(size)
    }

    /// The repository that a blob need only be mounted from, since it is in this registry too.
    fn mounted_from<'a>(&self, source: Source<'a>) -> Option<&'a str> {
        match source {
            Source::Repository(from, repository) if self.is_own(from.origin()) => Some(repository),
            _ => None,
        }
    }

    async fn begin(
        &self,
        scope: &Scope,
        repository: &str,
        digest: &Digest,
        source: Source<'_>,
        what: &str,
    ) -> Outcome<Begun> {
        let mut url = self.url(repository, "blobs/uploads/")?;
        if let Some(from) = self.mounted_from(source) {
            let digest = digest.to_string();
            let query = [("mount", digest.as_str()), ("from", from)];
            url.query_pairs_mut().extend_pairs(query);
        }
        let answer = self
            .ask(scope, what, |http| {
                http.post(url.clone()).header(CONTENT_LENGTH, 0)
            })
            .await?;
        let fit = [StatusCode::ACCEPTED, StatusCode::CREATED];
        let answer = answer::expect(answer, &fit, what).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(Begun::Mounted),
            _ => self.place(answer.headers(), what).map(Begun::At),
        }
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
    pub(crate) async fn send_manifest(
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

/// The body, what has moved of it so far, and what went wrong with it.
async fn body(source: Source<'_>, blob: (Digest, u64)) -> Outcome<(Body, Arc<AtomicU64>, Wrong)> {
    let passing = match source {
        Source::Bytes(bytes) => {
            let moved = Arc::new(AtomicU64::new(blob.1));
            return Ok((Body::from(bytes.to_vec()), moved, Wrong::default()));
        }
        Source::File(path) => Passing::file(path, blob).await?,
        Source::Repository(from, repository) => {
            let (digest, size) = blob;
            let wanted = Wanted {
                repository,
                digest,
                size,
            };
            Passing::registry(from, wanted).await?
        }
    };
    Ok(passing.into_body())
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
