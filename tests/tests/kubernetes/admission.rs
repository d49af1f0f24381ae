//! The admission webhook, asked by a real API server.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use placet_tests::{KubeFleet, NAMESPACE, free_address, placet, program};
use serde_json::{Value, json};

use crate::common::{NODES, OnKubernetes, kubernetes, open_session, settled};

/// A person with a kubectl.
pub(crate) struct Person {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl Person {
    pub(crate) fn new(fleet: &mut OnKubernetes, name: &str) -> Self {
        let cluster = fleet.cluster();
        Self {
            kubectl: cluster.kubectl(),
            kubeconfig: cluster.user(name, &["system:masters"]),
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("kubectl starts")
    }

    /// Runs `placet` as this person, whatever comes of it.
    pub(crate) fn placet(&self, arguments: &[&str]) -> Output {
        Command::new(placet())
            .args(arguments)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .stdin(Stdio::null())
            .output()
            .expect("placet starts")
    }

    /// What kubectl prints on both streams.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8")
    }
}

/// The chart's webhook configurations, with a URL in place of the Service.
fn configurations(helm: &Path, address: &str) -> String {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/placet");
    let rendered = Command::new(helm)
        .args(["template", "placet", "--namespace", NAMESPACE])
        .args(["--show-only", "templates/webhook.yaml"])
        .arg(&chart)
        .output()
        .expect("helm starts");
    let error = String::from_utf8_lossy(&rendered.stderr);
    assert!(rendered.status.success(), "{error}");
    let namespace = format!("namespace: {NAMESPACE}");
    let mut lines = Vec::new();
    for line in String::from_utf8(rendered.stdout).expect("UTF-8").lines() {
        match line.trim() {
            "service:" | "name: placet-webhook" => {}
            text if text == namespace => {}
            text => match text.strip_prefix("path: ") {
                Some(path) => lines.push(format!("      url: https://{address}{path}")),
                None => lines.push(line.to_owned()),
            },
        }
    }
    lines.join("\n")
}

/// Starts controllers with a webhook each; the API server asks the first one's.
pub(crate) fn with_webhooks(fleet: &mut KubeFleet, helm: &Path, names: &[&str]) {
    let mut first = None;
    for name in names {
        let address = free_address();
        let arguments = [
            "--webhook-listen",
            &address,
            "--webhook-url",
            &format!("https://{address}"),
        ];
        fleet.add_controller(name, &arguments.map(str::to_owned));
        first.get_or_insert(address);
    }
    let text = configurations(helm, &first.expect("a controller"));
    let applied = fleet.apply(&text, &[]);
    assert!(
        applied.contains("validatingwebhookconfiguration"),
        "{applied}"
    );
}

/// Removes what others would be in the way of.
pub(crate) struct Removed<'a>(pub(crate) &'a Person);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        for kind in [
            "validatingwebhookconfiguration",
            "mutatingwebhookconfiguration",
        ] {
            self.0.kubectl(&["delete", kind, "placet"]);
        }
        self.0
            .kubectl(&["delete", "-n", NAMESPACE, "secret", "placet-webhook"]);
    }
}

/// Waits until the API server asks the webhook, somebody leads, and every node is back with them.
pub(crate) fn until_asked(fleet: &KubeFleet, person: &Person, file: &str) -> String {
    fleet.until("the webhook to be asked", |_| {
        let said = person.says(&["apply", "--dry-run=server", "-f", file]);
        (said.contains("Warning: dry run dry-") && !said.contains("not asked")).then_some(said)
    })
}

/// Every file of a node's state: path, inode and time of the last change; what processes print is
/// theirs.
fn stored(folder: &Path) -> BTreeSet<(PathBuf, u64, i64)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let data = entry.metadata().expect("a file");
        if data.is_dir() && entry.file_name() != "log" {
            found.extend(stored(&entry.path()));
        } else if data.is_file() {
            found.insert((entry.path(), data.ino(), data.mtime_nsec()));
        }
    }
    found
}

/// Everything that a dry run has to leave as it is.
pub(crate) type Everything = (Vec<Value>, Vec<BTreeSet<(PathBuf, u64, i64)>>);

pub(crate) fn everything(fleet: &KubeFleet) -> Everything {
    let kinds = [
        "gitsources",
        "nodeclasses",
        "packagesets",
        "fleetnodes",
        "rollouts",
    ];
    let objects = kinds.iter().flat_map(|kind| fleet.objects(kind)).collect();
    let nodes = NODES.iter().map(|node| stored(&fleet.path(node)));
    (objects, nodes.collect())
}

/// The declarations with another version of the package `greet`, in a file.
pub(crate) fn next_version(fleet: &KubeFleet) -> String {
    let text = KubeFleet::example()
        .replace("1.0.0 # greet", "1.1.0 # greet")
        .replace("greet:1.0.0", "greet:1.1.0");
    let file = fleet.path("next.yaml");
    fs::write(&file, text).expect("a file");
    file.to_str().expect("a path").to_owned()
}

