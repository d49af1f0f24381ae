//! Figures, beside those of kubectl in the same run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use placet_tests::{KubeFleet, NAMESPACE, build_kind, evidence, is_full, median, usage};
use serde_json::{Value, json};

use crate::common::{OnKubernetes, all_run, kubernetes, settled};

const DECLARATIONS: usize = 1_000;

/// A thousand declarations: package sets, classes, and nodes at `location`.
fn declarations(location: &str) -> String {
    let mut text = String::new();
    for index in 0..50 {
        let _ = write!(
            text,
            "apiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata: {{name: set-{index}}}\nspec:\n  packages:\n  - {{name: clock, version: 1.0.0, reference: 'oci-layout:clock:1.0.0'}}\n---\n"
        );
        let _ = write!(
            text,
            "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {{name: class-{index}, labels: {{at: {location}}}}}\nspec:\n  selector: {{types: [type-{index}]}}\n  packageSets: [set-{index}]\n---\n"
        );
    }
    for index in 0..DECLARATIONS - 100 {
        let _ = write!(
            text,
            "apiVersion: placet.dev/v1alpha1\nkind: FleetNode\nmetadata: {{name: node-{index}}}\nspec:\n  facts: {{type: type-{}, location: {location}}}\n---\n",
            index % 50
        );
    }
    text
}

/// Writes them into the repository: one file of them all would have more values than a file may.
fn write_files(fleet: &KubeFleet, location: &str) {
    let text = declarations(location);
    let all: Vec<_> = text.split_inclusive("---\n").collect();
    for (index, part) in all.chunks(100).enumerate() {
        let path = fleet.path(&format!("fleet/part-{index}.yaml"));
        fs::write(path, part.concat()).expect("a file");
    }
}

/// Requests that patched something, as the controller counts them.
fn patches(fleet: &KubeFleet) -> usize {
    let (_, text) = fleet.look("a", "/metrics");
    let words = "placet_api_requests_total{verb=\"patch\",result=\"ok\"} ";
    let count = text.lines().find_map(|line| line.strip_prefix(words));
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or_default()
}

/// Waits until every declared object has a status for what is declared now.
fn all_have_a_status(fleet: &KubeFleet, location: &str, patched: usize) {
    // Listing them costs the API server as much as a part of what is measured.
    fleet.until("most of the patches", |fleet| {
        (patches(fleet) >= patched + 19 * DECLARATIONS / 10 - 100).then_some(())
    });
    fleet.until("every status", |fleet| {
        let current =
            |it: &Value| it["status"]["observedGeneration"] == it["metadata"]["generation"];
        let nodes = fleet.objects("fleetnodes");
        let there = nodes
            .iter()
            .filter(|it| it["spec"]["facts"]["location"] == location && current(it));
        (there.count() == DECLARATIONS - 100
            && fleet.objects("nodeclasses").iter().all(current)
            && fleet.objects("packagesets").iter().all(current))
        .then_some(())
    });
}

/// How many requests the API server has answered.
fn answered(fleet: &mut OnKubernetes) -> usize {
    fleet.cluster().audit().len()
}

/// Requests of the controller after the first `since`, by verb, without those for its lease.
fn requests(fleet: &mut OnKubernetes, since: usize) -> BTreeMap<String, usize> {
    let mut verbs = BTreeMap::new();
    for request in &fleet.cluster().audit()[since..] {
        let is_lease = request["objectRef"]["resource"] == "leases";
        let agent = request["userAgent"].as_str().unwrap_or_default();
        if agent.starts_with("placet-controller/") && !is_lease {
            let verb = request["verb"].as_str().unwrap_or_default().to_owned();
            *verbs.entry(verb).or_default() += 1;
        }
    }
    verbs
}

