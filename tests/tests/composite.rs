//! A composite from its packages and declarations to a fleet that runs what it carries.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(
    clippy::too_many_lines,
    reason = "each test tells one story to its end"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_tests::command::{json, run, text};
use placet_tests::{Fleet, FleetOptions, RegistryServer, edit, packages};
use serde_json::{Value, json};

/// What a command says that is refused.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The example composite, with its packages beside it.
fn example(folder: &Path) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/composite");
    let place = folder.join("composite");
    copy_folder(&own, &place);
    copy_folder(packages(), &place.join("packages"));
    place.join("composite.yaml")
}

/// An empty repository whose user git knows.
fn repository(folder: &Path) -> PathBuf {
    let tree = folder.join("tree");
    fs::create_dir(&tree).unwrap();
    git(&tree, &["init", "--quiet", "--initial-branch", "main"]);
    git(&tree, &["config", "user.name", "Ann"]);
    git(&tree, &["config", "user.email", "ann@example.org"]);
    git(
        &tree,
        &["commit", "--quiet", "--allow-empty", "-m", "Begin"],
    );
    tree
}

#[test]
fn the_same_parts_give_the_same_digest_and_shared_parts_do_not_travel() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = text(&example(folder.path()));
    let layout = format!("oci-layout:{}", text(&folder.path().join("one")));
    let build = |to: &str| json(&["package", "composite", "build", &file, "--to", to]);
    let here = build(&layout);
    let there = build(&server.at("fleets/example"));
    assert_eq!(here["digest"], there["digest"]);
    let again = build(&server.at("fleets/example"));
    assert_eq!(
        (&again["digest"], &again["blobs"]),
        (&here["digest"], &json!(0))
    );
    let place = server.at("fleets/example:1.0.0");
    let seen = json(&["package", "composite", "inspect", &place]);
    let names: Vec<_> = seen["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["chat", "clock", "metrics", "greet"]);
    let resources = &seen["declarations"][0]["resources"];
    assert_eq!(resources, &json!(["NodeClass/core", "NodeClass/edge"]));
    let listed = json(&["package", "list", &layout]);
    assert_eq!(
        listed["packages"].as_array().unwrap().len(),
        1,
        "its parts are not listed"
    );
    assert_eq!(listed["packages"][0]["kind"], "composite");

    // A next version that changes one package brings its modules alone.
    let next = Path::new(&file);
    edit(
        next,
        "chat:1.0.0",
        "chat:1.0.0\n  - oci-layout:packages/greet:1.1.0",
    );
    edit(next, "  - oci-layout:packages/greet:1.0.0\n", "");
    edit(next, "version: 1.0.0", "version: 1.1.0");
    let packages = next.with_file_name("fleet/packages.yaml");
    edit(
        &packages,
        "greet\n      version: 1.0.0",
        "greet\n      version: 1.1.0",
    );
    let grown = build(&layout);
    assert_ne!(grown["digest"], here["digest"]);
    let travelled = grown["blobs"].as_u64().unwrap();
    assert!(
        (4..=5).contains(&travelled),
        "module, symbols, config, bill of materials and provenance: {travelled}"
    );
    let removed = json(&["package", "remove", &format!("{layout}:1.1.0")]);
    assert!(removed["shared"].as_u64().unwrap() > 3, "{removed}");
    json(&["package", "remove", &format!("{layout}:1.0.0")]);
    let blobs = folder.path().join("one/blobs/sha256");
    assert_eq!(
        fs::read_dir(blobs).unwrap().count(),
        0,
        "nothing is left over"
    );
}

#[test]
fn what_is_wrong_with_a_composite_is_said_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = example(folder.path());
    let (good, to) = (fs::read_to_string(&file).unwrap(), folder.path().join("to"));
    let to = format!("oci-layout:{}", text(&to));
    let packages = file.with_file_name("fleet/packages.yaml");
    let declared = fs::read_to_string(&packages).unwrap();
    let said = |composite: String, declarations: &str| {
        fs::write(&file, composite).unwrap();
        fs::write(&packages, declarations).unwrap();
        refused(&["package", "composite", "build", &text(&file), "--to", &to])
    };
    let missing = said(
        good.replace("  - oci-layout:packages/chat:1.0.0\n", ""),
        &declared,
    );
    assert!(missing.contains("fleet/packages.yaml:11:"), "{missing}");
    assert!(missing.contains("does not carry chat 1.0.0"), "{missing}");
    let twice = good.replace("packages/clock:1.0.0", "packages/chat:1.0.0");
    let twice = said(twice, &declared);
    assert!(
        twice.contains("composite.yaml:12:5: chat 1.0.0 is there twice"),
        "{twice}"
    );
    let unknown = said(good.replace("version:", "versoin:"), &declared);
    assert!(
        unknown.contains("composite.yaml:9:") && unknown.contains("versoin"),
        "{unknown}"
    );
    let outside = said(good.replace("  - fleet", "  - ../fleet"), &declared);
    assert!(
        outside.contains("composite.yaml:16:") && outside.contains("`../fleet`"),
        "{outside}"
    );
    let invalid = said(
        good.clone(),
        &declared.replace("name: metrics", "nam: metrics"),
    );
    assert!(
        invalid.contains("fleet/packages.yaml:2") && invalid.contains("nam"),
        "{invalid}"
    );
    assert!(
        !folder.path().join("to/index.json").exists(),
        "nothing was written"
    );
}

