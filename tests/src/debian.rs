//! Real packages of Debian, downloaded by name once on a machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::servers::skipped;

/// The `.deb` files of these packages, each `name`, `name=version` or `name=oldest`, the oldest
/// version that the archive has, in this order; kept in the user's cache. `None`, said on standard
/// error, where Debian's archive is not at hand.
///
/// # Panics
///
/// In CI, where nothing is skipped.
pub fn debs(names: &[&str]) -> Option<Vec<PathBuf>> {
    let home = env::var_os("HOME").unwrap_or_default();
    let cache = Path::new(&home).join(".cache/placet-tests/debs");
    let found: Option<Vec<_>> = names.iter().map(|name| deb(&cache, name)).collect();
    if found.is_none() {
        let names = names.join(" ");
        skipped(&format!(
            "real packages of Debian: `apt-get download {names}` does not work here"
        ));
    }
    found
}

/// One package: from the cache, or downloaded into it.
fn deb(cache: &Path, name: &str) -> Option<PathBuf> {
    // One at a time: tests of one program run at once, and ask for the same packages.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = cache.join(name.replace(['=', ':', '~'], "_"));
    if let Some(deb) = only_deb(&folder) {
        return Some(deb);
    }
    // Under another name first: tests run at once, and what was only begun is not taken for whole.
    let draft = folder.with_extension(format!("{}.new", std::process::id()));
    fs::create_dir_all(&draft).expect("a folder in the cache");
    let download = || download(&draft, name);
    let is_there = download() || (run(&draft, &["update", "-q"]) && download());
    if is_there && fs::rename(&draft, &folder).is_err() {
        // Another test was faster.
        fs::remove_dir_all(&draft).expect("a folder of our own");
    }
    only_deb(&folder)
}

fn download(folder: &Path, name: &str) -> bool {
    let Some(name) = name.strip_suffix("=oldest") else {
        return run(folder, &["download", name]);
    };
    // A release may still list what its mirror no longer has.
    let versions = versions(name);
    let mut oldest_first = versions.iter().rev();
    oldest_first.any(|version| run(folder, &["download", &format!("{name}={version}")]))
}

/// The versions of a package that the archive lists, from new to old.
fn versions(name: &str) -> Vec<String> {
    let listed = Command::new("apt-cache").args(["madison", name]).output();
    let listed = listed.map_or_else(|_| Vec::new(), |output| output.stdout);
    let lines = String::from_utf8_lossy(&listed);
    let versions = lines.lines().filter_map(|line| line.split('|').nth(1));
    versions.map(|version| version.trim().to_owned()).collect()
}

fn only_deb(folder: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(folder).ok()?.flatten().map(|it| it.path());
    paths
        .into_iter()
        .find(|it| it.extension().is_some_and(|it| it == "deb"))
}

fn run(folder: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(arguments).current_dir(folder);
    command.output().is_ok_and(|output| output.status.success())
}
