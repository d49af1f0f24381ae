//! `placet check` as a person and as a pull request meet it: the real command on a git repository
//! with real packages, and beside a live fleet.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod entangled;
mod figures;
mod host;
mod live;
mod registry;
mod reports;
mod revisions;
mod symbols;
mod workflows;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::{fs, str};

use placet_tests::{Event, Fleet, FleetOptions, packages, placet};
use serde_json::Value;
use tempfile::TempDir;

/// A repository that declares the example fleet, in a folder of it.
struct Repository(TempDir, &'static str);

impl Repository {
    fn new() -> Self {
        Self::below(".")
    }

    fn below(folder: &'static str) -> Self {
        let repository = Self(tempfile::tempdir().unwrap(), folder);
        fs::create_dir_all(repository.0.path().join(folder)).unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet");
        for entry in fs::read_dir(examples).unwrap().flatten() {
            fs::copy(
                entry.path(),
                repository.file(&entry.file_name().to_string_lossy()),
            )
            .unwrap();
        }
        repository.git(&["init", "--quiet", "--initial-branch=main", "."]);
        repository.commit();
        repository
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(self.1).join(name)
    }

    fn git(&self, arguments: &[&str]) {
        let own = ["-c", "user.name=x", "-c", "user.email=x@localhost"];
        let status = Command::new("git")
            .args(own)
            .args(arguments)
            .current_dir(self.0.path())
            .status();
        assert!(status.unwrap().success());
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.commit_staged();
    }

    fn commit_staged(&self) {
        self.git(&[
            "-c",
            "commit.gpgsign=false",
            "commit",
            "--quiet",
            "--message",
            "x",
        ]);
    }

    /// The commit that a revision names.
    fn revision(&self, name: &str) -> String {
        let output = Command::new("git")
            .args(["rev-parse", name])
            .current_dir(self.0.path())
            .output();
        let output = output.unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.file(name)).unwrap();
        assert!(text.contains(from));
        fs::write(self.file(name), text.replace(from, to)).unwrap();
    }

    /// Another version of the library.
    fn greet(&self, version: &str) {
        self.edit(
            "packages.yaml",
            "version: 1.0.0 # greet",
            &format!("version: {version}"),
        );
        self.edit("packages.yaml", "greet:1.0.0", &format!("greet:{version}"));
    }

    fn check(&self, arguments: &[&str]) -> (i32, String, String) {
        answer(&check(self.0.path(), arguments))
    }
}

fn check(repository: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(placet());
    command.arg("check").arg("--repo").arg(repository);
    command.arg("--packages").arg(packages());
    command.args(arguments).output().unwrap()
}

fn answer(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| str::from_utf8(bytes).unwrap().to_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn the_change_of_a_library_restarts_its_users_only() {
    let repository = Repository::new();
    repository.greet("1.1.0");
    let (code, uncommitted, _) = repository.check(&[]);
    assert_eq!(code, 0, "{uncommitted}");
    assert!(uncommitted.contains("-> working tree"), "{uncommitted}");
    assert!(uncommitted.lines().all(|line| line.chars().count() <= 80));
    assert!(!uncommitted.contains('\u{1b}'), "no colour in a pipe");
    repository.commit();
    let between = ["--from", "HEAD~1", "--to", "HEAD", "-o", "json"];
    let (code, report, _) = repository.check(&between);
    assert_eq!(code, 0);
    let effect: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(effect["outcome"], "clean");
    assert_eq!(effect["nodes"]["changed"], 4);
    assert_eq!(effect["processes"]["restarted"], 4, "clockd on each node");
    assert_eq!(effect["processes"]["asked"], 2, "chatd on the core nodes");
    assert!(!report.contains("metricsd"), "it uses no library");
    assert_eq!(repository.check(&between).1, report, "byte for byte");
}

#[test]
fn a_rebuilt_library_changes_no_process() {
    let repository = Repository::new();
    repository.greet("1.2.0");
    let (code, report, _) = repository.check(&["-o", "json"]);
    let effect: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((code, &effect["travel"]["bytes"]), (0, &Value::from(0)));
    assert_eq!(effect["processes"]["restarted"], 0);
}

#[test]
fn a_library_that_goes_breaks_a_requirement() {
    let repository = Repository::new();
    repository.edit(
        "classes.yaml",
        "packageSets: [tools, base]",
        "packageSets: [tools]",
    );
    let (code, report, _) = repository.check(&[]);
    assert_eq!(code, 1);
    assert!(report.contains("Stands in the way"), "{report}");
    assert!(report.contains("libgreet.so.1"), "{report}");
    let comment = repository.file("comment.md");
    let file = comment.to_str().unwrap();
    let (code, nothing, _) = repository.check(&["-o", "markdown", "--report", file]);
    assert_eq!((code, nothing.as_str()), (1, ""));
    let comment = fs::read_to_string(comment).unwrap();
    assert!(comment.starts_with("### Placet: non placet\n"), "{comment}");
}

#[test]
fn a_rule_objects() {
    let repository = Repository::new();
    repository.greet("1.1.0");
    repository.edit(
        "classes.yaml",
        "  packageSets: [chat, tools, base]",
        "  packageSets: [chat, tools, base]\n  vetoRules:\n    - name: sessions\n      rule: change.processes.exists(p, p.name == 'chatd')\n      message: people are talking",
    );
    let (code, report, _) = repository.check(&[]);
    assert_eq!(code, 1);
    assert!(
        report.contains("rule sessions of class core: people are talking"),
        "{report}"
    );
    repository.edit("classes.yaml", "'chatd')", "'chatd'");
    let (code, _, error) = repository.check(&[]);
    assert_eq!(code, 2);
    assert!(
        error.contains("classes.yaml:") && error.contains("spec.vetoRules[0].rule"),
        "{error}"
    );
}

#[test]
fn a_package_that_no_listed_key_has_signed_is_refused() {
    let repository = Repository::new();
    let key = placet_packager::SigningKey::generate().public();
    let pem = serde_json::to_string(&key.pem()).unwrap();
    repository.greet("1.1.0");
    repository.edit(
        "packages.yaml",
        "  packages:\n",
        &format!("  keys: [{pem}]\n  packages:\n"),
    );
    let (code, report, error) = repository.check(&["--from", "HEAD"]);
    assert_eq!(code, 1, "{report}{error}");
    for words in [
        "greet:1.1.0` is refused",
        "it has no signature",
        &key.id().short(),
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }
    let (code, report, _) = repository.check(&["--from", "HEAD", "-o", "json"]);
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["outcome"], "objection");
    assert_eq!(report["nodes"]["changed"], 0);
    // What is not there at all cannot be judged.
    repository.edit("packages.yaml", "chat:1.0.0", "chat:9.9.9");
    assert_eq!(repository.check(&["--from", "HEAD"]).0, 2);
}

