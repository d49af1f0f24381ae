//! Decision logic that packages carry (M3): the example `examples/logic`, in C and in Rust, decides in
//! `placet check`, in `placet simulate` and on real nodes, and says the same.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use placet_logic::{Logic, Opinion, Question};
use placet_model::{ChangeSet, NodeDescription, Verdict};
use placet_tests::{
    Fleet, FleetOptions, RegistryServer, edit, evidence, is_full, median, packages, pids_of_all,
    placet, skipped,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const C: &str = "clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry";
const RUST: &str = "rustc --edition 2024 --target wasm32-unknown-unknown --crate-type cdylib -O -C panic=abort -C strip=symbols";

/// Builds the logic into `folder`; false, having said so, where the compiler is not there.
fn compiled(folder: &Path, compiler: &str, source: &str) -> bool {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/logic");
    let mut words = compiler.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .arg("-o")
        .arg(folder.join("may_restart.wasm"));
    let built = command
        .arg(example.join(source))
        .current_dir(folder)
        .output();
    match built {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            let is_missing = error.contains("can't find crate for") || error.contains("wasm-ld");
            assert!(is_missing, "{error}");
            skipped(&format!(
                "{source}: the compiler has no target for WebAssembly"
            ));
            false
        }
        Err(_) => {
            skipped(&format!("{source}: `{compiler}` is not there"));
            false
        }
    }
}

/// Packages of two versions, which differ in the program.
fn build(folder: &Path, compiler: &str, source: &str) -> Option<PathBuf> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/logic");
    let workshop = folder.join(format!("source-{source}"));
    fs::create_dir(&workshop).unwrap();
    for file in fs::read_dir(example).unwrap().flatten() {
        fs::copy(file.path(), workshop.join(file.file_name())).unwrap();
    }
    if !compiled(&workshop, compiler, source) {
        return None;
    }
    let package = workshop.join("routed.yaml");
    let text = fs::read_to_string(&package).unwrap();
    let is_of_build = |line: &&str| !line.starts_with("build:") && !line.starts_with("  - clang");
    let lines: Vec<_> = text.lines().filter(is_of_build).collect();
    fs::write(&package, lines.join("\n")).unwrap();
    let layout = folder.join(format!("layout-{source}"));
    let options = placet_packager::BuildOptions::default();
    placet_packager::build(&package, &layout, &options).expect("the example builds");
    edit(&package, "version: 1.0.0", "version: 1.0.1");
    edit(&workshop.join("routed"), "# Stands", "# It stands");
    placet_packager::build(&package, &layout, &options).expect("the example builds");
    Some(layout)
}

/// What a class of nodes runs.
fn declare(fleet: &Fleet, class: &str, layout: &Path, version: &str) {
    let reference = format!("oci-layout:{}:{version}", layout.display());
    let text = declaration(class, &reference, version);
    fs::write(fleet.path(&format!("fleet/{class}.yaml")), text).unwrap();
}

fn declaration(class: &str, reference: &str, version: &str) -> String {
    format!(
        "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {{name: {class}}}\nspec:\n  selector: {{types: [{class}]}}\n  packageSets: [{class}]\n---\napiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata: {{name: {class}}}\nspec:\n  packages:\n    - name: routed\n      version: {version}\n      reference: {reference}\n"
    )
}

fn check(fleet: &Fleet, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(placet())
        .args(["check", "--from", "HEAD~1", "--to", "HEAD", "-o", "json"])
        .arg("--packages")
        .arg(packages())
        .args(arguments)
        .current_dir(fleet.path("fleet"))
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report)
}

/// What logic said of each node: class, answer, words.
fn said(report: &Value) -> Vec<(String, String)> {
    let changes = report["changes"].as_array().unwrap().iter();
    let vetoes = changes.flat_map(|change| change["vetoes"].as_array().unwrap());
    let text = |veto: &Value, field: &str| veto[field].as_str().unwrap_or("veto").to_owned();
    vetoes
        .map(|veto| (text(veto, "by"), text(veto, "message")))
        .collect()
}

/// What happens to the fleet of the last two commits in memory, line by line.
fn played(fleet: &Fleet) -> Vec<String> {
    let script = "running: one\nrevisions:\n  one: {git: HEAD~1}\n  two: {git: HEAD}\nsteps:\n  - commit: two\n  - wait: 1m\n";
    let file = fleet.path("fleet/story.txt");
    fs::write(&file, script).unwrap();
    let mut simulate = Command::new(placet());
    simulate.arg("simulate").arg(&file).arg("--packages");
    let output = simulate.arg(packages()).args(["-o", "json"]).output();
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let transcript: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = transcript["lines"].as_array().unwrap().iter();
    let texts = lines.map(|line| line["text"].as_str().unwrap().to_owned());
    texts.collect()
}

