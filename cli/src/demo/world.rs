//! The parts that the demo plays with: packages, a git repository, the controller, four nodes.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::teller::Teller;
use crate::arguments::Common;
use crate::output::Format;

/// The example files that the demo starts from.
const SOURCES: &[(&str, &str)] = &[
    ("placet.h", include_str!("../../../sdk/c/placet.h")),
    (
        "greet.h",
        include_str!("../../../examples/processes/greet.h"),
    ),
    (
        "libgreet.c",
        include_str!("../../../examples/processes/libgreet.c"),
    ),
    (
        "libgreet.map",
        include_str!("../../../examples/processes/libgreet.map"),
    ),
    (
        "libtext.c",
        include_str!("../../../examples/processes/libtext.c"),
    ),
    (
        "chatd.c",
        include_str!("../../../examples/processes/chatd.c"),
    ),
    (
        "clockd.c",
        include_str!("../../../examples/processes/clockd.c"),
    ),
    (
        "metricsd.c",
        include_str!("../../../examples/processes/metricsd.c"),
    ),
    (
        "greet.yaml",
        include_str!("../../../examples/processes/greet.yaml"),
    ),
    (
        "chat.yaml",
        include_str!("../../../examples/processes/chat.yaml"),
    ),
    (
        "clock.yaml",
        include_str!("../../../examples/processes/clock.yaml"),
    ),
    (
        "metrics.yaml",
        include_str!("../../../examples/processes/metrics.yaml"),
    ),
];

/// The declarations that the demo commits first.
const DECLARATIONS: &[(&str, &str)] = &[
    (
        "classes.yaml",
        include_str!("../../../examples/fleet/classes.yaml"),
    ),
    (
        "nodes.yaml",
        include_str!("../../../examples/fleet/nodes.yaml"),
    ),
    (
        "packages.yaml",
        include_str!("../../../examples/fleet/packages.yaml"),
    ),
];

pub(super) const NODES: [&str; 4] = ["core-1", "core-2", "edge-1", "edge-2"];

/// Everything that the demo started; ends with this value.
pub(super) struct World {
    folder: TempDir,
    program: PathBuf,
    // Ended in this order when dropped.
    nodes: Vec<Child>,
    controller: Option<Child>,
}

