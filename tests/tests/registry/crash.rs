//! Commands that are killed at any of their file operations: what is listed is whole, and doing the
//! same again ends where it would have ended.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use placet_package::Layout;
use placet_tests::command::command;
use placet_tests::{RegistryServer, Sample};

use crate::line::package;
use crate::{json, text};

/// Kills the process before the file operation whose number `DIE_AT` is; without one, says at the end
/// how many there were.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long done;

static void tick(void) {
    const char *at = getenv("DIE_AT");
    if (atomic_fetch_add(&done, 1) + 1 == (at ? atol(at) : 0)) kill(getpid(), SIGKILL);
}

__attribute__((destructor)) static void tell(void) {
    fprintf(stderr, "operations: %ld\n", done);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int rename(const char *from, const char *to) { tick(); return REAL(rename)(from, to); }
int unlink(const char *path) { tick(); return REAL(unlink)(path); }
int fsync(int file) { tick(); return REAL(fsync)(file); }
int ftruncate64(int file, off64_t size) { tick(); return REAL(ftruncate64)(file, size); }
int mkdir(const char *path, mode_t mode) { tick(); return REAL(mkdir)(path, mode); }
ssize_t write(int file, const void *bytes, size_t count) {
    struct stat found;
    if (fstat(file, &found) == 0 && S_ISREG(found.st_mode)) tick();
    return REAL(write)(file, bytes, count);
}
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    if (flags & O_CREAT) tick();
    return REAL(open64)(path, flags, mode);
}
"#;

fn shim(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
    fs::write(&source, SHIM).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status()
        .unwrap();
    assert!(built.success());
    library
}

fn run_with(shim: &Path, die_at: u64, arguments: &[&str]) -> Output {
    command(arguments)
        .env("LD_PRELOAD", shim)
        .env("DIE_AT", die_at.to_string())
        .output()
        .unwrap()
}

/// Every tag, whose package is whole, and every blob.
fn state(layout: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let Ok(layout) = Layout::open(layout) else {
        return (BTreeSet::new(), BTreeSet::new());
    };
    let tags = layout.tags().unwrap();
    for digest in tags.values() {
        layout.package(digest).unwrap().verify_blobs().unwrap();
    }
    let blobs = fs::read_dir(layout.dir().join("blobs/sha256")).unwrap();
    let names = blobs.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    (tags.into_keys().collect(), names.collect())
}

fn copy_layout(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    if from.exists() {
        let copied = Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.unwrap().success());
    }
}

/// Kills `arguments`, which works on `layout`, at some of its operations.
fn survive(folder: &Path, layout: &Path, arguments: &[&str], sample: &mut Sample) {
    let shim = shim(folder);
    let before = folder.join("before");
    copy_layout(layout, &before);
    let done = run_with(&shim, 0, arguments);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {said}");
    let count = said.rsplit("operations: ").next().unwrap().trim();
    let count: u64 = count.parse().unwrap();
    assert!(count > 3, "{count} operations");
    let prune = ["package", "prune", layout.to_str().unwrap()];
    json(&prune);
    let wanted = state(layout);
    let all: Vec<u64> = (1..=count).collect();
    for _ in 0..sample.cases {
        let at = *sample.pick(&all);
        copy_layout(&before, layout);
        let killed = run_with(&shim, at, arguments).status;
        // What happens at the same time takes one operation more or less.
        let is_over = killed.success() && at + 5 > count;
        assert!(
            is_over || killed.signal() == Some(9),
            "{arguments:?} at {at} of {count}"
        );
        // It panics unless what is listed is whole.
        state(layout);
        // Where all was done but the last steps, there is nothing left to do again.
        let again = run_with(&shim, 0, arguments);
        let said = String::from_utf8_lossy(&again.stderr);
        assert!(
            again.status.success() || said.contains("no package has this tag"),
            "{said}"
        );
        json(&prune);
        assert_eq!(state(layout), wanted, "{arguments:?} at {at} of {count}");
    }
}

#[test]
fn a_layout_is_whole_whenever_somebody_who_works_on_it_is_killed() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    package(&path("from"), "many", &[10, 200_000, 30_000]);
    let place = server.at("many:1.0.0");
    json(&["package", "push", &text(&path("from")), &place]);
    let (to, other) = (path("to"), path("other"));
    let mut sample = Sample::new("kills", 60, 5);
    let pull = ["package", "pull", &place, to.to_str().unwrap()];
    survive(folder.path(), &to, &pull, &mut sample);
    let from = format!("oci-layout:{}:1.0.0", to.display());
    let target = format!("oci-layout:{}", other.display());
    survive(
        folder.path(),
        &other,
        &["package", "copy", &from, &target],
        &mut sample,
    );
    package(&other, "more", &[10, 50]);
    json(&["package", "copy", &from, &format!("{target}:old")]);
    let remove = format!("{target}:old");
    survive(
        folder.path(),
        &other,
        &["package", "remove", &remove],
        &mut sample,
    );
}
