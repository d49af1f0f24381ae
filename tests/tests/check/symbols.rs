//! A commit that takes away a library function which one kind of nodes uses is stopped, with the
//! symbol, its user and the line: in the pull request, and by the controller before any node is asked.

use std::fs;
use std::path::Path;
use std::process::Command;

use placet_tests::{Event, Fleet, FleetOptions, pids, placet};
use serde_json::Value;
use tempfile::TempDir;

use crate::{answer, check};

const BOTH: &str = "int wave(void) { return 1; } int wave_twice(void) { return 2; }";
const ONE: &str = "int wave(void) { return 1; }";
const WAVED: &str = "#include <unistd.h>\nint wave_twice(void);\n\
    int main(void) { for (;;) if (sleep(wave_twice()) > 9) return 1; }";

/// Compiles and packs a library and a program that uses both of its functions; version 2 of the library
/// lacks one. Each package into a layout of its own.
fn pack(folder: &Path) {
    let source = folder.join("source");
    fs::create_dir_all(&source).unwrap();
    let pack = |name: &str, text: &str| {
        fs::write(source.join("package.yaml"), text).unwrap();
        let mut command = Command::new(placet());
        command.args(["package", "build", "--to"]);
        command.arg(format!("oci-layout:{}", folder.join(name).display()));
        let output = command.current_dir(&source).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    };
    fs::write(source.join("waved.c"), WAVED).unwrap();
    for (version, text) in [("2.0.0", ONE), ("1.0.0", BOTH)] {
        fs::write(source.join("wave.c"), text).unwrap();
        pack(
            "wave",
            &format!(
                "name: wave\nversion: {version}\nbuild:\n  - cc $CFLAGS -fPIC -shared -Wl,-soname,libwave.so.1 \
                 -o libwave.so.1 wave.c\nmodules:\n  - {{path: usr/lib/libwave.so.1, source: libwave.so.1, mode: \"0755\"}}\n"
            ),
        );
    }
    pack(
        "waver",
        "name: waver\nversion: 1.0.0\nbuild:\n  - cc $CFLAGS -fPIC -shared -Wl,-soname,libwave.so.1 -o libwave.so.1 wave.c\n  \
         - cc $CFLAGS -o waved waved.c libwave.so.1\nmodules:\n  - path: usr/bin/waved\n    source: waved\n    \
         mode: \"0755\"\n    process: {kind: simple}\n",
    );
}

/// Edge nodes run the program, core nodes have the library alone.
const CLASSES: &str = "\
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: core}
spec: {selector: {types: [core]}, packageSets: [base]}
---
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: edge}
spec: {selector: {types: [edge]}, packageSets: [waver, base]}
";

fn packages(folder: &Path, wave: &str) -> String {
    let folder = folder.display();
    let set = |set: &str, name: &str, version: &str| {
        format!(
            "apiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata:\n  name: {set}\nspec:\n  packages:\n    \
             - name: {name}\n      version: {version}\n      reference: oci-layout:{folder}/{name}:{version}\n"
        )
    };
    format!(
        "{}---\n{}",
        set("waver", "waver", "1.0.0"),
        set("base", "wave", wave)
    )
}

/// In which lines of the second set the version of the library stands.
const LINE: &str = "packages.yaml:18:7";

#[tokio::test(flavor = "multi_thread")]
async fn a_library_function_that_goes_stops_the_commit_and_the_roll_out() {
    let made = TempDir::new().unwrap();
    pack(made.path());
    let mut fleet = Fleet::start(FleetOptions {
        nodes: vec!["core-1", "edge-1"],
        ..FleetOptions::default()
    })
    .await;
    fs::write(fleet.path("fleet/classes.yaml"), CLASSES).unwrap();
    let declare = |fleet: &Fleet, wave: &str| {
        fs::write(
            fleet.path("fleet/packages.yaml"),
            packages(made.path(), wave),
        )
        .unwrap();
        fleet.commit(&format!("wave {wave}"))
    };
    let first = declare(&fleet, "1.0.0");
    fleet.follow_repository();
    fleet.verified(&first).await;
    let before = pids(&fleet, "edge-1");
    let since = fleet.feed.latest();
    let second = declare(&fleet, "2.0.0");
    every_report_names_symbol_user_and_line(&fleet.path("fleet"));
    let blocked = |event: &Event| {
        event.name == "plan" && event.data["problems"].to_string().contains("wave_twice")
    };
    let plan = fleet
        .feed
        .wait(since, "a plan with a problem", blocked)
        .await;
    assert_eq!(
        plan.data["problems"].as_array().unwrap().len(),
        1,
        "{:?}",
        plan.data
    );
    let rollout = fleet.resource("rollout", plan.text("rollout"))["status"].clone();
    assert_eq!(rollout["phase"], "Blocked", "{rollout}");
    assert!(rollout.to_string().contains(PROBLEM), "{rollout}");
    let shown = fleet.placet(&["rollout", "show", plan.text("rollout")]);
    // The text is broken into lines.
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains(NOW), "{shown}");
    assert!(!fleet.log("edge-1").contains(&second), "nobody is asked");
    assert_eq!(pids(&fleet, "edge-1"), before);
}

const PROBLEM: &str = "node edge-1: usr/bin/waved of package waver needs symbol wave_twice, which";

const NOW: &str = "on node edge-1 it runs with usr/lib/libwave.so.1 of wave 1.0.0 now";

fn every_report_names_symbol_user_and_line(repository: &Path) {
    let report = |format: &str| {
        let between = ["--from", "HEAD~1", "--to", "HEAD", "-o", format];
        let (code, report, error) = answer(&check(repository, &between));
        assert_eq!((code, error.as_str()), (1, ""), "{report}");
        report
    };
    for format in ["text", "markdown", "sarif", "junit"] {
        let report = report(format);
        // The text is broken into lines.
        let report = report.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            "wave_twice",
            "waved",
            "waver",
            "edge-1",
            "usr/lib/libwave.so.1 of wave 1.0.0",
        ] {
            assert!(report.contains(words), "{format} without {words}: {report}");
        }
        assert!(
            !report.contains("core-1: usr"),
            "core nodes do not use it: {report}"
        );
    }
    for format in ["text", "markdown", "junit"] {
        assert!(report(format).contains(LINE), "{}", report(format));
    }
    let sarif: Value = serde_json::from_str(&report("sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let result = results.iter().find(|it| it["ruleId"] == "symbol").unwrap();
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "packages.yaml");
    assert_eq!(place["region"]["startLine"], 18);
    let json: Value = serde_json::from_str(&report("json")).unwrap();
    let undefined = &json["problems"][0]["undefined"];
    let expected = serde_json::json!({
        "nodes": ["edge-1"], "package": "waver", "module": "usr/bin/waved", "symbols": ["wave_twice"],
        "library": "libwave.so.1",
        "processes": ["waved"], "candidates": [],
        "formerly": {"module": "usr/lib/libwave.so.1", "package": "wave", "version": "1.0.0"},
    });
    assert_eq!(*undefined, expected, "{json}");
}
