//! The store on a real file system: every crash, every trick.

mod cut;
mod drift;
mod full;
mod power;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use placet_model::{
    InactivePackage, ManifestEntry, Module, NodeManifest, Signature, SignatureKind,
};
use tempfile::TempDir;

use super::journal::Journal;
use super::*;
use crate::testing::{entry, file, link, manifest};

fn store(folder: &TempDir) -> Store {
    store_at(folder.path())
}

fn store_at(folder: &Path) -> Store {
    Store::open(folder, Disk::default()).unwrap()
}

/// Fetches everything that is missing out of `contents`.
fn fetch(
    store: &Store,
    manifest: &NodeManifest,
    base: &Generation,
    contents: &[&[u8]],
) -> Result<usize, StoreError> {
    let missing = store.missing(manifest, base);
    for missing in &missing {
        let content = contents
            .iter()
            .find(|content| Digest::of(content) == missing.digest)
            .unwrap();
        let mut modules = manifest.stored_modules();
        let module = modules.find(|module| module.digest == missing.digest);
        let module = module.unwrap();
        let mut incoming = store.incoming(*missing)?;
        let offset = usize::try_from(incoming.offset()).unwrap();
        incoming.add(&content[offset..])?;
        incoming.finish(module)?;
    }
    Ok(missing.len())
}

#[test]
fn an_owner_without_a_name_here_is_a_number() {
    if !full::is_root() {
        eprintln!("skipped: only root gives files to others");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let owned = |user: &str, group: &str| {
        let mut module = file("usr/share/data", "0644", b"data");
        module.owner = placet_model::Owner {
            user: Some(user.to_owned()),
            group: Some(group.to_owned()),
        };
        manifest([entry(module)])
    };
    let lay_out = |manifest: &NodeManifest| {
        fetch(&store, manifest, &Generation::pristine(), &[b"data"])?;
        store.lay_out(manifest, &Generation::pristine())
    };
    for (user, group, expected) in [
        ("4294967294", "54321", (4_294_967_294, 54_321)),
        ("root", "0", (0, 0)),
    ] {
        let generation = lay_out(&owned(user, group)).unwrap();
        let path = store.tree(generation.number).join("usr/share/data");
        let found = fs::metadata(path).unwrap();
        assert_eq!((found.uid(), found.gid()), expected);
    }
    for wrong in ["4294967295", "-1", "+1", "1:2", "no-such-user"] {
        let refused = lay_out(&owned(wrong, "0")).unwrap_err();
        assert!(matches!(refused, StoreError::Owner { .. }), "{refused}");
    }
}

#[test]
fn a_generation_is_what_the_manifest_says_and_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let manifest = manifest([
        entry(file("usr/bin/tool", "0755", b"tool")),
        entry(file("usr/share/data", "0644", b"data")),
        entry(link("usr/bin/alias", "../share/data")),
    ]);
    assert_eq!(
        fetch(
            &store,
            &manifest,
            &Generation::pristine(),
            &[b"tool", b"data"]
        )
        .unwrap(),
        2
    );
    let generation = store.lay_out(&manifest, &Generation::pristine()).unwrap();
    assert_eq!(generation.number, 1);
    let tree = store.tree(1);
    assert_eq!(fs::read(tree.join("usr/bin/tool")).unwrap(), b"tool");
    assert_eq!(fs::read(tree.join("usr/bin/alias")).unwrap(), b"data");
    let mode = |path: &str| {
        fs::symlink_metadata(tree.join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (
            mode("usr/bin/tool"),
            mode("usr/share/data"),
            mode("usr/bin")
        ),
        (0o555, 0o444, 0o555)
    );
    // Stored once: the file in the tree is the file in the store.
    assert_eq!(fs::metadata(tree.join("usr/bin/tool")).unwrap().nlink(), 2);
    // The same manifest again is the same generation.
    assert_eq!(
        store.lay_out(&manifest, &Generation::pristine()).unwrap(),
        generation
    );
    assert_eq!(store.load(1).unwrap(), generation);
    assert_eq!(store.find(manifest.digest()).unwrap(), Some(generation));
}

#[test]
fn one_module_with_two_modes_is_fetched_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let manifest = manifest([
        entry(file("a", "0755", b"same")),
        entry(file("b", "0644", b"same")),
    ]);
    assert_eq!(
        fetch(&store, &manifest, &Generation::pristine(), &[b"same"]).unwrap(),
        1
    );
    store.lay_out(&manifest, &Generation::pristine()).unwrap();
    let mode = |path: &str| {
        fs::metadata(store.tree(1).join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("a"), mode("b")), (0o555, 0o444));
}

