//! The webhook over real sockets with TLS, and a fleet's loop behind it.

mod answers;
mod fleet;
mod hostile;
mod rotation;

use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};
use placet_crds::find_kind;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::authorities::{Authorities, Lifetimes};
use super::{Admission, serve};
use crate::telemetry::Telemetry;

pub(super) fn lifetimes() -> Lifetimes {
    Lifetimes::of(SignedDuration::from_hours(24))
}

/// A webhook that listens on this machine.
pub(super) struct Webhook {
    pub(super) admission: Admission,
    pub(super) address: SocketAddr,
    pub(super) stop: CancellationToken,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What a webhook said: the HTTP code, and the response of the review.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: u16,
    pub(super) response: Value,
    pub(super) text: String,
}

impl Webhook {
    pub(super) async fn start() -> Self {
        let authorities = Authorities::generate(lifetimes(), Timestamp::now()).unwrap();
        Self::with(authorities).await
    }

    pub(super) async fn with(authorities: Authorities) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let admission = Admission::new(
            vec!["127.0.0.1".to_owned()],
            lifetimes(),
            Telemetry::default(),
        );
        admission.0.identity.set(authorities);
        let tls = TlsAcceptor::from(admission.0.identity.server_config().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(serve::serve(listener, tls, admission.clone(), stop.clone()));
        Self {
            admission,
            address,
            stop,
        }
    }

    pub(super) fn client(&self) -> reqwest::Client {
        let tls = self.admission.0.identity.client_config().unwrap();
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .build()
            .unwrap()
    }

    pub(super) async fn post(&self, path: &str, kind: &str, body: Vec<u8>) -> Said {
        let url = format!("https://{}{path}", self.address);
        let client = self.client();
        let request = client.post(url).header("content-type", kind).body(body);
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let review: Value = serde_json::from_str(&text).unwrap_or_default();
        Said {
            code,
            response: review["response"].clone(),
            text,
        }
    }

    /// Sends a review.
    pub(super) async fn ask(&self, path: &str, review: &Value) -> Value {
        let body = serde_json::to_vec(review).unwrap();
        let said = self.post(path, "application/json", body).await;
        assert_eq!(said.code, 200, "{said:?}");
        assert_eq!(said.response["uid"], review["request"]["uid"]);
        said.response
    }

    /// Asks to validate.
    pub(super) async fn validate(&self, review: &Value) -> Value {
        self.ask("/validate?timeout=10s", review).await
    }
}

/// A review of `ann`'s, as an API server sends it.
pub(super) fn review(operation: &str, object: &Value, old: &Value) -> Value {
    let named = if object.is_null() { old } else { object };
    let kind = named["kind"].as_str().unwrap();
    let version = named["apiVersion"].as_str().unwrap().split('/').nth(1);
    let plural = find_kind(kind).map_or("things", |info| info.plural.as_str());
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "placet.dev", "version": version, "kind": kind},
            "resource": {"group": "placet.dev", "version": version, "resource": plural},
            "name": named["metadata"]["name"],
            "operation": operation,
            "userInfo": {"username": "ann", "groups": ["system:authenticated"]},
            "object": object,
            "oldObject": old,
            "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "UpdateOptions"},
        },
    })
}

/// An object as an API server has it, with all its own notes.
pub(super) fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "placet.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name,
            "uid": "c0f3",
            "generation": 3,
            "resourceVersion": "17",
            "creationTimestamp": "2026-01-31T12:00:00Z",
            "managedFields": [{
                "manager": "kubectl",
                "operation": "Update",
                "apiVersion": "placet.dev/v1alpha1",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {}},
                "time": "2026-01-31T12:00:00Z",
            }],
        },
        "spec": spec,
    })
}

/// A class of nodes with one package set.
pub(super) fn class() -> Value {
    let spec = json!({"selector": {"types": ["core"]}, "packageSets": ["base"]});
    object("NodeClass", "core", &spec)
}

pub(super) fn warnings(response: &Value) -> Vec<&str> {
    let warnings = response["warnings"].as_array().into_iter().flatten();
    warnings.filter_map(Value::as_str).collect()
}
