//! What can only change together, in the example fleet and in Debian's routing daemons.

use std::collections::BTreeSet;
use std::process::Command;

use placet_tests::{debs, packages, placet};
use serde_json::Value;

use crate::{Repository, answer};

fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(placet());
    answer(&command.args(arguments).output().unwrap())
}

fn json(arguments: &[&str]) -> Value {
    let (code, report, error) = run(&[arguments, &["-o", "json"]].concat());
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&report).unwrap()
}

/// The group that a module is in.
fn group<'v>(entangled: &'v Value, path: &str) -> &'v Value {
    let mut groups = entangled["groups"].as_array().unwrap().iter();
    let has = |group: &&Value| {
        let mut modules = group["modules"].as_array().unwrap().iter();
        modules.any(|module| module["path"] == path)
    };
    groups.find(has).unwrap()
}

#[test]
fn a_library_of_a_fleet_reaches_its_users_on_every_node() {
    let repository = Repository::new();
    let repo = repository.file("");
    let packages = packages();
    let (repo, packages) = (repo.to_str().unwrap(), packages.to_str().unwrap());
    let fleet = ["fleet", "entangled", "--packages", packages];
    let whole = json(&[&fleet[..], &["--repo", repo]].concat());
    let library = group(&whole, "usr/lib/libgreet.so.1");
    assert_eq!(library["reach"]["processes"], 6, "{library}");
    assert_eq!(library["processes"]["chatd"]["action"], "ask");
    assert_eq!(library["processes"]["clockd"]["nodes"], 4);
    assert_eq!(library["cuts"][0]["user"]["path"], "usr/bin/clockd");
    assert_eq!(library["cuts"][0]["frees"]["usr/lib/libgreet.so.1"], 4);
    let edge = json(&[&fleet[..], &["--repo", repo, "--class", "edge"]].concat());
    assert_eq!(edge["total"]["nodes"], 2);
    assert_eq!(group(&edge, "usr/lib/libgreet.so.1")["reach"]["nodes"], 2);
    let mut files = json(&[&fleet[..], &["--file", repo]].concat());
    files["revision"] = whole["revision"].clone();
    assert_eq!(files, whole, "a folder is as good as a repository");

    let (code, table, _) = run(&[&fleet[..], &["--repo", repo, "--revision", "HEAD"]].concat());
    assert_eq!(code, 0);
    assert!(table.lines().all(|line| line.chars().count() <= 80));
    assert!(
        table.contains("        6  usr/lib/libgreet.so.1"),
        "{table}"
    );
    let (code, graph, _) = run(&[&fleet[..], &["--repo", repo, "--dot"]].concat());
    assert_eq!(code, 0);
    assert!(graph.contains("[label=\"-4\", color=red]"), "{graph}");
    let (code, _, error) = run(&[&fleet[..], &["--repo", repo, "--class", "cor"]].concat());
    assert_eq!(code, 2);
    assert!(error.contains("there are: core, edge"), "{error}");
}

#[test]
fn a_package_that_is_not_there_is_named_with_its_line() {
    let repository = Repository::new();
    repository.edit("packages.yaml", "greet:1.0.0", "greet:9.0.0");
    let repo = repository.file("");
    let packages = packages();
    let (repo, packages) = (repo.to_str().unwrap(), packages.to_str().unwrap());
    let arguments = ["fleet", "entangled", "--repo", repo, "--packages", packages];
    let (code, nothing, error) = run(&arguments);
    assert_eq!((code, nothing.as_str()), (2, ""));
    assert!(error.contains("packages.yaml:"), "{error}");
}

/// The daemons of Debian's frr that run here.
const DAEMONS: [&str; 4] = ["bgpd", "ospfd", "staticd", "zebra"];

/// Where the library that all of them use is.
const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/frr/libfrr.so.0.0.0";

#[test]
fn the_routing_daemons_of_debian_hang_on_one_library_and_its_own_can_be_parted_from_it() {
    let Some(debs) = debs(&["frr", "libyang2", "libcap2"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let layout = format!("oci-layout:{}", folder.path().join("layout").display());
    let processes = DAEMONS.map(|name| format!("--process=usr/lib/frr/{name}"));
    let references: Vec<_> = debs
        .iter()
        .zip(["frr", "libyang2", "libcap2"])
        .map(|(deb, name)| {
            let mut import = vec!["package", "import", deb.to_str().unwrap(), "--to", &layout];
            if name == "frr" {
                import.push("--acknowledge-opens");
                import.extend(processes.iter().map(String::as_str));
            }
            json(&import)["reference"].as_str().unwrap().to_owned()
        })
        .collect();
    let references: Vec<_> = references.iter().map(String::as_str).collect();
    let report = json(&[&["package", "entangled"], &references[..]].concat());
    let entangled = &report["entangled"][0];

    let library = group(entangled, LIBRARY);
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let daemons: BTreeSet<_> = DAEMONS.map(str::to_owned).into();
    assert_eq!(names(&library["processes"]), daemons);
    let yang = "usr/lib/x86_64-linux-gnu/libyang.so.2";
    assert_eq!(group(entangled, yang), library, "every daemon maps it too");
    let cuts = library["cuts"].as_array().unwrap();
    let cut = cuts.iter().find(|cut| cut["needs"] == "libyang.so.2");
    let cut = cut.expect("one link parts them");
    assert_eq!(cut["user"]["path"], LIBRARY);
    assert_eq!(cut["frees"][yang], 4);
    assert!(cut["frees"].get(LIBRARY).is_none());

    // An update of the library alone, tried out, touches what was said.
    let shade = ["package", "shade", references[0], "--gray", LIBRARY];
    let update = json(&shade)["reference"].as_str().unwrap().to_owned();
    let diff = ["package", "diff", references[0], &update, "-o", "json"];
    let (code, diff, _) = run(&diff);
    assert_eq!(code, 1, "something differs");
    let diff: Value = serde_json::from_str(&diff).unwrap();
    let restarted = diff["impact"][0]["processes"].as_array().unwrap().iter();
    let restarted: BTreeSet<_> = restarted
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(restarted, daemons);
}
