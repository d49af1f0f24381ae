//! Disks that are full, out of files, or read-only, at every step of an update.

use std::process::Command;

use nix::sys::statvfs::{Statvfs, statvfs};

use super::*;

/// A file system in memory with a bound of its own. Needs root, as most of what a node does.
struct Mounted(TempDir);

impl Mounted {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=16m", "none"],
            folder.path(),
        );
        Self(folder)
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run("mount", &["-o", &options], self.0.path());
    }

    fn usage(&self) -> Statvfs {
        statvfs(self.0.path()).unwrap()
    }

    /// Leaves room for so many pages and files more.
    fn leave(&self, pages: Option<u64>, files: Option<u64>) {
        let usage = self.usage();
        let most = |more: Option<u64>, used: u64| more.map_or(1 << 20, |more| used + more);
        let pages = most(pages, usage.blocks() - usage.blocks_free());
        let files = most(files, usage.files() - usage.files_free());
        self.remount(&format!("size={},nr_inodes={files}", pages * 4096));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[], self.0.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
}

pub(super) fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    assert!(
        is_root || std::env::var_os("CI").is_none(),
        "root alone mounts file systems and gives files to others"
    );
    is_root
}

fn old() -> NodeManifest {
    manifest([
        entry(file("a", "0644", b"old")),
        entry(file("b", "0644", b"both")),
    ])
}

fn new() -> NodeManifest {
    manifest([
        entry(file("deep/er/a", "0644", b"new")),
        entry(file("b", "0755", b"both")),
        entry(link("l", "b")),
    ])
}

/// A store with the old generation, on a disk that has no reserve.
fn installed(disk: &Mounted) -> (Store, Generation) {
    let allowance = Allowance {
        reserve: Some(0),
        ..Allowance::default()
    };
    let store = store(&disk.0).within(allowance);
    let pristine = Generation::pristine();
    fetch(&store, &old(), &pristine, &[b"old", b"both"]).unwrap();
    let before = store.lay_out(&old(), &pristine).unwrap();
    store.commit(before.number).unwrap();
    (store, before)
}

/// With `leave(k)` for every k until there is enough: what the check lets pass fits; what does not
/// fit leaves what is, and goes through once there is room. Returns how often it did not fit.
fn fill(leave: impl Fn(&Mounted, u64)) -> u64 {
    for more in 0.. {
        let disk = Mounted::new();
        let (store, before) = installed(&disk);
        leave(&disk, more);
        let when = format!("with {more} more");
        let checked = store.check_room(&new(), &before);
        let done = update(&store, &before, &new());
        match &done {
            Ok(()) => {}
            Err(StoreError::Full { .. }) => assert!(checked.is_err(), "{when}: {done:?}"),
            Err(error) => panic!("{when}: {error:?}"),
        }
        let again = store_at(disk.0.path());
        let committed = again.committed().unwrap();
        let expected = [old(), new()];
        assert!(expected.contains(&committed.manifest), "{when}");
        check_whole(&again, &when);
        again.journal().unwrap();
        disk.leave(None, None);
        update(&again, &committed, &new()).unwrap();
        assert_eq!(again.committed().unwrap().manifest, new(), "{when}");
        check_whole(&again, &when);
        if done.is_ok() && checked.is_ok() {
            return more;
        }
    }
    unreachable!("it fits in the end")
}

#[test]
fn a_disk_that_is_full_at_any_step_leaves_what_is_there() {
    if is_root() {
        let steps = fill(|disk, more| disk.leave(Some(more), None));
        assert!(steps > 5, "it was full at {steps} steps only");
    }
}

#[test]
fn a_disk_without_inodes_at_any_step_leaves_what_is_there() {
    if is_root() {
        let steps = fill(|disk, more| disk.leave(None, Some(more)));
        assert!(steps > 5, "it was full at {steps} steps only");
    }
}

