//! A registry that is busy, broken or lies: what is said, and that nothing wrong is kept.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use placet_model::Digest;
use placet_package::Layout;
use placet_package::copy::{Copied, CopyError, CopyOptions, Name, Place, copy};
use placet_package::registry::Fault;
use placet_package::{Selector, list};
use placet_tests::RegistryServer;

use crate::line::package;
use crate::proxy::{Fate, Proxy};
use crate::{fault, json, open, pull, reference, run, text};

/// A package in `many` of the registry.
fn push(server: &RegistryServer, folder: &Path, sizes: &[usize]) -> Digest {
    let from = folder.join("from");
    let digest = package(&from, "many", sizes);
    json(&["package", "push", &text(&from), &server.at("many")]);
    digest
}

async fn pulled(place: &str, folder: &Path) -> Result<Copied, CopyError> {
    let place = reference(place);
    let layout = Layout::create(&folder.join("to")).unwrap();
    pull(&open(&place), &place, &layout).await
}

#[tokio::test]
async fn a_registry_that_asks_to_be_left_alone_is_asked_later() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let digest = push(&server, folder.path(), &[1000]);
    for wish in ["1", "Fri, 31 Dec 1999 23:59:59 GMT"] {
        let answer = format!("429 Too Many Requests\r\nRetry-After: {wish}");
        let proxy = Proxy::before(server.port(), move |_, before| match before {
            0..2 => Fate::Answer(answer.clone(), Vec::new()),
            _ => Fate::Pass,
        })
        .await;
        let begun = Instant::now();
        let place = proxy.at("many:1.0.0");
        let done = pulled(&place, folder.path()).await.unwrap();
        assert_eq!(done.digest, digest);
        assert_eq!(proxy.held_up.load(Ordering::Relaxed), 2);
        let least = if wish == "1" { 2 } else { 0 };
        assert!(begun.elapsed() >= Duration::from_secs(least));
    }
    // Bytes on their way are asked to wait too.
    let proxy = Proxy::before(server.port(), |request, before| {
        if request.starts_with("PUT") && request.contains("digest=") && before < 2 {
            let answer = "429 Too Many Requests\r\nRetry-After: 1".to_owned();
            return Fate::Answer(answer, Vec::new());
        }
        Fate::Pass
    })
    .await;
    let from = text(&folder.path().join("from"));
    let begun = Instant::now();
    let to = proxy.at("other");
    let output = tokio::task::spawn_blocking(move || run(&["package", "push", &from, &to]));
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn what_is_wrong_with_a_registry_is_said() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    push(&server, folder.path(), &[1000]);
    let large = vec![b' '; 5 << 20];
    for (answer, body, told) in [
        ("500 Oops", b"".to_vec(), "answers 500"),
        (
            "401 No\r\nX: y",
            b"".to_vec(),
            "does not say which credentials",
        ),
        ("403 No", b"".to_vec(), "do not allow it"),
        ("200 OK", b"{}".to_vec(), "no package and no composite"),
        ("200 OK", b"{\"manifests\": 1}".to_vec(), "cannot be read"),
        ("200 OK", large, "more than 4194304 bytes"),
    ] {
        let answer = answer.to_owned();
        let proxy = Proxy::before(server.port(), move |request, _| {
            if request.contains("manifests/") {
                return Fate::Answer(answer.clone(), body.clone());
            }
            Fate::Pass
        })
        .await;
        let place = proxy.at("many:1.0.0");
        let refused = pulled(&place, folder.path()).await.unwrap_err();
        assert!(refused.to_string().contains(told), "{told}: {refused}");
    }
    let layout = Layout::open(&folder.path().join("to")).unwrap();
    assert!(layout.tags().unwrap().is_empty());
    assert_eq!(layout.prune().unwrap().blobs, 0, "nothing of it was kept");
}

#[tokio::test]
async fn lists_that_do_not_end_or_lead_elsewhere_are_refused() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    for (link, told) in [
        ("</v2/many/tags/list?last=1>", "no end"),
        ("<http://192.0.2.1/v2/many/tags/list>", "another place"),
    ] {
        let answer = format!("200 OK\r\nLink: {link}; rel=\"next\"");
        let proxy = Proxy::before(server.port(), move |_, _| {
            Fate::Answer(answer.clone(), b"{\"tags\": []}".to_vec())
        })
        .await;
        let place = reference(&proxy.at("many:1"));
        let registry = open(&place);
        let refused = list(Place::Repository(&registry, &place))
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(told), "{refused}");
    }
    let proxy = Proxy::before(server.port(), |_, _| {
        Fate::Answer("404 Not Found".to_owned(), Vec::new())
    })
    .await;
    let host = proxy.at("");
    let output = tokio::task::spawn_blocking(move || run(&["package", "list", &host])).await;
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("does not tell its repositories; name one"),
        "{said}"
    );
}

/// From one repository into another one of another registry.
async fn across(from: &str, to: &str) -> Result<Copied, CopyError> {
    let (from, to) = (reference(from), reference(to));
    let (source, target) = (open(&from), open(&to));
    let options = CopyOptions {
        selector: &from.selector,
        name: Name::Tag("1.0.0"),
        referrers: true,
    };
    let (from, to) = (
        Place::Repository(&source, &from),
        Place::Repository(&target, &to),
    );
    copy(from, to, options, &()).await
}

#[tokio::test]
async fn a_copy_between_registries_outlives_a_broken_line_and_passes_no_lie_on() {
    let (Some(server), Some(other)) = (RegistryServer::open(), RegistryServer::open()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let digest = push(&server, folder.path(), &[3_000_000, 50_000]);
    let large = Layout::open(&folder.path().join("from")).unwrap();
    let large = large.package(&digest).unwrap().config.modules[0].digest;
    let part = large.to_string();
    let proxy = Proxy::before(server.port(), move |request, before| {
        let is_large = request.starts_with("GET") && request.contains(&part);
        if is_large && before < 2 {
            Fate::Cut(1_000_000)
        } else {
            Fate::Pass
        }
    })
    .await;
    let (from, to) = (proxy.at("many:1.0.0"), other.at("many:1.0.0"));
    let copied = across(&from, &to).await.unwrap();
    assert_eq!((copied.digest, copied.blobs), (digest, 3));
    assert_eq!(proxy.held_up.load(Ordering::Relaxed), 2);

    let stored = server.stored(&large.to_string());
    let mut bad = fs::read(&stored).unwrap();
    bad[17] ^= 1;
    fs::write(&stored, bad).unwrap();
    let to = other.at("lies:1.0.0");
    let refused = across(&server.at("many:1.0.0"), &to).await.unwrap_err();
    assert!(
        matches!(fault(&refused), Fault::WrongDigest { .. }),
        "{refused}"
    );
    let place = reference(&to);
    let absent = open(&place).resolve(&place).await.unwrap_err();
    assert!(matches!(absent.fault(), Fault::NotFound(_)), "{absent}");
    let selector = Selector::Tag("1.0.0".to_owned());
    let layout = Layout::open(&folder.path().join("from")).unwrap();
    fs::write(layout.blob_path(&large), b"short").unwrap();
    let options = CopyOptions {
        selector: &selector,
        name: Name::Digest,
        referrers: true,
    };
    let target = open(&place);
    let to = Place::Repository(&target, &place);
    let refused = copy(Place::Layout(&layout), to, options, &())
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("has 5 bytes, not 3000008: it was cut off"),
        "{refused}"
    );
}
