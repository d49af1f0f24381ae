//! Statuses told to small servers that hold each request against the host's own description.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use placet_crds::{CommitStatus, HostKind};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::{Pace, Report, State, Telling, tell_at};
use crate::secrets::Secrets;
use crate::shared::Wanted;

#[path = "../../tests/git/tls.rs"]
mod tls;

const TOKEN: &str = "sesame";
const COMMIT: &str = "0123456789012345678901234567890123456789";

/// A host that keeps statuses as the real one does.
struct Host {
    address: SocketAddr,
    told: mpsc::UnboundedReceiver<Value>,
    faults: Arc<Mutex<Vec<StatusCode>>>,
    secrets: Secrets,
    kind: HostKind,
    _state: TempDir,
}

#[derive(Clone)]
struct Serving {
    kind: HostKind,
    told: mpsc::UnboundedSender<Value>,
    kept: Arc<Mutex<Vec<Value>>>,
    faults: Arc<Mutex<Vec<StatusCode>>>,
}

impl Host {
    async fn start(kind: HostKind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (authority, listener) = tls::Tls::at(listener);
        let state = tempfile::tempdir().unwrap();
        let secret = state.path().join("host");
        fs::create_dir(&secret).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(secret.join("token"), format!("{TOKEN}\n")).unwrap();
        fs::write(secret.join("ca.crt"), authority).unwrap();
        let (sender, told) = mpsc::unbounded_channel();
        let faults = Arc::<Mutex<Vec<StatusCode>>>::default();
        let serving = Serving {
            kind,
            told: sender,
            kept: Arc::default(),
            faults: Arc::clone(&faults),
        };
        let router = Router::new().fallback(serve).with_state(serving);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            told,
            faults,
            secrets: Secrets::Folder(state.path().to_owned()),
            kind,
            _state: state,
        }
    }

    /// Starts telling, as a controller does.
    fn teller(&self) -> watch::Sender<Wanted> {
        let (sender, wanted) = watch::channel(Wanted::default());
        let pace = Pace {
            news: Duration::from_millis(1),
            pause: Duration::from_millis(1),
        };
        tokio::spawn(tell_at(wanted, self.secrets.clone(), pace));
        sender
    }

    fn telling(&self, commit: &str, state: State, text: &str) -> Telling {
        let root = match self.kind {
            HostKind::Github => "api/v3",
            HostKind::Gitlab => "api/v4",
            HostKind::Gitea => "api/v1",
        };
        let to = json!({
            "host": self.kind,
            "secretRef": {"name": "host"},
            "targetUrl": "https://fleet.example/rollouts",
            "api": format!("https://localhost:{}/{root}", self.address.port()),
        });
        Telling {
            to: serde_json::from_value::<CommitStatus>(to).unwrap(),
            url: "git@git.example:team/fleet.git".to_owned(),
            report: Report {
                commit: commit.to_owned(),
                state,
                text: text.to_owned(),
            },
        }
    }

    async fn next(&mut self) -> Value {
        let next = timeout(Duration::from_secs(20), self.told.recv()).await;
        next.unwrap().unwrap()
    }
}

fn say(teller: &watch::Sender<Wanted>, telling: Telling) {
    teller.send_modify(|wanted| {
        wanted.tellings = BTreeMap::from([("fleet".to_owned(), telling)]);
    });
}

