//! What the tests play with: a state folder, a repository, a layout of packages, a controller.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use placet_controller::{Controller, Counters, Options};
use placet_model::{
    Architecture, DecisionKind, Digest, DryRunReport, Mode, Module, ModuleType, Owner,
    PackageConfig, ProcessKind, ProcessSpec, Supplemental, canonical_json,
};
use placet_package::{Blob, Layout, signature};
use placet_protocol::wire::admin_client::AdminClient;
use placet_protocol::wire::{
    ApplyRequest, ApplyResponse, DecideRequest, DeleteRequest, DryRunRequest, File, GetRequest,
    TokenRequest, WatchRequest,
};
use placet_protocol::{admin_client, admin_connect};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;
use url::Url;

/// Longer than any wait of a test that passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with everything in it.
pub(crate) struct Bench {
    folder: TempDir,
    /// The collector that the next controller sends traces to.
    pub(crate) collector: Option<Url>,
    running: Option<Running>,
}

struct Running {
    counters: Counters,
    receiver: SocketAddr,
    metrics: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), placet_controller::Error>>,
}

impl Bench {
    /// A repository without commits, packages in two versions, and no controller yet.
    pub(crate) fn lay_out() -> Self {
        // Socket paths are limited to 107 bytes: not every TMPDIR is short enough.
        let folder = tempfile::Builder::new()
            .prefix("placet-")
            .tempdir_in("/tmp")
            .unwrap();
        let bench = Self {
            folder,
            collector: None,
            running: None,
        };
        for name in ["fleet", "packages"] {
            fs::create_dir(bench.path(name)).unwrap();
        }
        write_packages(&bench.path("packages/greet"));
        bench.git(&["init", "--quiet", "--initial-branch=main", "."]);
        bench
    }