#[test]
fn an_installation_overwrites_nothing_unasked_and_commits_its_own_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = text(&example(folder.path()));
    let layout = format!("oci-layout:{}", text(&folder.path().join("fleet")));
    json(&["package", "composite", "build", &file, "--to", &layout]);
    let tree = repository(folder.path());
    fs::write(tree.join("mine.txt"), "mine").unwrap();
    git(&tree, &["add", "mine.txt"]);
    let (from, store) = (
        format!("{layout}:1.0.0"),
        text(&folder.path().join("store")),
    );
    let (registry, git_tree) = (format!("oci-layout:{store}"), text(&tree));
    let install = [
        "package",
        "composite",
        "install",
        &from,
        "--registry",
        &registry,
        "--git",
        &git_tree,
    ];
    let with = |more: &[&'static str]| -> Vec<&str> { [install.as_slice(), more].concat() };

    let dry = json(&with(&["--dry-run"]));
    assert_eq!(
        dry["files"][0],
        json!({"path": "fleet/classes.yaml", "change": "new"})
    );
    assert!(!tree.join("fleet").exists());
    let done = json(&with(&["--commit", "-m", "The example fleet"]));
    assert_eq!(
        git(&tree, &["log", "-1", "--format=%an %s"]),
        "Ann The example fleet"
    );
    assert_eq!(git(&tree, &["rev-parse", "HEAD"]), done["commit"]);
    assert_eq!(
        git(&tree, &["status", "--short"]),
        "A  mine.txt",
        "what was staged before stays so"
    );
    let text = fs::read_to_string(tree.join("fleet/packages.yaml")).unwrap();
    let digest = done["packages"][0]["digest"].as_str().unwrap();
    assert!(
        text.contains(&format!("reference: {registry}@{digest}")),
        "{text}"
    );
    assert!(text.starts_with("# The references say"), "comments stay");
    let again = json(&with(&["--commit"]));
    assert_eq!(
        (&again["blobs"], &again["commit"]),
        (&json!(0), &Value::Null)
    );
    let checked = run(&[
        "check", "--repo", &git_tree, "--path", "fleet", "--from", "HEAD~1",
    ]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(0), "{said}");
    assert!(said.contains("chatd"), "{said}");

    edit(&tree.join("fleet/classes.yaml"), "[core]", "[heart]");
    let said = refused(&install);
    assert!(
        said.contains("+++ fleet/classes.yaml") && said.contains("-    types: [heart]"),
        "{said}"
    );
    let dry = run(&with(&["--dry-run"]));
    assert_eq!(dry.status.code(), Some(1), "it would need --force");
    json(&with(&["--force"]));
    assert_eq!(git(&tree, &["status", "--short"]), "A  mine.txt");

    fs::remove_file(tree.join("fleet/classes.yaml")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", tree.join("fleet/classes.yaml")).unwrap();
    let said = refused(&with(&["--force"]));
    assert!(said.contains("is no file"), "{said}");
    let said = refused(&[
        "package",
        "composite",
        "install",
        &from,
        "--registry",
        &registry,
        "--git",
        &store,
    ]);
    assert!(said.contains("no git working tree"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_runs_what_a_composite_brought() {
    let Some(server) = RegistryServer::open() else {
        return;
    };
    let mut fleet = Fleet::start(FleetOptions::default()).await;
    let tree = fleet.path("fleet");
    let file = example(&fleet.path("parts"));
    fs::copy(
        tree.join("nodes.yaml"),
        file.with_file_name("fleet/nodes.yaml"),
    )
    .unwrap();
    for name in ["classes.yaml", "nodes.yaml", "packages.yaml"] {
        fs::remove_file(tree.join(name)).unwrap();
    }
    git(&tree, &["config", "user.name", "Ann"]);
    git(&tree, &["config", "user.email", "ann@example.org"]);
    let place = server.at("fleets/example:1.0.0");
    let (file, tree, registry) = (text(&file), text(&tree), server.at("fleet"));
    json(&["package", "composite", "build", &file, "--to", &place]);
    let done = json(&[
        "package",
        "composite",
        "install",
        &place,
        "--registry",
        &registry,
        "--git",
        &tree,
        "--commit",
    ]);
    assert_eq!(done["blobs"], 0, "within a registry everything is mounted");
    let commit = done["commit"].as_str().unwrap();
    fleet.follow_repository();
    fleet.verified(commit).await;
    let status = fleet.resource("packagesets", "base")["status"].clone();
    assert_eq!(
        status["packages"][0]["digest"],
        done["packages"][3]["digest"]
    );
}
