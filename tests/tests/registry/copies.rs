//! Copies, made by us and by others: nothing changes on the way, and nothing travels twice.

use std::path::Path;
use std::process::Command;

use placet_model::Digest;
use placet_package::Layout;
use placet_package::trust::Attachment;
use placet_tests::{RegistryServer, program, skipped};
use serde_json::{Value, json};

use crate::line::package;
use crate::{json, open, reference, run, text};

const SIGNATURE: &str = "application/vnd.example.signature+json";

/// A package in the registry, with a signature and something that refers to that.
async fn signed(server: &RegistryServer, from: &Path) -> (Digest, Vec<Digest>) {
    let digest = package(from, "many", &[10, 200_000, 0]);
    json(&["package", "push", &text(from), &server.at("one/many")]);
    let place = reference(&server.at("one/many:1.0.0"));
    let registry = open(&place);
    let document = |content: &[u8]| Attachment::new(SIGNATURE, content.to_vec());
    let (one, other) = (document(b"{\"a\":1}"), document(b"{\"b\":1}"));
    let first = registry.attach(&place, &digest, &one).await.unwrap();
    let second = registry.attach(&place, &first, &other).await.unwrap();
    (digest, vec![first, second])
}

#[tokio::test]
async fn a_copy_in_any_direction_brings_signatures_along_and_nothing_travels_twice() {
    let (Some(server), Some(other)) = (RegistryServer::open(), RegistryServer::open()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name));
    let (digest, referrers) = signed(&server, &folder.path().join("from")).await;
    let layout = |name: &str| format!("oci-layout:{}", path(name));
    let from = server.at("one/many:1.0.0");
    for (from, to, blobs) in [
        (from.clone(), layout("to"), 7),
        (from.clone(), other.at("many"), 7),
        // Within a registry they are mounted.
        (from.clone(), server.at("two/many:2"), 0),
        (format!("{}:1.0.0", layout("to")), layout("again"), 7),
        (
            format!("{}:1.0.0", layout("to")),
            server.at("three/many"),
            7,
        ),
        (other.at(&format!("many@{digest}")), layout("pinned"), 7),
    ] {
        let copied = json(&["package", "copy", &from, &to]);
        assert_eq!(copied["digest"], digest.to_string(), "{from} {to}");
        let counts = (&copied["blobs"], &copied["referrers"]);
        assert_eq!(counts, (&blobs.into(), &2.into()), "{from} {to}");
        let again = json(&["package", "copy", &from, &to]);
        let counts = (&again["blobs"], &again["bytes"]);
        assert_eq!(counts, (&0.into(), &0.into()), "{from} {to}");
    }
    for place in [server.at("two/many:2"), server.at("three/many:1.0.0")] {
        let place = reference(&place);
        let registry = open(&place);
        for (subject, referrer) in [(digest, referrers[0]), (referrers[0], referrers[1])] {
            let found = registry.referrers(&place, &subject).await.unwrap();
            assert_eq!(found, [(SIGNATURE.to_owned(), referrer)], "{place}");
        }
    }
    let again = Layout::open(&folder.path().join("again")).unwrap();
    let found = again.referrers(&digest).unwrap();
    assert_eq!(found, [(SIGNATURE.to_owned(), referrers[0])]);
    let bare = json(&["package", "copy", &from, &layout("bare"), "--no-referrers"]);
    assert_eq!((&bare["blobs"], &bare["referrers"]), (&4.into(), &0.into()));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story to its end")]
