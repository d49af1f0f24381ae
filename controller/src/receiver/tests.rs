//! Calls over a real connection.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use placet_crds::GitSource;
use reqwest::{Client, RequestBuilder, Response};
use ring::hmac;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{BODY_MAX, BURST, Receiver, Sources, router};
use crate::observe::Pokes;
use crate::secrets::Secrets;
use crate::shared::{Wanted, WantedSource};

const TOKEN: &str = "a token that nobody guesses";

/// A receiver that listens, with one source for each kind of host.
struct Bench {
    url: String,
    pokes: Pokes,
    _state: TempDir,
    _wanted: watch::Sender<Wanted>,
}

impl Bench {
    async fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let secret = state.path().join("hook");
        fs::create_dir(&secret).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(secret.join("token"), format!("{TOKEN}\n")).unwrap();
        let kinds = ["github", "gitlab", "gitea", "generic"];
        let sources: BTreeMap<_, _> = kinds
            .iter()
            .map(|kind| ((*kind).to_owned(), source(kind, "hook")))
            .chain([
                ("none".to_owned(), source("none", "hook")),
                ("lost".to_owned(), source("github", "lost")),
            ])
            .collect();
        let pokes = Pokes::default();
        for name in sources.keys() {
            pokes.of(name);
        }
        let (sender, wanted) = watch::channel(Wanted {
            sources,
            ..Wanted::default()
        });
        let secrets = Secrets::Folder(state.path().to_owned());
        let sources = Sources::here(wanted, pokes.clone(), secrets);
        let receiver = Receiver::with_pace(sources, Duration::from_millis(20));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router(receiver)).await });
        Self {
            url,
            pokes,
            _state: state,
            _wanted: sender,
        }
    }

    fn call(&self, source: &str, body: &str) -> RequestBuilder {
        // Over plain HTTP no provider of TLS is asked for anything.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().build().unwrap();
        let url = format!("{}/hooks/{source}", self.url);
        client.post(url).body(body.to_owned())
    }

    /// Whether the source is made looked at; a poke waits for whoever looks.
    async fn is_poked(&self, source: &str) -> bool {
        let poked = self.pokes.of(source);
        timeout(Duration::ZERO, poked.notified()).await.is_ok()
    }
}

fn source(kind: &str, secret: &str) -> WantedSource {
    let mut spec = json!({"url": "/srv/fleet"});
    if kind != "none" {
        spec["receiver"] = json!({"kind": kind, "secretRef": {"name": secret}});
    }
    WantedSource {
        source: GitSource::new(kind, serde_json::from_value(spec).unwrap()),
        generation: 1,
        revision: None,
        poke: (0, None),
    }
}

