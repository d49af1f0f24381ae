//! Packages in a registry that asks for a login, and what is kept of them from run to run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use placet_tests::{
    REGISTRY_GUEST, REGISTRY_IDENTITY, REGISTRY_PASSWORD, REGISTRY_USER, RegistryServer, placet,
};
use serde_json::{Value, json};
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
        RegistryServer::private().map(Self::of)
    }

    fn of(server: RegistryServer) -> Self {
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
        remote.secret(REGISTRY_USER, REGISTRY_PASSWORD);
        remote
    }

    /// Has only these credentials.
    fn secret(&self, user: &str, password: &str) {
        let folder = self.empty_secret();
        fs::write(folder.join("username"), user).unwrap();
        fs::write(folder.join("password"), password).unwrap();
    }

    /// The folder of the secret, with no credentials in it.
    fn empty_secret(&self) -> PathBuf {
        let folder = self.files.path().join("secrets/registry");
        // There is none the first time.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let authority = self.server.path("ca.crt");
        if authority.exists() {
            fs::copy(authority, folder.join("ca.crt")).unwrap();
        }
        folder
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
        let package = inspected(remote, &reference);
        let digest = package["digest"].as_str().unwrap().to_owned();
        (name.to_owned(), digest)
    });
    digests.to_vec()
}

/// What a package in the registry is.
fn inspected(remote: &Remote, reference: &str) -> Value {
    let output = Command::new(placet())
        .args(["package", "inspect", reference, "-o", "json"])
        .args(remote.server.login())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn without_the_right_password_nothing_is_said_of_the_change() {
    let Some(remote) = Remote::new() else {
        return;
    };
    remote.repository.greet("1.1.0");
    remote.secret(REGISTRY_USER, "wrong");
    let (code, report, error) = remote.check();
    assert_eq!((code, report.as_str()), (2, ""));
    assert!(error.contains("nothing can be said"), "{error}");
    assert!(!error.contains("wrong"), "no secret is shown: {error}");
}

#[test]
fn a_token_service_gives_access_by_password_and_by_identity_token() {
    let Some(remote) = RegistryServer::with_tokens().map(Remote::of) else {
        return;
    };
    remote.repository.greet("1.1.0");
    let reads = || {
        // Nothing is taken from the run before.
        let _ = fs::remove_dir_all(remote.cache());
        let (code, report, error) = remote.check();
        assert_eq!(code, 0, "{error}");
        assert!(report.contains("greet 1.0.0 -> 1.1.0"), "{report}");
    };
    reads();
    let identity = json!({"auths": {remote.server.host(): {"identitytoken": REGISTRY_IDENTITY}}});
    let folder = remote.empty_secret();
    fs::write(folder.join(".dockerconfigjson"), identity.to_string()).unwrap();
    reads();
}

#[test]
fn who_gets_no_token_or_one_that_allows_nothing_is_told_what_to_do() {
    let Some(remote) = RegistryServer::with_tokens().map(Remote::of) else {
        return;
    };
    remote.repository.greet("1.1.0");
    let refused = |told: &str| {
        let (code, report, error) = remote.check();
        assert_eq!((code, report.as_str()), (2, ""), "{error}");
        for words in [told, "packages.yaml:", "nothing can be said"] {
            assert!(error.contains(words), "{words}: {error}");
        }
        assert!(!error.contains(REGISTRY_PASSWORD), "{error}");
    };
    remote.secret(REGISTRY_USER, "wrong");
    refused("wrong name or password");
    remote.secret(REGISTRY_GUEST, REGISTRY_PASSWORD);
    refused("do not allow it");
    remote.empty_secret();
    refused("none were given");
}

/// Where the registry keeps the list of symbols of the only library of a package.
fn list_of(remote: &Remote, tag: &str) -> PathBuf {
    let reference = remote.server.at(&format!("fleet/{tag}"));
    let package = inspected(remote, &reference);
    let modules = package["config"]["modules"].as_array().unwrap();
    let mut lists = modules
        .iter()
        .filter_map(|it| it["elf"]["symbols"].as_str());
    remote.server.stored(lists.next().unwrap())
}

#[test]
fn a_list_of_symbols_that_the_registry_does_not_give_is_no_yes() {
    let Some(remote) = Remote::new() else {
        return;
    };
    remote.repository.greet("1.1.0");
    let list = list_of(&remote, "greet:1.1.0");
    let whole = fs::read(&list).unwrap();
    let mut wrong = whole.clone();
    wrong[0] ^= 1;
    let file = fs::read_to_string(remote.repository.file("packages.yaml")).unwrap();
    let line = file.lines().position(|line| line.contains("greet:1.1.0"));
    let place = format!("packages.yaml:{}:", line.unwrap() + 1);
    let is_open = |remote: &Remote, told: &str| {
        // The second time the metadata of the package are in the cache.
        for _ in 0..2 {
            let (code, report, error) = remote.check();
            assert_eq!((code, report.as_str()), (2, ""), "{error}");
            for words in [&place, told, "nothing can be said"] {
                assert!(error.contains(words), "{words}: {error}");
            }
        }
    };
    fs::remove_file(&list).unwrap();
    is_open(&remote, "the registry does not have");
    fs::write(&list, wrong).unwrap();
    is_open(&remote, "damaged or replaced");
    fs::write(&list, whole).unwrap();
    let (code, report, error) = remote.check();
    assert_eq!(code, 0, "{error}");
    assert!(report.contains("greet 1.0.0 -> 1.1.0"), "{report}");
}