#[test]
fn what_is_stored_without_being_active_is_at_hand_and_in_no_tree() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let active = manifest([entry(file("tool", "0755", b"1"))]);
    let mut both = active.clone();
    both.inactive = vec![InactivePackage {
        name: "next".parse().unwrap(),
        version: "2.0.0".parse().unwrap(),
        digest: Digest::of(b"next"),
        modules: vec![
            file("tool", "0755", b"2"),
            link("alias", "tool"),
            file("more", "0644", b"more"),
        ],
    }];
    let pristine = Generation::pristine();
    assert_eq!(
        fetch(&store, &both, &pristine, &[b"1", b"2", b"more"]).unwrap(),
        3
    );
    let stored = store.lay_out(&both, &pristine).unwrap();
    let names: Vec<_> = files::names(&store.tree(1)).unwrap().into_iter().collect();
    assert_eq!(names, ["tool"]);
    assert_eq!(fs::read(store.tree(1).join("tool")).unwrap(), b"1");
    // As long as the generation is there, so is what it stores.
    store.collect(&[1].into(), &BTreeSet::new()).unwrap();
    let turned = manifest([
        entry(file("tool", "0755", b"2")),
        entry(link("alias", "tool")),
        entry(file("more", "0644", b"more")),
    ]);
    assert_eq!(store.missing(&turned, &stored), []);
    store.lay_out(&turned, &stored).unwrap();
    assert_eq!(fs::read(store.tree(2).join("alias")).unwrap(), b"2");
    store.collect(&BTreeSet::new(), &BTreeSet::new()).unwrap();
    assert_eq!(store.missing(&both, &pristine).len(), 3);
}

#[test]
fn bytes_with_another_digest_or_size_are_refused_and_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let module = file("a", "0644", b"right");
    let missing = Missing {
        digest: module.digest,
        size: 5,
    };
    let mut incoming = store.incoming(missing).unwrap();
    incoming.add(b"wrong").unwrap();
    assert!(matches!(
        incoming.finish(&module),
        Err(StoreError::WrongDigest { .. })
    ));
    let mut incoming = store.incoming(missing).unwrap();
    assert_eq!(incoming.offset(), 0, "nothing of it is kept");
    assert!(matches!(
        incoming.add(b"rightrightright"),
        Err(StoreError::TooLong { size: 5, .. })
    ));
    let mut incoming = store.incoming(missing).unwrap();
    incoming.add(b"rig").unwrap();
    assert!(matches!(
        incoming.finish(&module),
        Err(StoreError::TooShort { received: 3, .. })
    ));
    assert_eq!(files::names(&store.blobs()).unwrap(), [""; 0]);
}

#[test]
fn what_has_arrived_is_not_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let module = file("a", "0644", b"half and half");
    let missing = Missing {
        digest: module.digest,
        size: 13,
    };
    let mut incoming = store.incoming(missing).unwrap();
    incoming.add(b"half and").unwrap();
    drop(incoming);
    let mut incoming = store.incoming(missing).unwrap();
    assert_eq!(incoming.offset(), 8);
    incoming.add(b" half").unwrap();
    assert!(incoming.is_whole());
    incoming.finish(&module).unwrap();
}

