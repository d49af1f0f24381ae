//! A fleet: one controller, its repository, and nodes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::packages::{edit, packages, placet};
use crate::ports::free_address;
use crate::{Event, Feed, Network, remove_groups};

/// What a fleet is made of.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// Nodes that join; the type is the name without its number.
    pub nodes: Vec<&'static str>,
    /// Validity of the nodes' certificates, in seconds.
    pub certificate_seconds: u32,
    /// Where the controller listens; at a free port where left out.
    pub address: Option<String>,
    /// Nodes that are not on this machine's own network.
    pub away: BTreeMap<&'static str, Away>,
    /// What runs the controller and the nodes.
    pub programs: Programs,
}

/// What runs a fleet: the program under test, unless another build of it is named.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Runs the controller.
    pub controller: PathBuf,
    /// Runs the nodes.
    pub nodes: PathBuf,
}

impl Default for Programs {
    fn default() -> Self {
        Self {
            controller: placet().to_owned(),
            nodes: placet().to_owned(),
        }
    }
}

/// Where a node is that is not on this machine's own network.
#[derive(Debug, Clone)]
pub struct Away {
    /// Runs a program there.
    command: Vec<String>,
    /// Where it reaches the controller.
    controller: SocketAddr,
}

impl Away {
    /// A node in this network, where it reaches the controller at this address.
    pub fn new(network: &Network, controller: SocketAddr) -> Self {
        Self {
            command: network.command(),
            controller,
        }
    }
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            nodes: vec!["core-1", "core-2", "edge-1", "edge-2"],
            certificate_seconds: 3_600,
            address: None,
            away: BTreeMap::new(),
            programs: Programs::default(),
        }
    }
}

/// A node daemon: the keeper's process, its folders and its log.
#[derive(Debug)]
pub struct Node {
    child: Child,
    /// Its state folder.
    pub state: PathBuf,
    /// Its folder for sockets.
    pub run: PathBuf,
}

impl Node {
    /// Process id of the keeper.
    pub fn keeper(&self) -> i32 {
        self.child
            .id()
            .try_into()
            .expect("process ids are positive")
    }

    /// Process id of the agent, the child of the keeper that runs the same program.
    pub fn agent(&self) -> Option<i32> {
        let own = fs::read_link(format!("/proc/{}/exe", self.keeper())).ok()?;
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.keeper())).ok()?;
        children
            .split_whitespace()
            .find(|child| fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe == own))
            .and_then(|child| child.parse().ok())
    }
}

/// A running fleet; ends with this value.
#[derive(Debug)]
pub struct Fleet {
    folder: TempDir,
    /// Where nodes run what they do not store.
    memory: TempDir,
    options: FleetOptions,
    address: String,
    nodes: BTreeMap<String, Node>,
    controller: Option<Child>,
    /// What the controller says.
    pub feed: Feed,
}

impl Fleet {
    /// A controller with an empty repository, and nodes that have joined.
    pub async fn start(options: FleetOptions) -> Self {
        // Socket paths are limited to 107 bytes: not every TMPDIR is short enough.
        let folder = tempfile::Builder::new()
            .prefix("placet-")
            .tempdir_in("/tmp")
            .expect("a temporary folder");
        let feed = Feed::follow(&folder.path().join("controller/admin.sock"));
        let mut fleet = Self {
            address: options.address.clone().unwrap_or_else(free_address),
            folder,
            memory: tempfile::tempdir_in("/dev/shm").expect("a folder in memory"),
            options,
            nodes: BTreeMap::new(),
            controller: None,
            feed,
        };
        fs::create_dir(fleet.path("logs")).expect("a folder for logs");
        fleet.lay_out_repository();
        fleet.start_controller();
        for node in fleet.options.nodes.clone() {
            fleet.join(node).await;
        }
        fleet
    }

    /// A fleet whose first commit runs everywhere.
    pub async fn settled(options: FleetOptions) -> Self {
        let mut fleet = Self::start(options).await;
        let commit = fleet.commit("The fleet begins");
        fleet.follow_repository();
        fleet.verified(&commit).await;
        fleet
    }

