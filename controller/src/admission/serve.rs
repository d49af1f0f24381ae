//! The HTTPS server: bounded in connections, time and size, whatever comes.

use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response as HttpResponse};
use axum::routing::post;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use kube::core::DynamicObject;
use kube::core::admission::AdmissionReview;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::Instrument as _;

use super::forward::{FORWARDED, TRACEPARENT};
use super::review::{Request, Response};
use super::{Admission, Call};
use crate::telemetry::{Review, Trace, logged};

/// An API server refuses objects of more than 3 MiB itself; a review holds two.
const REVIEW_MOST: usize = 3 << 20;

/// Connections at once. An API server needs one; the others are for those of several servers, and
/// for whoever means no good.
const CONNECTIONS_MOST: usize = 256;

/// Requests at once on one connection.
const STREAMS_MOST: u32 = 128;

/// For a handshake, for the head of a request, and for its body.
const WITHIN: Duration = Duration::from_secs(10);

/// A connection that asks nothing for so long is closed; API servers open another.
const IDLE: Duration = Duration::from_mins(1);

/// For what is being answered when a connection is closed.
const PATIENCE: Duration = Duration::from_secs(3);

/// What an API server allows where it does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// No API server waits for longer.
const TIMEOUT_MOST: Duration = Duration::from_secs(30);

/// Answers API servers until it is time to stop.
pub(super) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    admission: Admission,
    stop: CancellationToken,
) {
    let router = router(admission);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        // Cancel safe: a connection that was accepted is taken in the same arm.
        let accepted = tokio::select! {
            accepted = async { (place.await, listener.accept().await) } => accepted,
            () = stop.cancelled() => break,
        };
        while connections.try_join_next().is_some() {}
        let (Ok(place), Ok((stream, _))) = accepted else {
            // Out of descriptors, say: others end, and give theirs back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            if let Err(error) = one(stream, tls, router, stop).await {
                tracing::debug!(error, "a connection to the webhook ends");
            }
            drop(place);
        });
    }
    let rest = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(PATIENCE, rest).await;
}

/// One connection, from the handshake to its end.
async fn one(
    stream: TcpStream,
    tls: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let stream = tokio::time::timeout(WITHIN, tls.accept(stream)).await??;
    let activity = Arc::new(Activity::default());
    let service = hyper_util::service::TowerToHyperService::new(tower::service_fn({
        let activity = Arc::clone(&activity);
        move |request: HttpRequest<hyper::body::Incoming>| {
            let (router, busy) = (router.clone(), Busy::on(&activity));
            async move {
                let answer = router.oneshot(request).await;
                drop(busy);
                answer.map_err(|error: Infallible| match error {})
            }
        }
    }));
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(WITHIN);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MOST)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(IDLE / 3)
        .keep_alive_timeout(WITHIN);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // Cancel safe: the connection is polled on below.
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = activity.over() => {}
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(PATIENCE, connection).await?
}

/// Whether a connection is used.
struct Activity {
    open: AtomicUsize,
    last: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            open: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
        }
    }
}

impl Activity {
    /// Comes when nothing was asked for long enough.
    async fn over(&self) {
        loop {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let is_used = self.open.load(Ordering::Relaxed) > 0;
            let left = IDLE.saturating_sub(last.elapsed());
            if left.is_zero() && !is_used {
                return;
            }
            tokio::time::sleep(left.max(Duration::from_secs(1))).await;
        }
    }
}

/// A request that is being answered.
struct Busy(Arc<Activity>);

