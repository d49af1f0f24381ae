//! A web server with `git http-backend` behind it, on a loopback port, with an authority of its own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use placet_controller::git::Limits;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::Follower;
use crate::tls::Tls;

/// What happens to a request before `git` sees it: an answer, or none.
pub(crate) type Instead = dyn Fn(&Parts) -> Option<Response> + Send + Sync;

/// What happens to an answer of `git`.
pub(crate) type Spoil = dyn Fn(&Parts, Vec<u8>) -> Body + Send + Sync;

/// How the server is to behave.
#[derive(Clone)]
pub(crate) struct Manners {
    /// The value of the header `Authorization` that gives access; everybody has it where there is
    /// none.
    pub(crate) authorization: Option<&'static str>,
    pub(crate) instead: Arc<Instead>,
    pub(crate) spoil: Arc<Spoil>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            authorization: None,
            instead: Arc::new(|_| None),
            spoil: Arc::new(|_, answer| Body::from(answer)),
        }
    }
}

pub(crate) struct Web {
    address: SocketAddr,
    authority: String,
    _runtime: Runtime,
}

#[derive(Clone)]
struct Served {
    root: PathBuf,
    manners: Manners,
}

impl Web {
    /// Serves the repositories below `root`.
    pub(crate) fn start(root: &Path, manners: Manners) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (authority, listener) = Tls::at(listener);
        let served = Served {
            root: root.to_owned(),
            manners,
        };
        let router = Router::new().fallback(serve).with_state(served);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            authority,
            _runtime: runtime,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.address.port())
    }

    /// A source that follows the repository `path`, with the server's authority and `values` in
    /// its secret.
    pub(crate) fn follower(&self, path: &str, values: &[(&str, &str)], limits: Limits) -> Follower {
        let follower = Follower::with_limits(&self.url(path), limits)
            .with(&json!({"secretRef": {"name": "access"}}));
        let authority = ("ca.crt", self.authority.as_str());
        give_secret(&follower, &[&[authority], values].concat());
        follower
    }
}

/// Puts `values` into the secret of the follower, in place of what was there.
pub(crate) fn give_secret(follower: &Follower, values: &[(&str, &str)]) {
    let secret = follower.state.path().join("secrets/access");
    crate::private_folder(&secret);
    for (key, value) in values {
        std::fs::write(secret.join(key), value).unwrap();
    }
}

async fn serve(State(served): State<Served>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(answer) = (served.manners.instead)(&parts) {
        return answer;
    }
    let given = parts.headers.get(header::AUTHORIZATION);
    if let Some(wanted) = served.manners.authorization
        && given.is_none_or(|given| given != wanted)
    {
        return plain(StatusCode::UNAUTHORIZED, "who are you?");
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    tokio::task::spawn_blocking(move || backend(&served, &parts, &body))
        .await
        .unwrap()
}

/// Runs `git http-backend`, a CGI program.
fn backend(served: &Served, parts: &Parts, body: &Bytes) -> Response {
    let of = |name| {
        let value = parts.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    };
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &served.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", of(header::CONTENT_TYPE))
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It need not read everything.
    let _ = child.stdin.take().unwrap().write_all(body);
    let output = child.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(&value[..3]),
            name => response.header(name, value),
        };
    }
    let body = (served.manners.spoil)(parts, output[end + 4..].to_vec());
    response.body(body).unwrap()
}

pub(crate) fn plain(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response
}