async fn serve(Shared(serving): Shared<Serving>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(why) = check_access(serving.kind, &parts.headers) {
        return (StatusCode::UNAUTHORIZED, why).into_response();
    }
    if let Some(fault) = serving.faults.lock().unwrap().pop() {
        return (
            fault,
            [("Retry-After", "0")],
            "{\"message\": \"\\u0000 no\"}",
        )
            .into_response();
    }
    let path = parts.uri.path();
    let (one, list) = match serving.kind {
        HostKind::Github => (
            "/api/v3/repos/team/fleet/statuses/",
            "/api/v3/repos/team/fleet/commits/",
        ),
        HostKind::Gitea => (
            "/api/v1/repos/team/fleet/statuses/",
            "/api/v1/repos/team/fleet/commits/",
        ),
        HostKind::Gitlab => (
            "/api/v4/projects/team%2Ffleet/statuses/",
            "/api/v4/projects/team%2Ffleet/repository/commits/",
        ),
    };
    if let Some(commit) = path
        .strip_prefix(one)
        .filter(|_| parts.method == Method::POST)
    {
        let body = to_bytes(body, 1 << 20).await.unwrap();
        return create(&serving, commit, &body);
    }
    let commit = path
        .strip_prefix(list)
        .and_then(|rest| rest.strip_suffix("/statuses"));
    let Some(commit) = commit.filter(|_| parts.method == Method::GET) else {
        return (StatusCode::NOT_FOUND, path.to_owned()).into_response();
    };
    let kept = serving.kept.lock().unwrap();
    let of_commit = kept.iter().rev().filter(|it| it["sha"] == commit);
    let found: Vec<Value> = of_commit.cloned().collect();
    Body::from(json!(found).to_string()).into_response()
}

fn check_access(kind: HostKind, headers: &HeaderMap) -> Result<(), String> {
    let (name, expected) = match kind {
        HostKind::Github => ("authorization", format!("Bearer {TOKEN}")),
        HostKind::Gitlab => ("private-token", TOKEN.to_owned()),
        HostKind::Gitea => ("authorization", format!("token {TOKEN}")),
    };
    let found = headers.get(name).map(|value| value.to_str().unwrap());
    (found == Some(&expected))
        .then_some(())
        .ok_or_else(|| format!("{found:?}"))
}

fn create(serving: &Serving, commit: &str, body: &[u8]) -> Response {
    let body: Value = serde_json::from_slice(body).unwrap();
    let schema = match serving.kind {
        HostKind::Github => include_str!("schemas/github.json"),
        HostKind::Gitlab => include_str!("schemas/gitlab.json"),
        HostKind::Gitea => include_str!("schemas/gitea.json"),
    };
    let broken = violations(&serde_json::from_str(schema).unwrap(), &body);
    assert_eq!(broken, Vec::<String>::new(), "{body}");
    assert!(commit.len() == 40, "{commit}");
    let mut kept = serving.kept.lock().unwrap();
    let newest = kept.iter().rev().find(|it| it["sha"] == commit);
    if serving.kind == HostKind::Gitlab && newest.is_some_and(|it| it["status"] == body["state"]) {
        let message = "{\"message\": \"Cannot transition status via :enqueue from :pending\"}";
        return (StatusCode::BAD_REQUEST, message).into_response();
    }
    let status = json!({
        "sha": commit,
        "state": body["state"], "status": body["state"],
        "context": body["context"], "name": body["context"],
        "description": body["description"],
    });
    kept.push(status);
    let mut told = body;
    told["sha"] = json!(commit);
    serving.told.send(told).unwrap();
    StatusCode::CREATED.into_response()
}

/// What of a schema's few keywords does not hold.
fn violations(schema: &Value, body: &Value) -> Vec<String> {
    let fields = body.as_object().unwrap();
    let mut broken = Vec::new();
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            broken.push(format!("{name} is missing"));
        }
    }
    for (name, value) in fields {
        let rule = &schema["properties"][name];
        let is_right = match rule["type"].as_str() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64(),
            Some("number") => value.is_number(),
            _ => false,
        };
        let length = value.as_str().map_or(0, |text| text.chars().count() as u64);
        let is_short = rule["maxLength"].as_u64().is_none_or(|most| length <= most);
        let is_listed = rule["enum"]
            .as_array()
            .is_none_or(|list| list.contains(value));
        if !(is_right && is_short && is_listed) {
            broken.push(format!("{name}: {value}"));
        }
    }
    broken
}

