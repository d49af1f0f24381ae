//! Packages in a real registry: with other people's clients beside ours, with a line that breaks,
//! with a storage that somebody tampered with, and with a registry that goes away.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod copies;
mod crash;
mod faults;
mod figures;
mod fleet;
mod images;
mod line;
mod lists;
mod logins;
mod proxy;
mod removal;
mod updates;

use std::fs;
use std::process::Command;
use std::sync::atomic::Ordering;

use placet_package::copy::{Copied, CopyError, CopyOptions, Name, Place, copy};
use placet_package::registry::{Access, Fault, Limits, Registry, RegistryReference};
use placet_package::trust::Attachment;
use placet_package::{Layout, Reference, Selector};
use placet_tests::command::{json, run, text};
use placet_tests::{REGISTRY_PASSWORD, RegistryServer, placet, program};

use crate::line::{Line, package};

fn reference(text: &str) -> RegistryReference {
    match text.parse().unwrap() {
        Reference::Registry(reference) => reference,
        Reference::Layout { .. } => panic!("`{text}` is a layout"),
    }
}

fn open(reference: &RegistryReference) -> Registry {
    Registry::new(reference, &Access::anonymous(), Limits::default()).unwrap()
}

async fn pull(
    registry: &Registry,
    from: &RegistryReference,
    to: &Layout,
) -> Result<Copied, CopyError> {
    let options = CopyOptions {
        selector: &from.selector,
        name: match &from.selector {
            Selector::Tag(tag) => Name::Tag(tag),
            Selector::Digest(_) => Name::Digest,
        },
        referrers: true,
    };
    let from = Place::Repository(registry, from);
    copy(from, Place::Layout(to), options, &()).await
}

fn fault(error: &CopyError) -> &Fault {
    match error {
        CopyError::Registry(error) => error.fault(),
        CopyError::Layout(error) => panic!("the registry is at fault: {error}"),
    }
}

#[test]
fn a_package_travels_there_and_back_and_nothing_travels_twice() {
    let Some(server) = RegistryServer::private() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let digest = package(&from, "many", &[10, 200_000, 3_000_000, 0]);
    let login = server.login();
    let login: Vec<&str> = login.iter().map(String::as_str).collect();
    let place = server.at("fleet/many");
    let (from, to) = (text(&from), text(&to));

    let push = [&["package", "push", &from, &place], login.as_slice()].concat();
    let pushed = json(&push);
    assert_eq!(pushed["digest"], digest.to_string());
    assert_eq!(
        (&pushed["blobs"], &pushed["present"]),
        (&5.into(), &0.into())
    );
    let again = json(&push);
    assert_eq!(
        (&again["blobs"], &again["bytes"], &again["present"]),
        (&0.into(), &0.into(), &5.into())
    );

    let tagged = format!("{place}:1.0.0");
    let pull = [&["package", "pull", &tagged, &to], login.as_slice()].concat();
    let pulled = json(&pull);
    assert_eq!(
        (&pulled["digest"], &pulled["blobs"]),
        (&digest.to_string().into(), &5.into())
    );
    let again = json(&pull);
    assert_eq!((&again["blobs"], &again["bytes"]), (&0.into(), &0.into()));
    let here = json(&["package", "inspect", &format!("oci-layout:{to}:1.0.0")]);
    assert_eq!(here["digest"], digest.to_string());
    let tags = json(&[&["package", "tags", &place], login.as_slice()].concat());
    assert_eq!(tags["tags"], serde_json::json!(["1.0.0"]));
}

#[test]
fn who_is_not_let_in_is_told_so_and_no_password_is_repeated() {
    let Some(server) = RegistryServer::private() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let to = text(&folder.path().join("to"));
    let place = server.at("fleet/many:1.0.0");
    let ca = text(&server.path("ca.crt"));
    let wrong = text(&folder.path().join("wrong"));
    fs::write(&wrong, format!("{REGISTRY_PASSWORD}x")).unwrap();
    let pull = ["package", "pull", &place, &to, "--ca-file", &ca];
    let credentials = ["--username", "ann", "--password-file", &wrong];
    for (arguments, advice) in [
        (
            pull.to_vec(),
            "wants a name and a password, and none were given",
        ),
        (
            [pull.as_slice(), &credentials].concat(),
            "check the name and the password",
        ),
    ] {
        let output = run(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(advice), "{said}");
        assert!(!said.contains(REGISTRY_PASSWORD), "{said}");
    }
    let output = run(&["package", "pull", &place, &to]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("certificate"), "no CA, no trust: {said}");
}

