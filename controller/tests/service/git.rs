//! What a source says of itself: who may decide, what becomes of drift, and when it is looked at.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bench::{Bench, package_set};
use crate::story::settled;

const TOKEN: &str = "a token that nobody guesses";

fn give_secret(bench: &Bench, name: &str, key: &str, value: &str) {
    let folder = bench.path(&format!("state/secrets/{name}"));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(folder.join(key), value).unwrap();
}

/// Has every commit signed, and says who may sign.
fn sign(bench: &Bench) -> String {
    let key = bench.path("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    bench.git(&["config", "gpg.format", "ssh"]);
    bench.git(&["config", "user.signingkey", key.to_str().unwrap()]);
    bench.git(&["config", "commit.gpgsign", "true"]);
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    format!("ann@example.org {}", public.trim())
}

fn decision(rollout: &str, action: &str) -> String {
    format!(
        "apiVersion: placet.dev/v1alpha1\nkind: Rollout\nmetadata: {{name: {rollout}}}\nspec:\n  \
         decision: {{hold: 1, action: {action}, reason: core-1 may wait}}\n"
    )
}

/// Calls the receiver as GitLab does; the first line of the answer.
async fn call(bench: &Bench, body: &str) -> String {
    let mut stream = TcpStream::connect(bench.receiver()).await.unwrap();
    let request = format!(
        "POST /hooks/fleet HTTP/1.1\r\nHost: x\r\nX-Gitlab-Token: {TOKEN}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_the_host_makes_a_source_looked_at_that_is_looked_at_once_a_day() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    give_secret(&bench, "hook", "token", TOKEN);
    let daily = "  intervalSeconds: 86400\n  receiver: {kind: gitlab, secretRef: {name: hook}}\n";
    bench.apply(&bench.source(daily)).await;
    // The look that the new spec led to has been had once its status is written.
    bench
        .until("gsrc", "fleet", |it| {
            it["status"]["observedGeneration"] == 2
        })
        .await;
    for version in ["1.1.0", "1.0.0", "1.1.0"] {
        let commit = bench.commit_version(version, &["core-1", "core-2"]);
        assert_eq!(call(&bench, &commit).await, "HTTP/1.1 202 Accepted");
        feed.verified(&commit).await;
        assert_eq!(call(&bench, &commit).await, "HTTP/1.1 409 Conflict");
    }
    assert_eq!(first.changes(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_commit_decides_in_its_signers_name_and_once() {
    let bench = Bench::start().await;
    let signers = sign(&bench);
    let (first, second, mut feed) = settled(&bench).await;
    let verify = format!("  verify:\n    allowedSigners: {signers}\n");
    bench.apply(&bench.source(&verify)).await;
    first.vetoes(Some("3 open sessions"));
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("tally").await;
    fs::create_dir(bench.path("fleet/decisions")).unwrap();
    bench.write("decisions/ro-2.yaml", &decision("ro-2", "skip"));
    let last = bench.commit("skip core-1");
    let decided = feed.named("decision").await;
    assert_eq!(
        decided.data["author"], "ann@example.org",
        "{}",
        decided.data
    );
    let verified = feed.verified(&commit).await;
    assert_eq!(verified.text("rollout"), "ro-2", "the held one goes on");
    assert_eq!((first.changes(), second.changes()), (1, 2));
    let rollout = bench.get("ro", "ro-2").await;
    assert_eq!(rollout["spec"]["decision"]["author"], "ann@example.org");
    let status = bench.get("gsrc", "fleet").await["status"].clone();
    assert_eq!(status["revision"], format!("main@sha1:{last}"));
    assert_eq!(status["plannedRevision"], format!("main@sha1:{commit}"));
    let signer = status["signer"].as_str().unwrap();
    assert!(signer.starts_with("ann@example.org (SHA256:"), "{signer}");
    assert_eq!(status.get("faults"), None);

    // The file stays where it is, and says nothing new; one for nothing is told.
    first.vetoes(None);
    bench.write("decisions/ro-9.yaml", &decision("ro-9", "abort"));
    let commit = bench.commit_version("1.0.0", &["core-1", "core-2"]);
    feed.verified(&commit).await;
    assert_eq!(feed.count("decision"), 1);
    let status = bench.get("gsrc", "fleet").await["status"].clone();
    let fault = status["faults"][0].as_str().unwrap();
    assert!(fault.starts_with("decisions/ro-9.yaml:"), "{fault}");
    assert!(fault.ends_with("remove the file"), "{fault}");
    assert_eq!(status.get("plannedRevision"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_signed_decides_and_changes_nothing() {
    let bench = Bench::start().await;
    let signers = sign(&bench);
    let (first, _second, mut feed) = settled(&bench).await;
    let good = bench.get("gsrc", "fleet").await["status"]["revision"].clone();
    bench.write("decision.yaml", &decision("ro-1", "abort"));
    bench.commit("who says so?");
    let refused = feed.named("refused").await;
    let reason = &refused.list("reasons")[0];
    assert!(
        reason.starts_with("decision.yaml:") && reason.contains("set `spec.verify`"),
        "{reason}"
    );
    fs::remove_file(bench.path("fleet/decision.yaml")).unwrap();
    let verify = format!("  verify:\n    allowedSigners: {signers}\n");
    bench.git(&["config", "commit.gpgsign", "false"]);
    let unsigned = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.verified(&unsigned).await;
    bench.apply(&bench.source(&verify)).await;
    let refused = feed.named("refused").await;
    assert!(
        refused.list("reasons")[0].contains("it is not signed"),
        "{}",
        refused.data
    );
    let source = bench.get("gsrc", "fleet").await;
    assert_eq!(
        source["status"]["conditions"][0]["reason"],
        "VerificationFailed"
    );
    assert_ne!(source["status"]["revision"], good);
    assert_eq!(
        source["status"]["revision"],
        format!("main@sha1:{unsigned}"),
        "it stays in force"
    );
    assert_eq!(first.changes(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_put_right_or_told() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    let other = package_set("1.1.0");
    let applied = bench.apply(&other).await;
    assert!(applied.results[1].contains("GitSource `fleet` declares it, and puts it right"));
    let corrected = feed.named("driftCorrected").await;
    let told = json!(["PackageSet/base was changed by somebody else: spec.packages"]);
    assert_eq!(corrected.data["resources"], told);
    bench
        .until("pset", "base", |it| {
            it["status"]["summary"] == "greet 1.0.0"
        })
        .await;
    bench.delete("fnode", "core-2").await;
    let corrected = feed.since(corrected.sequence, "driftCorrected").await;
    let told = json!(["FleetNode/core-2 was deleted by somebody else"]);
    assert_eq!(corrected.data["resources"], told);
    assert!(!bench.get("fnode", "core-2").await.is_null());

    bench.apply(&bench.source("  drift: report\n")).await;
    bench
        .until("gsrc", "fleet", |it| {
            it["status"]["observedGeneration"] == 2
        })
        .await;
    bench.apply(&other).await;
    let drift = feed.named("drift").await;
    assert_eq!(drift.list("resources").len(), 1);
    bench
        .until("pset", "base", |it| {
            it["status"]["summary"] == "greet 1.1.0"
        })
        .await;
    let status = bench.get("gsrc", "fleet").await["status"].clone();
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("1 of its resources differ: PackageSet/base"),
        "{message}"
    );
    let changes = first.changes();
    let commit = bench.commit("as it was");
    feed.verified(&commit).await;
    let status = bench.get("gsrc", "fleet").await["status"].clone();
    assert_eq!(status.get("drift"), None, "the next commit puts it right");
    assert_eq!(
        bench.get("pset", "base").await["status"]["summary"],
        "greet 1.0.0"
    );
    assert!(first.changes() >= changes);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_pruned_for_a_commit_that_declares_nothing_until_a_person_says_so() {
    let bench = Bench::start().await;
    let (_first, _second, mut feed) = settled(&bench).await;
    for entry in fs::read_dir(bench.path("fleet")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "yaml") {
            fs::write(path, "# nothing here any more\n").unwrap();
        }
    }
    let commit = bench.commit("all commented out");
    let refused = feed.named("refused").await;
    let reason = &refused.list("reasons")[0];
    assert!(
        reason.ends_with(&format!("`spec.allowEmpty: {commit}`")),
        "{reason}"
    );
    assert_eq!(
        bench.get("gsrc", "fleet").await["status"]["conditions"][0]["reason"],
        "Empty"
    );
    assert!(!bench.get("pset", "base").await.is_null());
    bench
        .apply(&bench.source(&format!("  allowEmpty: {commit}\n")))
        .await;
    bench
        .until("gsrc", "fleet", |it| {
            it["status"]["revision"] == format!("main@sha1:{commit}")
        })
        .await;
    assert!(bench.get("pset", "base").await.is_null());
    assert!(bench.get("ncls", "core").await.is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_do_not_declare_one_resource() {
    let bench = Bench::start().await;
    let (_first, _second, mut feed) = settled(&bench).await;
    let second = bench.source("").replace("{name: fleet}", "{name: other}");
    bench.apply(&second).await;
    let refused = feed.named("refused").await;
    assert_eq!(refused.text("source"), "other");
    let reason = &refused.list("reasons")[0];
    assert!(
        reason.contains("GitSource `fleet` declares it already"),
        "{reason}"
    );
    assert!(reason.contains(".yaml:"), "{reason}");
    let status = bench.get("gsrc", "other").await["status"].clone();
    assert_eq!(status.get("inventory"), None);
    let good = bench.get("gsrc", "fleet").await;
    assert_eq!(good["status"]["conditions"][0]["status"], "True");
}