#[test]
fn bytes_held_for_an_equal_signature_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let signature = Signature::new(SignatureKind::Elf1, [7; 16]);
    let signed = |content: &[u8]| {
        let mut module = file("lib", "0644", content);
        module.signature = signature;
        manifest([entry(module)])
    };
    let (old, new, newest) = (
        signed(b"built on Monday"),
        signed(b"built on Tuesday"),
        signed(b"built on Wednesday"),
    );
    fetch(&store, &old, &Generation::pristine(), &[b"built on Monday"]).unwrap();
    let first = store.lay_out(&old, &Generation::pristine()).unwrap();
    assert_eq!(store.missing(&new, &first), []);
    let second = store.lay_out(&new, &first).unwrap();
    assert_eq!(
        fs::read(store.tree(2).join("lib")).unwrap(),
        b"built on Monday"
    );
    assert_eq!(
        second.held(&new.modules[0].module),
        Digest::of(b"built on Monday")
    );
    // And on: the node remembers what it holds.
    let second = store.load(2).unwrap();
    assert_eq!(store.missing(&newest, &second), []);
    store.lay_out(&newest, &second).unwrap();
    assert_eq!(
        fs::read(store.tree(3).join("lib")).unwrap(),
        b"built on Monday"
    );
}

#[test]
fn manifests_that_lead_out_of_the_tree_are_refused() {
    let refused = |entries: &[ManifestEntry]| {
        let manifest = manifest(entries.to_vec());
        let error = Store::check(&manifest).unwrap_err().to_string();
        (error, manifest)
    };
    let (error, _) = refused(&[entry(link("a/l", "../../etc"))]);
    assert!(error.contains("symbolic link"), "{error}");
    // The text stays inside, the kernel would not: `deep/..` is above where `deep` leads.
    let (error, _) = refused(&[entry(link("d", "x/y")), entry(link("l", "d/../../etc"))]);
    assert!(error.contains("symbolic link"), "{error}");
    let (error, _) = refused(&[entry(link("a/b/l", "c/../../x"))]);
    assert!(error.contains("`..` first"), "{error}");
    let (error, _) = refused(&[
        entry(link("lib", "usr/lib")),
        entry(file("lib/x", "0644", b"")),
    ]);
    assert!(
        error.contains("both as a module and as the folder"),
        "{error}"
    );
    let same = entry(file("a", "0644", b""));
    let (error, _) = refused(&[same.clone(), same]);
    assert!(error.contains("twice"), "{error}");
}

#[test]
fn committing_switches_between_generations_and_back_to_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let manifest = manifest([entry(link("a", "b"))]);
    assert_eq!(store.committed().unwrap(), Generation::pristine());
    let generation = store.lay_out(&manifest, &Generation::pristine()).unwrap();
    store.commit(1).unwrap();
    assert_eq!(store.committed().unwrap(), generation);
    store.commit(0).unwrap();
    assert_eq!(store.committed().unwrap(), Generation::pristine());
}

#[test]
fn collecting_keeps_what_is_named_and_the_modules_of_that() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let both = |other: &[u8]| {
        manifest([
            entry(file("both", "0644", b"both")),
            entry(file("other", "0644", other)),
        ])
    };
    for (content, number) in [(b"1", 1), (b"2", 2), (b"3", 3)] {
        fetch(
            &store,
            &both(content),
            &Generation::pristine(),
            &[b"both", content],
        )
        .unwrap();
        assert_eq!(
            store
                .lay_out(&both(content), &Generation::pristine())
                .unwrap()
                .number,
            number
        );
    }
    assert_eq!(
        store
            .collect(&BTreeSet::from([1, 3]), &BTreeSet::new())
            .unwrap(),
        [2]
    );
    assert_eq!(store.numbers().unwrap(), [1, 3]);
    assert_eq!(fs::read(store.tree(3).join("both")).unwrap(), b"both");
    let gone = store.missing(&both(b"2"), &Generation::pristine());
    assert_eq!(
        gone,
        [Missing {
            digest: Digest::of(b"2"),
            size: 1
        }]
    );
    store.collect(&BTreeSet::new(), &BTreeSet::new()).unwrap();
    assert_eq!(files::names(&store.blobs()).unwrap(), [""; 0]);
    // Numbers never come again.
    fetch(
        &store,
        &both(b"4"),
        &Generation::pristine(),
        &[b"both", b"4"],
    )
    .unwrap();
    assert_eq!(
        store
            .lay_out(&both(b"4"), &Generation::pristine())
            .unwrap()
            .number,
        4
    );
}

