//! A large fleet, as people would wait for it; and the same bytes wherever it is checked.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use placet_tests::{evidence, is_full, packages, placet};
use serde_json::json;

use crate::{Repository, answer};

/// As many declarations as a large fleet has: nodes, and classes that they belong to by a label.
const NODES: usize = 960;
const CLASSES: usize = 32;

/// The example fleet and a thousand more declarations, of which every node runs the library.
fn large() -> Repository {
    let repository = Repository::new();
    let classes: Vec<_> = (0..CLASSES)
        .map(|class| format!(
            "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata:\n  name: class-{class}\nspec:\n  selector:\n    labels: {{row: r{class}}}\n  packageSets: [chat, tools, base]\n  vetoRules:\n    - name: cellar\n      rule: node.location == 'cellar' && change.processes.exists(p, p.action == 'ask')\n      message: nobody is there\n"
        ))
        .collect();
    fs::write(repository.file("more-classes.yaml"), classes.join("---\n")).unwrap();
    for class in 0..CLASSES {
        let nodes: Vec<_> = (0..NODES / CLASSES)
            .map(|node| format!("apiVersion: placet.dev/v1alpha1\nkind: FleetNode\nmetadata:\n  name: n{class}-{node}\nspec:\n  labels: {{row: r{class}}}\n"))
            .collect();
        let file = repository.file(&format!("row-{class}.yaml"));
        fs::write(file, nodes.join("---\n")).unwrap();
    }
    repository.commit();
    repository.greet("1.1.0");
    repository
}

#[test]
fn a_thousand_declarations_are_checked_in_seconds() {
    let repository = large();
    let (mut times, runs) = (Vec::new(), if is_full() { 11 } else { 1 });
    for _ in 0..runs {
        let begin = Instant::now();
        let (code, report, error) = repository.check(&[]);
        times.push(begin.elapsed());
        assert_eq!(code, 0, "{error}{report}");
        assert!(report.contains("964 of 964 nodes change"), "{report}");
    }
    times.sort();
    let median = times[times.len() / 2];
    // No effect is said without a look at packages.
    let begin = Instant::now();
    let (code, report, _) = repository.check(&["--to", "HEAD"]);
    let none = begin.elapsed();
    assert_eq!(code, 0);
    assert!(report.contains("No effect"), "{report}");
    let is_release = placet()
        .components()
        .any(|part| part.as_os_str() == "release");
    let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
    evidence(
        "check",
        &json!({
            "declarations": NODES + CLASSES + 9,
            "nodes": NODES + 4,
            "build": if is_release { "release" } else { "debug" },
            "runs": runs,
            "milliseconds": milliseconds(median),
            "noEffectMilliseconds": milliseconds(none),
        }),
    );
    let limit = if is_release { 2 } else { 60 };
    assert!(median < Duration::from_secs(limit), "{median:?}");
}

#[test]
fn the_same_bytes_come_out_everywhere() {
    let repository = Repository::new();
    repository.greet("1.1.0");
    repository.commit();
    // Another clone, whose files were made in another order.
    let clone = tempfile::tempdir().unwrap();
    let status = Command::new("git")
        .args(["clone", "--quiet", "--no-checkout"])
        .arg(repository.0.path())
        .arg(clone.path())
        .status();
    assert!(status.unwrap().success());
    let mut names: Vec<_> = fs::read_dir(repository.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != ".git")
        .collect();
    names.sort();
    for name in names.into_iter().rev() {
        fs::copy(repository.0.path().join(&name), clone.path().join(&name)).unwrap();
    }
    for format in ["text", "markdown", "json", "yaml", "junit", "sarif"] {
        for to in [&[][..], &["--to", "HEAD"]] {
            let run = |folder: &std::path::Path, locale: &str, zone: &str| {
                let output = Command::new(placet())
                    .args(["check", "--from", "HEAD~1", "-o", format])
                    .args(to)
                    .arg("--packages")
                    .arg(packages())
                    .arg("--cache")
                    .arg(folder.join(".git/cache"))
                    .current_dir(folder)
                    .env("LC_ALL", locale)
                    .env("LANG", locale)
                    .env("TZ", zone)
                    .output()
                    .unwrap();
                answer(&output)
            };
            let one = run(repository.0.path(), "C", "UTC");
            let other = run(clone.path(), "tr_TR.UTF-8", "Asia/Tokyo");
            assert_eq!(one.0, 0, "{}", one.2);
            assert!(one == other, "{format}: {}\n{}", one.1, other.1);
        }
    }
}
