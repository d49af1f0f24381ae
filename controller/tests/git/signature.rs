//! Commits and tags signed with real keys, by `git` and `ssh-keygen`.

use std::fs;
use std::path::Path;
use std::process::Command;

use placet_controller::git::FetchError;
use placet_crds::Reason;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Follower;
use crate::repository::Repository;

/// A repository whose commits are signed, and the key.
struct Signed {
    repository: Repository,
    folder: TempDir,
}

impl Signed {
    fn with(kind: &[&str]) -> Self {
        let repository = Repository::empty();
        let folder = tempfile::tempdir().unwrap();
        make_key(&folder.path().join("key"), kind);
        let signed = Self { repository, folder };
        signed.sign_with("key");
        signed.repository.commit(&[("a.yaml", "a: 1\n")], "first");
        signed
    }

    fn new() -> Self {
        Self::with(&["ed25519"])
    }

    fn sign_with(&self, key: &str) {
        let key = self.folder.path().join(key);
        for (name, value) in [
            ("gpg.format", "ssh"),
            ("user.signingkey", key.to_str().unwrap()),
            ("commit.gpgsign", "true"),
        ] {
            self.repository.git(&["config", name, value]);
        }
    }

    fn public(&self, key: &str) -> String {
        let path = self.folder.path().join(key).with_extension("pub");
        let text = fs::read_to_string(path).unwrap();
        let words: Vec<_> = text.split(' ').take(2).collect();
        words.join(" ").trim().to_owned()
    }

    fn fingerprint(&self, key: &str) -> String {
        let path = self.folder.path().join(key).with_extension("pub");
        let output = Command::new("ssh-keygen").arg("-lf").arg(path).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    }

    /// Follows it, with `line` before the public key in the list of signers.
    fn allowing(&self, line: &str) -> Follower {
        let signers = format!("{line} {}\n", self.public("key"));
        self.verifying(&json!({"allowedSigners": signers}))
    }

    fn verifying(&self, verify: &Value) -> Follower {
        self.repository.follower().with(&json!({"verify": verify}))
    }
}

fn make_key(path: &Path, kind: &[&str]) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "test", "-f"])
        .arg(path)
        .arg("-t")
        .args(kind)
        .status();
    assert!(made.unwrap().success());
}

#[track_caller]
fn refused(follower: &Follower, because: &[&str]) {
    let error = follower.fetch(None).unwrap_err();
    assert_eq!(error.reason(), Reason::VerificationFailed, "{error}");
    let text = follower.refused();
    for words in because {
        assert!(text.contains(words), "`{words}` in: {text}");
    }
}

#[test]
fn commits_of_every_kind_of_key_are_verified() {
    for kind in [
        &["ed25519"][..],
        &["ecdsa", "-b", "256"],
        &["ecdsa", "-b", "384"],
        &["rsa", "-b", "2048"],
    ] {
        let signed = Signed::with(kind);
        let follower = signed.allowing("ann@example.org");
        // The numbers of an ECDSA signature are shorter at times: several commits show it.
        for number in 0..4 {
            let text = format!("a: {number}\n");
            signed.repository.commit(&[("a.yaml", &text)], "next");
            let by = follower.fetch(None).unwrap().signer.unwrap();
            assert_eq!(by.principal, "ann@example.org", "{kind:?}");
            assert_eq!(by.key, signed.fingerprint("key"));
        }
    }
}

#[test]
fn a_key_that_is_not_carried_out_is_told() {
    let signed = Signed::with(&["ecdsa", "-b", "521"]);
    refused(
        &signed.allowing("ann"),
        &[
            "`spec.verify.allowedSigners` is refused: line 1",
            "ecdsa-sha2-nistp521",
            "use ed25519",
        ],
    );
}