/// Everything that an update does to the store.
fn update(store: &Store, old: &Generation, new: &NodeManifest) -> Result<(), StoreError> {
    fetch(store, new, old, &[b"new", b"both"])?;
    let generation = store.lay_out(new, old)?;
    store.commit(generation.number)?;
    store.collect(&BTreeSet::from([generation.number]), &BTreeSet::new())?;
    Ok(())
}

/// A disk that refuses its `number`th operation and all after it.
fn stops_at(number: usize) -> Disk {
    let passed = AtomicUsize::new(0);
    Disk::watched(move |_| {
        if passed.fetch_add(1, Ordering::Relaxed) < number {
            return Ok(());
        }
        Err(std::io::Error::other("stopped"))
    })
}

/// Nothing is there but whole generations.
#[track_caller]
fn check_whole(store: &Store, when: &str) {
    for number in store.numbers().unwrap() {
        let tree = store.tree(number);
        let generation = store.load(number).unwrap();
        let mut paths = 0;
        for ManifestEntry { module, .. } in &generation.manifest.modules {
            let path = tree.join(module.path.as_str());
            paths += 1;
            if let Some(target) = &module.link {
                assert_eq!(
                    fs::read_link(&path).unwrap(),
                    Path::new(target.as_str()),
                    "{when}"
                );
                continue;
            }
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(
                mode & 0o7777,
                module.mode.bits() & 0o555,
                "{when}: {}",
                path.display()
            );
            let found = Digest::of(&fs::read(&path).unwrap());
            assert_eq!(found, generation.held(module), "{when}: {}", path.display());
        }
        assert_eq!(
            count_sealed(&tree, when),
            paths,
            "{when}, generation {number}"
        );
    }
    let names = files::names(&store.generations()).unwrap();
    assert!(
        names.iter().all(|name| !name.starts_with('.')),
        "{when}: {names:?}"
    );
}

/// The number of modules in a tree; its folders cannot be written.
#[track_caller]
fn count_sealed(folder: &Path, when: &str) -> usize {
    let mode = fs::metadata(folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o555, "{when}: {}", folder.display());
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let count = |entry: fs::DirEntry| {
        if entry.file_type().unwrap().is_dir() {
            count_sealed(&entry.path(), when)
        } else {
            1
        }
    };
    entries.map(count).sum()
}

#[test]
fn an_error_anywhere_leaves_the_old_generation_or_the_new_one_and_can_be_repeated() {
    let old = manifest([
        entry(file("a", "0644", b"old")),
        entry(file("b", "0644", b"both")),
    ]);
    let new = manifest([
        entry(file("a", "0644", b"new")),
        entry(file("b", "0755", b"both")),
    ]);
    for stop in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let clean = store(&folder);
        fetch(&clean, &old, &Generation::pristine(), &[b"old", b"both"]).unwrap();
        let before = clean.lay_out(&old, &Generation::pristine()).unwrap();
        clean.commit(1).unwrap();

        let faulty = Store::open(folder.path(), stops_at(stop));
        let stopped = faulty.and_then(|faulty| update(&faulty, &before, &new));

        let when = format!("stopped at {stop}");
        let again = store(&folder);
        let committed = again.committed().unwrap();
        assert!(
            committed.manifest == old || committed.manifest == new,
            "{when}"
        );
        check_whole(&again, &when);
        update(&again, &committed, &new).unwrap();
        assert_eq!(again.committed().unwrap().manifest, new, "{when}");
        check_whole(&again, &when);
        if stopped.is_ok() {
            assert!(stop > 40, "only {stop} operations");
            break;
        }
    }
}

#[test]
fn the_journal_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let note = Activating {
        rollout: "r-1".to_owned(),
        change_digest: Digest::of(b"c"),
        from: 1,
        to: 2,
        gives_back: None,
        soak_seconds: 0,
        soaks: false,
        from_test: None,
    };
    store(&folder).note_activating(Some(&note)).unwrap();
    store(&folder).note_epoch(7).unwrap();
    let again = store(&folder);
    assert_eq!(
        again.journal().unwrap(),
        Journal {
            staging: None,
            activating: Some(note),
            booting: None,
        }
    );
    assert_eq!(again.epoch().unwrap(), 7);
    again.note_activating(None).unwrap();
    assert_eq!(again.journal().unwrap(), Journal::default());
}
