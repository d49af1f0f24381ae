//! A fleet on Kubernetes: controllers, a repository, and nodes, on a real API server.

mod nodes;
mod repository;
mod user;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use self::nodes::Away;
pub use self::user::KubeUser;
use crate::packages::{controller_program, packages};
use crate::ports::free_address;
use crate::remove_groups;

/// The namespace of the controllers.
pub const NAMESPACE: &str = "placet-system";

/// As long as anything of these tests may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A fleet on Kubernetes; ends with this value, and leaves the API server as it was.
#[derive(Debug)]
pub struct KubeFleet {
    folder: TempDir,
    admin: KubeUser,
    /// What the controllers use, where that is not the administrator's.
    access: PathBuf,
    controllers: BTreeMap<String, Replica>,
    nodes: BTreeMap<String, Child>,
    /// Nodes that are not on this machine's own network.
    away: BTreeMap<String, Away>,
}

#[derive(Debug)]
struct Replica {
    child: Option<Child>,
    address: String,
    /// Where it hears git hosts.
    receiver: String,
    /// Where it tells metrics and health.
    metrics: String,
    arguments: Vec<String>,
}

impl KubeFleet {
    /// Controllers of these names on the API server of `kubeconfig`, and an empty repository.
    pub fn start(kubectl: &Path, kubeconfig: &Path, controllers: &[&str]) -> Self {
        Self::with_access(kubectl, kubeconfig, kubeconfig, controllers)
    }

    /// As [`Self::start`], with controllers that have no more than the access of `access`.
    pub fn with_access(
        kubectl: &Path,
        kubeconfig: &Path,
        access: &Path,
        controllers: &[&str],
    ) -> Self {
        // Socket paths are limited to 107 bytes: not every TMPDIR is short enough.
        let folder = tempfile::Builder::new()
            .prefix("placet-")
            .tempdir_in("/tmp")
            .expect("a temporary folder");
        let mut fleet = Self {
            folder,
            admin: KubeUser::new(kubectl, kubeconfig),
            access: access.to_owned(),
            controllers: BTreeMap::new(),
            nodes: BTreeMap::new(),
            away: BTreeMap::new(),
        };
        fs::create_dir(fleet.path("logs")).expect("a folder for logs");
        fs::create_dir(fleet.path("fleet")).expect("a folder for the repository");
        fleet.git(&["init", "--quiet", "--initial-branch=main", "."]);
        fleet.try_kubectl(&["create", "namespace", NAMESPACE]);
        for name in controllers {
            fleet.add_controller(name, &[]);
        }
        fleet
    }

    /// Starts another controller, with these arguments beside the usual ones, and waits until
    /// somebody leads.
    pub fn add_controller(&mut self, name: &str, arguments: &[String]) {
        let replica = Replica {
            child: None,
            address: free_address(),
            receiver: free_address(),
            metrics: free_address(),
            arguments: arguments.to_vec(),
        };
        self.controllers.insert(name.to_owned(), replica);
        self.start_controller(name);
        self.until("a leader", Self::leader);
    }

    /// A path inside the fleet's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a controller.
    pub fn start_controller(&mut self, name: &str) {
        let mut replica = self.controllers.remove(name).expect("a controller");
        let mut command = self.logged(controller_program(), name);
        command
            .args(["--identity", name, "--listen", &replica.address])
            .args(["--receiver-listen", &replica.receiver])
            .args(["--metrics-listen", &replica.metrics])
            .args(["--namespace", NAMESPACE, "--name", "127.0.0.1"])
            .arg("--kubeconfig")
            .arg(&self.access)
            .arg("--state")
            .arg(self.path(&format!("state-{name}")))
            .arg("--packages")
            .arg(packages())
            .args(&replica.arguments)
            // As the chart sets it.
            .env("MALLOC_ARENA_MAX", "2")
            .env("PLACET_LOG", "info");
        replica.child = Some(command.spawn().expect("a controller starts"));
        self.controllers.insert(name.to_owned(), replica);
    }

    /// Where nodes reach a controller.
    pub fn address(&self, name: &str) -> &str {
        &self.controllers[name].address
    }

    /// Where a controller hears git hosts.
    pub fn receiver(&self, name: &str) -> &str {
        &self.controllers[name].receiver
    }

    /// What a controller answers on this path of its metrics port: the status, and the text.
    pub fn look(&self, name: &str, path: &str) -> (u16, String) {
        let answered = http_get(&self.controllers[name].metrics, path);
        answered.expect("the controller answers")
    }

    /// As [`Self::look`]; none while it does not answer.
    pub fn try_look(&self, name: &str, path: &str) -> Option<(u16, String)> {
        http_get(&self.controllers[name].metrics, path).ok()
    }

    /// Process id of a controller.
    pub fn controller(&self, name: &str) -> Pid {
        let child = self.controllers[name].child.as_ref();
        let id = child.expect("the controller runs").id();
        Pid::from_raw(id.try_into().expect("process ids are positive"))
    }

