//! The HTTP surface: `/metrics`, `/healthz`, `/readyz`.
//!
//! It tells numbers and names of classes and sources, no secrets; what it answers to whom is up to
//! the network that it listens on. A connection is for one question, and is bounded in time.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::Telemetry;

/// The text format of `OpenMetrics`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at one time; whoever else asks waits.
const AT_ONCE: usize = 64;

/// From the first byte of a question to the last of its answer.
const WITHIN: Duration = Duration::from_secs(10);

/// Serves whoever looks until `stop`.
pub(crate) async fn serve(listener: TcpListener, telemetry: Telemetry, stop: CancellationToken) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!("tells metrics and health on http://{address}");
    }
    let router = router(telemetry);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        // Cancel safe: a connection that was accepted is taken in the same arm.
        let accepted = tokio::select! {
            accepted = async { (place.await, listener.accept().await) } => accepted,
            () = stop.cancelled() => return,
        };
        while connections.try_join_next().is_some() {}
        let (Ok(place), Ok((stream, _))) = accepted else {
            // Out of descriptors, say: others end, and give theirs back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let router = router.clone();
        connections.spawn(async move {
            // Whoever asks slowly, or breaks off, gets no answer.
            let _ = tokio::time::timeout(WITHIN, answer(stream, router)).await;
            drop(place);
        });
    }
}

/// Answers one question.
async fn answer(stream: TcpStream, router: Router) -> hyper::Result<()> {
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { answer.await.map_err(|never: Infallible| match never {}) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(WITHIN)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await
}

fn router(telemetry: Telemetry) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .with_state(telemetry)
}

async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    match telemetry.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written down");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn health(State(telemetry): State<Telemetry>) -> Response {
    telemetry
        .0
        .health
        .ill()
        .map_or_else(|| line(StatusCode::OK, "alive"), missing)
}

async fn ready(State(telemetry): State<Telemetry>) -> Response {
    let ready = telemetry.0.health.ready();
    ready.map_or_else(missing, |words| line(StatusCode::OK, words))
}

fn missing(what: String) -> Response {
    line(StatusCode::SERVICE_UNAVAILABLE, what)
}

fn line(status: StatusCode, words: impl Display) -> Response {
    (status, format!("{words}\n")).into_response()
}
