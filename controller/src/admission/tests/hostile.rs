//! Requests that are malformed, too large or slow, each refused and none a harm to others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Webhook, class, review};

const JSON: &str = "application/json";

async fn connect(webhook: &Webhook) -> TlsStream<TcpStream> {
    let tls = Arc::new(webhook.admission.0.identity.client_config().unwrap());
    let stream = TcpStream::connect(webhook.address).await.unwrap();
    let name = ServerName::from(webhook.address.ip());
    TlsConnector::from(tls).connect(name, stream).await.unwrap()
}

/// Everything that comes until the other side closes.
async fn to_the_end(mut stream: TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn assert_serves(webhook: &Webhook) {
    let response = webhook
        .validate(&review("CREATE", &class(), &Value::Null))
        .await;
    assert_eq!(response["allowed"], true);
}

#[tokio::test]
async fn what_is_no_review_is_refused_in_words() {
    let webhook = Webhook::start().await;
    let old_api = json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": null});
    let empty = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"});
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: [(&str, Vec<u8>, u16, &str); 8] = [
        ("text/plain", b"{}".to_vec(), 415, "application/json"),
        (JSON, Vec::new(), 400, "this is no AdmissionReview"),
        (JSON, b"{".to_vec(), 400, "this is no AdmissionReview"),
        (
            JSON,
            b"\xff\xfe".to_vec(),
            400,
            "this is no AdmissionReview",
        ),
        (JSON, deep.into_bytes(), 400, "this is no AdmissionReview"),
        (
            JSON,
            serde_json::to_vec(&old_api).unwrap(),
            400,
            "admissionReviewVersions: [v1]",
        ),
        (
            JSON,
            serde_json::to_vec(&empty).unwrap(),
            400,
            "holds no request",
        ),
        (JSON, vec![b' '; (3 << 20) + 1], 413, "3 MiB"),
    ];
    for (kind, body, code, expected) in cases {
        for path in ["/validate", "/mutate"] {
            let said = webhook.post(path, kind, body.clone()).await;
            assert_eq!(said.code, code, "{said:?}");
            assert!(said.text.contains(expected), "{said:?}");
        }
    }
    assert_eq!(webhook.post("/else", JSON, Vec::new()).await.code, 404);
    let got = webhook
        .client()
        .get(format!("https://{}/validate", webhook.address));
    assert_eq!(got.send().await.unwrap().status(), 405);
    assert_serves(&webhook).await;
}

#[tokio::test]
async fn objects_that_make_no_sense_are_refused_and_nothing_breaks() {
    let webhook = Webhook::start().await;
    for spec in [
        json!(null),
        json!([]),
        json!("x"),
        json!({"selector": 7}),
        json!({"packageSets": [{}]}),
    ] {
        let mut strange = class();
        strange["spec"] = spec;
        let response = webhook
            .validate(&review("CREATE", &strange, &Value::Null))
            .await;
        assert_eq!(response["allowed"], false, "{response}");
    }
    let none = review("UPDATE", &Value::Null, &class());
    let response = webhook.validate(&none).await;
    assert_eq!(
        response["status"]["message"],
        "the request brings no object"
    );
    let mut strange = review("UPDATE", &class(), &class());
    strange["request"]["oldObject"]["spec"] = json!(7);
    webhook.validate(&strange).await;
    assert_serves(&webhook).await;
}

#[tokio::test]
async fn a_chunked_body_without_an_end_is_cut_off() {
    let webhook = Webhook::start().await;
    let mut stream = connect(&webhook).await;
    let head = "POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
    for _ in 0..1_000 {
        // It stops reading soon.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    assert_serves(&webhook).await;
}

#[tokio::test]
async fn those_that_are_slow_are_not_waited_for_and_others_are_served_meanwhile() {
    let webhook = Webhook::start().await;
    let started = Instant::now();
    let slow = [
        "POST /validate HTTP/1.1\r\nhost: x\r\n",
        "POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    ];
    let mut waiting = Vec::new();
    for text in slow.iter().cycle().take(40) {
        let mut stream = connect(&webhook).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        waiting.push(to_the_end(stream));
    }
    // Says nothing at all, not even for the handshake.
    let mut silent = TcpStream::connect(webhook.address).await.unwrap();
    assert_serves(&webhook).await;
    let answers = futures_util::future::join_all(waiting).await;
    for answer in answers.iter().skip(1).step_by(2) {
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    let _ = silent.read_to_end(&mut Vec::new()).await;
    assert!(
        started.elapsed() < Duration::from_secs(25),
        "{:?}",
        started.elapsed()
    );
    assert_serves(&webhook).await;
}