#[test]
fn packages_that_upgrade_each_other_are_named_in_their_circle() {
    let repository = Repository::new();
    let folder = tempfile::tempdir().unwrap();
    let mut entries = String::from("  packages:\n");
    for (name, next) in [("one", "two"), ("two", "three"), ("three", "one")] {
        let source = folder.path().join(name);
        fs::create_dir(&source).unwrap();
        fs::write(source.join("text"), name).unwrap();
        let declared = format!(
            "name: {name}\nversion: 1.0.0\nupgrades:\n  - {{package: {next}, version: ^1}}\nmodules:\n  - {{path: share/{name}, source: text}}\n"
        );
        let file = source.join("package.yaml");
        fs::write(&file, declared).unwrap();
        let layout = source.join("layout");
        let options = placet_packager::BuildOptions::default();
        placet_packager::build(&file, &layout, &options).unwrap();
        let reference = format!("oci-layout:{}:1.0.0", layout.display());
        writeln!(
            entries,
            "    - {{name: {name}, version: 1.0.0, reference: {reference}}}"
        )
        .unwrap();
    }
    repository.edit(
        "packages.yaml",
        "  packages:\n    - name: clock",
        &format!("{entries}    - name: clock"),
    );
    let (code, report, error) = repository.check(&["--from", "HEAD", "-o", "json"]);
    assert_eq!(code, 1, "{report}{error}");
    let report: Value = serde_json::from_str(&report).unwrap();
    let problems = report["problems"].to_string();
    let circle = "one upgrades two, two upgrades three, three upgrades one";
    assert!(problems.contains(circle), "{problems}");
    assert!(!problems.contains("must stand first"), "{problems}");
}

#[test]
fn what_cannot_be_told_says_where_and_what_to_do() {
    let repository = Repository::new();
    let (code, _, error) = repository.check(&["--from", "v9"]);
    assert_eq!(code, 2);
    assert!(error.contains("no revision `v9`"), "{error}");

    let (code, _, error) = repository.check(&["--path", "production"]);
    assert_eq!(code, 2);
    assert!(
        error.contains("name the folder of declarations with --path"),
        "{error}"
    );

    repository.greet("7.0.0");
    let (code, _, error) = repository.check(&[]);
    assert_eq!(code, 2);
    assert!(
        error.contains("in working tree: package greet (oci-layout:greet:7.0.0)"),
        "{error}"
    );

    repository.edit("packages.yaml", "kind: PackageSet", "kind: PackageSat");
    let (code, _, error) = repository.check(&[]);
    assert_eq!(code, 2);
    assert!(
        error.contains("packages.yaml:4:") && error.contains("did you mean"),
        "{error}"
    );
}

/// The node change digest of each node, which covers both manifests, the change set and so every
/// process with every reason.
fn changes(report: &Value) -> Vec<(String, String)> {
    let groups = report["changes"].as_array().unwrap().iter();
    let mut changes: Vec<_> = groups
        .flat_map(|group| {
            let digest = group["changeDigest"].as_str().unwrap().to_owned();
            let nodes = group["nodes"].as_array().unwrap().iter();
            nodes.map(move |node| (node.as_str().unwrap().to_owned(), digest.clone()))
        })
        .collect();
    changes.sort();
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_and_the_live_fleet_agree() {
    let mut fleet = Fleet::settled(FleetOptions::default()).await;
    let commit = fleet.commit_greet("1.1.0");
    let wanted = |event: &Event| event.name == "plan" && event.text("revision").ends_with(&commit);
    let plan = fleet.feed.wait(0, "the plan of the commit", wanted).await;
    let between = ["--from", "HEAD~1", "--to", "HEAD", "-o", "json"];
    let output = check(&fleet.path("fleet"), &between);
    let (code, report, error) = answer(&output);
    assert_eq!(code, 0, "{error}");
    let report: Value = serde_json::from_str(&report).unwrap();
    let modelled = changes(&report);
    assert_eq!(modelled.len(), 4);
    let live = changes(&plan.data);
    assert_eq!(modelled, live, "{}", plan.data);
}
