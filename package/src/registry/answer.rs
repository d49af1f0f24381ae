//! What a registry's answers mean.

use std::time::{Duration, SystemTime};

use oci_distribution::errors::OciEnvelope;
use reqwest::header::{HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};

use super::error::{Fault, Outcome};

/// As much of an error's body as is read.
const TEXT_MOST: usize = 16 << 10;
/// As much of it as people are shown.
const SHOWN_MOST: usize = 300;
/// A registry that dawdles over the text of an error is not waited for.
const TEXT_TIME: Duration = Duration::from_secs(5);

/// The answer, if its status is one of those wanted; otherwise what it means.
pub(super) async fn expect(
    response: Response,
    wanted: &[StatusCode],
    what: &str,
) -> Outcome<Response> {
    let status = response.status();
    if wanted.contains(&status) {
        return Ok(response);
    }
    let meant = if lacks_rights(response.headers()) {
        StatusCode::FORBIDDEN
    } else {
        status
    };
    let text = text(response).await;
    Err(fault(status, meant, text, what))
}

/// True where a token was good and does not allow what was asked for. RFC 6750, section 3.1, has this
/// word for it and status 403; CNCF Distribution has the word and status 401.
fn lacks_rights(headers: &HeaderMap) -> bool {
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter();
    challenges.any(|it| {
        let text = it.to_str().unwrap_or_default();
        text.contains("error=\"insufficient_scope\"")
    })
}

/// The fault that an answer tells of: `meant` is its status, or what that should have been.
fn fault(status: StatusCode, meant: StatusCode, text: String, what: &str) -> Fault {
    let (what, code) = (what.to_owned(), status.as_u16());
    match meant {
        StatusCode::NOT_FOUND => Fault::NotFound(what),
        StatusCode::UNAUTHORIZED => Fault::Denied {
            what,
            status: code,
            text,
            advice: "check the name and the password",
        },
        StatusCode::FORBIDDEN => Fault::Denied {
            what,
            status: code,
            text,
            advice: "the credentials that were shown, if any, do not allow it",
        },
        _ if is_passing(status) => Fault::Failing {
            what,
            status: code,
            text,
        },
        _ => Fault::Refused {
            what,
            status: code,
            text,
        },
    }
}

/// True if the same request may have another answer in a while.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// How long the registry asks to be left alone: seconds, or until a time.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    until.duration_since(SystemTime::now()).ok()
}

/// What the registry says of an error, shortened.
async fn text(mut response: Response) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while bytes.len() < TEXT_MOST {
            let Ok(Some(chunk)) = response.chunk().await else {
                return;
            };
            let room = TEXT_MOST - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    };
    // A text that is cut off is as good as none.
    let _ = tokio::time::timeout(TEXT_TIME, read).await;
    let Ok(envelope) = serde_json::from_slice::<OciEnvelope>(&bytes) else {
        return String::new();
    };
    let texts = envelope.errors.iter();
    let texts: Vec<_> = texts
        .map(|error| error.message.clone())
        .filter(|message| !message.is_empty())
        .collect();
    texts.join("; ").chars().take(SHOWN_MOST).collect()
}
