//! One registry, and requests to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};

use super::access::{Access, Credentials};
use super::address::RegistryReference;
use super::answer;
use super::error::{Fault, Outcome, RegistryError};
use super::roots::roots;
use super::token::Scope;

/// How much patience a registry is met with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For the beginning of an answer, and for each part of a body.
    pub answer: Duration,
    /// The bytes a second that a body has to bring on the whole; `answer` comes on top.
    pub slowest: u64,
    /// How often a request is made that fails in passing.
    pub attempts: u32,
    /// The longest that the registry may ask to be left alone between two attempts.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            slowest: 16 << 10,
            attempts: 4,
            pause: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// The time for a body of this size.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        self.answer + Duration::from_secs(bytes / self.slowest.max(1))
    }
}

/// A registry, with credentials for it. It keeps connections and tokens; nothing travels before the
/// first request.
pub struct Registry {
    http: Client,
    origin: Url,
    pub(super) credentials: Credentials,
    pub(super) limits: Limits,
    tokens: Mutex<BTreeMap<Scope, HeaderValue>>,
}

/// From one registry to its storage is one redirect; a longer way is no way.
const REDIRECTS_MOST: usize = 5;
/// The first pause between two attempts; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(200);
const AGENT: &str = concat!("placet/", env!("CARGO_PKG_VERSION"));

impl Registry {
    /// The registry that `reference` is in.
    ///
    /// # Errors
    ///
    /// There are no certificate authorities to trust it by, or they cannot be read.
    pub fn new(
        reference: &RegistryReference,
        access: &Access,
        limits: Limits,
    ) -> Result<Self, RegistryError> {
        Self::prepare(reference, access, limits)
            .map_err(|fault| RegistryError::new(&reference.host, fault))
    }

    fn prepare(reference: &RegistryReference, access: &Access, limits: Limits) -> Outcome<Self> {
        let origin = reference.origin();
        let origin =
            Url::parse(&origin).map_err(|error| Fault::answer("its address", error.to_string()))?;
        let http = http(reference.is_plain, access, &limits)?;
        Ok(Self {
            http,
            origin,
            credentials: access.credentials.clone(),
            limits,
            tokens: Mutex::default(),
        })
    }

    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    pub(super) fn origin(&self) -> &Url {
        &self.origin
    }

