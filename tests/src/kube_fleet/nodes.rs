//! The nodes of a fleet on Kubernetes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use placet_protocol::{Pin, Token};
use serde_json::json;

use super::{KubeFleet, NAMESPACE};
use crate::network::Network;
use crate::packages::placet;

/// Where a node is that is not on this machine's own network.
#[derive(Debug)]
pub(super) struct Away {
    /// Runs a program there.
    command: Vec<String>,
    /// Where it reaches the controllers.
    controllers: Vec<String>,
}

impl KubeFleet {
    /// Lets a node join from another network, where it reaches the controllers at these addresses.
    pub fn join_from(&mut self, network: &Network, controllers: &[String], name: &str) {
        let away = Away {
            command: network.command(),
            controllers: controllers.to_vec(),
        };
        self.away.insert(name.to_owned(), away);
        self.join(name);
    }

    /// The certificate of the controllers' authority, once it is published.
    pub fn authority(&self) -> String {
        self.until("the authority's certificate", |fleet| {
            let path = "jsonpath={.data.ca\\.crt}";
            let map = [
                "-n",
                NAMESPACE,
                "get",
                "configmap",
                "placet-authority",
                "-o",
                path,
            ];
            let output = fleet.try_kubectl(&map);
            let text = String::from_utf8(output.stdout).ok()?;
            (output.status.success() && !text.is_empty()).then_some(text)
        })
    }

    /// Lets a node join with a token of its own.
    pub fn join(&mut self, name: &str) {
        let authority = Pin::of_certificate(&self.authority()).expect("a certificate");
        let token = Token::generate(authority);
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "placet.dev/join-token",
            "metadata": {
                "name": format!("placet-join-{}", token.id),
                "namespace": NAMESPACE,
                "labels": { "placet.dev/join-token": "true" },
            },
            "stringData": {
                "node": name,
                "secret": token.secret.hash().hex(),
                "expires": "2999-01-01T00:00:00Z",
            },
        });
        self.apply(&secret.to_string(), &[]);
        self.join_with(name, &token.to_string());
    }

    /// Lets a node join with this token.
    pub fn join_with(&mut self, name: &str, token: &str) {
        fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.path(&format!("{name}.token")))
            .and_then(|mut file| std::io::Write::write_all(&mut file, token.as_bytes()))
            .expect("a file");
        self.start_node(name);
        self.until(&format!("{name} to join"), |fleet| {
            let node = fleet.object("fleetnode", name);
            (node["status"]["presence"] == "Connected").then_some(())
        });
    }

    /// Starts a node daemon that joined before, or joins by its token file.
    pub fn start_node(&mut self, name: &str) {
        let own: Vec<_> = self
            .controllers
            .values()
            .map(|it| it.address.clone())
            .collect();
        let (mut command, controllers) = match self.away.get(name) {
            Some(away) => {
                let mut command = self.logged(Path::new(&away.command[0]), name);
                command.args(&away.command[1..]).arg(placet());
                (command, away.controllers.clone())
            }
            None => (self.logged(placet(), name), own),
        };
        command.args(["placetd", "--node", name, "--token-file"]);
        command.arg(self.path(&format!("{name}.token")));
        for address in controllers {
            command.args(["--controller", &address]);
        }
        command.args(["--type", name.split('-').next().unwrap_or(name)]);
        command.arg("--state").arg(self.path(name));
        command.arg("--run").arg(self.path("run").join(name));
        let child = command.spawn().expect("a node daemon starts");
        self.nodes.insert(name.to_owned(), child);
    }

    /// Ends a node's keeper, and with it the whole node, as a power cut would.
    pub fn kill_node(&mut self, name: &str) {
        if let Some(mut node) = self.nodes.remove(name) {
            node.kill().expect("the keeper can be killed");
            node.wait().expect("it ends");
        }
    }

    /// Stops a node's daemon, or has it go on: its keeper and its agent, and nothing that they run.
    pub fn signal_node(&self, name: &str, signal: Signal) {
        let keeper = self.nodes[name].id();
        let program = |id: u32| fs::read_link(format!("/proc/{id}/exe")).ok();
        let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|it| it.parse().ok());
        let agents = children.filter(|child| program(*child) == program(keeper));
        for id in agents.chain([keeper]) {
            let id = Pid::from_raw(id.try_into().expect("process ids are positive"));
            // An agent may have ended by itself.
            let _ = kill(id, signal);
        }
    }

    /// The folder of a node's sockets.
    pub fn run(&self, name: &str) -> PathBuf {
        self.path("run").join(name)
    }

    /// Process ids by process name, as the node's status says; each must be alive.
    pub fn pids(&self, node: &str) -> BTreeMap<String, u64> {
        let object = self.object("fleetnode", node);
        let processes = object["status"]["processes"].as_array().cloned();
        let all = processes.unwrap_or_default().into_iter();
        all.map(|process| {
            let pid = process["pid"].as_u64().expect("a process has an id");
            let alive = Path::new(&format!("/proc/{pid}")).exists();
            assert!(alive, "{node}: {process} is alive");
            (process["name"].as_str().expect("a name").to_owned(), pid)
        })
        .collect()
    }
}
