//! Asking the API server, again and again where that may help.

use std::time::Duration;

use kube::Error;
use kube::core::Status;

use super::Kubernetes;
use crate::home::HomeError;

/// The first pause before a request is repeated; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MOST: Duration = Duration::from_secs(1);

/// An API server that has not answered by then is asked again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request that does not work is told of after so many attempts, which is about a second, and then
/// once a minute.
const TOLD_FIRST: u32 = 5;
const TOLD_EVERY: u32 = 60;

/// What came of one request.
pub(super) enum Answer {
    /// Asking again may help.
    Transient,
    NotFound,
    Conflict,
    /// Asking again is of no use.
    Refused(String),
}

impl Kubernetes {
    /// Asks until there is an answer that asking again would not change, or the term has ended.
    pub(super) async fn request<T, F>(
        &self,
        what: &'static str,
        ask: impl Fn() -> F,
    ) -> Result<T, HomeError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut pause = PAUSE;
        for attempt in 1_u32.. {
            if !self.0.term.is_held() {
                return Err(HomeError::Deposed);
            }
            let error = match tokio::time::timeout(PATIENCE, ask()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => Error::Service("the API server does not answer".into()),
            };
            if !matches!(classify(&error), Answer::Transient) {
                return Err(HomeError::Api {
                    what,
                    source: Box::new(error),
                });
            }
            if attempt % TOLD_EVERY == TOLD_FIRST {
                let hint = hint(&error);
                tracing::warn!("failed to {what}: {error}; asks again until it works{hint}");
            }
            // Cancel safe: both only wait.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.term.ended() => {}
            }
            pause = (pause * 2).min(PAUSE_MOST);
        }
        Err(HomeError::Deposed)
    }
}

/// What a person can do about it, where that is known.
fn hint(error: &Error) -> &'static str {
    match error {
        Error::Api(status) if status.message.contains("not declared in schema") => {
            "; the resource definitions in the API server are older than this controller: apply those of its chart (charts/placet/definitions)"
        }
        _ => "",
    }
}

/// What an error of the API server means for whoever asked.
pub(super) fn classify(error: &Error) -> Answer {
    let Error::Api(status) = error else {
        return match error {
            Error::SerdeError(error) => Answer::Refused(error.to_string()),
            _ => Answer::Transient,
        };
    };
    match status.code {
        404 => Answer::NotFound,
        409 => Answer::Conflict,
        // A token that has just expired is replaced by the client.
        401 | 408 | 429 | 500..=599 => Answer::Transient,
        _ => Answer::Refused(words(status)),
    }
}

fn words(status: &Status) -> String {
    if status.message.is_empty() {
        status.reason.clone()
    } else {
        status.message.clone()
    }
}
