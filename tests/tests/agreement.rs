//! What `placet check` says of a change from declarations and packages alone is what every node
//! computes of it, and what then happens to its processes.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use placet_tests::{
    Event, Fleet, FleetOptions, Sample, alive, assert_never_a_mixture, evidence, packages, pids,
    placet, poll,
};
use serde_json::{Value, json};

const NODES: [&str; 3] = ["core-1", "core-2", "edge-1"];

/// A package of the example fleet, and what was made of it.
struct Package {
    name: &'static str,
    set: &'static str,
    modules: &'static [&'static str],
    /// Versions and where they are.
    versions: Vec<(String, String)>,
    chosen: usize,
    /// Nothing else needs it, and it may be left out.
    is_free: bool,
    is_left_out: bool,
}

impl Package {
    fn new(
        name: &'static str,
        set: &'static str,
        modules: &'static [&'static str],
        versions: &[&str],
    ) -> Self {
        let place = packages().join(name);
        let version = |version: &&str| {
            let reference = format!("oci-layout:{}:{version}", place.display());
            ((*version).to_owned(), reference)
        };
        Self {
            name,
            set,
            modules,
            versions: versions.iter().map(version).collect(),
            chosen: 0,
            is_free: name != "greet",
            is_left_out: false,
        }
    }

    fn all() -> [Self; 4] {
        let greet: &[_] = &["usr/lib/libgreet.so.1"];
        let clock: &[_] = &["usr/bin/clockd", "usr/lib/libtext.so.1"];
        [
            Self::new("chat", "chat", &["usr/bin/chatd"], &["1.0.0"]),
            Self::new("clock", "tools", clock, &["1.0.0"]),
            Self::new("metrics", "tools", &["usr/bin/metricsd"], &["1.0.0"]),
            Self::new("greet", "base", greet, &["1.0.0", "1.1.0", "1.2.0"]),
        ]
    }

    /// Something else of it: modules that count as changed, another version, or none at all.
    fn vary(&mut self, sample: &mut Sample) {
        match sample.below(8) {
            0 if self.is_free => self.is_left_out = !self.is_left_out,
            0..=2 => self.chosen = sample.below(self.versions.len()),
            3 => self.shade(&["--white".to_owned()]),
            _ => {
                let first = sample.below(self.modules.len());
                let until = first + 1 + sample.below(self.modules.len() - first);
                let modules = self.modules[first..until].iter();
                let mut gray = vec!["--gray".to_owned()];
                gray.extend(modules.map(ToString::to_string));
                self.shade(&gray);
            }
        }
    }

    /// Makes another version of the one that is chosen, and chooses it.
    fn shade(&mut self, how: &[String]) {
        let mut command = Command::new(placet());
        command.args(["package", "shade", &self.versions[self.chosen].1]);
        command.args(how).args(["-o", "json"]);
        let made = json_of(&mut command, &[0]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let version = text(&made["config"]["version"]);
        self.versions.push((version, text(&made["reference"])));
        self.chosen = self.versions.len() - 1;
    }
}

fn json_of(command: &mut Command, codes: &[i32]) -> Value {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    let is_expected = output.status.code().is_some_and(|it| codes.contains(&it));
    assert!(is_expected, "{command:?}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The package sets of what is chosen.
fn declare(fleet: &Fleet, chosen: &[Package]) {
    let mut text = String::new();
    for set in ["chat", "tools", "base"] {
        let of_set = chosen.iter().filter(|it| it.set == set && !it.is_left_out);
        let packages: Vec<_> = of_set
            .map(|package| {
                let (version, reference) = &package.versions[package.chosen];
                json!({"name": package.name, "version": version, "reference": reference})
            })
            .collect();
        let packages = Value::from(packages);
        writeln!(
            text,
            "---\napiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata: {{name: {set}}}\nspec: {{packages: {packages}}}"
        )
        .unwrap();
    }
    fs::write(fleet.path("fleet/packages.yaml"), text).unwrap();
}

/// What is expected of one node: the identity of the change, and what each process meets.
#[derive(Debug, PartialEq)]
struct Expected {
    change: String,
    actions: BTreeMap<String, String>,
}

/// What a check of the last commit says, by node.
fn checked(fleet: &Fleet) -> BTreeMap<String, Expected> {
    let mut command = Command::new(placet());
    command.args(["check", "--from", "HEAD~1", "--to", "HEAD", "-o", "json"]);
    command.arg("--repo").arg(fleet.path("fleet"));
    command.arg("--packages").arg(packages());
    let report = json_of(&mut command, &[0]);
    let mut nodes = BTreeMap::new();
    for change in report["changes"].as_array().unwrap() {
        for node in change["nodes"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let processes = change["changeSet"]["processes"].as_array().unwrap();
            let action = |it: &Value| (text(&it["name"]), text(&it["action"]));
            let expected = Expected {
                change: text(&change["changeDigest"]),
                actions: processes.iter().map(action).collect(),
            };
            nodes.insert(text(node), expected);
        }
    }
    nodes
}

/// The processes of a node, once all that its status tells of are alive and from the generation
/// that is in force.
fn running(fleet: &Fleet, node: &str, names: &[&String]) -> BTreeMap<String, u64> {
    poll(&format!("{names:?} on {node}"), || {
        alive(fleet, node).filter(|alive| alive.keys().eq(names.iter().copied()))
    })
}

/// What happened to the processes of a node, in the words of the plan.
fn happened(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> BTreeMap<String, &'static str> {
    let mut happened = BTreeMap::new();
    for name in before.keys().chain(after.keys()) {
        let what = match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(_), Some(_)) => "restart",
            (None, _) => "start",
            (Some(_), None) => "stop",
        };
        happened.insert(name.clone(), what);
    }
    happened
}

