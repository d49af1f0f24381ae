//! What a registry demands before it answers, and what is shown to it.

use std::collections::BTreeMap;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::access::Credentials;
use super::address::is_loopback;
use super::answer;
use super::client::Registry;
use super::error::{Fault, Outcome};

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// To read from a repository.
    Pull(String),
    /// To write into a repository, and to take blobs from another one.
    Push { to: String, from: Option<String> },
    /// To remove from a repository.
    Delete(String),
    /// To list the repositories.
    Catalog,
}

impl Scope {
    pub(super) fn pull(repository: &str) -> Self {
        Self::Pull(repository.to_owned())
    }

    pub(super) fn push(repository: &str) -> Self {
        Self::Push {
            to: repository.to_owned(),
            from: None,
        }
    }

    /// As they stand in a request for a token.
    fn texts(&self) -> Vec<String> {
        let of = |name: &str, actions: &str| format!("repository:{name}:{actions}");
        match self {
            Self::Pull(name) => vec![of(name, "pull")],
            Self::Push { to, from: None } => vec![of(to, "pull,push")],
            Self::Push {
                to,
                from: Some(from),
            } => vec![of(to, "pull,push"), of(from, "pull")],
            Self::Delete(name) => vec![of(name, "delete,pull")],
            Self::Catalog => vec!["registry:catalog:*".to_owned()],
        }
    }
}

/// What a registry says that it wants.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

const NONE_GIVEN: &str = "it wants a name and a password, and none were given";
const WHAT: &str = "the request for a token";
/// Tokens with many claims are long, and none is longer.
const TOKEN_MOST: u64 = 1 << 16;

impl Registry {
    /// What was shown last for the scope, if anything was wanted.
    pub(super) fn shown(&self, scope: &Scope) -> Option<HeaderValue> {
        self.tokens().get(scope).cloned()
    }

    /// Finds what the registry wants to see, after it answered that it wants something.
    pub(super) async fn satisfy(&self, response: &Response, scope: &Scope) -> Outcome<()> {
        let what = "a request without credentials";
        let challenge = challenge(response.headers())
            .ok_or_else(|| Fault::answer(what, "it does not say which credentials it wants"))?;
        let shown = match challenge {
            Challenge::Basic => self.basic()?,
            Challenge::Bearer { realm, service } => {
                self.bearer(&realm, service.as_deref(), scope).await?
            }
        };
        self.tokens().insert(scope.clone(), shown);
        Ok(())
    }

    fn basic(&self) -> Outcome<HeaderValue> {
        let advice = match &self.credentials {
            Credentials::Password { name, word } => return self.shown_basic(name, word),
            Credentials::Bearer(token) => return shown(&format!("Bearer {token}")),
            Credentials::Identity(_) => {
                "it wants a name and a password, and takes no identity token"
            }
            Credentials::Anonymous => NONE_GIVEN,
        };
        Err(Fault::Denied {
            what: "access".to_owned(),
            status: StatusCode::UNAUTHORIZED.as_u16(),
            text: String::new(),
            advice,
        })
    }

    fn shown_basic(&self, name: &str, word: &str) -> Outcome<HeaderValue> {
        let request = self.http().get(self.origin().clone());
        let request = request.basic_auth(name, Some(word)).build();
        let request = request.map_err(Fault::Client)?;
        let header = request.headers().get(AUTHORIZATION).cloned();
        header.ok_or_else(|| Fault::answer(WHAT, "the credentials cannot be sent"))
    }