impl Busy {
    fn on(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

fn router(admission: Admission) -> Router {
    Router::new()
        .route("/validate", post(validate))
        .route("/mutate", post(mutate))
        .with_state(admission)
}

async fn validate(State(admission): State<Admission>, request: HttpRequest) -> HttpResponse {
    let began = Instant::now();
    let call = Call {
        until: began + timeout(request.uri()),
        is_forwarded: request.headers().contains_key(FORWARDED),
        trace: trace(request.headers()),
    };
    let answering = async {
        let answered = match read(request).await {
            Ok((review, bytes)) => Ok(admission.validate(&review, bytes, call).await),
            Err(refusal) => Err(refusal),
        };
        counted(&admission, "validate", (began, call.trace), answered)
    };
    answering.instrument(logged(Some(call.trace.own))).await
}

async fn mutate(State(admission): State<Admission>, request: HttpRequest) -> HttpResponse {
    let (began, trace) = (Instant::now(), trace(request.headers()));
    let answering = async {
        let answered = read(request).await;
        let answered = answered.map(|(review, _)| admission.mutate(&review));
        counted(&admission, "mutate", (began, trace), answered)
    };
    answering.instrument(logged(Some(trace.own))).await
}

/// The trace that whoever asks names, or one of its own.
fn trace(headers: &HeaderMap) -> Trace {
    let named = headers.get(TRACEPARENT);
    Trace::of(named.and_then(|value| value.to_str().ok()))
}

/// The answer as it is sent; it counts, with the time that it took.
fn counted(
    admission: &Admission,
    webhook: &'static str,
    (began, trace): (Instant, Trace),
    answered: Result<Response, Box<HttpResponse>>,
) -> HttpResponse {
    let result = match &answered {
        Ok(response) if response.allowed => "allowed",
        Ok(_) => "refused",
        Err(_) => "malformed",
    };
    let review = Review { webhook, result };
    let took = began.elapsed();
    tracing::debug!("{webhook}: a review is {result} after {took:?}");
    admission.0.telemetry.reviewed(review, trace, took);
    match answered {
        Ok(response) => axum::Json(response.into_review()).into_response(),
        Err(refusal) => *refusal,
    }
}

/// The request of a review, or why it is none.
async fn read(request: HttpRequest) -> Result<(Request, Bytes), Box<HttpResponse>> {
    let no = |code: StatusCode, why: &str| {
        let why = format!("{why}\n");
        Err(Box::new((code, why).into_response()))
    };
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        let why = "an admission review is sent as application/json";
        return no(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
    }
    let bytes = match body_of(&parts.headers, body).await {
        Ok(bytes) => bytes,
        Err((code, why)) => return no(code, why),
    };
    let review: AdmissionReview<DynamicObject> = match serde_json::from_slice(&bytes) {
        Ok(review) => review,
        Err(error) => {
            let error = error.to_string();
            let why = format!(
                "this is no AdmissionReview: {}",
                placet_model::visible(&error)
            );
            return no(StatusCode::BAD_REQUEST, &why);
        }
    };
    let types = &review.types;
    if (types.api_version.as_str(), types.kind.as_str())
        != ("admission.k8s.io/v1", "AdmissionReview")
    {
        let why = "only AdmissionReview of admission.k8s.io/v1 is answered; set admissionReviewVersions: [v1]";
        return no(StatusCode::BAD_REQUEST, why);
    }
    let request: Result<Request, _> = review.try_into();
    match request {
        Ok(request) if !request.uid.is_empty() => Ok((request, bytes)),
        _ => no(StatusCode::BAD_REQUEST, "the review holds no request"),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

async fn body_of(headers: &HeaderMap, body: Body) -> Result<Bytes, (StatusCode, &'static str)> {
    let too_large = (
        StatusCode::PAYLOAD_TOO_LARGE,
        "a review of more than 3 MiB is not read",
    );
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > REVIEW_MOST) {
        return Err(too_large);
    }
    match tokio::time::timeout(WITHIN, to_bytes(body, REVIEW_MOST)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.to_string().contains("length limit") => Err(too_large),
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the review breaks off")),
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            "the review did not come within 10 s",
        )),
    }
}

/// How long the API server waits: it says so in the query (`?timeout=10s`).
fn timeout(uri: &Uri) -> Duration {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    let text = pairs.find_map(|pair| pair.strip_prefix("timeout="));
    let parse = |text: &str| -> Option<Duration> {
        match text.strip_suffix("ms") {
            Some(number) => Some(Duration::from_millis(number.parse().ok()?)),
            None => Some(Duration::from_secs(text.strip_suffix('s')?.parse().ok()?)),
        }
    };
    text.and_then(parse).unwrap_or(TIMEOUT).min(TIMEOUT_MOST)
}
