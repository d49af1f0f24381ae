//! A library that changes travels as a patch, from a real controller to real nodes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use placet_model::Digest;
use placet_tests::{Fleet, FleetOptions, assert_never_a_mixture};

const LIBRARY: &str = "usr/lib/libgreet.so.1";

fn library(fleet: &Fleet, node: &str) -> Vec<u8> {
    fs::read(fleet.path(node).join("committed/tree").join(LIBRARY)).unwrap()
}

/// Every file below `folder` with these bytes.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if kind.is_file() && fs::read(&path).unwrap() == bytes {
            found.push(path);
        }
    }
    found
}

/// Flips the last bit of a file, which no process executes.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_patch_travels_and_the_whole_where_the_base_is_damaged() {
    let nodes = vec!["core-1", "core-2"];
    let mut fleet = Fleet::settled(FleetOptions {
        nodes,
        ..FleetOptions::default()
    })
    .await;
    let old = library(&fleet, "core-1");
    let copies = files_with(&fleet.path("core-2"), &old);
    assert!(!copies.is_empty());
    // Links to one file are damaged once.
    for copy in &copies {
        if fs::read(copy).unwrap() == old {
            damage(copy);
        }
    }
    let since = fleet.feed.latest();
    let commit = fleet.commit_greet("1.1.0");
    fleet.verified(&commit).await;
    let new = library(&fleet, "core-1");
    assert_ne!(Digest::of(&new), Digest::of(&old));
    assert_eq!(library(&fleet, "core-2"), new);
    let travelled = |node: &str| {
        let mut fetched = fleet.feed.named("fetched", since);
        let event = fetched.find(|event| event.text("node") == node).unwrap();
        event.data["bytes"].as_u64().unwrap()
    };
    let (patched, whole) = (travelled("core-1"), travelled("core-2"));
    let size = new.len() as u64;
    assert!(
        patched > 0 && patched < size / 4,
        "{patched} of {size} bytes"
    );
    assert!(whole >= size, "{whole} of {size} bytes");
    assert_never_a_mixture(&fleet, "core-1");
    assert_never_a_mixture(&fleet, "core-2");
}