/// What a live node objects with.
fn objections(fleet: &Fleet, node: &str) -> Vec<String> {
    let node = fleet.resource("fleetnode", node);
    let verdict = node["status"]["rollout"]["state"]["verdict"].clone();
    let verdict: Verdict = serde_json::from_value(verdict).unwrap();
    verdict.objections().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn logic_in_c_and_in_rust_decides_in_a_check_in_memory_and_on_nodes_alike() {
    let mut fleet = Fleet::start(FleetOptions {
        nodes: vec!["c-1", "rust-1"],
        ..FleetOptions::default()
    })
    .await;
    let languages = [("c", C, "may_restart.c"), ("rust", RUST, "may_restart.rs")];
    let folder = fleet.path("");
    let layouts: Vec<_> = languages
        .iter()
        .filter_map(|(class, compiler, source)| Some((*class, build(&folder, compiler, source)?)))
        .collect();
    if layouts.is_empty() {
        return;
    }
    let commit_all = |fleet: &Fleet, version: &str| {
        for (class, layout) in &layouts {
            declare(fleet, class, layout, version);
        }
        fleet.commit(&format!("routed {version}"))
    };
    let first = commit_all(&fleet, "1.0.0");
    fleet.follow_repository();
    fleet.verified(&first).await;
    let nodes: Vec<_> = layouts
        .iter()
        .map(|(class, _)| format!("{class}-1"))
        .collect();
    let before = pids_of_all(&fleet);

    let commit = commit_all(&fleet, "1.0.1");
    let (code, report) = check(&fleet, &[]);
    assert_eq!(code, Some(1), "{report}");
    let expected = (
        "logic".to_owned(),
        "2 peers are configured [peers]".to_owned(),
    );
    assert_eq!(said(&report), vec![expected; layouts.len()], "{report}");
    // Another configuration, another answer.
    let supplied = fleet.path("no-peers.conf");
    fs::write(&supplied, "").unwrap();
    let supplied = format!("routed:etc/routed.conf={}", supplied.display());
    let (code, report) = check(&fleet, &["--file", &supplied]);
    assert_eq!((code, said(&report)), (Some(0), Vec::new()), "{report}");

    let transcript = played(&fleet);
    let held = fleet.held(&commit).await;
    fleet.tallied(held.text("rollout")).await;
    for node in &nodes {
        let words = format!(
            "node {node}: routed, by its logic, non placet: 2 peers are configured [peers]"
        );
        assert!(transcript.contains(&words), "{words}: {transcript:?}");
        assert_eq!(objections(&fleet, node), [words]);
    }
    let after = pids_of_all(&fleet);
    assert_eq!(after, before, "nothing was changed");
}

/// Both versions of the example in a registry, and a repository that declares the first one; its
/// working tree has the second.
fn published(registry: &RegistryServer) -> Option<TempDir> {
    let folder = TempDir::new().unwrap();
    let layout = build(folder.path(), C, "may_restart.c")?;
    let repository = folder.path().join("fleet");
    fs::create_dir(&repository).unwrap();
    let node = "---\napiVersion: placet.dev/v1alpha1\nkind: FleetNode\nmetadata: {name: c-1}\nspec:\n  facts: {type: c}\n";
    for version in ["1.0.0", "1.0.1"] {
        let to = registry.at(&format!("routed:{version}"));
        let from = format!("oci-layout:{}:{version}", layout.display());
        let mut push = Command::new(placet());
        push.args(["package", "push", &from, &to]);
        assert!(push.output().unwrap().status.success());
        let declared = declaration("c", &to, version) + node;
        fs::write(repository.join("fleet.yaml"), declared).unwrap();
        if version == "1.0.0" {
            commit_all(&repository);
        }
    }
    Some(folder)
}

fn commit_all(repository: &Path) {
    let own = ["-c", "user.name=x", "-c", "user.email=x@localhost"];
    let commands: [&[&str]; 3] = [
        &["init", "--quiet", "--initial-branch=main", "."],
        &["add", "--all"],
        &[
            "-c",
            "commit.gpgsign=false",
            "commit",
            "--quiet",
            "--message",
            "x",
        ],
    ];
    for arguments in commands {
        let mut git = Command::new("git");
        git.args(own).args(arguments).current_dir(repository);
        assert!(git.status().unwrap().success());
    }
}

#[test]
fn logic_is_fetched_from_a_registry_to_decide() {
    let Some(mut registry) = RegistryServer::open() else {
        return;
    };
    let Some(folder) = published(&registry) else {
        return;
    };
    let run = |arguments: &[&str]| {
        let mut command = Command::new(placet());
        let cache = folder.path().join("cache");
        command.env("XDG_CACHE_HOME", cache).args(arguments);
        let output = command.current_dir(folder.path().join("fleet")).output();
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (from, to) = (registry.at("routed:1.0.0"), registry.at("routed:1.0.1"));
    let trial = ["simulate", "--type", "c", "--from", &from, "--to", &to];
    let check = ["check", "--from", "HEAD"];
    for arguments in [&trial[..], &check[..]] {
        let (code, report) = run(arguments);
        assert_eq!(code, Some(1), "{report}");
        assert!(
            report.contains("2 peers are configured [peers]"),
            "{report}"
        );
    }
    registry.kill();
    for arguments in [&trial[..], &check[..]] {
        let (code, report) = run(arguments);
        assert_eq!(code, Some(2), "{report}");
    }
}

/// A restart of `routed`, which has two peers.
fn question() -> Question {
    let change: ChangeSet = serde_json::from_value(json!({"modules": [], "processes": [{
        "name": "routed", "path": "usr/sbin/routed", "kind": "simple", "action": "restart",
        "because": [{"reason": "ownModule"}],
    }]}))
    .unwrap();
    let example = include_str!("../../examples/logic/routed.conf");
    let files = BTreeMap::from([("etc/routed.conf".parse().unwrap(), Some(example.to_owned()))]);
    let node = NodeDescription::default();
    Question::new(&change.processes[0], &node, &change, &files)
}

/// Of many times.
fn microseconds(mut what: impl FnMut()) -> f64 {
    let rounds = if is_full() { 1_001 } else { 11 };
    let round = |_| {
        let started = Instant::now();
        what();
        started.elapsed().as_secs_f64() * 1e6
    };
    median((0..rounds).map(round).collect())
}

/// Bytes of the program, and of what of it has to do with WebAssembly by the names of its symbols.
fn sizes() -> (u64, u64) {
    let mut nm = Command::new("nm");
    nm.args(["--print-size", "--size-sort", "--demangle"]);
    let output = nm.arg(placet()).output().expect("binutils");
    let text = String::from_utf8_lossy(&output.stdout);
    let is_of_wasm = |line: &&str| line.contains("wasmi") || line.contains("wasmparser");
    let sizes = text.lines().filter(is_of_wasm).filter_map(|line| {
        let size = line.split(' ').nth(1)?;
        u64::from_str_radix(size, 16).ok()
    });
    (fs::metadata(placet()).unwrap().len(), sizes.sum())
}

#[test]
fn what_a_decision_costs() {
    let folder = tempfile::tempdir().unwrap();
    let mut figures = serde_json::Map::new();
    for (language, compiler, source) in
        [("c", C, "may_restart.c"), ("rust", RUST, "may_restart.rs")]
    {
        if !compiled(folder.path(), compiler, source) {
            continue;
        }
        let bytes = fs::read(folder.path().join("may_restart.wasm")).unwrap();
        let load = || Logic::new(&bytes, 50_000_000, 16 << 20).unwrap();
        let (logic, question) = (load(), question());
        assert!(matches!(logic.decide(&question), Ok(Opinion::Veto { .. })));
        let load = microseconds(|| drop(load()));
        let decide = microseconds(|| drop(logic.decide(&question)));
        let figure = json!({
            "moduleBytes": bytes.len(), "loadMicroseconds": load, "decideMicroseconds": decide,
        });
        figures.insert(language.to_owned(), figure);
    }
    let (program, interpreter) = sizes();
    assert!(interpreter > 0, "the interpreter has symbols");
    // Programs for debugging are many times as large as those that are delivered.
    if placet().ancestors().any(|it| it.ends_with("release")) {
        figures.insert("programBytes".to_owned(), program.into());
        figures.insert("interpreterBytes".to_owned(), interpreter.into());
    }
    evidence("vote-logic", &figures.into());
}
