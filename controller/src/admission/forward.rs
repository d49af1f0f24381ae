//! From a replica that follows to the one that leads.

use std::net::SocketAddr;

use placet_model::visible;

use super::Call;
use super::identity::Identity;
use super::review::{Request, Response};

/// Marks a review that another replica passed on, so that it is not passed on again.
pub(super) const FORWARDED: &str = "placet-forwarded";

/// The trace that a review belongs to.
pub(super) const TRACEPARENT: &str = "traceparent";

/// An answer is a few kilobytes of warnings.
const ANSWER_MOST: usize = 64 << 10;

/// Why the leading controller did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("TLS cannot be set up")]
    Tls(#[from] super::authorities::CertificateError),
    #[error("the leading controller at {0} does not answer")]
    Call(SocketAddr, #[source] reqwest::Error),
    #[error("the leading controller at {0} answered something else")]
    Unreadable(SocketAddr),
}

/// What the leading controller says to a review.
pub(super) async fn forward(
    identity: &Identity,
    leader: SocketAddr,
    review: axum::body::Bytes,
    request: &Request,
    call: &Call,
) -> Result<Response, NoAnswer> {
    let failed = |error| NoAnswer::Call(leader, error);
    let client = identity.client()?;
    let limit = call.limit();
    // What comes back has to be there before whoever asked has given up.
    let milliseconds = limit.as_millis();
    let url = format!("https://{leader}/validate?timeout={milliseconds}ms");
    let mut answer = client
        .post(url)
        .header("content-type", "application/json")
        .header(FORWARDED, "true")
        .header(TRACEPARENT, call.trace.own.to_string())
        .timeout(limit)
        .body(review)
        .send()
        .await
        .map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_MOST {
            return Err(NoAnswer::Unreadable(leader));
        }
    }
    let review: serde_json::Value =
        serde_json::from_slice(&body).map_err(|_| NoAnswer::Unreadable(leader))?;
    let mut response: Response = serde_json::from_value(review["response"].clone())
        .map_err(|_| NoAnswer::Unreadable(leader))?;
    if response.uid != request.uid {
        return Err(NoAnswer::Unreadable(leader));
    }
    let warnings = response.warnings.take().unwrap_or_default();
    let warnings: Vec<_> = warnings.iter().map(|it| visible(it).to_string()).collect();
    response.warnings = (!warnings.is_empty()).then_some(warnings);
    response.types = request.types.clone();
    Ok(response)
}