/// Every file of a folder with its size and time.
fn listing(folder: &Path) -> String {
    let list = Command::new("find")
        .arg(folder)
        .args(["-printf", "%p %s %T@\n"])
        .output();
    String::from_utf8(list.unwrap().stdout).unwrap()
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    if !is_root() {
        return;
    }
    let disk = Mounted::new();
    let (store, before) = installed(&disk);
    let is = listing(disk.0.path());
    let large = manifest([entry(Module {
        size: 20 << 20,
        ..file("large", "0644", b"large")
    })]);
    let error = store.check_room(&large, &before).unwrap_err();
    let said = crate::Chain(&error).to_string();
    assert!(
        said.contains("it needs 21 MiB and 16 MiB are free, 0 bytes of them"),
        "{said}"
    );
    assert_eq!(listing(disk.0.path()), is);

    let quota = Allowance {
        quota: Some(10 << 20),
        reserve: Some(0),
        kept: 0,
    };
    let small = manifest([entry(Module {
        size: 11 << 20,
        ..file("small", "0644", b"small")
    })]);
    store.check_room(&small, &before).unwrap();
    let error = store.within(quota).check_room(&small, &before).unwrap_err();
    let said = crate::Chain(&error).to_string();
    assert!(said.contains("raise --quota by"), "{said}");
}

#[test]
fn a_disk_that_can_only_be_read_shows_what_is_there_and_takes_nothing() {
    if !is_root() {
        return;
    }
    let disk = Mounted::new();
    let (_, before) = installed(&disk);
    disk.remount("ro");
    let is = listing(disk.0.path());
    let store = store(&disk.0);
    assert_eq!(store.committed().unwrap(), before);
    store.journal().unwrap();
    let error = update(&store, &before, &new()).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    assert_eq!(listing(disk.0.path()), is);
    disk.remount("rw");
    update(&store, &before, &new()).unwrap();
    check_whole(&store, "writable again");
}

#[test]
fn the_last_generations_are_kept_however_many_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).within(Allowance {
        kept: 2,
        ..Allowance::default()
    });
    let pristine = Generation::pristine();
    for content in [b"1", b"2", b"3", b"4", b"5"] {
        let next = manifest([entry(file("a", "0644", content))]);
        fetch(&store, &next, &pristine, &[content]).unwrap();
        let number = store.lay_out(&next, &pristine).unwrap().number;
        store.commit(number).unwrap();
        store
            .collect(&BTreeSet::from([number]), &BTreeSet::new())
            .unwrap();
    }
    assert_eq!(store.numbers().unwrap(), [3, 4, 5]);
    // Going back makes the one that was left the newest of those before.
    store.commit(3).unwrap();
    store
        .collect(&BTreeSet::from([3]), &BTreeSet::new())
        .unwrap();
    assert_eq!(store.numbers().unwrap(), [3, 4, 5]);
    assert_eq!(files::names(&store.blobs()).unwrap().len(), 3);
}

#[test]
fn modules_that_are_on_their_way_are_not_collected() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let next = manifest([
        entry(file("a", "0644", b"here")),
        entry(file("b", "0644", b"half")),
    ]);
    let pristine = Generation::pristine();
    let missing = store.missing(&next, &pristine);
    for missing in &missing {
        let mut incoming = store.incoming(*missing).unwrap();
        if missing.digest == Digest::of(b"here") {
            incoming.add(b"here").unwrap();
            incoming.finish(&next.modules[0].module).unwrap();
        } else {
            incoming.add(b"ha").unwrap();
        }
    }
    let wanted = store.modules(&next, &pristine);
    store.collect(&BTreeSet::new(), &wanted).unwrap();
    let left = store.missing(&next, &pristine);
    assert_eq!(left.len(), 1);
    assert_eq!(store.incoming(left[0]).unwrap().offset(), 2);
    store.collect(&BTreeSet::new(), &BTreeSet::new()).unwrap();
    assert_eq!(store.missing(&next, &pristine).len(), 2);
    assert_eq!(store.incoming(left[0]).unwrap().offset(), 0);
}