impl World {
    /// Builds packages, makes the repository, and starts the controller.
    pub(super) async fn build(teller: &Teller) -> anyhow::Result<Self> {
        // Socket paths are limited to 107 bytes: not every TMPDIR is short enough.
        let folder = tempfile::Builder::new()
            .prefix("placet-")
            .tempdir_in("/tmp")?;
        let program = env::current_exe().context("failed to find this program's own file")?;
        let mut world = Self {
            folder,
            program,
            nodes: Vec::new(),
            controller: None,
        };
        world.lay_out()?;
        for package in ["greet", "chat", "clock", "metrics"] {
            teller.output(&world.build_package(package).await?);
        }
        world.build_new_greeting(teller).await?;
        world.build_bad_metrics(teller).await?;
        world.start_controller().await?;
        Ok(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The admin socket of the demo's controller.
    pub(super) fn socket(&self) -> PathBuf {
        self.path("controller/admin.sock")
    }

    pub(super) fn common(&self) -> Common {
        Common {
            output: Format::Json,
            socket: Some(self.socket()),
            kubeconfig: None,
            context: None,
            namespace: String::new(),
        }
    }

    fn lay_out(&self) -> anyhow::Result<()> {
        for (folder, files) in [("source", SOURCES), ("fleet", DECLARATIONS)] {
            fs::create_dir(self.path(folder))?;
            for (name, text) in files {
                fs::write(self.path(folder).join(name), text)?;
            }
        }
        fs::create_dir(self.path("logs"))?;
        self.git(&["init", "--quiet", "--initial-branch=main", "."])
    }

    async fn build_package(&self, name: &str) -> anyhow::Result<String> {
        let file = self.path("source").join(format!("{name}.yaml"));
        let layout = format!("oci-layout:{}", self.path("packages").join(name).display());
        let file = file.display().to_string();
        let arguments = ["package", "build", &file, "--to", &layout, "-o", "json"];
        let built: Value = serde_json::from_str(&self.placet(&arguments).await?)?;
        let (config, digest) = (
            &built["config"],
            built["digest"].as_str().unwrap_or_default(),
        );
        let part = |key: &str| crate::output::plain(&config[key]);
        Ok(format!(
            "{} {}  {}",
            part("name"),
            part("version"),
            digest.get(..19).unwrap_or(digest)
        ))
    }

    /// The same library with another greeting, as the next version of its package.
    async fn build_new_greeting(&self, teller: &Teller) -> anyhow::Result<()> {
        replace(&self.path("source/libgreet.c"), "Hello", "Good day")?;
        replace(
            &self.path("source/greet.yaml"),
            "version: 1.0.0",
            "version: 1.1.0",
        )?;
        teller.output(&self.build_package("greet").await?);
        Ok(())
    }

    /// Metrics that cannot start, as the next version of their package.
    async fn build_bad_metrics(&self, teller: &Teller) -> anyhow::Result<()> {
        let dies = r#"fputs("metricsd: no counters found in /proc/metrics\n", stderr);
    return 1;"#;
        replace(
            &self.path("source/metricsd.c"),
            "placet_notify_ready();",
            dies,
        )?;
        replace(
            &self.path("source/metrics.yaml"),
            "version: 1.0.0",
            "version: 1.1.0",
        )?;
        teller.output(&self.build_package("metrics").await?);
        Ok(())
    }

    async fn start_controller(&mut self) -> anyhow::Result<()> {
        let state = self.path("controller");
        let packages = self.path("packages");
        let mut command = self.command("controller")?;
        command
            .args(["up", "--listen", "127.0.0.1:0", "--state"])
            .arg(&state)
            .arg("--packages")
            .arg(packages);
        self.controller = Some(command.spawn().context("failed to start the controller")?);
        let socket = self.socket();
        poll("the controller's admin socket", || {
            UnixStream::connect(&socket).ok()
        })
        .await
        .map(drop)
    }

    /// A command of this same program, its output kept in a log.
    fn command(&self, log: &str) -> anyhow::Result<Command> {
        let log = fs::File::create(self.path("logs").join(log))?;
        let mut command = Command::new(&self.program);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs `placet` against the demo's controller and returns what it printed.
    pub(super) async fn placet(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("PLACET_ADMIN", self.socket())
            .stdin(Stdio::null());
        let output = command.output().await.context("failed to start placet")?;
        succeeded(&format!("placet {}", arguments.join(" ")), &output)
    }

    fn git(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.git_output(arguments).map(drop)
    }

    fn git_output(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = std::process::Command::new("git")
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
            .context("failed to start git; is it installed?")?;
        succeeded(&format!("git {}", arguments.join(" ")), &output)
    }

    /// Starts the nodes, each with a token of its own, and returns their names.
    pub(super) async fn join_nodes(&mut self) -> anyhow::Result<Vec<String>> {
        for node in NODES {
            let text = self.placet(&["node", "token", node, "-o", "json"]).await?;
            let token: Value = serde_json::from_str(&text)?;
            let address = token["addresses"][0]
                .as_str()
                .context("no address to join at")?;
            let token_file = self.path(&format!("{node}.token"));
            fs::write(&token_file, token["token"].as_str().unwrap_or_default())?;
            let mut command = self.command(node)?;
            command
                .args([
                    "placetd",
                    "--node",
                    node,
                    "--controller",
                    address,
                    "--token-file",
                ])
                .arg(&token_file);
            command.args([
                "--type",
                node.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit()),
            ]);
            command
                .arg("--state")
                .arg(self.path(node))
                .arg("--run")
                .arg(self.run_folder(node));
            self.nodes.push(
                command
                    .spawn()
                    .with_context(|| format!("failed to start {node}"))?,
            );
        }
        Ok(NODES.map(str::to_owned).to_vec())
    }

    fn run_folder(&self, node: &str) -> PathBuf {
        self.path("run").join(node)
    }

    pub(super) fn commit_first(&self) -> anyhow::Result<()> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", "The fleet begins"])
    }

    /// Declares the repository as the source of the fleet.
    pub(super) async fn follow_repository(&self) -> anyhow::Result<()> {
        let source = format!(
            "apiVersion: placet.dev/v1alpha1\nkind: GitSource\nmetadata:\n  name: fleet\nspec:\n  url: {}\n",
            self.path("fleet").display()
        );
        let file = self.path("source.yaml");
        fs::write(&file, source)?;
        self.placet(&["apply", "--file", &file.display().to_string()])
            .await
            .map(drop)
    }

    pub(super) fn commit_new_greeting(&self) -> anyhow::Result<()> {
        self.commit_next("greet", "A friendlier greeting")
    }

    pub(super) fn commit_bad_metrics(&self) -> anyhow::Result<()> {
        self.commit_next("metrics", "Metrics from the kernel")
    }

    /// Declares version 1.1.0 of a package.
    fn commit_next(&self, package: &str, message: &str) -> anyhow::Result<()> {
        let packages = self.path("fleet/packages.yaml");
        let version = |number: &str| format!("version: {number} # {package}");
        let reference = |number: &str| format!("{package}:{number}");
        replace(&packages, &version("1.0.0"), &version("1.1.0"))?;
        replace(&packages, &reference("1.0.0"), &reference("1.1.0"))?;
        self.git(&["commit", "--quiet", "--all", "--message", message])
    }

    /// A commit that declares what is declared already: whoever was left out is asked again.
    pub(super) fn commit_nothing(&self) -> anyhow::Result<()> {
        let message = "core-1 is free";
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message])
    }

    pub(super) fn revert(&self) -> anyhow::Result<()> {
        self.git(&["revert", "--no-edit", "HEAD"])
    }

    /// The commit that the repository is at.
    pub(super) fn revision(&self) -> anyhow::Result<String> {
        Ok(self.git_output(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Where the chat of a node is.
    pub(super) fn chat(&self, node: &str) -> PathBuf {
        self.run_folder(node).join("processes/chatd/chat.sock")
    }

    /// Opens a chat session on a node.
    pub(super) fn open_session(&self, node: &str) -> anyhow::Result<UnixStream> {
        use std::io::Read as _;
        let socket = self.chat(node);
        let mut session = UnixStream::connect(&socket)
            .with_context(|| format!("failed to open a session at {}", socket.display()))?;
        // The greeting says that the session counts from here on.
        session.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut greeting = [0; 1];
        session
            .read_exact(&mut greeting)
            .context("chatd did not greet")?;
        Ok(session)
    }

    /// The end of every log, for an error.
    pub(super) fn logs(&self) -> String {
        let entries = self.path("logs").read_dir().into_iter().flatten().flatten();
        let ends = entries.map(|entry| {
            let log = fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(5)..].join("\n  ");
            format!("\n{}:\n  {last}", entry.file_name().display())
        });
        let ends: Vec<_> = ends.collect();
        format!(
            "the demo did not come to its end; the logs end with{}",
            ends.concat()
        )
    }
}

fn replace(path: &Path, from: &str, to: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(path)?;
    if !text.contains(from) {
        bail!("`{from}` is missing in {}", path.display());
    }
    Ok(fs::write(path, text.replace(from, to))?)
}

fn succeeded(what: &str, output: &Output) -> anyhow::Result<String> {
    if !output.status.success() {
        bail!(
            "`{what}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Asks again and again until there is an answer: for things that nobody announces.
async fn poll<T>(what: &str, ask: impl Fn() -> Option<T>) -> anyhow::Result<T> {
    for _ in 0..1_000 {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("{what} did not come up within 10 s")
}