#[tokio::test]
async fn each_host_is_told_in_its_own_words_and_once() {
    for (kind, failure) in [
        (HostKind::Github, "failure"),
        (HostKind::Gitlab, "failed"),
        (HostKind::Gitea, "failure"),
    ] {
        let mut host = Host::start(kind).await;
        let teller = host.teller();
        say(
            &teller,
            host.telling(COMMIT, State::Pending, "ro-1: 3 nodes are being asked"),
        );
        let told = host.next().await;
        assert_eq!(told["state"], "pending");
        assert_eq!(told["context"], "placet/fleet");
        assert_eq!(told["description"], "ro-1: 3 nodes are being asked");
        assert_eq!(told["target_url"], "https://fleet.example/rollouts");
        let veto = format!(
            "ro-1: 2 of 3 nodes agree, 1 do not: {}",
            "x\u{7}".repeat(300)
        );
        let held = host.telling(COMMIT, State::Failure, &veto);
        say(&teller, held.clone());
        let told = host.next().await;
        assert_eq!(told["state"], failure);
        let text = told["description"].as_str().unwrap();
        assert!(
            text.ends_with('…') && text.starts_with("ro-1: 2 of 3"),
            "{text}"
        );

        // Another controller takes over, and finds that it is told.
        drop(teller);
        let teller = host.teller();
        say(&teller, held);
        say(
            &teller,
            host.telling(COMMIT, State::Success, "ro-1: 3 nodes changed"),
        );
        assert_eq!(host.next().await["state"], "success");
    }
}

#[tokio::test]
async fn a_commit_that_is_overtaken_does_not_stay_pending() {
    let mut host = Host::start(HostKind::Github).await;
    let teller = host.teller();
    say(&teller, host.telling(COMMIT, State::Pending, "asked"));
    host.next().await;
    let next = "ab".repeat(20);
    say(&teller, host.telling(&next, State::Pending, "asked"));
    let told = host.next().await;
    assert_eq!(
        (&told["sha"], &told["state"]),
        (&json!(COMMIT), &json!("error"))
    );
    assert_eq!(told["description"], format!("superseded by commit {next}"));
    assert_eq!(host.next().await["sha"], json!(next));
}

#[tokio::test]
async fn a_host_that_is_away_is_tried_again() {
    let mut host = Host::start(HostKind::Gitea).await;
    *host.faults.lock().unwrap() = vec![
        StatusCode::BAD_GATEWAY,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
    ];
    let teller = host.teller();
    say(&teller, host.telling(COMMIT, State::Success, "done"));
    assert_eq!(host.next().await["state"], "success");
    assert!(host.faults.lock().unwrap().is_empty());
    assert!(host.told.try_recv().is_err(), "and told once");
}

#[tokio::test]
async fn what_cannot_be_told_is_told_with_what_to_do() {
    let host = Host::start(HostKind::Github).await;
    let telling = host.telling(COMMIT, State::Success, "done");
    let fail = async |telling: Telling| {
        let mut teller = super::Teller::new(
            "fleet".to_owned(),
            host.secrets.clone(),
            Pace {
                news: Duration::ZERO,
                pause: Duration::ZERO,
            },
        );
        teller.tell(&telling).await.unwrap_err()
    };
    let elsewhere = Telling {
        url: "/srv/fleet".to_owned(),
        ..telling.clone()
    };
    let failed = fail(elsewhere).await;
    assert!(
        failed.to_string().contains("spec.commitStatus.repository"),
        "{failed}"
    );
    assert!(!failed.may_pass);
    let mut wrong = telling.clone();
    wrong.to.repository = Some("team/other".to_owned());
    let failed = fail(wrong).await;
    assert!(
        failed.to_string().contains("404 Not Found; compare"),
        "{failed}"
    );
    host.faults.lock().unwrap().push(StatusCode::FORBIDDEN);
    let failed = fail(telling).await.to_string();
    assert!(
        failed.contains("the right to write commit statuses"),
        "{failed}"
    );
    assert!(
        !failed.contains(char::is_control) && !failed.contains(TOKEN),
        "{failed}"
    );
}