/// What a git host would send after a push: the signature is over time and body. The body names the
/// commit, so that two calls in one second are not taken for one that is replayed.
fn call(fleet: &KubeFleet, token: &str, commit: &str) {
    let now = jiff::Timestamp::now().as_second();
    let body = format!(r#"{{"commit":"{commit}"}}"#);
    let url = format!("http://{}/hooks/fleet", fleet.receiver("a"));
    let script = format!(
        "s=$(printf %s '{now}.{body}' | openssl dgst -sha256 -hmac '{token}' -r | cut -d' ' -f1); \
         curl --silent --show-error --fail --max-time 10 -X POST -H 'X-Placet-Timestamp: {now}' \
         -H \"X-Placet-Signature: sha256=$s\" --data '{body}' {url}"
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .expect("a shell");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the call is taken: {error}");
}

#[test]
fn from_push_to_verdicts_and_four_writes_for_each_node() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    let token = "a token that both know";
    fleet.create_secret("hook", &[&format!("--from-literal=token={token}")]);
    let source = format!(
        "apiVersion: placet.dev/v1alpha1\nkind: GitSource\nmetadata: {{name: fleet}}\nspec:\n  url: {}\n  intervalSeconds: 3600\n  receiver: {{kind: generic, secretRef: {{name: hook}}}}\n",
        fleet.path("fleet").display()
    );
    fleet.apply(&source, &[]);
    let mut sample = Vec::new();
    let mut versions = ("1.0.0", "1.1.0");
    for round in 0..if is_full() { 20 } else { 3 } {
        let seen = fleet.cluster().audit().len();
        let commit = fleet.commit_greet(versions.0, versions.1);
        versions = (versions.1, versions.0);
        let began = Instant::now();
        call(&fleet, token, &commit);
        let told = format!("main@sha1:{commit}");
        fleet.until("the tally", |fleet| {
            let log = fleet.log("a");
            let (_, since) = log.split_once(&told)?;
            since.contains("tally").then_some(())
        });
        sample.push(began.elapsed().as_secs_f64() * 1e3);
        fleet.rollout(&commit, "Done");
        all_run(&fleet);
        let audit = fleet.cluster().audit();
        let writes = audit[seen..].iter().filter(|it| {
            it["verb"] == "patch"
                && it["objectRef"]["resource"] == "fleetnodes"
                && it["objectRef"]["name"] == "core-1"
        });
        let writes = writes.count();
        assert!(
            writes <= 4,
            "round {round}: core-1 was written {writes} times"
        );
    }
    fleet.kubectl(&["-n", NAMESPACE, "delete", "secret", "hook"]);
    sample.sort_by(f64::total_cmp);
    evidence(
        "kubernetes-push-to-verdicts",
        &json!({ "build": build_kind(), "nodes": 3, "rounds": sample.len(), "medianMilliseconds": median(sample.clone()), "milliseconds": sample }),
    );
}

#[test]
fn a_thousand_declarations_beside_kubectl() {
    if !is_full() {
        return;
    }
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    let file = fleet.path("all.yaml");
    let file = file.to_str().expect("a path").to_owned();
    fs::write(&file, declarations("kubectl")).expect("a file");
    let kubectl = [
        "apply",
        "--server-side",
        "--field-manager=other",
        "-f",
        &file,
    ];
    let mut figures = serde_json::Map::new();
    figures.insert("build".to_owned(), json!(build_kind()));
    let began = Instant::now();
    fleet.kubectl(&kubectl);
    figures.insert(
        "kubectlFirstSeconds".to_owned(),
        json!(began.elapsed().as_secs_f64()),
    );
    for kind in ["fleetnodes", "nodeclasses", "packagesets"] {
        // One request, where `--all` makes one for each object.
        let all = format!("/apis/placet.dev/v1alpha1/{kind}");
        fleet.kubectl(&["delete", "--raw", &all]);
    }
    fleet.follow_repository();
    for (name, location) in [("first", "here"), ("everyChange", "there")] {
        write_files(&fleet, location);
        let (cpu, _) = usage(fleet.controller("a"));
        let (seen, patched) = (answered(&mut fleet), patches(&fleet));
        let began = Instant::now();
        fleet.commit(name);
        all_have_a_status(&fleet, location, patched);
        let took = began.elapsed();
        let (after, peak) = usage(fleet.controller("a"));
        let verbs = requests(&mut fleet, seen);
        assert!(
            verbs.get("patch").is_some_and(|it| *it >= DECLARATIONS),
            "the requests of the controller are found: {verbs:?}"
        );
        figures.insert(
            name.to_owned(),
            json!({ "seconds": took.as_secs_f64(), "cpuSeconds": after - cpu, "peakMiB": peak, "requests": verbs }),
        );
    }
    evidence("kubernetes-thousand-declarations", &Value::Object(figures));
    // Nothing changes: nothing is asked but watches and the lease.
    std::thread::sleep(Duration::from_secs(5));
    let seen = answered(&mut fleet);
    let (before, _) = usage(fleet.controller("a"));
    std::thread::sleep(Duration::from_mins(5));
    let idle = requests(&mut fleet, seen);
    let (after, _) = usage(fleet.controller("a"));
    evidence(
        "kubernetes-idle",
        &json!({ "build": build_kind(), "declarations": DECLARATIONS, "seconds": 300, "requests": idle, "cpuSeconds": after - before }),
    );
    assert!(idle.keys().all(|verb| verb == "watch"), "{idle:?}");
}