    async fn bearer(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &Scope,
    ) -> Outcome<HeaderValue> {
        if let Credentials::Bearer(token) = &self.credentials {
            return shown(&format!("Bearer {token}"));
        }
        let url = Url::parse(realm)
            .map_err(|error| Fault::answer(WHAT, format!("its address is none: {error}")))?;
        let host = url.host_str().unwrap_or_default();
        let is_private = url.scheme() == "https"
            || (url.scheme() == "http" && self.is_plain() && is_loopback(host));
        if !is_private {
            let why = "its token service is not on https, and credentials travel on nothing else";
            return Err(Fault::answer(WHAT, why));
        }
        let wanted = service.map(|service| ("service", service.to_owned()));
        let scopes = scope.texts().into_iter().map(|text| ("scope", text));
        let request = self.token_request(url, wanted.into_iter().chain(scopes));
        let response = self.answer_to(request, WHAT).await?;
        let response = answer::expect(response, &[StatusCode::OK], WHAT).await;
        let response = response.map_err(|fault| self.advised(fault))?;
        let body = self.body(response, TOKEN_MOST, WHAT).await?;
        // An error of the parser could repeat a part of the token.
        let token: Token = serde_json::from_slice(&body)
            .map_err(|_| Fault::answer(WHAT, "the answer is not JSON with a token"))?;
        let token = Some(token.token)
            .filter(|token| !token.is_empty())
            .unwrap_or(token.access_token);
        shown(&format!("Bearer {token}"))
    }

    /// Who has shown nothing has nothing to check.
    fn advised(&self, mut fault: Fault) -> Fault {
        if let Fault::Denied { advice, .. } = &mut fault
            && matches!(self.credentials, Credentials::Anonymous)
        {
            *advice = NONE_GIVEN;
        }
        fault
    }

    /// With an identity token the request is a form, as OAuth 2 has it; otherwise a question.
    fn token_request(
        &self,
        mut url: Url,
        wanted: impl Iterator<Item = (&'static str, String)>,
    ) -> RequestBuilder {
        if let Credentials::Identity(token) = &self.credentials {
            let mut form = self.origin().clone();
            let fixed = [
                ("grant_type", "refresh_token"),
                ("client_id", "placet"),
                ("refresh_token", token),
            ];
            form.query_pairs_mut().clear().extend_pairs(fixed);
            form.query_pairs_mut().extend_pairs(wanted);
            let body = form.query().unwrap_or_default().to_owned();
            let kind = "application/x-www-form-urlencoded";
            return self.http().post(url).header(CONTENT_TYPE, kind).body(body);
        }
        url.query_pairs_mut().extend_pairs(wanted);
        let request = self.http().get(url);
        match &self.credentials {
            Credentials::Password { name, word } => request.basic_auth(name, Some(word)),
            _ => request,
        }
    }
}

fn shown(text: &str) -> Outcome<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Fault::answer(WHAT, "the token has characters that none can have"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The first challenge that can be answered; a bearer token is better than a password.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).into_iter();
    let found: Vec<_> = texts
        .filter_map(|value| parse(value.to_str().ok()?))
        .collect();
    let bearer = |challenge: &Challenge| matches!(challenge, Challenge::Bearer { .. });
    let position = found.iter().position(bearer).unwrap_or_default();
    found.into_iter().nth(position)
}

fn parse(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut values = parameters(rest);
    Some(Challenge::Bearer {
        realm: values.remove("realm")?,
        service: values.remove("service"),
    })
}

/// `key="value"` pairs with commas between them; a comma inside quotes belongs to the value.
fn parameters(mut rest: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([',', ' ']).to_ascii_lowercase();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        values.insert(key, value.to_owned());
        rest = left;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let text = r#"Bearer realm="https://auth.example/token",service="a, b",scope="repository:x:pull,push""#;
        let bearer = Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("a, b".to_owned()),
        };
        assert_eq!(parse(text), Some(bearer));
        assert_eq!(parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(parse("Negotiate"), None);
        assert_eq!(parse("Bearer service=x"), None);
    }

    #[test]
    fn a_token_that_would_break_the_header_is_refused() {
        let refused = shown("Bearer a\r\nX-Other: b").unwrap_err();
        assert!(refused.to_string().contains("characters"), "{refused}");
        assert!(shown("Bearer abc").unwrap().is_sensitive());
    }
}