#[test]
fn independent_clients_read_what_we_push_and_we_read_what_they_push() {
    let Some(server) = RegistryServer::private() else {
        return;
    };
    if program("crane").is_none() || program("oras").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let digest = package(&from, "many", &[10, 200_000]);
    let login = server.login();
    let login: Vec<&str> = login.iter().map(String::as_str).collect();
    let place = server.at("ours");
    json(&[&["package", "push", &text(&from), &place], login.as_slice()].concat());

    let ours = format!("{}/ours:1.0.0", server.host());
    let seen = server.client("crane", &["digest", &ours]).stdout;
    assert_eq!(String::from_utf8(seen).unwrap().trim(), digest.to_string());
    let got = folder.path().join("got");
    server.client("oras", &["pull", "--output", &text(&got), &ours]);
    let layout = Layout::open(&from).unwrap();
    let module = layout.package(&digest).unwrap().config.modules[1].clone();
    assert_eq!(
        fs::read(got.join(module.path.as_str())).unwrap(),
        fs::read(layout.blob_path(&module.digest)).unwrap()
    );

    let source = format!("{}:1.0.0", from.display());
    let theirs = format!("{}/theirs:2", server.host());
    server.client("oras", &["cp", "--from-oci-layout", &source, &theirs]);
    let to = text(&folder.path().join("to"));
    let place = server.at("theirs:2");
    let pulled = json(&[&["package", "pull", &place, &to], login.as_slice()].concat());
    assert_eq!(pulled["digest"], digest.to_string());
}

#[tokio::test]
async fn an_interrupted_download_goes_on_where_it_was() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let size = 6_000_000;
    let digest = package(&folder.path().join("from"), "large", &[size]);
    json(&[
        "package",
        "push",
        &text(&folder.path().join("from")),
        &server.at("large"),
    ]);
    let line = Line::to(server.port()).await;
    let from = reference(&format!("oci+http://127.0.0.1:{}/large:1.0.0", line.port));
    let layout = Layout::create(&folder.path().join("to")).unwrap();

    // The line breaks for good in the middle of the module.
    line.most.store(2_000_000, Ordering::Relaxed);
    let impatient = Limits {
        attempts: 1,
        ..Limits::default()
    };
    let registry = Registry::new(&from, &Access::anonymous(), impatient).unwrap();
    let pulling = pull(&registry, &from, &layout);
    let cut = tokio::time::timeout(std::time::Duration::from_millis(1), pulling).await;
    drop(cut);
    let package = registry.metadata(&from, &layout).await.unwrap();
    let module = &package.config.modules[0];
    let part = layout
        .dir()
        .join(format!(".placet-part-{}", module.digest.hex()));
    line.most.store(2_000_000, Ordering::Relaxed);
    let before = line.moved.load(Ordering::Relaxed);
    let pulled = pull(&registry, &from, &layout).await.unwrap();
    let moved = line.moved.load(Ordering::Relaxed) - before;
    assert_eq!(pulled.digest, digest);
    assert!(!part.exists(), "what came in parts is whole");
    let most = module.size + 100_000;
    assert!(
        moved < most,
        "{moved} bytes came for {} in pieces of 2 MB",
        module.size
    );
}

#[test]
fn what_came_before_a_kill_is_not_fetched_again() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    package(&from, "large", &[40_000_000]);
    let place = server.at("large");
    json(&["package", "push", &text(&from), &place]);
    let place = format!("{place}:1.0.0");
    let mut child = Command::new(placet())
        .args(["package", "pull", &place, &text(&to)])
        .spawn()
        .unwrap();
    let part_size = || {
        let entries = fs::read_dir(&to).into_iter().flatten().flatten();
        let part = entries
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with(".placet-part-")
            })
            .map(|entry| entry.metadata().map_or(0, |found| found.len()))
            .max();
        part.unwrap_or_default()
    };
    while part_size() < 100_000 && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = part_size();
    let pulled = json(&["package", "pull", &place, &text(&to)]);
    let travelled = pulled["bytes"].as_u64().unwrap();
    let whole = 40_000_008;
    // Where the kill came first, the small config comes with the rest.
    let config = 1_000;
    assert!(
        (whole - kept..whole - kept + config).contains(&travelled) || travelled == 0,
        "{kept} bytes were there, and {travelled} of {whole} travelled"
    );
}

