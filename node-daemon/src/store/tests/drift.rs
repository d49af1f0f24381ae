//! Trees edited by hand, bits that flip, and files of a newer or a damaged store.

use std::os::unix::fs::symlink;

use super::*;

fn wanted() -> NodeManifest {
    manifest([
        entry(file("usr/bin/tool", "0755", b"the tool")),
        entry(file("usr/share/data", "0644", b"the data")),
        entry(file("usr/share/same", "0755", b"the data")),
        entry(link("usr/bin/alias", "tool")),
    ])
}

fn installed(folder: &TempDir) -> (Store, Generation) {
    let store = store(folder);
    let pristine = Generation::pristine();
    fetch(&store, &wanted(), &pristine, &[b"the tool", b"the data"]).unwrap();
    let generation = store.lay_out(&wanted(), &pristine).unwrap();
    store.commit(generation.number).unwrap();
    (store, generation)
}

fn all(_: &Module) -> bool {
    true
}

fn open_up(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// One bit of a file is another, and nothing else tells.
fn flip(path: &Path) {
    let meta = fs::metadata(path).unwrap();
    let (mode, time) = (meta.permissions(), meta.modified().unwrap());
    let mut bytes = fs::read(path).unwrap();
    bytes[3] ^= 0x10;
    open_up(path);
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, mode).unwrap();
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// After `edit` both looks, or only the full one, find `expected`, and repairing makes it good.
#[track_caller]
fn check(edit: impl Fn(&Path), is_seen_quickly: bool, expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (store, generation) = installed(&folder);
    assert_eq!(store.verify(&generation, Depth::Full, &all).unwrap(), []);
    let tree = store.tree(generation.number);
    for folder in ["", "usr", "usr/bin", "usr/share"] {
        open_up(&tree.join(folder));
    }
    edit(&tree);
    for folder in ["usr/share", "usr/bin", "usr", ""] {
        let path = tree.join(folder);
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        if is_folder && fs::metadata(&path).unwrap().permissions().mode() & 0o777 == 0o755 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
        }
    }
    let quick = store.verify(&generation, Depth::Quick, &all).unwrap();
    let full = store.verify(&generation, Depth::Full, &all).unwrap();
    assert_eq!(quick.is_empty(), !is_seen_quickly, "{quick:?}");
    let said: Vec<_> = full
        .iter()
        .map(|drift| format!("{}: {}", drift.path.display(), drift.what))
        .collect();
    assert_eq!(said, expected);
    let lacking = store.repair(&generation, &full).unwrap();
    for missing in &lacking {
        let contents: [&[u8]; 2] = [b"the tool", b"the data"];
        let is_it = |content: &&&[u8]| Digest::of(content) == missing.digest;
        let content = contents.iter().find(is_it).unwrap();
        let of = |entry: &&ManifestEntry| entry.module.digest == missing.digest;
        let module = &generation.manifest.modules.iter().find(of).unwrap().module;
        let mut incoming = store.incoming(*missing).unwrap();
        incoming.add(content).unwrap();
        incoming.finish(module).unwrap();
    }
    assert_eq!(store.repair(&generation, &full).unwrap(), []);
    assert_eq!(store.verify(&generation, Depth::Full, &all).unwrap(), []);
    check_whole(&store, "repaired");
}

#[test]
fn a_tree_that_was_edited_by_hand_is_found_quickly_and_put_right() {
    let tool = |tree: &Path| tree.join("usr/bin/tool");
    let other = |tree: &Path| {
        fs::remove_file(tool(tree)).unwrap();
        fs::write(tool(tree), "another!").unwrap();
        fs::set_permissions(tool(tree), fs::Permissions::from_mode(0o555)).unwrap();
    };
    check(other, true, &["usr/bin/tool: its bytes are others"]);
    let in_place = |tree: &Path| {
        open_up(&tool(tree));
        fs::write(tool(tree), "written over").unwrap();
        fs::set_permissions(tool(tree), fs::Permissions::from_mode(0o555)).unwrap();
    };
    check(in_place, true, &["usr/bin/tool: its bytes are others"]);
    let gone = |tree: &Path| fs::remove_file(tool(tree)).unwrap();
    check(gone, true, &["usr/bin/tool: it is missing"]);
    let writable = |tree: &Path| {
        fs::set_permissions(tool(tree), fs::Permissions::from_mode(0o4755)).unwrap();
    };
    let expected = "usr/bin/tool: its mode is 4755 in place of 0555";
    check(writable, true, &[expected]);
    let link = |tree: &Path| {
        fs::remove_file(tree.join("usr/bin/alias")).unwrap();
        symlink("/bin/sh", tree.join("usr/bin/alias")).unwrap();
    };
    check(link, true, &["usr/bin/alias: it leads somewhere else"]);
    let foreign = |tree: &Path| {
        fs::create_dir_all(tree.join("usr/share/foreign/deep")).unwrap();
        fs::write(tree.join("usr/share/foreign/deep/file"), "x").unwrap();
    };
    check(foreign, true, &["usr/share/foreign: no package has it"]);
    let folder = |tree: &Path| {
        fs::remove_file(tool(tree)).unwrap();
        fs::create_dir(tool(tree)).unwrap();
    };
    check(folder, true, &["usr/bin/tool: it is no longer a file"]);
}