#[test]
fn an_unsigned_commit_is_refused_with_what_to_do() {
    let signed = Signed::new();
    let repository = &signed.repository;
    repository.git(&["config", "commit.gpgsign", "false"]);
    let commit = repository.commit(&[("a.yaml", "a: 2\n")], "unsigned");
    let follower = signed.allowing("ann");
    refused(
        &follower,
        &[&format!(
            "commit `{commit}` is refused: it is not signed; sign it"
        )],
    );
    let FetchError::Signature { revision, .. } = follower.fetch(None).unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(revision, format!("main@sha1:{commit}"));
}

#[test]
fn a_strangers_commit_is_refused_with_the_keys_fingerprint() {
    let signed = Signed::new();
    make_key(&signed.folder.path().join("stranger"), &["ed25519"]);
    signed.sign_with("stranger");
    let commit = signed
        .repository
        .commit(&[("a.yaml", "a: 2\n")], "mine now");
    refused(
        &signed.allowing("ann"),
        &[
            &commit,
            "ssh-ed25519",
            &signed.fingerprint("stranger"),
            "add the key there",
        ],
    );
}

#[test]
fn a_commit_that_was_changed_after_it_was_signed_is_refused() {
    let signed = Signed::new();
    let repository = &signed.repository;
    let good = repository.git(&["cat-file", "commit", "HEAD"]);
    for changed in [
        good.replace("first", "other"),
        good.replace("Ann Example", "Eve Example"),
        good.replace("\n\n", "\nencoding x\n\n"),
        format!("{good}\n\nmore"),
    ] {
        assert_ne!(changed, good);
        let id = repository.store("commit", changed.as_bytes());
        repository.git(&["update-ref", "refs/heads/main", &id]);
        refused(
            &signed.allowing("ann"),
            &["it was changed after it was signed"],
        );
    }
    let head = format!("{good}\n");
    let id = repository.store("commit", head.as_bytes());
    repository.git(&["update-ref", "refs/heads/main", &id]);
    signed.allowing("ann").fetch(None).unwrap();
}

#[test]
fn hostile_signatures_are_refused_and_end() {
    let signed = Signed::new();
    let repository = &signed.repository;
    let good = repository.git(&["cat-file", "commit", "HEAD"]);
    let (head, rest) = good.split_once("gpgsig ").unwrap();
    let (_, message) = rest.split_once("\n\n").unwrap();
    let armour = |inner: &str| {
        format!("-----BEGIN SSH SIGNATURE-----\n {inner}\n -----END SSH SIGNATURE-----")
    };
    for (signature, because) in [
        (armour(""), "garbled"),
        (armour("U1NIU0lH"), "garbled"),
        (armour("U1NIU0lHAAAAAf////8="), "garbled"),
        (armour("\u{1b}[31m"), "garbled"),
        (armour(&"A".repeat(100_000)), "more than 16384 characters"),
        ("-----BEGIN PGP SIGNATURE-----\n x".to_owned(), "OpenPGP"),
        ("-----BEGIN SIGNED MESSAGE-----\n x".to_owned(), "X.509"),
        ("x".to_owned(), "garbled"),
    ] {
        let text = format!("{head}gpgsig {signature}\n\n{message}\n");
        let id = repository.store("commit", text.as_bytes());
        repository.git(&["update-ref", "refs/heads/main", &id]);
        refused(&signed.allowing("ann"), &[because]);
    }
    let twice = format!("{head}gpgsig {rest}").replace("\n\n", "\ngpgsig x\n\n");
    let id = repository.store("commit", twice.as_bytes());
    repository.git(&["update-ref", "refs/heads/main", &id]);
    refused(&signed.allowing("ann"), &["two signatures"]);
}

