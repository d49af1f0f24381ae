//! Calls by which git hosts say that something was pushed.
//!
//! A call makes a repository looked at now instead of later, and nothing else: what it carries is
//! only read to find out whether it comes from the host. Whoever has no secret learns nothing, not
//! even which sources there are: an unknown source and a wrong signature get the same answer after
//! the same time.
//!
//! **Invariant:** what a stranger can cost is bounded: the size of a call, the calls at one time and
//! in a second, what is remembered, and the time for which a call may last.

mod call;
mod limit;
mod sources;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use jiff::Timestamp;
use placet_crds::Receiver as Declared;
use placet_model::visible;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use call::{Call, Taken};
use limit::{Bucket, Seen};

pub(crate) use sources::Sources;

/// Hosts send at most so much of a push, and what they send is not used.
const BODY_MAX: usize = 1 << 20;

/// Calls that are read at one time; each may hold [`BODY_MAX`] bytes.
const AT_ONCE: usize = 16;

/// Calls in a second, on average and in a burst.
const PER_SECOND: u32 = 20;
const BURST: u32 = 100;

/// How long a call may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whoever is not let in learns so after this time, whatever the reason.
const PACE: Duration = Duration::from_millis(200);

/// Deliveries that are remembered, so that none counts twice.
const REMEMBERED: usize = 10_000;

/// Receives calls.
#[derive(Debug, Clone)]
pub(crate) struct Receiver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sources: Sources,
    places: Semaphore,
    bucket: Mutex<Bucket>,
    seen: Mutex<Seen>,
    pace: Duration,
}

/// `POST /hooks/<name of the GitSource>`.
fn router(receiver: Receiver) -> Router {
    Router::new()
        .route("/hooks/{source}", post(called))
        .with_state(receiver)
}

/// Serves git hosts over HTTP until `stop`. What keeps the way secret, such as an ingress, stands
/// before it.
pub(crate) async fn serve(
    listener: TcpListener,
    receiver: Receiver,
    stop: CancellationToken,
) -> io::Result<()> {
    if let Ok(address) = listener.local_addr() {
        tracing::info!("listens for git hosts on {address}");
    }
    axum::serve(listener, router(receiver))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

impl Receiver {
    /// Receives calls for `sources`.
    pub(crate) fn new(sources: Sources) -> Self {
        Self::with_pace(sources, PACE)
    }

    fn with_pace(sources: Sources, pace: Duration) -> Self {
        Self(Arc::new(Inner {
            sources,
            places: Semaphore::new(AT_ONCE),
            bucket: Mutex::new(Bucket::new(PER_SECOND, BURST)),
            seen: Mutex::new(Seen::new(REMEMBERED)),
            pace,
        }))
    }
}

/// Why a call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    TooMany,
    TooLarge,
    TooSlow,
    /// The source is unknown, receives no calls, or the call is not its host's.
    Stranger,
    Again,
    /// Whoever was let in finds that the repository cannot be looked at now.
    NotNow,
}

async fn called(
    State(receiver): State<Receiver>,
    Path(source): Path<String>,
    request: Request,
) -> Response {
    let begun = Instant::now();
    match receiver.0.receive(&source, request).await {
        Ok(answer) => answer.into_response(),
        Err(refused) => {
            if refused == Refused::Stranger {
                sleep_until(begun + receiver.0.pace).await;
            }
            refused.answer()
        }
    }
}

impl Inner {
    async fn receive(
        &self,
        source: &str,
        request: Request,
    ) -> Result<(StatusCode, &'static str), Refused> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > BODY_MAX as u64) {
            return Err(Refused::TooLarge);
        }
        let _place = self.places.try_acquire().map_err(|_| Refused::TooMany)?;
        let is_within = locked(&self.bucket).take(Instant::now());
        if !is_within {
            return Err(Refused::TooMany);
        }
        let (parts, body) = request.into_parts();
        let body = timeout(PATIENCE, read(body)).await;
        let body = body.map_err(|_| Refused::TooSlow)??;
        let (declared, taken) = self.authenticate(source, &parts.headers, &body).await?;
        if !locked(&self.seen).is_new(source, taken.delivery) {
            return Err(Refused::Again);
        }
        if taken.is_ping {
            return Ok((StatusCode::OK, "it is heard\n"));
        }
        let poked = self.sources.poke(source).await;
        poked.map_err(|error| {
            tracing::warn!("GitSource `{source}` is not looked at for a call: {error}");
            locked(&self.seen).forget(source, taken.delivery);
            Refused::NotNow
        })?;
        tracing::info!("{:?} called for GitSource `{source}`", declared.kind);
        Ok((StatusCode::ACCEPTED, "the repository is being looked at\n"))
    }

    /// Finds out whether a call is from the host of `source`. What is done for one that is unknown
    /// takes as long as for another.
    async fn authenticate(
        &self,
        source: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(Declared, Taken), Refused> {
        let call = Call {
            headers,
            body,
            now: Timestamp::now(),
        };
        let (declared, token) = match self.sources.find(source).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                call.in_vain();
                return Err(Refused::Stranger);
            }
            Err(error) => {
                // Its owner has to know; the caller has not.
                tracing::warn!(
                    "a call for GitSource `{}` cannot be checked: {error}",
                    visible(source)
                );
                call.in_vain();
                return Err(Refused::Stranger);
            }
        };
        match call.authenticate(declared.kind, &token) {
            Ok(delivered) => Ok((declared, delivered)),
            Err(why) => {
                tracing::warn!("a call for GitSource `{source}` is refused: {why}");
                Err(Refused::Stranger)
            }
        }
    }
}

async fn read(body: Body) -> Result<axum::body::Bytes, Refused> {
    let read = axum::body::to_bytes(body, BODY_MAX).await;
    read.map_err(|_| Refused::TooLarge)
}

impl Refused {
    fn answer(self) -> Response {
        let (status, text) = match self {
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many calls; try again later\n",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "a call has 1 MiB at most; send push events alone\n",
            ),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the call did not arrive\n"),
            Self::Stranger => (
                StatusCode::FORBIDDEN,
                "not accepted; compare path and secret with `spec.receiver` of the GitSource\n",
            ),
            Self::Again => (
                StatusCode::CONFLICT,
                "this delivery, or one just like it, was taken already\n",
            ),
            Self::NotNow => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the repository cannot be looked at now; try again later\n",
            ),
        };
        let mut response = (status, text).into_response();
        if matches!(self, Self::TooMany | Self::NotNow) {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
