//! The programs of other people that tests run: API server, registry, and clients of both.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs};

/// Programs that a folder must have to be of use.
const NEEDED: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];

/// The folder with the programs: the one that `KUBEBUILDER_ASSETS` names, or where `cargo xtask
/// servers` puts them; none where nobody built them.
///
/// # Panics
///
/// In CI, where nothing is skipped.
pub fn servers() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let is_complete = |folder: &PathBuf| NEEDED.iter().all(|name| folder.join(name).is_file());
        folders().find(is_complete)
    });
    if folder.is_none() {
        skipped("the test servers are not there; `cargo xtask servers` builds them");
    }
    folder.as_deref()
}

/// A program of other people's; none where nobody built it.
pub fn program(name: &str) -> Option<PathBuf> {
    let found = folders()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        skipped(&format!(
            "`{name}` is not there; `cargo xtask servers` builds it"
        ));
    }
    found
}

/// Where programs may be, the preferred folder first.
fn folders() -> impl Iterator<Item = PathBuf> {
    let named = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let current = fs::read_to_string(cache().join("current")).ok();
    let cached = current.map(|name| cache().join(name.trim()));
    named.into_iter().chain(cached)
}

fn cache() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    let base = env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    base.join("placet/servers")
}

/// Says that a test does nothing, and why.
///
/// # Panics
///
/// In CI, where nothing is skipped.
pub fn skipped(why: &str) {
    assert!(
        env::var_os("CI").is_none(),
        "in CI nothing is skipped: {why}"
    );
    eprintln!("skipped: {why}");
}