fn copies_by_crane_oras_and_skopeo_arrive_with_the_same_digest_and_verify() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    if program("crane").is_none() || program("oras").is_none() {
        return;
    }
    if !Path::new("/usr/bin/skopeo").exists() {
        return skipped("`skopeo` is not there; `cargo xtask test` installs it");
    }
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let digest = package(&from, "many", &[10, 200_000]);
    json(&["package", "push", &text(&from), &server.at("ours")]);
    let host = server.host();
    let (ours, path) = (format!("{host}/ours:1.0.0"), |name: &str| {
        text(&folder.path().join(name))
    });
    let skopeo = |arguments: &[&str]| {
        let output = Command::new("/usr/bin/skopeo")
            .args(["--insecure-policy", "copy", "--src-tls-verify=false"])
            .args(["--dest-tls-verify=false", "--preserve-digests"])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    };
    server.client("crane", &["copy", &ours, &format!("{host}/crane:1")]);
    let to = format!("{host}/oras:1");
    let plain = ["--from-plain-http", "--to-plain-http"];
    server.client("oras", &[&["cp", &ours, &to], plain.as_slice()].concat());
    let (docker, to) = (
        format!("docker://{ours}"),
        format!("docker://{host}/skopeo:1"),
    );
    skopeo(&[&docker, &to]);
    for by in ["crane", "oras", "skopeo"] {
        let copied = json(&[
            "package",
            "copy",
            &server.at(&format!("{by}:1")),
            &format!("oci-layout:{}", path(by)),
        ]);
        assert_eq!(copied["digest"], digest.to_string(), "{by}");
    }

    let crane = path("by-crane");
    server.client("crane", &["pull", "--format", "oci", &ours, &crane]);
    let oras = path("by-oras");
    let to = format!("{oras}:1.0.0");
    let arguments = ["cp", "--from-plain-http", "--to-oci-layout", &ours, &to];
    server.client("oras", &arguments);
    let by_skopeo = path("by-skopeo");
    skopeo(&[&docker, &format!("oci:{by_skopeo}:1.0.0")]);
    for layout in [crane, oras, by_skopeo] {
        let place = format!("oci-layout:{layout}@{digest}");
        let seen = json(&["package", "inspect", &place]);
        assert_eq!(seen["digest"], digest.to_string(), "{layout}");
        let listed = json(&["package", "list", &layout]);
        assert_eq!(listed["packages"][0]["digest"], digest.to_string());
        // What somebody else wrote is a layout like any other.
        let to = server.at("back");
        let pushed = json(&["package", "copy", &place, &to]);
        assert_eq!(pushed["digest"], digest.to_string(), "{layout}");
    }
}

#[test]
fn packages_are_listed_with_version_bytes_and_time() {
    let Some(server) = RegistryServer::private() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let digest = package(&from, "many", &[10, 200_000]);
    let login = server.login();
    let login: Vec<&str> = login.iter().map(String::as_str).collect();
    for place in ["fleet/many", "many:1", "many:2"] {
        let place = server.at(place);
        json(&[&["package", "push", &text(&from), &place], login.as_slice()].concat());
    }
    let list = |place: &str| -> Vec<Value> {
        let listed = json(&[&["package", "list", place], login.as_slice()].concat());
        listed["packages"].as_array().unwrap().clone()
    };
    let seen = list(&server.at("many"));
    let config = Layout::open(&from).unwrap();
    let config = config.package(&digest).unwrap().config;
    let bytes = 200_026 + placet_model::canonical_json(&config).len();
    assert_eq!(
        seen,
        [json!({
            "reference": server.at("many:1"),
            "name": "many",
            "version": "1.0.0",
            "kind": "package",
            "tags": ["1", "2"],
            "digest": digest,
            "bytes": bytes,
            "created": "2026-01-31T12:00:00Z",
        })]
    );
    let root = server.at("");
    let all: Vec<_> = list(&root)
        .into_iter()
        .map(|it| it["reference"].clone())
        .collect();
    let wanted = [server.at("fleet/many:1.0.0"), server.at("many:1")];
    assert_eq!(all, wanted.map(Value::from));
    let here = json(&["package", "list", &text(&from)]);
    assert_eq!(here["packages"][0]["tags"], json!(["1.0.0"]));
    let table = run(&["package", "list", &text(&from)]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("1.0.0") && table.contains("2026-01-31"),
        "{table}"
    );
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
}
