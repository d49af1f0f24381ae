//! Shaded updates on a live node: what each restarts is what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use placet_tests::{Fleet, FleetOptions, alive, assert_never_a_mixture, packages, pids, poll};
use serde_json::Value;

const NODE: &str = "core-1";

/// Shades a package as `arguments` say, and lets the declarations name what comes of it.
fn shade(fleet: &Fleet, package: &str, arguments: &[&str]) {
    let to = format!("oci-layout:{}", fleet.path(package).display());
    let file = fleet.path("fleet/packages.yaml");
    let declared = fs::read_to_string(&file).expect("declarations");
    let name = format!("- name: {package}\n");
    let (before, rest) = declared.split_once(&name).expect("it is declared");
    let mut lines = rest.lines();
    lines.next().expect("its version");
    let reference = lines.next().expect("its reference").trim();
    let reference = reference.strip_prefix("reference: ").expect("a reference");
    let folder = format!("oci-layout:{}/", packages().display());
    let source = if reference.contains(":/") {
        reference.to_owned()
    } else {
        reference.replace("oci-layout:", &folder)
    };
    let command = ["package", "shade", &source, "--to", &to, "-o", "json"];
    let update = fleet.placet(&[&command[..], arguments].concat());
    let update: Value = serde_json::from_str(&update).expect("JSON");
    let version = update["config"]["version"].as_str().expect("a version");
    let reference = update["reference"].as_str().expect("a reference");
    let others: Vec<_> = lines.collect();
    let others = others.join("\n");
    let text =
        format!("{before}{name}      version: {version}\n      reference: {reference}\n{others}\n");
    fs::write(file, text).expect("declarations");
}

/// Rolls out what is declared; the processes that came to be others.
async fn restarted(fleet: &mut Fleet) -> BTreeSet<String> {
    let before: BTreeMap<_, _> = pids(fleet, NODE);
    let commit = fleet.commit("another shade");
    fleet.verified(&commit).await;
    // One that manages itself may still be on its way.
    let after = poll("the same processes", || {
        alive(fleet, NODE).filter(|after| before.keys().eq(after.keys()))
    });
    assert_never_a_mixture(fleet, NODE);
    let changed = after.into_iter().filter(|(name, pid)| before[name] != *pid);
    changed.map(|(name, _)| name).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn white_restarts_nothing_gray_the_users_of_a_module_and_black_everything() {
    let options = FleetOptions {
        nodes: vec![NODE],
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::settled(options).await;
    assert!(
        pids(&fleet, NODE)
            .keys()
            .eq(["chatd", "clockd", "metricsd"])
    );

    shade(&fleet, "greet", &["--white"]);
    assert_eq!(restarted(&mut fleet).await, names(&[]));

    shade(&fleet, "greet", &["--gray", "libgreet.so.1"]);
    let users = names(&["chatd", "clockd"]);
    assert_eq!(restarted(&mut fleet).await, users);

    // A library of one process alone.
    shade(&fleet, "clock", &["--gray", "usr/lib/libtext.so.1"]);
    assert_eq!(restarted(&mut fleet).await, names(&["clockd"]));

    for package in ["greet", "chat", "clock", "metrics"] {
        shade(&fleet, package, &["--black"]);
    }
    let all = names(&["chatd", "clockd", "metricsd"]);
    assert_eq!(restarted(&mut fleet).await, all);
}
