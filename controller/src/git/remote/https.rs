//! Git's smart protocol over https: one request tells the names, the next bring the objects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use http::{HeaderValue, StatusCode, header};
use placet_model::visible;
use reqwest::{Client, RequestBuilder, Response, Url};

use super::advertisement::{self, Advertisement};
use super::runner::Runner;
use super::{Incoming, too_much};
use crate::git::address::HttpsAddress;
use crate::git::credentials::{Credentials, Login};
use crate::git::{FetchError, Limits};
use crate::http::{chain, client, is_same_host};

/// Some hosts give a web page to whoever does not call himself `git`.
const USER_AGENT: &str = concat!("git/2.0 (placet ", env!("CARGO_PKG_VERSION"), ")");

/// What is sent is a list of commits: 200,000 of them at most.
const REQUEST_MAX: usize = 16 << 20;

const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";

/// A server for the length of one session.
#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    runner: Runner,
    /// As people know it.
    address: String,
    /// Where it is: the server may have sent us on.
    place: Mutex<Url>,
    login: Option<Login>,
    limits: Limits,
    ends: Instant,
    received: AtomicU64,
}

impl Server {
    pub(super) fn new(
        address: &HttpsAddress,
        credentials: &Credentials,
        limits: &Limits,
    ) -> Result<Self, FetchError> {
        let shown = address.to_string();
        let unfit = |why: String| FetchError::Connection {
            address: shown.clone(),
            why,
        };
        Ok(Self {
            client: client(credentials.ca(), USER_AGENT)
                .map_err(|error| unfit(error.to_string()))?,
            runner: Runner::new().map_err(|error| unfit(error.to_string()))?,
            address: shown,
            place: Mutex::new(address.url().clone()),
            login: credentials.login()?,
            limits: limits.clone(),
            ends: Instant::now() + limits.time,
            received: AtomicU64::new(0),
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    fn place(&self) -> Url {
        self.place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The address of `service` below the repository.
    fn below(&self, service: &str) -> Url {
        let mut url = self.place();
        let path = format!("{}/{service}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// Sends a request, and has the beginning of its answer if it is of type `expected`.
    fn send(
        self: &Arc<Self>,
        request: RequestBuilder,
        expected: &str,
    ) -> Result<Answer, FetchError> {
        let request = request.header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let request = match &self.login {
            None => request,
            Some(Login::Basic { user, password }) => request.basic_auth(user, Some(password)),
            Some(Login::Bearer(token)) => request.bearer_auth(token),
        };
        let response = self.wait(request.send())?;
        self.require_success(&response)?;
        let found = response.headers().get(header::CONTENT_TYPE);
        let found = found.map_or("", |value| value.to_str().unwrap_or("?"));
        if found != expected {
            return Err(self.refuse(format!(
                "it is of type `{}`, and a git server's would be `{expected}`; is the address right?",
                visible(found)
            )));
        }
        Ok(Answer {
            server: Arc::clone(self),
            response,
            piece: Bytes::new(),
        })
    }

    fn require_success(&self, response: &Response) -> Result<(), FetchError> {
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(());
        }
        let why = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.login.is_none() => format!(
                "the server wants credentials ({status}); name a secret with `username` and `password`, or with `bearerToken`, in `spec.secretRef`"
            ),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "the server refuses the credentials ({status}); correct the secret that `spec.secretRef` names"
            ),
            StatusCode::NOT_FOUND => format!(
                "the server knows no such repository, or does not show it with these credentials ({status})"
            ),
            status if status.is_redirection() => redirected(response, status),
            status => format!("the server answers {status}"),
        };
        Err(self.failed(why))
    }

    /// Waits within the limits of time.
    fn wait<T>(
        &self,
        doing: impl Future<Output = Result<T, reqwest::Error>>,
    ) -> Result<T, FetchError> {
        let left = self.ends.saturating_duration_since(Instant::now());
        let patience = left.min(self.limits.silence);
        // The timer wants a runtime from the start.
        let waited = async { tokio::time::timeout(patience, doing).await };
        match self.runner.block_on(waited) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.failed(chain(error))),
            Err(_) if patience == left => Err(self.failed(format!(
                "it took longer than {} seconds",
                self.limits.time.as_secs_f32()
            ))),
            Err(_) => Err(self.failed(format!(
                "nothing was heard for {} seconds",
                self.limits.silence.as_secs_f32()
            ))),
        }
    }

    fn failed(&self, why: String) -> FetchError {
        FetchError::Connection {
            address: self.address.clone(),
            why,
        }
    }

    fn refuse(&self, why: String) -> FetchError {
        FetchError::Answer {
            address: self.address.clone(),
            why,
        }
    }
}

fn redirected(response: &Response, status: StatusCode) -> String {
    let target = response.headers().get(header::LOCATION);
    let target = target.and_then(|value| value.to_str().ok()).unwrap_or("");
    let elsewhere = response
        .url()
        .join(target)
        .is_ok_and(|target| !is_same_host(&target, response.url()));
    let why = if elsewhere {
        "which is elsewhere, where credentials are not sent: if that is meant, make it `spec.url`"
    } else {
        "and so on, in circles"
    };
    format!(
        "the server sends on to `{}` ({status}), {why}",
        visible(target)
    )
}

/// What the server tells first.
pub(super) fn advertisement(server: &Arc<Server>) -> Result<Advertisement, FetchError> {
    let mut url = server.below("info/refs");
    url.set_query(Some("service=git-upload-pack"));
    let mut answer = server.send(server.client.get(url), ADVERTISEMENT)?;
    let mut place = answer.response.url().clone();
    place.set_query(None);
    if let Some(path) = place.path().strip_suffix("/info/refs").map(str::to_owned) {
        place.set_path(&path);
        *server.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }
    advertisement::read_announced(&mut answer)
}

/// An answer that is being read.
#[derive(Debug)]
struct Answer {
    server: Arc<Server>,
    response: Response,
    piece: Bytes,
}

impl Answer {
    /// Reads what is there; 0 is the good end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        while self.piece.is_empty() {
            let server = &self.server;
            let Some(piece) = server.wait(self.response.chunk())? else {
                return Ok(0);
            };
            let length = piece.len() as u64;
            let received = server.received.fetch_add(length, Ordering::Relaxed) + length;
            if received > server.limits.fetch_bytes {
                return Err(too_much(&server.address, &server.limits));
            }
            self.piece = piece;
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

impl Incoming for Answer {
    fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), FetchError> {
        while !buffer.is_empty() {
            let count = self.read(buffer)?;
            if count == 0 {
                return Err(self.server.failed("the answer ended early".to_owned()));
            }
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    fn refuse(&self, why: String) -> FetchError {
        self.server.refuse(why)
    }
}

/// One question and its answer: it is asked when the answer is first wanted.
#[derive(Debug)]
pub(super) struct Exchange {
    server: Arc<Server>,
    question: Vec<u8>,
    answer: Option<Answer>,
}

impl Exchange {
    pub(super) fn new(server: &Arc<Server>) -> Self {
        Self {
            server: Arc::clone(server),
            question: Vec::new(),
            answer: None,
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            none => {
                let question = std::mem::take(&mut self.question);
                let request = self
                    .server
                    .client
                    .post(self.server.below("git-upload-pack"))
                    .header(header::CONTENT_TYPE, REQUEST)
                    .header(header::ACCEPT, RESULT)
                    .body(question);
                none.insert(self.server.send(request, RESULT)?)
            }
        };
        answer.read(buffer)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        if self.answer.is_some() || self.question.len() + bytes.len() > REQUEST_MAX {
            let why = "more is to be asked than one request holds".to_owned();
            return Err(self.server.failed(why));
        }
        self.question.extend_from_slice(bytes);
        Ok(())
    }
}
