//! The way to a collector.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::Client;
use tokio::runtime::Handle;
use url::Url;

use super::TracesError;
use crate::http;

/// For one message.
const WITHIN: Duration = Duration::from_secs(5);

/// Collectors say little.
const ANSWER_MOST: usize = 64 << 10;

/// Sends messages to one collector, and says once that it is away, and once that it is back.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    /// The exporter calls from a thread of its own.
    runtime: Handle,
    /// The collector, for people.
    place: String,
    is_away: AtomicBool,
}

impl Sender {
    pub(super) fn new(endpoint: &Url) -> Result<Self, TracesError> {
        let is_secret = !endpoint.username().is_empty() || endpoint.password().is_some();
        let is_http = matches!(endpoint.scheme(), "http" | "https");
        let place = endpoint.origin().ascii_serialization();
        if is_secret || !is_http || !endpoint.has_host() {
            return Err(TracesError::Endpoint(place));
        }
        Ok(Self {
            client: http::collector_client(endpoint, "placet-controller")?,
            runtime: Handle::current(),
            place,
            is_away: AtomicBool::new(false),
        })
    }

    fn note(&self, outcome: Result<(), String>) {
        let was_away = self.is_away.swap(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Err(why) if !was_away => tracing::warn!(
                "spans cannot be sent to {}: {why}; until that works again they are dropped",
                self.place
            ),
            Ok(()) if was_away => tracing::info!("spans are sent to {} again", self.place),
            _ => {}
        }
    }
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Sender {
    fn send_bytes<'s, 'a>(&'s self, request: Request<Bytes>) -> Answer<'a>
    where
        's: 'a,
        Self: 'a,
    {
        let sent = self.runtime.spawn(send(self.client.clone(), request));
        Box::pin(async move {
            let answer = sent.await.map_err(|error| error.to_string());
            let answer = answer.and_then(|answer| answer);
            self.note(match &answer {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(format!("it answers {}", answer.status())),
                Err(why) => Err(why.clone()),
            });
            answer.map_err(HttpError::from)
        })
    }
}

async fn send(client: Client, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
    let request = reqwest::Request::try_from(request).map_err(http::chain)?;
    let exchange = async {
        let mut answer = client.execute(request).await.map_err(http::chain)?;
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(http::chain)? {
            body.extend_from_slice(&piece);
            if body.len() > ANSWER_MOST {
                return Err("its answer is longer than 64 KiB".to_owned());
            }
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    };
    let answered = tokio::time::timeout(WITHIN, exchange).await;
    answered.unwrap_or_else(|_| Err(format!("it has not answered within {} s", WITHIN.as_secs())))
}