    /// As [`Self::lay_out`], with a controller.
    pub(crate) async fn start() -> Self {
        let mut bench = Self::lay_out();
        bench.start_controller().await;
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            packages: Some(self.path("packages")),
            receiver_listen: Some(([127, 0, 0, 1], 0).into()),
            otlp_endpoint: self.collector.clone(),
            metrics_listen: Some(([127, 0, 0, 1], 0).into()),
            ..Options::new(self.path("state"))
        }
    }

    pub(crate) async fn start_controller(&mut self) {
        let controller = Controller::start(self.options()).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        self.running = Some(Running {
            counters: controller.counters(),
            receiver: controller.receiver().unwrap(),
            metrics: controller.metrics().unwrap(),
            stop,
            task: tokio::spawn(controller.until(async move { drop(stopped.await) })),
        });
    }

    pub(crate) async fn stop_controller(&mut self) {
        let running = self.running.take().unwrap();
        let _ = running.stop.send(());
        running.task.await.unwrap().unwrap();
    }

    /// Bytes of modules that were sent to a node.
    pub(crate) fn travelled(&self, node: &str) -> u64 {
        let fetched = self.running.as_ref().unwrap().counters.fetched();
        fetched.get(&node.parse().unwrap()).copied().unwrap_or(0)
    }

    /// Where git hosts find the controller.
    pub(crate) fn receiver(&self) -> SocketAddr {
        self.running.as_ref().unwrap().receiver
    }

    /// Where the controller tells metrics and health.
    pub(crate) fn metrics(&self) -> SocketAddr {
        self.running.as_ref().unwrap().metrics
    }

    /// Where nodes find the controller.
    pub(crate) fn address(&self) -> String {
        let text = fs::read_to_string(self.path("state/listen")).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=Operator",
                "-c",
                "user.email=operator@localhost",
            ])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .current_dir(self.path("fleet"))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.path("fleet").join(file), text).unwrap();
    }

    pub(crate) fn commit(&self, subject: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Declares nodes and a version of the package for them; returns the commit.
    pub(crate) fn commit_version(&self, version: &str, nodes: &[&str]) -> String {
        self.write("class.yaml", CLASS);
        self.write("packages.yaml", &package_set(version));
        let nodes: Vec<String> = nodes.iter().map(|name| node(name)).collect();
        self.write("nodes.yaml", &nodes.join("---\n"));
        self.commit(&format!("greet {version}"))
    }

    pub(crate) async fn admin(&self) -> AdminClient<Channel> {
        let socket = self.path("state/admin.sock");
        admin_client(admin_connect(&socket).await.unwrap())
    }

    /// The feed, from event `since` on.
    pub(crate) async fn feed(&self, since: u64) -> Feed {
        Feed::open(&self.path("state/admin.sock"), since).await
    }

    pub(crate) async fn token(&self, node: &str, replace: bool) -> Result<String, Status> {
        let request = TokenRequest {
            node: node.to_owned(),
            valid_seconds: 600,
            replace,
            every_boot: false,
        };
        let answer = self.admin().await.create_token(request).await?;
        Ok(answer.into_inner().token)
    }

    pub(crate) async fn get(&self, kind: &str, name: &str) -> Value {
        let found = self.list(kind, name).await;
        found.into_iter().next().unwrap_or_default()
    }

    /// Asks for a resource until it is as wanted; each question takes a turn of its own.
    pub(crate) async fn until(&self, kind: &str, name: &str, is_wanted: impl Fn(&Value) -> bool) {
        let asking = async {
            while !is_wanted(&self.get(kind, name).await) {
                tokio::task::yield_now().await;
            }
        };
        let asked = tokio::time::timeout(PATIENCE, asking).await;
        let found = self.get(kind, name).await;
        assert!(asked.is_ok(), "{kind}/{name} stays {found}");
    }

    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        let request = DeleteRequest { kind, name };
        self.admin().await.delete(request).await.unwrap();
    }

    pub(crate) async fn list(&self, kind: &str, name: &str) -> Vec<Value> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        let found = self.admin().await.get(GetRequest { kind, name }).await;
        let found = found.unwrap().into_inner().objects_json;
        found
            .iter()
            .map(|json| serde_json::from_slice(json).unwrap())
            .collect()
    }

    pub(crate) async fn apply(&self, text: &str) -> ApplyResponse {
        let request = ApplyRequest {
            files: vec![applied(text)],
        };
        self.admin()
            .await
            .apply(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// What the declarations would do; the problems where they are wrong.
    pub(crate) async fn try_out(
        &self,
        text: &str,
        seconds: u32,
    ) -> Result<DryRunReport, Vec<String>> {
        let request = DryRunRequest {
            files: vec![applied(text)],
            seconds,
        };
        let answer = self.admin().await.dry_run(request).await.unwrap();
        let answer = answer.into_inner();
        if answer.problems.is_empty() {
            Ok(serde_json::from_slice(&answer.report_json).unwrap())
        } else {
            Err(answer.problems)
        }
    }

    /// The names of the events that are kept.
    pub(crate) async fn kept_events(&self) -> Vec<String> {
        let request = WatchRequest {
            since: 0,
            rollout: String::new(),
            kept_only: true,
        };
        let mut kept = self
            .admin()
            .await
            .watch(request)
            .await
            .unwrap()
            .into_inner();
        let mut names = Vec::new();
        while let Some(event) = kept.message().await.unwrap() {
            names.push(event.event);
        }
        names
    }

    /// Declares the repository as the source of the fleet.
    pub(crate) async fn follow(&self) {
        let applied = self.apply(&self.source("")).await;
        assert_eq!(applied.problems, Vec::<String>::new());
    }

    /// The declaration of the repository, with more lines in its spec.
    pub(crate) fn source(&self, more: &str) -> String {
        let url = self.path("fleet");
        format!(
            "apiVersion: placet.dev/v1alpha1\nkind: GitSource\nmetadata: {{name: fleet}}\nspec:\n  url: {}\n{more}",
            url.display()
        )
    }

    pub(crate) async fn decide(
        &self,
        rollout: &str,
        hold: u32,
        kind: DecisionKind,
    ) -> Result<Value, Status> {
        let request = DecideRequest {
            rollout: rollout.to_owned(),
            hold,
            kind_json: canonical_json(&kind),
            reason: "because".to_owned(),
        };
        let answer = self.admin().await.decide(request).await?.into_inner();
        Ok(serde_json::from_slice(&answer.decision_json).unwrap())
    }
}

pub(crate) fn applied(text: &str) -> File {
    File {
        name: "applied.yaml".to_owned(),
        text: text.to_owned(),
    }
}

const CLASS: &str = "apiVersion: placet.dev/v1alpha1\nkind: NodeClass\nmetadata: {name: core}\nspec:\n  selector: {types: [core]}\n  packageSets: [base]\n";

pub(crate) fn package_set(version: &str) -> String {
    format!(
        "apiVersion: placet.dev/v1alpha1\nkind: PackageSet\nmetadata: {{name: base}}\nspec:\n  packages:\n  - {{name: greet, version: {version}, reference: \"oci-layout:greet:{version}\"}}\n"
    )
}

fn node(name: &str) -> String {
    format!(
        "apiVersion: placet.dev/v1alpha1\nkind: FleetNode\nmetadata: {{name: {name}}}\nspec: {{facts: {{type: core}}}}\n"
    )
}

/// A self-managing process, the text that it opens at run time, and a process that it does not
/// concern; only the text differs between the versions.
fn write_packages(dir: &Path) {
    let layout = Layout::create(dir).unwrap();
    for (version, text) in [("1.0.0", "Hello\n"), ("1.1.0", "Good day\n")] {
        let mut blobs = BTreeMap::new();
        let mut module = |path: &str, text: &str| module(path, text, &mut blobs);
        let mut chatd = module("usr/bin/chatd", "#!/bin/sh\necho chat\n");
        chatd.process = Some(process("chatd", ProcessKind::SelfManaging));
        chatd.supplemental = vec![Supplemental {
            one_of: ["etc/greeting".parse().unwrap()].into(),
            declared_in: None,
        }];
        let mut clockd = module("usr/bin/clockd", "#!/bin/sh\ndate\n");
        clockd.process = Some(process("clockd", ProcessKind::Simple));
        let config = PackageConfig {
            name: "greet".parse().unwrap(),
            version: version.parse().unwrap(),
            description: None,
            license: None,
            created: Timestamp::UNIX_EPOCH,
            purpose: placet_model::Purpose::default(),
            characteristics: BTreeMap::new(),
            features: std::collections::BTreeSet::new(),
            node_types: std::collections::BTreeSet::new(),
            source_revision: None,
            requires: Vec::new(),
            requires_remote: Vec::new(),
            upgrades: Vec::new(),
            derived: None,
            modules: vec![module("etc/greeting", text), chatd, clockd],
        };
        layout.write_package(&config, &blobs, version).unwrap();
    }
}

fn process(name: &str, kind: ProcessKind) -> ProcessSpec {
    ProcessSpec {
        name: name.parse().unwrap(),
        kind,
        ..ProcessSpec::default()
    }
}

fn module(path: &str, text: &str, blobs: &mut BTreeMap<Digest, Blob>) -> Module {
    let bytes = text.as_bytes().to_vec();
    let digest = Digest::of(&bytes);
    let is_program = path.starts_with("usr/bin/");
    let module = Module {
        path: path.parse().unwrap(),
        mode: Mode::new(if is_program { 0o755 } else { 0o644 }).unwrap(),
        owner: Owner::default(),
        kind: if is_program {
            ModuleType::Process
        } else {
            ModuleType::Data
        },
        function: None,
        architecture: Architecture::default(),
        size: bytes.len() as u64,
        digest,
        signature: signature(&bytes).unwrap(),
        build_id: None,
        link: None,
        elf: None,
        features: std::collections::BTreeSet::new(),
        provides: std::collections::BTreeSet::new(),
        uses: std::collections::BTreeSet::new(),
        characteristics: BTreeMap::new(),
        supplemental: Vec::new(),
        optional: std::collections::BTreeSet::new(),
        process: None,
    };
    blobs.insert(digest, Blob::Bytes(bytes));
    module
}

/// One event of the feed.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) sequence: u64,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// The feed, followed.
pub(crate) struct Feed {
    incoming: mpsc::UnboundedReceiver<Event>,
    pub(crate) heard: Vec<Event>,
}

impl Feed {
    async fn open(socket: &Path, since: u64) -> Self {
        let mut client = admin_client(admin_connect(socket).await.unwrap());
        let request = WatchRequest {
            since,
            ..WatchRequest::default()
        };
        let mut stream = client.watch(request).await.unwrap().into_inner();
        let (sender, incoming) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(event)) = stream.message().await {
                let _ = sender.send(Event {
                    sequence: event.sequence,
                    name: event.event,
                    data: serde_json::from_slice(&event.data_json).unwrap(),
                });
            }
        });
        Self {
            incoming,
            heard: Vec::new(),
        }
    }

    /// The next event that is `wanted`; those before it are kept in `heard`.
    pub(crate) async fn wait(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.incoming.recv()).await;
            let Ok(Some(event)) = next else {
                let heard: Vec<_> = self
                    .heard
                    .iter()
                    .map(|it| format!("{} {}", it.name, it.data))
                    .collect();
                panic!("waited in vain for {what}; heard:\n{}", heard.join("\n"));
            };
            self.heard.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
    }

    /// As [`Self::named`], counting what was heard since event `since` too.
    pub(crate) async fn since(&mut self, since: u64, name: &str) -> Event {
        let is_it = |event: &&Event| event.sequence > since && event.name == name;
        if let Some(event) = self.heard.iter().find(is_it) {
            return event.clone();
        }
        self.named(name).await
    }

    pub(crate) async fn named(&mut self, name: &str) -> Event {
        self.wait(name, |event| event.name == name).await
    }

    /// The end of the roll-out of a commit.
    pub(crate) async fn verified(&mut self, commit: &str) -> Event {
        let is_it = |event: &Event| {
            event.name == "verified" && event.data["revision"].as_str().unwrap().ends_with(commit)
        };
        self.wait(&format!("{commit} to be verified"), is_it).await
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.heard.iter().filter(|event| event.name == name).count()
    }
}

impl Event {
    pub(crate) fn text(&self, key: &str) -> &str {
        self.data[key].as_str().unwrap_or_default()
    }

    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let list = self.data[key].as_array().unwrap();
        list.iter()
            .map(|it| it.as_str().unwrap().to_owned())
            .collect()
    }
}