#[test]
fn a_dry_run_of_a_commits_files_prints_the_vetoes_whoever_leads_and_changes_nothing() {
    let Some(helm) = program("helm") else { return };
    let Some(mut fleet) = kubernetes(&[]) else {
        return;
    };
    let ann = Person::new(&mut fleet, "ann");
    with_webhooks(&mut fleet, &helm, &["a", "b"]);
    let _removed = Removed(&ann);
    settled(&mut fleet);
    let file = next_version(&fleet);
    let session = open_session(&fleet, "core-1");
    until_asked(&fleet, &ann, &file);
    let pid = fleet.pids("core-1")["chatd"];
    let veto =
        format!("Warning: node core-1: chatd ({pid}) non placet: 1 open session [sessions-open]");
    for leader in ["b", "a"] {
        // The API server asks a's webhook, which follows first and leads then.
        let other = if leader == "a" { "b" } else { "a" };
        fleet.kill_controller(other);
        fleet.until("the other to lead", |fleet| {
            (fleet.leader().as_deref() == Some(leader)).then_some(())
        });
        fleet.start_controller(other);
        until_asked(&fleet, &ann, &file);
        let before = everything(&fleet);
        let said = ann.says(&["apply", "--dry-run=server", "-f", &file]);
        assert!(said.contains(&veto), "{leader} leads: {said}");
        assert!(said.contains("would object"), "{said}");
        assert!(
            said.contains("packageset.placet.dev/base configured (server dry run)"),
            "{said}"
        );
        assert_eq!(everything(&fleet), before);
    }
    drop(session);
}

#[test]
fn what_is_wrong_is_refused_and_decisions_bear_the_name_of_whoever_takes_them() {
    let Some(helm) = program("helm") else { return };
    let Some(mut fleet) = kubernetes(&[]) else {
        return;
    };
    let ann = Person::new(&mut fleet, "ann");
    with_webhooks(&mut fleet, &helm, &["a"]);
    let _removed = Removed(&ann);
    settled(&mut fleet);
    let file = next_version(&fleet);
    until_asked(&fleet, &ann, &file);

    let session = open_session(&fleet, "core-1");
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    let rollout = fleet.rollout(&commit, "Held");
    let name = rollout["metadata"]["name"].as_str().expect("a name");
    let decide = |decision: &Value| {
        let patch = json!({"spec": {"decision": decision}}).to_string();
        ann.says(&["patch", "rollout", name, "--type=merge", "-p", &patch])
    };
    let late = decide(&json!({"hold": 7, "action": "skip", "reason": "x"}));
    assert!(
        late.contains("spec.decision: hold 7 of roll-out")
            && late.contains("is not open; hold 1 is"),
        "{late}"
    );
    let other = decide(&json!({"hold": 1, "action": "force", "nodes": ["edge-1"], "reason": "x"}));
    assert!(
        other.contains("node edge-1 does not object in hold 1"),
        "{other}"
    );
    let under_way = ann.says(&["delete", "rollout", name]);
    assert!(
        under_way.contains("the roll-out is under way"),
        "{under_way}"
    );
    let taken =
        decide(&json!({"hold": 1, "action": "skip", "reason": "later", "author": "the king"}));
    assert!(taken.contains("patched"), "{taken}");
    let done = fleet.rollout(&commit, "Done");
    assert_eq!(done["spec"]["decision"]["author"], "ann");
    assert_eq!(done["status"]["decisions"][0]["author"], "ann");
    let over = decide(&json!({"hold": 2, "action": "abort", "reason": "x"}));
    assert!(over.contains("is not held (its phase is Done)"), "{over}");
    drop(session);

    // A class that names a set which is not there yet is applied all the same, with a word.
    let class = "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {name: later}\nspec: {selector: {types: [later]}, packageSets: [not-there-yet]}\n";
    let file = fleet.path("class.yaml");
    fs::write(&file, class).expect("a file");
    let said = ann.says(&["apply", "-f", file.to_str().expect("a path")]);
    assert!(
        said.contains("Warning: NodeClass/later: ") && said.contains("not-there-yet"),
        "{said}"
    );
    assert!(
        said.contains("nodeclass.placet.dev/later created"),
        "{said}"
    );
}

#[test]
fn a_webhook_that_is_down_blocks_no_declarations_and_lets_nobody_decide_unseen() {
    let Some(helm) = program("helm") else { return };
    let Some(mut fleet) = kubernetes(&[]) else {
        return;
    };
    let ann = Person::new(&mut fleet, "ann");
    with_webhooks(&mut fleet, &helm, &["a"]);
    let _removed = Removed(&ann);
    settled(&mut fleet);
    let file = next_version(&fleet);
    until_asked(&fleet, &ann, &file);
    let rollouts = fleet.objects("rollouts");
    let name = rollouts[0]["metadata"]["name"].as_str().expect("a name");

    // Somebody else's hand in the bundle is put right, and so is the loss of the Secret.
    let spoil =
        json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]);
    let spoil = spoil.to_string();
    ann.kubectl(&[
        "patch",
        "validatingwebhookconfiguration",
        "placet",
        "--type=json",
        "-p",
        &spoil,
    ]);
    until_asked(&fleet, &ann, &file);
    ann.kubectl(&["delete", "-n", NAMESPACE, "secret", "placet-webhook"]);
    until_asked(&fleet, &ann, &file);

    fleet.kill_controller("a");
    let said = ann.says(&["apply", "--dry-run=server", "-f", &file]);
    assert!(said.contains("configured (server dry run)"), "{said}");
    assert!(!said.contains("Error"), "{said}");
    let patch = json!({"spec": {"decision": {"hold": 1, "action": "abort", "reason": "x"}}});
    let patch = patch.to_string();
    let said = ann.says(&["patch", "rollout", name, "--type=merge", "-p", &patch]);
    assert!(said.contains("failed calling webhook"), "{said}");
}
