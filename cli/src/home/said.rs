//! What an API server says: warnings beside its answers, and errors in its own words.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{HeaderMap, WARNING};
use kube::client::DynBody;
use tower::util::MapResponseLayer;

/// No request has more that are worth keeping.
const KEPT_MOST: usize = 1_000;

/// The warnings so far. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Said(Arc<Mutex<Vec<String>>>);

type Answer = http::Response<Box<DynBody>>;

impl Said {
    /// What listens to every answer.
    pub(super) fn layer(
        &self,
    ) -> MapResponseLayer<impl FnOnce(Answer) -> Answer + Clone + Send + Sync + 'static> {
        let said = self.clone();
        MapResponseLayer::new(move |answer: Answer| {
            said.hear(answer.headers());
            answer
        })
    }

    fn hear(&self, headers: &HeaderMap) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for value in headers.get_all(WARNING) {
            let text = String::from_utf8_lossy(value.as_bytes());
            if let Some(text) = warning(&text)
                && kept.len() < KEPT_MOST
            {
                kept.push(text);
            }
        }
    }

    /// The warnings since it was asked last.
    pub(super) fn take(&self) -> Vec<String> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The text of a `Warning` header: `299 - "text"`, quotes and backslashes in it escaped.
fn warning(header: &str) -> Option<String> {
    let (_, quoted) = header.split_once('"')?;
    let mut text = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => text.push(rest.next()?),
            other => text.push(other),
        }
    }
}

/// The API server's own words for an error; none where it did not answer.
pub(super) fn words(error: &kube::Error) -> Option<String> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let words = [&status.message, &status.reason];
    let words = words.into_iter().find(|words| !words.is_empty())?;
    Some(match status.code {
        401 => format!("the API server does not know who asks: {words}; look at the kubeconfig"),
        _ => words.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::warning;

    #[test]
    fn a_warning_is_what_stands_in_quotes() {
        assert_eq!(
            warning(r#"299 - "one \"two\" \\""#).unwrap(),
            r#"one "two" \"#
        );
        assert_eq!(warning("299 - \"é\" \"a date\"").unwrap(), "é");
        for broken in ["", "299 - text", "299 - \"no end", "299 - \"\\"] {
            assert_eq!(warning(broken), None, "{broken}");
        }
    }
}
