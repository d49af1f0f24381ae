//! Fleets whose API server asks the controllers' webhooks, and people who speak to it.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_tests::{KubeFleet, KubeUser, NAMESPACE, free_address, program};
use serde_json::Value;

use crate::common::{NODES, OnKubernetes, kubernetes, settled};

/// A person, who takes the webhooks away in the end.
pub(crate) struct Person(KubeUser);

impl Deref for Person {
    type Target = KubeUser;

    fn deref(&self) -> &KubeUser {
        &self.0
    }
}

impl Person {
    fn new(fleet: &mut OnKubernetes, name: &str) -> Self {
        let cluster = fleet.cluster();
        let kubeconfig = cluster.user(name, &["system:masters"]);
        Self(KubeUser::new(&cluster.kubectl(), &kubeconfig))
    }

    /// What kubectl prints on both streams.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8")
    }
}

/// Webhooks that nobody answers any more would be in the way of whoever comes next.
impl Drop for Person {
    fn drop(&mut self) {
        for kind in [
            "validatingwebhookconfiguration",
            "mutatingwebhookconfiguration",
        ] {
            self.kubectl(&["delete", kind, "placet"]);
        }
        self.kubectl(&["delete", "-n", NAMESPACE, "secret", "placet-webhook"]);
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
fn with_webhooks(fleet: &mut KubeFleet, helm: &Path, names: &[&str]) {
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

/// A settled fleet whose controllers of these names are asked by its API server, and a person there;
/// none where helm or the API server is missing. The fleet outlives the person.
pub(crate) fn asked_by_server(controllers: &[&str]) -> Option<(OnKubernetes, Person)> {
    let helm = program("helm")?;
    let mut fleet = kubernetes(&[])?;
    let ann = Person::new(&mut fleet, "ann");
    with_webhooks(&mut fleet, &helm, controllers);
    settled(&mut fleet);
    Some((fleet, ann))
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