    pub(super) fn is_plain(&self) -> bool {
        self.origin.scheme() == "http"
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, BTreeMap<Scope, HeaderValue>> {
        // Each insertion stands for itself: a panic in between leaves nothing half done.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of something of a repository. Repositories and what is in them were checked, so
    /// that they need no quoting.
    pub(super) fn url(&self, repository: &str, rest: &str) -> Outcome<Url> {
        let path = format!("/v2/{repository}/{rest}");
        let url = self.origin.join(&path);
        url.map_err(|error| Fault::answer("its address", error.to_string()))
    }

    /// Makes a request until it is answered, with what the registry wants to see; a registry that
    /// is busy, broken or away is asked again a few times, as late as it wishes.
    pub(super) async fn ask(
        &self,
        scope: &Scope,
        what: &str,
        build: impl Fn(&Client) -> RequestBuilder,
    ) -> Outcome<Response> {
        let mut attempt = 1;
        loop {
            let answered = self.ask_once(scope, what, build(&self.http), &build).await;
            let (fault, wish) = match answered {
                Ok(response) if answer::is_passing(response.status()) => {
                    if attempt >= self.limits.attempts {
                        return Ok(response);
                    }
                    (None, answer::retry_after(response.headers()))
                }
                Ok(response) => return Ok(response),
                Err(fault) if !fault.may_pass() => return Err(fault),
                Err(fault) => (Some(fault), None),
            };
            if let Some(fault) = fault
                && attempt >= self.limits.attempts
            {
                return Err(fault);
            }
            self.wait(wish, attempt).await;
            attempt += 1;
        }
    }

    /// Leaves the registry alone for as long as it wishes, or longer from attempt to attempt.
    pub(super) async fn wait(&self, wish: Option<Duration>, attempt: u32) {
        let pause = wish.unwrap_or(PAUSE * (1 << attempt.min(8)));
        tokio::time::sleep(pause.min(self.limits.pause)).await;
    }

    async fn ask_once(
        &self,
        scope: &Scope,
        what: &str,
        request: RequestBuilder,
        again: &impl Fn(&Client) -> RequestBuilder,
    ) -> Outcome<Response> {
        let shown = self.shown(scope);
        let response = self.answer_to(with(request, shown.as_ref()), what).await?;
        let is_challenge = response.status() == StatusCode::UNAUTHORIZED;
        // Who was redirected to has no say in which credentials are shown to whom.
        if !is_challenge || !self.is_own(response.url()) {
            return Ok(response);
        }
        // Another request may have found out meanwhile.
        if self.shown(scope) == shown {
            self.satisfy(&response, scope).await?;
        }
        let now = self.shown(scope);
        if now == shown {
            return Ok(response);
        }
        self.answer_to(with(again(&self.http), now.as_ref()), what)
            .await
    }

    /// The beginning of the answer to a request.
    pub(super) async fn answer_to(&self, request: RequestBuilder, what: &str) -> Outcome<Response> {
        let time = self.limits.answer;
        let answered = tokio::time::timeout(time, request.send()).await;
        let answered = answered.map_err(|_| slow(what, time))?;
        answered.map_err(|error| {
            // The client counts the same time, and may be first.
            if error.is_timeout() && !error.is_connect() {
                return slow(what, time);
            }
            Fault::Unreachable(error.without_url())
        })
    }

    /// True for addresses of the registry itself: same scheme, host and port.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.origin.origin()
    }

    /// A whole body of at most `most` bytes.
    pub(super) async fn body(
        &self,
        mut response: Response,
        most: u64,
        what: &str,
    ) -> Outcome<Vec<u8>> {
        let too_large = || Fault::TooLarge {
            what: what.to_owned(),
            most,
        };
        if response
            .content_length()
            .is_some_and(|length| length > most)
        {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        let read = async {
            let broken = |error: reqwest::Error| Fault::Unreachable(error.without_url());
            while let Some(chunk) = response.chunk().await.map_err(broken)? {
                if bytes.len() as u64 + chunk.len() as u64 > most {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(())
        };
        let time = self.limits.time_for(most);
        let read = tokio::time::timeout(time, read).await;
        read.map_err(|_| slow(what, time))??;
        Ok(bytes)
    }
}

fn with(request: RequestBuilder, shown: Option<&HeaderValue>) -> RequestBuilder {
    match shown {
        Some(shown) => request.header(AUTHORIZATION, shown),
        None => request,
    }
}

pub(super) fn slow(what: &str, time: Duration) -> Fault {
    Fault::Slow {
        what: what.to_owned(),
        seconds: time.as_secs(),
    }
}

fn http(is_plain: bool, access: &Access, limits: &Limits) -> Outcome<Client> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Whoever installed another one before wants it.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let roots = match roots(access.roots.as_deref()) {
        // An open line shows no certificate.
        Err(Fault::NoRoots) if is_plain => Vec::new(),
        roots => roots?,
    };
    let redirects = Policy::custom(move |attempt| {
        // An open line has no business elsewhere, and a private one none on an open line.
        if attempt.previous().len() > REDIRECTS_MOST {
            return attempt.error("the registry sends requests round and round");
        }
        match attempt.url().scheme() {
            "https" => attempt.follow(),
            _ => attempt.error("the registry sends requests to an address that is not https"),
        }
    });
    Client::builder()
        .user_agent(AGENT)
        .connect_timeout(limits.connect)
        .read_timeout(limits.answer)
        .redirect(redirects)
        .referer(false)
        .tls_certs_only(roots)
        .build()
        .map_err(Fault::Client)
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Registry");
        debug.field("origin", &self.origin.as_str());
        debug.finish_non_exhaustive()
    }
}