    /// A path inside the fleet's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn lay_out_repository(&self) {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet");
        fs::create_dir(self.path("fleet")).expect("a folder for the repository");
        for entry in fs::read_dir(examples)
            .expect("the example fleet is there")
            .flatten()
        {
            fs::copy(entry.path(), self.path("fleet").join(entry.file_name()))
                .expect("a file is copied");
        }
        let declaration = |name: &&str| {
            let kind = name.split('-').next().unwrap_or(name);
            format!(
                "apiVersion: placet.dev/v1alpha1\nkind: FleetNode\nmetadata:\n  name: {name}\nspec:\n  facts:\n    type: {kind}\n"
            )
        };
        let nodes: Vec<_> = self.options.nodes.iter().map(declaration).collect();
        let kept = nodes.join("---\n");
        fs::write(self.path("fleet/nodes.yaml"), kept).expect("nodes are declared");
        self.git(&["init", "--quiet", "--initial-branch=main", "."]);
    }

    /// Starts the controller, and waits until it answers.
    pub fn start_controller(&mut self) {
        let mut command = self.logged_by("controller", &[], &self.options.programs.controller);
        command
            .args(["up", "--listen", &self.address, "--state"])
            .arg(self.path("controller"));
        command.arg("--packages").arg(packages());
        command.args([
            "--certificate-seconds",
            &self.options.certificate_seconds.to_string(),
        ]);
        for way in self.options.away.values() {
            command.args(["--name", &way.controller.ip().to_string()]);
        }
        self.controller = Some(command.spawn().expect("the controller starts"));
        let socket = self.path("controller/admin.sock");
        poll("the admin socket", || UnixStream::connect(&socket).ok());
    }

    /// Where nodes reach the controller.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Process id of the controller.
    pub fn controller(&self) -> Pid {
        let controller = self.controller.as_ref().expect("the controller runs");
        let id = controller.id().try_into();
        Pid::from_raw(id.expect("process ids are positive"))
    }

    /// Ends the controller as a power cut would.
    pub fn kill_controller(&mut self) {
        if let Some(mut controller) = self.controller.take() {
            controller.kill().expect("the controller can be killed");
            controller.wait().expect("it ends");
        }
    }

    /// Has other builds run what is started from now on.
    pub fn use_programs(&mut self, programs: Programs) {
        self.options.programs = programs;
    }

    /// A command of `own` program that appends to a log, run by another command if there is one.
    fn logged_by(&self, log: &str, by: &[String], own: &Path) -> Command {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("logs").join(log))
            .expect("a log");
        let mut command = match by {
            [] => Command::new(own),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(own);
                command
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        command
    }

    /// The controller's or a node's log.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path("logs").join(name)).unwrap_or_default()
    }

    /// Lets a node join with a token of its own, and waits until the controller says so.
    pub async fn join(&mut self, name: &str) {
        let token: Value =
            serde_json::from_str(&self.placet(&["node", "token", name, "-o", "json"]))
                .expect("JSON");
        fs::write(
            self.path(&format!("{name}.token")),
            token["token"].as_str().expect("a token"),
        )
        .expect("a file");
        self.start_node(name);
        let joined = |event: &Event| {
            event.name == "nodesJoined"
                && event.data["nodes"]
                    .as_array()
                    .is_some_and(|nodes| nodes.iter().any(|node| node == name))
        };
        self.feed.wait(0, &format!("{name} to join"), joined).await;
    }

    /// Starts a node daemon that joined before, or joins by its token file.
    pub fn start_node(&mut self, name: &str) {
        let state = self.path(name);
        let run = self.path("run").join(name);
        let away = self.options.away.get(name);
        let by = away.map_or(&[][..], |away| &away.command);
        let mut command = self.logged_by(name, by, &self.options.programs.nodes);
        let controller = away.map_or_else(|| self.address.clone(), |it| it.controller.to_string());
        command.args(["placetd", "--node", name, "--controller", &controller]);
        command.arg("--token-file");
        command.arg(self.path(&format!("{name}.token")));
        command.args(["--type", name.split('-').next().unwrap_or(name)]);
        command.arg("--state").arg(&state).arg("--run").arg(&run);
        command.arg("--memory").arg(self.memory.path().join(name));
        let child = command.spawn().expect("a node daemon starts");
        self.nodes
            .insert(name.to_owned(), Node { child, state, run });
    }

    /// The node daemon of this name.
    pub fn node(&self, name: &str) -> &Node {
        &self.nodes[name]
    }

    /// The names of all nodes.
    pub fn node_names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// Ends the keeper, and with it the whole node, as a power cut would.
    pub fn kill_node(&mut self, name: &str) {
        if let Some(mut node) = self.nodes.remove(name) {
            node.child.kill().expect("the keeper can be killed");
            node.child.wait().expect("it ends");
        }
    }

    /// Ends the agent of a node; its keeper starts another.
    pub fn kill_agent(&self, name: &str) {
        if let Some(agent) = self.node(name).agent() {
            let _ = kill(Pid::from_raw(agent), Signal::SIGKILL);
        }
    }

    /// Runs `placet` against this controller; returns what it printed.
    pub fn placet(&self, arguments: &[&str]) -> String {
        let output = self.placet_output(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "placet {}: {error}",
            arguments.join(" ")
        );
        String::from_utf8(output.stdout).expect("placet prints UTF-8")
    }

    /// Runs `placet` against this controller, whatever comes of it.
    pub fn placet_output(&self, arguments: &[&str]) -> Output {
        Command::new(placet())
            .args(arguments)
            .env("PLACET_ADMIN", self.path("controller/admin.sock"))
            .stdin(Stdio::null())
            .output()
            .expect("placet starts")
    }

    /// Decides on a roll-out, one way (`--skip`, `--force`, `--abort`), for a reason.
    pub fn decide(&self, rollout: &str, way: &str, reason: &str) {
        self.placet(&["rollout", "decide", rollout, way, "--reason", reason]);
    }

    /// A resource with its status.
    pub fn resource(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.placet(&["get", kind, name, "-o", "json"])).expect("JSON")
    }

    /// Runs git in the repository of declarations.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=Fleet operator",
                "-c",
                "user.email=operator@localhost",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .current_dir(self.path("fleet"))
            .output()
            .expect("git starts");
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits everything in the repository and returns the commit's id.
    pub fn commit(&self, subject: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits another version of the package `greet`.
    pub fn commit_greet(&self, version: &str) -> String {
        let path = self.path("fleet/packages.yaml");
        let text = fs::read_to_string(&path).expect("declarations");
        let now = text
            .split("greet:")
            .nth(1)
            .and_then(|rest| rest.lines().next())
            .expect("a version")
            .to_owned();
        edit(
            &path,
            &format!("version: {now} # greet"),
            &format!("version: {version} # greet"),
        );
        edit(&path, &format!("greet:{now}"), &format!("greet:{version}"));
        self.commit(&format!("greet {version}"))
    }

    /// Declares the repository as the source of the fleet.
    pub fn follow_repository(&self) {
        let source = format!(
            "apiVersion: placet.dev/v1alpha1\nkind: GitSource\nmetadata:\n  name: fleet\nspec:\n  url: {}\n",
            self.path("fleet").display()
        );
        let file = self.path("source.yaml");
        fs::write(&file, source).expect("a file");
        self.placet(&["apply", "--file", file.to_str().expect("a path")]);
    }

    /// Waits until the revision of `commit` runs everywhere it should.
    pub async fn verified(&mut self, commit: &str) -> Event {
        let wanted =
            |event: &Event| event.name == "verified" && event.text("revision").ends_with(commit);
        self.feed
            .wait(0, &format!("{commit} to be verified"), wanted)
            .await
    }

    /// Waits until a roll-out of `commit` is held.
    pub async fn held(&mut self, commit: &str) -> Event {
        let planned =
            |event: &Event| event.name == "plan" && event.text("revision").ends_with(commit);
        let plan = self
            .feed
            .wait(0, &format!("a plan for {commit}"), planned)
            .await;
        let rollout = plan.text("rollout").to_owned();
        let held = |event: &Event| event.name == "held" && event.text("rollout") == rollout;
        self.feed
            .wait(0, &format!("{rollout} to be held"), held)
            .await
    }

    /// Waits until every node that a roll-out touches has answered.
    pub async fn tallied(&mut self, rollout: &str) -> Event {
        let tally = |event: &Event| event.name == "tally" && event.text("rollout") == rollout;
        let what = format!("{rollout} to be tallied");
        self.feed.wait(0, &what, tally).await
    }

    /// Opens a session with the chat server of a node, which vetoes while it is open.
    pub fn open_session(&self, node: &str) -> UnixStream {
        use std::io::Read as _;
        let socket = self.node(node).run.join("processes/chatd/chat.sock");
        let mut session = poll("chatd", || UnixStream::connect(&socket).ok());
        session
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a time limit");
        session.read_exact(&mut [0]).expect("chatd greets");
        session
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for node in self.nodes.values_mut() {
            let _ = node.child.kill();
            let _ = node.child.wait();
        }
        for run in self.path("run").read_dir().into_iter().flatten().flatten() {
            remove_groups(&run.path());
        }
        self.kill_controller();
        if thread::panicking() {
            for entry in self.path("logs").read_dir().into_iter().flatten().flatten() {
                let log = fs::read_to_string(entry.path()).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(25)..];
                eprintln!("--- {}\n{}", entry.file_name().display(), last.join("\n"));
            }
        }
    }
}

/// Asks again and again until there is an answer: for things that nobody announces.
pub fn poll<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    for _ in 0..3_000 {
        if let Some(answer) = ask() {
            return answer;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come up within 30 s");
}
