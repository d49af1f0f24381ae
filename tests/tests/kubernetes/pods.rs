//! Hosts of the cluster itself join by the service account of their pod.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use placet_tests::{KubeFleet, NAMESPACE, placet};
use serde_json::json;

use crate::common::kubernetes;

/// A daemon in a pod, as far as the controller can tell; ends with this value.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pod of the daemon set on each of two hosts.
fn pods(fleet: &KubeFleet) {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "placet-node", "namespace": NAMESPACE },
    });
    fleet.apply(&account.to_string(), &[]);
    for host in ["host-1", "host-2"] {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": host } });
        fleet.apply(&node.to_string(), &[]);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("placet-{host}"), "namespace": NAMESPACE },
            "spec": {
                "nodeName": host, "serviceAccountName": "placet-node",
                "containers": [{ "name": "placetd", "image": "registry.example/placetd:1" }],
            },
        });
        fleet.apply(&pod.to_string(), &[]);
    }
}

/// The token that the kubelet would project into the pod on a host.
fn token(fleet: &KubeFleet, host: &str, audience: &str) -> PathBuf {
    let pod = format!("placet-{host}");
    let token = fleet.kubectl(&[
        "-n",
        NAMESPACE,
        "create",
        "token",
        "placet-node",
        "--audience",
        audience,
        "--bound-object-kind",
        "Pod",
        "--bound-object-name",
        &pod,
    ]);
    let file = fleet.path(&format!("{host}-{audience}.token"));
    fs::write(&file, token).expect("a file");
    file
}

fn daemon(fleet: &KubeFleet, node: &str, token: &Path) -> Command {
    let mut command = Command::new(placet());
    command
        .args([
            "placetd",
            "--node",
            node,
            "--controller",
            fleet.address("a"),
        ])
        .arg("--service-account-token")
        .arg(token)
        .arg("--authority")
        .arg(fleet.path("ca.crt"))
        .arg("--state")
        .arg(fleet.path(&format!("state-{node}")))
        .arg("--run")
        .arg(fleet.path(&format!("run-{node}")))
        .stdin(Stdio::null());
    command
}

#[test]
fn a_host_joins_as_itself_and_as_nobody_else() {
    let Some(fleet) = kubernetes(&["a"]) else {
        return;
    };
    pods(&fleet);
    fs::write(fleet.path("ca.crt"), fleet.authority()).expect("a file");

    let own = token(&fleet, "host-1", "placet");
    for (node, token) in [
        ("host-2", own.clone()),
        ("host-1", token(&fleet, "host-1", "somebody-else")),
    ] {
        let output = daemon(&fleet, node, &token).output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{node}: {error}");
        assert!(fleet.object("fleetnode", node).is_null(), "{node}: {error}");
    }

    let log = fs::File::create(fleet.path("logs/host-1")).expect("a log");
    let mut command = daemon(&fleet, "host-1", &own);
    let _daemon = Daemon(command.stderr(log).spawn().expect("it starts"));
    fleet.until("the host to join", |fleet| {
        let node = fleet.object("fleetnode", "host-1");
        (node["status"]["presence"] == "Connected").then_some(())
    });
    for kind in ["pod/placet-host-1", "pod/placet-host-2"] {
        fleet.try_kubectl(&["-n", NAMESPACE, "delete", kind, "--force", "--wait=false"]);
    }
    fleet.try_kubectl(&["delete", "node", "host-1", "host-2", "--wait=false"]);
}