    /// Sends a signal to a controller.
    pub fn signal(&self, name: &str, signal: Signal) {
        kill(self.controller(name), signal).expect("the controller is there");
    }

    /// Ends a controller as a power cut would.
    pub fn kill_controller(&mut self, name: &str) {
        let child = self
            .controllers
            .get_mut(name)
            .and_then(|it| it.child.take());
        if let Some(mut child) = child {
            child.kill().expect("the controller can be killed");
            child.wait().expect("it ends");
        }
    }

    /// Who leads, by the Lease; nobody where its holder gave it up or is not one of these.
    pub fn leader(&self) -> Option<String> {
        let path = "jsonpath={.spec.holderIdentity}";
        let lease = [
            "-n",
            NAMESPACE,
            "get",
            "lease",
            "placet-controller",
            "-o",
            path,
        ];
        let output = self.try_kubectl(&lease);
        let holder = String::from_utf8_lossy(&output.stdout).into_owned();
        self.controllers.contains_key(&holder).then_some(holder)
    }

    /// A command that appends to a log.
    fn logged(&self, program: &Path, log: &str) -> Command {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("logs").join(log))
            .expect("a log");
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        command
    }

    /// The log of a controller or a node.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path("logs").join(name)).unwrap_or_default()
    }

    /// Creates a Secret in the controller's namespace, with values as kubectl takes them.
    pub fn create_secret(&self, name: &str, values: &[&str]) {
        let create = ["-n", NAMESPACE, "create", "secret", "generic", name];
        self.kubectl(&[&create, values].concat());
    }

    /// Runs kubectl as the administrator, whatever comes of it.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        self.admin.kubectl(arguments)
    }

    /// Runs kubectl as the administrator; returns what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("kubectl prints UTF-8")
    }

    /// Applies YAML by kubectl; returns what it printed on both streams.
    pub fn apply(&self, text: &str, more: &[&str]) -> String {
        let file = self.path("apply.yaml");
        fs::write(&file, text).expect("a file");
        let file = file.to_str().expect("a path");
        let mut arguments = vec!["apply", "-f", file];
        arguments.extend(more);
        let output = self.try_kubectl(&arguments);
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).expect("kubectl prints UTF-8")
    }

    /// One object; null where there is none, or nobody answers.
    pub fn object(&self, kind: &str, name: &str) -> Value {
        let output = self.try_kubectl(&["get", kind, name, "-o", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// All objects of a kind.
    pub fn objects(&self, kind: &str) -> Vec<Value> {
        let output = self.try_kubectl(&["get", kind, "-o", "json"]);
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Runs `placet` as the administrator, whatever comes of it.
    pub fn try_placet(&self, arguments: &[&str]) -> Output {
        self.admin.placet(arguments)
    }

    /// Runs `placet` as the administrator; returns what it printed.
    pub fn placet(&self, arguments: &[&str]) -> String {
        let output = self.try_placet(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "placet {arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("placet prints UTF-8")
    }

    /// The newest roll-out whose revision has this end, in this phase.
    pub fn rollout(&self, revision: &str, phase: &str) -> Value {
        self.until(
            &format!("a roll-out of {revision} to be {phase}"),
            |fleet| {
                fleet.objects("rollouts").into_iter().find(|rollout| {
                    let to = rollout["spec"]["to"].as_str().unwrap_or_default();
                    to.ends_with(revision) && rollout["status"]["phase"] == phase
                })
            },
        )
    }

    /// Asks again and again until there is an answer.
    pub fn until<T>(&self, what: &str, ask: impl Fn(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(Instant::now() < end, "{what} did not come about in time");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for KubeFleet {
    fn drop(&mut self) {
        for node in self.nodes.values_mut() {
            let _ = node.kill();
            let _ = node.wait();
        }
        for run in self.path("run").read_dir().into_iter().flatten().flatten() {
            remove_groups(&run.path());
        }
        for name in self.controllers.keys().cloned().collect::<Vec<_>>() {
            self.kill_controller(&name);
        }
        if thread::panicking() {
            for entry in self.path("logs").read_dir().into_iter().flatten().flatten() {
                let log = fs::read_to_string(entry.path()).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(25)..];
                eprintln!("--- {}\n{}", entry.file_name().display(), last.join("\n"));
            }
        }
        for kind in [
            "rollouts",
            "gitsources",
            "fleetnodes",
            "nodeclasses",
            "packagesets",
        ] {
            self.try_kubectl(&["delete", kind, "--all", "--wait=false"]);
        }
        self.try_kubectl(&["-n", NAMESPACE, "delete", "lease", "--all", "--wait=false"]);
    }
}

/// What a server answers on a path: the status, and the text.
fn http_get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.unwrap_or_default(), text.to_owned()))
}
