//! Repositories: made with the `git` program, read from a path and through a real ssh server.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail, and say what they skip, as tests do"
)]

mod hostile;
mod https;
mod local;
mod repository;
mod server;
mod signature;
mod ssh;
mod tls;
mod web;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use placet_controller::git::{FetchError, Fetched, Limits, Repositories};
use placet_crds::GitSource;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A state folder and a source in it.
struct Follower {
    state: TempDir,
    repositories: Repositories,
    source: GitSource,
}

impl Follower {
    fn new(url: &str) -> Self {
        Self::with_limits(url, Limits::default())
    }

    fn with_limits(url: &str, limits: Limits) -> Self {
        let state = tempfile::tempdir().unwrap();
        Self {
            repositories: Repositories::with_limits(state.path(), limits),
            state,
            source: source(url, &json!({})),
        }
    }

    /// With more fields of the spec.
    fn with(mut self, spec: &Value) -> Self {
        self.source = source(&self.source.spec.url, spec);
        self
    }

    fn fetch(&self, last_good: Option<&str>) -> Result<Fetched, FetchError> {
        self.repositories.fetch(&self.source, last_good)
    }

    fn names(&self) -> Vec<String> {
        let files = self.fetch(None).unwrap().files;
        files.into_iter().map(|file| file.name).collect()
    }

    /// The text of the error of a fetch, which is fit for a terminal.
    #[track_caller]
    fn refused(&self) -> String {
        let error = self.fetch(None).unwrap_err();
        let text = error.to_string();
        assert!(!text.contains(|it: char| it.is_control()), "{text:?}");
        text
    }
}

/// A folder that nobody else can read, as those of secrets have to be.
fn private_folder(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
}

fn source(url: &str, spec: &Value) -> GitSource {
    let mut value = json!({
        "apiVersion": "placet.dev/v1alpha1",
        "kind": "GitSource",
        "metadata": {"name": "fleet"},
        "spec": spec,
    });
    value["spec"]["url"] = json!(url);
    serde_json::from_value(value).unwrap()
}