fn code(token: &str, message: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    let code = hmac::sign(&key, message.as_bytes());
    code.as_ref()
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A call as a host of this kind makes it.
fn signed(call: RequestBuilder, kind: &str, token: &str, body: &str) -> RequestBuilder {
    match kind {
        "github" => call.header("X-GitHub-Event", "push").header(
            "X-Hub-Signature-256",
            format!("sha256={}", code(token, body)),
        ),
        "gitlab" => call
            .header("X-Gitlab-Event", "Push Hook")
            .header("X-Gitlab-Token", token),
        "gitea" => call
            .header("X-Gitea-Event", "push")
            .header("X-Gitea-Signature", code(token, body)),
        _ => {
            let now = Timestamp::now().as_second().to_string();
            let message = format!("{now}.{body}");
            call.header("X-Placet-Timestamp", now).header(
                "X-Placet-Signature",
                format!("sha256={}", code(token, &message)),
            )
        }
    }
}

async fn send(call: RequestBuilder) -> (StatusCode, String) {
    let response: Response = call.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

#[tokio::test]
async fn each_host_is_heard_once_and_strangers_are_not() {
    let bench = Bench::start().await;
    let body = "{\"ref\": \"refs/heads/main\"}";
    let (status, stranger) = send(signed(bench.call("unknown", body), "github", TOKEN, body)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    for kind in ["github", "gitlab", "gitea", "generic"] {
        let good = || signed(bench.call(kind, body), kind, TOKEN, body);
        let again = good();
        let wrong = signed(bench.call(kind, body), kind, "another token", body);
        for call in [wrong, bench.call(kind, body), bench.call(kind, "")] {
            assert_eq!(
                send(call).await,
                (StatusCode::FORBIDDEN, stranger.clone()),
                "{kind}"
            );
        }
        assert!(!bench.is_poked(kind).await);
        let call = good();
        let replay = call.try_clone().unwrap();
        assert_eq!(send(call).await.0, StatusCode::ACCEPTED, "{kind}");
        assert!(bench.is_poked(kind).await);
        assert_eq!(send(replay).await.0, StatusCode::CONFLICT, "{kind}");
        assert!(!bench.is_poked(kind).await);
        if kind != "generic" {
            assert_eq!(send(again).await.0, StatusCode::CONFLICT);
            let other = format!("{body} ");
            let call = signed(bench.call(kind, &other), kind, TOKEN, &other);
            assert_eq!(send(call).await.0, StatusCode::ACCEPTED);
        }
    }
}

#[tokio::test]
async fn sources_without_a_receiver_or_its_secret_are_like_none() {
    let bench = Bench::start().await;
    let (_, stranger) = send(bench.call("unknown", "x")).await;
    for source in ["none", "lost", "..%2Fhook", "a%20b", &"x".repeat(300)] {
        let call = signed(bench.call(source, "x"), "github", TOKEN, "x");
        assert_eq!(
            send(call).await,
            (StatusCode::FORBIDDEN, stranger.clone()),
            "{source}"
        );
    }
}

#[tokio::test]
async fn a_changed_body_or_a_signature_for_another_time_is_refused() {
    let bench = Bench::start().await;
    let changed = signed(bench.call("github", "yes"), "github", TOKEN, "no");
    assert_eq!(send(changed).await.0, StatusCode::FORBIDDEN);
    for (time, off) in [(-3_600, "old"), (3_600, "early")] {
        let time = (Timestamp::now().as_second() + time).to_string();
        let message = format!("{time}.x");
        let call = bench
            .call("generic", "x")
            .header("X-Placet-Timestamp", &time)
            .header(
                "X-Placet-Signature",
                format!("sha256={}", code(TOKEN, &message)),
            );
        assert_eq!(send(call).await.0, StatusCode::FORBIDDEN, "{off}");
    }
    for signature in ["sha256=", "sha256=zz", "sha1=00", "\u{e9}"] {
        let call = bench
            .call("github", "x")
            .header("X-Hub-Signature-256", signature);
        assert_eq!(send(call).await.0, StatusCode::FORBIDDEN, "{signature}");
    }
    let twice = signed(bench.call("gitlab", "x"), "gitlab", TOKEN, "x");
    let twice = twice.header("X-Gitlab-Token", "other");
    assert_eq!(send(twice).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_ping_is_answered_and_pokes_nobody() {
    let bench = Bench::start().await;
    let code = format!("sha256={}", code(TOKEN, "zen"));
    let call = bench
        .call("github", "zen")
        .header("X-GitHub-Event", "ping")
        .header("X-Hub-Signature-256", code);
    assert_eq!(send(call).await.0, StatusCode::OK);
    assert!(!bench.is_poked("github").await);
}

#[tokio::test]
async fn a_call_of_100_megabytes_is_refused_unread() {
    let bench = Bench::start().await;
    let address = bench.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // Nothing of the body is sent, and the answer comes all the same.
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    // Whoever does not say how much is coming is stopped at the limit.
    let piece = "x".repeat(BODY_MAX + 1);
    let endless = reqwest::Body::wrap_stream(tokio_stream::once(Ok::<_, std::io::Error>(piece)));
    let call = bench.call("github", "").body(endless);
    assert_eq!(send(call).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let most = "x".repeat(BODY_MAX);
    let call = signed(bench.call("github", &most), "github", TOKEN, &most);
    assert_eq!(send(call).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_flood_is_slowed_down() {
    let bench = Bench::start().await;
    let client = Client::builder().build().unwrap();
    let url = format!("{}/hooks/github", bench.url);
    let calls = (0..3 * BURST).map(|_| send(client.post(&url).body("x")));
    let answers = futures_util::future::join_all(calls).await;
    let is_refused = |answer: &&(StatusCode, String)| answer.0 == StatusCode::TOO_MANY_REQUESTS;
    assert!(answers.iter().any(|answer| is_refused(&answer)));
    assert!(!answers.iter().all(|answer| is_refused(&answer)));
}

#[tokio::test]
async fn only_posts_are_received() {
    let bench = Bench::start().await;
    let client = Client::builder().build().unwrap();
    let url = format!("{}/hooks/github", bench.url);
    let got = client.get(url).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::METHOD_NOT_ALLOWED);
}