#[tokio::test]
async fn a_tampered_storage_is_refused_and_nothing_of_it_is_kept() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let digest = package(&from, "many", &[50_000, 60_000]);
    json(&["package", "push", &text(&from), &server.at("many")]);
    let place = reference(&server.at("many:1.0.0"));
    let config = Layout::open(&from)
        .unwrap()
        .package(&digest)
        .unwrap()
        .config;
    let module = config.modules[0].digest;
    let stored = server.stored(&module.to_string());
    let good = fs::read(&stored).unwrap();
    let layout = Layout::create(&folder.path().join("to")).unwrap();
    let registry = open(&place);

    let mut bad = good.clone();
    bad[17] ^= 1;
    for wrong in [
        bad,
        good[..49_000].to_vec(),
        [good.as_slice(), b"more"].concat(),
    ] {
        fs::write(&stored, &wrong).unwrap();
        let refused = pull(&registry, &place, &layout).await.unwrap_err();
        let is_right = matches!(
            fault(&refused),
            Fault::WrongDigest { .. } | Fault::Answer { .. } | Fault::TooLarge { .. }
        );
        assert!(is_right, "{refused}");
        assert!(!layout.blob_path(&module).exists());
    }
    fs::write(&stored, &good).unwrap();
    let pulled = pull(&registry, &place, &layout).await.unwrap();
    assert_eq!(pulled.digest, digest);

    // A manifest that is not the one that was asked for by digest.
    let manifest = server.stored(&digest.to_string());
    let text = fs::read_to_string(&manifest)
        .unwrap()
        .replace("1.0.0", "9.0.0");
    fs::write(&manifest, text).unwrap();
    let pinned = reference(&server.at(&format!("many@{digest}")));
    let other = Layout::create(&folder.path().join("other")).unwrap();
    let refused = pull(&open(&pinned), &pinned, &other).await.unwrap_err();
    let is_refusal = matches!(
        fault(&refused),
        Fault::WrongDigest { .. } | Fault::Failing { .. }
    );
    assert!(is_refusal, "{refused}");
}

#[tokio::test]
async fn a_registry_that_comes_back_is_asked_again() {
    let Some(mut server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let digest = package(&from, "many", &[50_000]);
    json(&["package", "push", &text(&from), &server.at("many")]);
    let place = reference(&server.at("many:1.0.0"));
    let registry = open(&place);
    let layout = Layout::create(&folder.path().join("to")).unwrap();
    server.kill();
    let gone = pull(&registry, &place, &layout).await.unwrap_err();
    assert!(gone.may_pass(), "{gone}");
    server.run();
    let pulled = pull(&registry, &place, &layout).await.unwrap();
    assert_eq!(pulled.digest, digest);
}

#[tokio::test]
async fn referrers_are_kept_where_the_registry_does_not_know_them() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let digest = package(&from, "many", &[10]);
    json(&["package", "push", &text(&from), &server.at("many")]);
    let place = reference(&server.at("many:1.0.0"));
    let registry = open(&place);
    assert_eq!(registry.referrers(&place, &digest).await.unwrap(), []);
    let kinds = [
        "application/vnd.cyclonedx+json",
        "application/vnd.example+json",
    ];
    let mut kept = Vec::new();
    for kind in kinds {
        let document = Attachment::new(kind, b"{\"a\":1}".to_vec());
        let own = registry.attach(&place, &digest, &document).await.unwrap();
        kept.push((kind.to_owned(), own));
    }
    assert_eq!(registry.referrers(&place, &digest).await.unwrap(), kept);
    if program("oras").is_some() {
        let subject = format!("{}/many@{digest}", server.host());
        let seen = server.client(
            "oras",
            &["discover", "--plain-http", "--format", "json", &subject],
        );
        let seen = String::from_utf8(seen.stdout).unwrap();
        assert!(
            kept.iter().all(|(_, own)| seen.contains(&own.to_string())),
            "{seen}"
        );
    }
}
