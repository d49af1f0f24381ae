//! Packages in a registry that asks for a login, and what is kept of them from run to run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use placet_tests::{REGISTRY_PASSWORD, REGISTRY_USER, RegistryServer, placet};
use tempfile::TempDir;

use crate::{Repository, answer};

/// A fleet whose packages are in a registry that asks for a password.
struct Remote {
    server: RegistryServer,
    repository: Repository,
    files: TempDir,
}

impl Remote {
    fn new() -> Option<Self> {
        let server = RegistryServer::private()?;
        server.push_examples();
        let repository = Repository::new();
        let file = repository.file("packages.yaml");
        let text = fs::read_to_string(&file).unwrap();
        let text = text
            .replace("oci-layout:", &server.at("fleet/"))
            .replace("spec:\n", "spec:\n  secretRef:\n    name: registry\n");
        fs::write(&file, text).unwrap();
        repository.commit();
        let remote = Self {
            server,
            repository,
            files: tempfile::tempdir().unwrap(),
        };
        remote.secret(REGISTRY_PASSWORD);
        Some(remote)
    }

    fn secret(&self, password: &str) {
        let folder = self.files.path().join("secrets/registry");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(folder.join("username"), REGISTRY_USER).unwrap();
        fs::write(folder.join("password"), password).unwrap();
        fs::copy(self.server.path("ca.crt"), folder.join("ca.crt")).unwrap();
    }

    fn cache(&self) -> PathBuf {
        self.files.path().join("cache")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(placet());
        command
            .arg("check")
            .arg("--repo")
            .arg(self.repository.0.path());
        command
            .arg("--secrets")
            .arg(self.files.path().join("secrets"));
        command.arg("--cache").arg(self.cache());
        command
    }

    fn check(&self) -> (i32, String, String) {
        let output: Output = self.command().output().unwrap();
        answer(&output)
    }
}

/// Every blob that a cache keeps.
fn blobs(cache: &Path) -> Vec<PathBuf> {
    let folder = cache.join("modules/layout/blobs/sha256");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn packages_are_found_with_a_login_and_kept_by_their_digest() {
    let Some(mut remote) = Remote::new() else {
        return;
    };
    remote.repository.greet("1.1.0");
    let (code, report, error) = remote.check();
    assert_eq!(code, 0, "{error}");
    assert!(report.contains("greet 1.0.0 -> 1.1.0"), "{report}");
    let kept = blobs(&remote.cache());
    let what = "a manifest, a config and the symbols of five packages";
    assert_eq!(kept.len(), 15, "{what}");

    // Two at once share the cache, and a blob that somebody damaged is fetched again.
    fs::write(&kept[0], "something else").unwrap();
    let two = [remote.command().output(), remote.command().output()];
    for output in two {
        assert_eq!(answer(&output.unwrap()), (0, report.clone(), String::new()));
    }

    // What is named by its digest needs no registry any more; a tag does.
    let digests = digests(&remote);
    remote.server.kill();
    let (code, nothing, error) = remote.check();
    assert_eq!((code, nothing.as_str()), (2, ""), "{error}");
    assert!(error.contains("packages.yaml:"), "{error}");
    assert!(error.contains("failed to reach the registry"), "{error}");
    let file = remote.repository.file("packages.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let pinned = |text: &str, version: &str| {
        digests.iter().fold(text.to_owned(), |text, (tag, digest)| {
            let (name, of) = tag.split_once(':').unwrap();
            let is_meant = name != "greet" || of == version;
            let pinned = format!("fleet/{name}@{digest}");
            if is_meant {
                text.replace(&format!("fleet/{tag}"), &pinned)
            } else {
                text
            }
        })
    };
    fs::write(&file, pinned(&text.replace("1.1.0", "1.0.0"), "1.0.0")).unwrap();
    remote.repository.commit();
    fs::write(&file, pinned(&text, "1.1.0")).unwrap();
    let output = remote.command().args(["--from", "HEAD"]).output().unwrap();
    let (code, report, error) = answer(&output);
    assert_eq!(code, 0, "{error}");
    assert!(report.contains("greet 1.0.0 -> 1.1.0"), "{report}");
}

/// The digest of each package, as `name:version`.
fn digests(remote: &Remote) -> Vec<(String, String)> {
    let names = [
        "chat:1.0.0",
        "clock:1.0.0",
        "metrics:1.0.0",
        "greet:1.0.0",
        "greet:1.1.0",
    ];
    let digests = names.map(|name| {
        let reference = remote.server.at(&format!("fleet/{name}"));
        let output = Command::new(placet())
            .args(["package", "inspect", &reference, "-o", "json"])
            .args(remote.server.login())
            .output()
            .unwrap();
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let digest = value["digest"].as_str().unwrap().to_owned();
        (name.to_owned(), digest)
    });
    digests.to_vec()
}

#[test]
fn without_the_right_password_nothing_is_said_of_the_change() {
    let Some(remote) = Remote::new() else {
        return;
    };
    remote.repository.greet("1.1.0");
    remote.secret("wrong");
    let (code, report, error) = remote.check();
    assert_eq!((code, report.as_str()), (2, ""));
    assert!(error.contains("nothing can be said"), "{error}");
    assert!(!error.contains("wrong"), "no secret is shown: {error}");
}
