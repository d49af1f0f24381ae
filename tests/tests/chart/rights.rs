//! The controller may do what it does, and nothing else.

use std::collections::BTreeSet;

use placet_tests::{Cluster, KubeFleet, NAMESPACE, free_port, program};
use serde_json::Value;

use crate::{Helm, chart};

/// What the chart's roles allow, one `verb group/resource` each.
fn allowed(cluster: &Cluster) -> BTreeSet<String> {
    let get = |kind: &str| {
        let json = cluster.run(&["-n", NAMESPACE, "get", kind, "placet", "-o", "json"]);
        serde_json::from_str::<Value>(&json.expect("the role is there")).expect("JSON")
    };
    let mut all = BTreeSet::new();
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().cloned().unwrap_or_default();
        items
            .iter()
            .filter_map(|it| it.as_str().map(str::to_owned))
            .collect()
    };
    for role in [get("clusterrole"), get("role")] {
        for rule in role["rules"].as_array().expect("rules") {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let group = rule["apiGroups"][0].as_str().unwrap_or_default();
                    all.insert(format!("{verb} {group}/{resource}"));
                }
            }
        }
    }
    all
}

/// What a user did, and what of it was denied.
fn done_by(cluster: &Cluster, user: &str) -> (BTreeSet<String>, Vec<Value>) {
    let (mut done, mut denied) = (BTreeSet::new(), Vec::new());
    for request in cluster.audit() {
        if request["user"]["username"] != user || request["objectRef"].is_null() {
            continue;
        }
        if request["responseStatus"]["code"] == 403 {
            denied.push(request.clone());
        }
        let of = |field: &str| {
            request["objectRef"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let resource = match of("subresource") {
            none if none.is_empty() => of("resource"),
            sub => format!("{}/{sub}", of("resource")),
        };
        let verb = request["verb"].as_str().unwrap_or_default();
        done.insert(format!("{verb} {}/{resource}", of("apiGroup")));
        // What is applied and was not there needs both.
        if verb == "patch" && request["responseStatus"]["code"] == 201 {
            done.insert(format!("create {}/{resource}", of("apiGroup")));
        }
    }
    (done, denied)
}

/// What is needed when somebody else writes at the same instant, and when the authority of the
/// webhook is replaced.
const ON_OCCASION: &[&str] = &["get placet.dev/rollouts", "update /secrets"];

#[test]
fn the_controller_may_do_what_it_does_and_nothing_else() {
    let (Some(program), Some(cluster)) = (program("helm"), Cluster::bare()) else {
        return;
    };
    let helm = Helm {
        program,
        kubeconfig: cluster.kubeconfig(),
    };
    let chart = chart();
    let chart = chart.to_str().expect("a path");
    helm.succeed(&[
        "install",
        "placet",
        chart,
        "-n",
        NAMESPACE,
        "--create-namespace",
    ]);
    let user = format!("system:serviceaccount:{NAMESPACE}:placet");
    let access = cluster.user(&user, &["system:serviceaccounts"]);
    let webhook = free_port();
    {
        let mut fleet =
            KubeFleet::with_access(&cluster.kubectl(), &cluster.kubeconfig(), &access, &[]);
        // The webhook is reached without a Service, since nothing forwards to one here.
        for kind in [
            "validatingwebhookconfiguration",
            "mutatingwebhookconfiguration",
        ] {
            let name = if kind.starts_with('v') {
                "validate"
            } else {
                "mutate"
            };
            let count = if kind.starts_with('v') { 2 } else { 1 };
            for index in 0..count {
                let patch = format!(
                    r#"[{{"op":"remove","path":"/webhooks/{index}/clientConfig/service"}},{{"op":"add","path":"/webhooks/{index}/clientConfig/url","value":"https://127.0.0.1:{webhook}/{name}"}}]"#
                );
                fleet.kubectl(&["patch", kind, "placet", "--type=json", "-p", &patch]);
            }
        }
        let arguments = [
            format!("--webhook-listen=127.0.0.1:{webhook}"),
            format!("--webhook-url=https://127.0.0.1:{webhook}"),
            "--webhook-configuration=placet".to_owned(),
            "--rollouts-kept=2".to_owned(),
        ];
        fleet.add_controller("a", &arguments);
        story(&mut fleet, &|| done_by(&cluster, &user).0);
    }
    let (mut done, denied) = done_by(&cluster, &user);
    assert_eq!(denied, Vec::<Value>::new(), "nothing is denied");
    done.extend(ON_OCCASION.iter().map(ToString::to_string));
    let unused: Vec<_> = allowed(&cluster).difference(&done).cloned().collect();
    let nothing = Vec::<String>::new();
    assert_eq!(unused, nothing, "nothing is allowed that is not used");
}

/// One of every kind that a repository can declare.
const EXTRA: &str = "apiVersion: placet.dev/v1alpha1
kind: FleetNode
metadata: {name: spare-1}
spec: {class: spare}
---
apiVersion: placet.dev/v1alpha1
kind: NodeClass
metadata: {name: spare}
spec: {packageSets: [spare]}
---
apiVersion: placet.dev/v1alpha1
kind: PackageSet
metadata: {name: spare}
spec: {packages: []}
---
apiVersion: placet.dev/v1alpha1
kind: GitSource
metadata: {name: spare}
spec: {url: /nowhere, suspend: true}
";

/// Everything that asks something of the API server.
fn story(fleet: &mut KubeFleet, done: &dyn Fn() -> BTreeSet<String>) {
    fleet.join("core-1");
    fleet.join("edge-1");
    fleet.commit_example();
    std::fs::write(fleet.path("fleet/extra.yaml"), EXTRA).expect("a file");
    let with_extra = fleet.commit("a spare of everything");
    fleet.follow_repository();
    fleet.rollout(&with_extra, "Done");
    // What leaves the repository is pruned.
    std::fs::remove_file(fleet.path("fleet/extra.yaml")).expect("a file");
    let without = fleet.commit("no spare");
    fleet.rollout(&without, "Done");
    for kind in ["fleetnode", "nodeclass", "packageset", "gitsource"] {
        let what = format!("the {kind} to be pruned");
        let is_gone = |fleet: &KubeFleet| {
            let name = if kind == "fleetnode" {
                "spare-1"
            } else {
                "spare"
            };
            fleet.object(kind, name).is_null().then_some(())
        };
        fleet.until(&what, is_gone);
    }
    // What is put right twice is one Event with a count.
    let set = fleet.object("packageset", "base");
    let patch = r#"[{"op":"replace","path":"/spec/packages/0/version","value":"1.1.0"}]"#;
    fleet.until("an Event to be counted", |fleet| {
        fleet.kubectl(&["patch", "packageset", "base", "--type=json", "-p", patch]);
        fleet.until("the declaration to be put right", |fleet| {
            (fleet.object("packageset", "base")["spec"] == set["spec"]).then_some(())
        });
        done().contains("patch events.k8s.io/events").then_some(())
    });
    let changed = fleet.commit_greet("1.0.0", "1.1.0");
    fleet.rollout(&changed, "Done");
    // Another replica follows, and takes over from one that is told to end.
    fleet.add_controller("b", &[]);
    fleet.until("b to follow", |fleet| {
        fleet.log("b").contains("waits for its turn").then_some(())
    });
    // What b hears first may be that a left, if it is slow to begin to watch.
    fleet.until("b to watch who leads", |_| {
        done()
            .contains("watch coordination.k8s.io/leases")
            .then_some(())
    });
    fleet.signal("a", nix::sys::signal::Signal::SIGTERM);
    fleet.until("b to lead", |fleet| {
        (fleet.leader().as_deref() == Some("b")).then_some(())
    });
}
