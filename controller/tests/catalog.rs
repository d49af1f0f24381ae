//! The catalog, on layouts on disk.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use placet_controller::catalog::Packages;
use placet_model::{Digest, PackageReference};
use placet_package::{Blob, Layout, signature};
use placet_planner::Catalog;
use serde_json::json;
use tempfile::TempDir;

/// Stores package `chat` with one module of the given content, and returns its digest.
fn publish(base: &Path, version: &str, content: &str) -> Digest {
    let digest = Digest::of(content.as_bytes());
    let config = json!({
        "name": "chat",
        "version": version,
        "created": "2026-01-31T12:00:00Z",
        "modules": [{
            "path": "etc/chat.conf",
            "mode": "0644",
            "type": "data",
            "size": content.len(),
            "digest": digest,
            "signature": signature(content.as_bytes()).unwrap(),
        }],
    });
    let config = serde_json::from_value(config).unwrap();
    let blob = Blob::Bytes(content.as_bytes().to_vec());
    let layout = Layout::create(&base.join("packages")).unwrap();
    layout
        .write_package(&config, &BTreeMap::from([(digest, blob)]), version)
        .unwrap()
}

fn reference(version: &str, text: &str) -> PackageReference {
    PackageReference {
        name: "chat".parse().unwrap(),
        version: version.parse().unwrap(),
        reference: text.to_owned(),
    }
}

fn base() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn one(packages: &Packages, reference: &PackageReference, base: &Path) -> Result<Digest, String> {
    let Catalog { entries } = packages.resolve_all([reference], base);
    assert_eq!(entries.len(), 1);
    match &entries[&reference.reference] {
        Ok(entry) => Ok(entry.digest),
        Err(unresolved) => Err(unresolved.why().to_owned()),
    }
}

#[test]
fn tags_and_digests_are_resolved_relative_to_the_base() {
    let base = base();
    let digest = publish(base.path(), "1.0.0", "one");
    let packages = Packages::new();
    let find = |text: &str| one(&packages, &reference("1.0.0", text), base.path());
    assert_eq!(find("oci-layout:packages:1.0.0"), Ok(digest));
    assert_eq!(find("oci-layout:./packages:1.0.0"), Ok(digest));
    assert_eq!(find(&format!("oci-layout:packages@{digest}")), Ok(digest));
    let absolute = base.path().join("packages");
    assert_eq!(
        find(&format!("oci-layout:{}:1.0.0", absolute.display())),
        Ok(digest)
    );
}

#[test]
fn a_tag_is_looked_up_anew_and_a_digest_is_not() {
    let base = base();
    let packages = Packages::new();
    let first = publish(base.path(), "1.0.0", "one");
    let tag = reference("1.0.0", "oci-layout:packages:1.0.0");
    assert_eq!(one(&packages, &tag, base.path()), Ok(first));
    let second = publish(base.path(), "1.0.0", "two");
    assert_ne!(first, second);
    assert_eq!(one(&packages, &tag, base.path()), Ok(second));

    let pinned = reference("1.0.0", &format!("oci-layout:packages@{first}"));
    fs::remove_dir_all(base.path().join("packages")).unwrap();
    assert_eq!(
        one(&packages, &pinned, base.path()),
        Ok(first),
        "it is known already"
    );
    assert!(one(&packages, &tag, base.path()).is_err());
    assert!(one(&Packages::new(), &pinned, base.path()).is_err());
}

#[test]
fn modules_of_earlier_revisions_are_served_too() {
    let base = base();
    let packages = Packages::new();
    let tag = reference("1.0.0", "oci-layout:packages:1.0.0");
    for content in ["one", "second"] {
        publish(base.path(), "1.0.0", content);
        one(&packages, &tag, base.path()).unwrap();
    }
    for content in ["one", "second"] {
        let digest = Digest::of(content.as_bytes());
        let (mut file, size) = packages.clone().open_blob(&digest).unwrap();
        assert_eq!(size, content.len() as u64);
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, content);
    }
    assert!(packages.open_blob(&Digest::of(b"other")).is_none());
    let blob = base
        .path()
        .join("packages/blobs/sha256")
        .join(Digest::of(b"one").hex());
    fs::remove_file(blob).unwrap();
    assert!(
        packages.open_blob(&Digest::of(b"one")).is_none(),
        "it is gone from the layout"
    );
}

#[test]
fn a_package_that_is_not_the_declared_one_is_unresolved() {
    let base = base();
    publish(base.path(), "1.0.0", "one");
    let packages = Packages::new();
    let text = "oci-layout:packages:1.0.0";
    let why = one(&packages, &reference("1.1.0", text), base.path()).unwrap_err();
    assert_eq!(
        why,
        "`oci-layout:packages:1.0.0` holds chat 1.0.0, and chat 1.1.0 is declared; correct the declaration or the reference"
    );
    let mut other = reference("1.0.0", text);
    other.name = "talk".parse().unwrap();
    assert!(
        one(&packages, &other, base.path())
            .unwrap_err()
            .contains("talk 1.0.0 is declared")
    );
    for pair in [
        [&reference("1.0.0", text), &other],
        [&other, &reference("1.0.0", text)],
    ] {
        let catalog = packages.resolve_all(pair, base.path());
        assert!(
            catalog.entries[text].is_err(),
            "in whatever order they come"
        );
    }
}

#[test]
fn what_cannot_be_found_or_read_says_why() {
    let base = base();
    publish(base.path(), "1.0.0", "one");
    let packages = Packages::new();
    let why = |text: &str| one(&packages, &reference("1.0.0", text), base.path()).unwrap_err();
    assert!(why("oci-layout:nowhere:1.0.0").contains("nowhere"));
    assert!(why("oci-layout:packages:9.9.9").contains("no package has this tag"));
    assert!(why("oci://host/chat:1.0.0").contains("neither a full name nor an address"));
    assert!(why("oci://r.example/chat:1.0.0").contains("only layouts are opened"));
    let absent = Digest::of(b"absent");
    assert!(why(&format!("oci-layout:packages@{absent}")).contains("is missing"));
    assert!(!why("oci-layout:\u{1b}[31m:1").contains('\u{1b}'));
}

#[test]
fn a_damaged_module_is_found_before_anything_is_planned_with_it() {
    let base = base();
    publish(base.path(), "1.0.0", "one");
    let blob = base
        .path()
        .join("packages/blobs/sha256")
        .join(Digest::of(b"one").hex());
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "two").unwrap();
    let packages = Packages::new();
    let tag = reference("1.0.0", "oci-layout:packages:1.0.0");
    let why = one(&packages, &tag, base.path()).unwrap_err();
    assert!(why.contains("damaged or replaced"), "{why}");
    assert!(packages.open_blob(&Digest::of(b"one")).is_none());
}