#[test]
fn a_signature_for_something_else_is_none_for_a_commit() {
    let signed = Signed::new();
    let repository = &signed.repository;
    let good = repository.git(&["cat-file", "commit", "HEAD"]);
    let (head, rest) = good.split_once("gpgsig ").unwrap();
    let (_, message) = rest.split_once("\n\n").unwrap();
    let payload = signed.folder.path().join("payload");
    fs::write(&payload, format!("{head}\n{message}\n")).unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "file", "-f"])
        .arg(signed.folder.path().join("key"))
        .arg(&payload)
        .status();
    assert!(made.unwrap().success());
    let signature = fs::read_to_string(payload.with_extension("sig")).unwrap();
    let signature = signature.trim().replace('\n', "\n ");
    let text = format!("{head}gpgsig {signature}\n\n{message}\n");
    let id = repository.store("commit", text.as_bytes());
    repository.git(&["update-ref", "refs/heads/main", &id]);
    refused(&signed.allowing("ann"), &["made for `file`, not for `git`"]);
}

#[test]
fn the_list_says_what_for_and_when() {
    // The commits of these tests are of 2026-01-31 12:00.
    let signed = Signed::new();
    for good in [
        "ann namespaces=\"git\"",
        "ann valid-after=\"20260131\",valid-before=\"202601311201\"",
    ] {
        signed.allowing(good).fetch(None).unwrap();
    }
    refused(
        &signed.allowing("ann namespaces=\"file\""),
        &["line 1", "add `git`"],
    );
    refused(
        &signed.allowing("ann valid-after=\"20260201\""),
        &["2026-02-01"],
    );
    refused(
        &signed.allowing("ann valid-before=\"20260131120000Z\""),
        &["sign with a newer key"],
    );
    let several = format!(
        "# people\nbob {0}\n*@example.org {0}\n",
        signed.public("key")
    );
    let follower = signed.verifying(&json!({"allowedSigners": several}));
    let by = follower.fetch(None).unwrap().signer.unwrap();
    assert_eq!(by.principal, "bob");
}

#[test]
fn the_list_may_come_from_a_secret() {
    let signed = Signed::new();
    let follower = signed.verifying(&json!({"secretRef": {"name": "people"}}));
    let text = follower.refused();
    assert!(text.contains("there is no secret `people`"), "{text}");
    let secret = follower.state.path().join("secrets/people");
    crate::private_folder(&secret);
    let text = follower.refused();
    assert!(text.contains("does not hold `allowed_signers`"), "{text}");
    fs::write(secret.join("allowed_signers"), "ann ssh-ed25519 x\n").unwrap();
    refused(
        &follower,
        &["`allowed_signers` of the secret `people` is refused: line 1"],
    );
    let line = format!("ann {}\n", signed.public("key"));
    fs::write(secret.join("allowed_signers"), line).unwrap();
    follower.fetch(None).unwrap();
}

#[test]
fn a_signed_tag_stands_for_its_commit_and_no_other() {
    let signed = Signed::new();
    let repository = &signed.repository;
    repository.git(&["tag", "-s", "v1.0.0", "-m", "one"]);
    let first = repository.head();
    let signers = format!("ann {}\n", signed.public("key"));
    let follow = |reference: Value| {
        let verify = json!({"mode": "tag", "allowedSigners": signers});
        repository
            .follower()
            .with(&json!({"verify": verify, "ref": reference}))
    };
    for reference in [json!({"tag": "v1.0.0"}), json!({"semver": "1"})] {
        let fetched = follow(reference).fetch(None).unwrap();
        assert_eq!(fetched.revision, format!("v1.0.0@sha1:{first}"));
        assert_eq!(fetched.signer.unwrap().principal, "ann");
    }
    repository.git(&["tag", "light"]);
    refused(
        &follow(json!({"tag": "light"})),
        &["it is no annotated tag"],
    );
    repository.git(&["tag", "-a", "plain", "-m", "x"]);
    refused(
        &follow(json!({"tag": "plain"})),
        &["tag `plain` is refused: it is not signed"],
    );
    refused(
        &follow(json!({})),
        &["no tag is followed", "use `mode: head`"],
    );
    // The good tag object under another name.
    let object = repository.git(&["rev-parse", "refs/tags/v1.0.0"]);
    repository.git(&["update-ref", "refs/tags/v2.0.0", &object]);
    refused(
        &follow(json!({"semver": ">=1"})),
        &["calls itself `v1.0.0`"],
    );
}