#[test]
fn a_link_in_place_of_a_folder_is_never_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("data"), "precious").unwrap();
    fs::write(outside.path().join("more"), "precious").unwrap();
    let away = |tree: &Path| {
        fs::remove_dir_all(tree.join("usr/share")).unwrap();
        symlink(outside.path(), tree.join("usr/share")).unwrap();
    };
    let expected = [
        "usr/share: it is no longer a folder",
        "usr/share/data: it is missing",
        "usr/share/same: it is missing",
    ];
    check(away, true, &expected);
    for name in ["data", "more"] {
        assert_eq!(fs::read(outside.path().join(name)).unwrap(), b"precious");
    }
}

#[test]
fn a_bit_that_flips_is_found_by_digest_and_the_module_is_fetched_again() {
    let flipped = |tree: &Path| flip(&tree.join("usr/bin/tool"));
    check(flipped, false, &["usr/bin/tool: its bytes are others"]);
}

#[test]
fn damaged_bytes_are_not_laid_out_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = installed(&folder);
    let pristine = Generation::pristine();
    flip(&store.tree(1).join("usr/bin/tool"));
    let next = manifest([entry(file("bin/tool", "0755", b"the tool"))]);
    assert_eq!(store.missing(&next, &pristine), [], "it seems to be there");
    store.remove_damaged(&next, &pristine).unwrap();
    assert_eq!(store.missing(&next, &pristine).len(), 1);
    // Nothing can be started from what cannot be made good.
    let generation = store.load(1).unwrap();
    let drifts = store.verify(&generation, Depth::Full, &all).unwrap();
    let lacking = store.repair(&generation, &drifts).unwrap();
    store.take_away(&generation, &lacking).unwrap();
    assert!(!store.tree(1).join("usr/bin/tool").exists());
    assert!(store.tree(1).join("usr/share/data").exists());
}

#[test]
fn times_and_inodes_that_changed_alone_are_no_drift() {
    let touched = |tree: &Path| {
        let copy = tree.join("usr/share/copy");
        fs::copy(tree.join("usr/share/data"), &copy).unwrap();
        fs::rename(&copy, tree.join("usr/share/data")).unwrap();
        let day = std::time::Duration::from_hours(24);
        let file = fs::File::open(tree.join("usr/bin/tool")).unwrap();
        file.set_modified(std::time::SystemTime::now() + day)
            .unwrap();
    };
    check(touched, false, &[]);
}

#[test]
fn a_store_of_a_newer_daemon_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    installed(&folder);
    fs::write(folder.path().join("format"), "2\n").unwrap();
    fs::create_dir(folder.path().join("generations/.something-new")).unwrap();
    let error = Store::open(folder.path(), Disk::default()).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("newer placetd (format 2; this one knows 1)"),
        "{said}"
    );
    assert!(folder.path().join("generations/.something-new").exists());
    fs::write(folder.path().join("format"), "\0\0").unwrap();
    assert_eq!(store(&folder).committed().unwrap().number, 1);
    assert_eq!(fs::read(folder.path().join("format")).unwrap(), b"1\n");
}

#[test]
fn damaged_notes_are_put_aside_and_the_node_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (store, generation) = installed(&folder);
    store.note_epoch(7).unwrap();
    for name in [
        "epoch.json",
        "failed.json",
        "before.json",
        "journal/staging.json",
        "journal/activating.json",
    ] {
        fs::write(folder.path().join(name), b"{\"from\":\0\0").unwrap();
    }
    let store = store_at(folder.path());
    assert_eq!(store.epoch().unwrap(), 0);
    assert_eq!(store.failed().unwrap().len(), 0);
    assert_eq!(store.before(), [0; 0]);
    assert_eq!(store.journal().unwrap(), Journal::default());
    assert_eq!(store.committed().unwrap(), generation);
    assert!(folder.path().join("epoch.damaged").exists());
    store.note_epoch(8).unwrap();
    assert_eq!(store.epoch().unwrap(), 8);
}

#[test]
fn a_manifest_with_a_bit_flipped_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = installed(&folder);
    let path = folder.path().join("generations/1/manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let other = text.replacen("1.0.0", "1.0.1", 1);
    assert_ne!(text, other);
    fs::write(&path, other).unwrap();
    let error = store.committed().unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert_eq!(store.find(wanted().digest()).unwrap(), None);
    // The same is laid out anew, from the modules that are there.
    assert_eq!(store.missing(&wanted(), &Generation::pristine()), []);
    let again = store.lay_out(&wanted(), &Generation::pristine()).unwrap();
    assert_eq!(again.number, 2);
}
