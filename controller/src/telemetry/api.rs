//! Counts what is asked of an API server.

use std::task::{Context, Poll};
use std::time::Instant;

use http::{Method, Request, Response, StatusCode};
use tower::{Layer, Service};

use super::Telemetry;

pub(super) const VERBS: [&str; 6] = ["get", "watch", "create", "update", "patch", "delete"];

/// A layer, and the service under it, of a client of an API server.
#[derive(Debug, Clone)]
pub(crate) struct Counted<S> {
    inner: S,
    telemetry: Telemetry,
}

impl Counted<()> {
    /// Counts for `telemetry`.
    pub(crate) fn by(telemetry: Telemetry) -> Self {
        Self {
            inner: (),
            telemetry,
        }
    }
}

impl<S> Layer<S> for Counted<()> {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            telemetry: self.telemetry.clone(),
        }
    }
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let verb = verb(request.method(), request.uri().query().unwrap_or_default());
        let (telemetry, began) = (self.telemetry.clone(), Instant::now());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let result = answer
                .as_ref()
                .map_or("unanswered", |it| result(it.status()));
            let metrics = &telemetry.0.metrics;
            let labels = [("verb", verb), ("result", result)];
            metrics.requests.get_or_create(&labels).inc();
            metrics.request_duration.observe(began.elapsed());
            answer
        })
    }
}

fn verb(method: &Method, query: &str) -> &'static str {
    let is_watch = || query.split('&').any(|pair| pair.starts_with("watch="));
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ if is_watch() => "watch",
        _ => "get",
    }
}

fn result(status: StatusCode) -> &'static str {
    match status.as_u16() {
        0..=399 => "ok",
        404 => "notFound",
        409 => "conflict",
        429 => "throttled",
        500.. => "failed",
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::verb;

    #[test]
    fn a_watch_is_no_read() {
        assert_eq!(verb(&Method::GET, "limit=500"), "get");
        assert_eq!(verb(&Method::GET, "limit=5&watch=true"), "watch");
        assert_eq!(verb(&Method::PATCH, "fieldManager=watch=1"), "patch");
    }
}