/// The last verdict of a node since an event.
fn verdict(fleet: &mut Fleet, node: &str, since: u64) -> Option<Value> {
    let of_node = |event: &&Event| event.text("node") == node;
    let verdicts = fleet.feed.named("verdict", since).filter(of_node);
    verdicts.last().map(|event| event.data.clone())
}

#[derive(Default)]
struct Tally {
    changes: usize,
    without_effect: usize,
    verdicts: usize,
    processes: BTreeMap<&'static str, usize>,
}

async fn try_change(fleet: &mut Fleet, number: usize, tally: &mut Tally) {
    let before: BTreeMap<_, _> = NODES.map(|node| (node, pids(fleet, node))).into();
    let since = fleet.feed.latest();
    let commit = fleet.commit(&format!("change {number}"));
    let checked = checked(fleet);
    fleet.verified(&commit).await;
    tally.changes += 1;
    tally.without_effect += usize::from(checked.is_empty());
    for node in NODES {
        let Some(expected) = checked.get(node) else {
            assert_eq!(verdict(fleet, node, since), None, "{node} is not asked");
            assert_eq!(pids(fleet, node), before[node], "{node} is left alone");
            continue;
        };
        let said = verdict(fleet, node, since).unwrap();
        // A node answers for the change that it computed itself, and refuses any other.
        assert_eq!(said["changeDigest"], expected.change.as_str(), "{node}");
        assert_eq!(said["verdict"], "accept", "{node}: {said}");
        tally.verdicts += 1;
        let mut names: Vec<_> = before[node].keys().collect();
        let of = |action: &str| {
            let actions = expected.actions.iter();
            actions
                .filter(|(_, it)| *it == action)
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        let (starts, stops) = (of("start"), of("stop"));
        names.extend(starts);
        names.retain(|name| !stops.contains(name));
        names.sort_unstable();
        let after = running(fleet, node, &names);
        // Whoever is asked asks for the default, which is a restart.
        let planned: BTreeMap<_, _> = expected
            .actions
            .iter()
            .map(|(name, action)| (name.clone(), action.replace("ask", "restart")))
            .collect();
        let happened = happened(&before[node], &after);
        let told: BTreeMap<_, _> = happened
            .iter()
            .map(|(name, it)| (name.clone(), (*it).to_owned()))
            .collect();
        assert_eq!(told, planned, "{node}, change {number}");
        for what in happened.into_values() {
            *tally.processes.entry(what).or_default() += 1;
        }
        if !after.is_empty() {
            assert_never_a_mixture(fleet, node);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_check_says_is_what_nodes_compute_and_what_happens() {
    let mut sample = Sample::new("agreement", 100, 5);
    let options = FleetOptions {
        nodes: NODES.to_vec(),
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::settled(options).await;
    let mut chosen = Package::all();
    let mut tally = Tally::default();
    for number in 1..=sample.cases {
        for _ in 0..=sample.below(3) {
            let which = sample.below(chosen.len());
            chosen[which].vary(&mut sample);
        }
        declare(&fleet, &chosen);
        try_change(&mut fleet, number, &mut tally).await;
    }
    evidence(
        "agreement",
        &json!({
            "nodes": NODES.len(), "changes": tally.changes, "withoutEffect": tally.without_effect,
            "verdicts": tally.verdicts, "processes": tally.processes,
        }),
    );
}
