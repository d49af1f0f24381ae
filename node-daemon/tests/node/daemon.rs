//! A node daemon under test; it ends with its value.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use placet_protocol::Token;
use tempfile::TempDir;

use crate::controller::{Controller, Session};
use crate::software::Software;

pub(crate) struct Daemon {
    pub(crate) folder: TempDir,
    address: String,
    child: Option<Child>,
    program: PathBuf,
    /// What runs the program, where something does; it has to become it.
    wrapper: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Daemon {
    /// A node that joins with a token of its own.
    pub(crate) fn join(controller: &Controller, node: &str) -> Self {
        let token = controller.token(node);
        Self::join_with(controller, node, &token)
    }

    /// A node that has joined and runs this software.
    pub(crate) async fn settled(controller: &Controller, software: &Software) -> (Self, Session) {
        let daemon = Self::join(controller, "core-1");
        (daemon, controller.settle(software).await)
    }

    pub(crate) fn join_with(controller: &Controller, node: &str, token: &Token) -> Self {
        Self::join_as(controller, node, token, &[])
    }

    /// A node that is started with these arguments each time.
    pub(crate) fn join_saying(controller: &Controller, node: &str, arguments: &[&str]) -> Self {
        Self::join_as(controller, node, &controller.token(node), arguments)
    }

    /// A node whose daemon has this in its environment each time.
    pub(crate) fn join_with_clock(
        controller: &Controller,
        node: &str,
        environment: Vec<(String, String)>,
    ) -> Self {
        let mut daemon = Self::prepare(controller, &[]);
        daemon.environment = environment;
        let token = controller.token(node);
        daemon.start_with(node, &["--token", &token.to_string()]);
        daemon
    }

    /// A node whose daemon is run by a shell command that ends with `exec "$@"`, with mounts of its
    /// own.
    pub(crate) fn join_within(controller: &Controller, node: &str, command: &str) -> Self {
        let mut daemon = Self::prepare(controller, &[]);
        let wrapper = ["unshare", "--mount", "sh", "-ec", command, "sh"];
        daemon.wrapper = wrapper.map(str::to_owned).into();
        let token = controller.token(node);
        daemon.start_with(node, &["--token", &token.to_string()]);
        daemon
    }

    fn join_as(controller: &Controller, node: &str, token: &Token, arguments: &[&str]) -> Self {
        let mut daemon = Self::prepare(controller, arguments);
        daemon.start_with(node, &["--token", &token.to_string()]);
        daemon
    }

    fn prepare(controller: &Controller, arguments: &[&str]) -> Self {
        // Below /tmp, since a socket's path has to be short.
        let folder = tempfile::Builder::new()
            .prefix("placetd-")
            .tempdir_in("/tmp")
            .unwrap();
        Self {
            folder,
            address: controller.address.to_string(),
            child: None,
            program: env!("CARGO_BIN_EXE_placetd").into(),
            wrapper: Vec::new(),
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, node: &str) {
        self.start_with(node, &[]);
    }

    pub(crate) fn start_with(&mut self, node: &str, arguments: &[&str]) {
        let mut command = self.command(node);
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.path("placetd.log"))
            .unwrap();
        self.child = Some(command.args(arguments).stderr(log).spawn().unwrap());
    }

    /// Starts the daemon as a system manager does that listens at this socket.
    pub(crate) fn start_under(&mut self, node: &str, manager: &Path) {
        let mut command = self.command(node);
        self.child = Some(command.env("NOTIFY_SOCKET", manager).spawn().unwrap());
    }

    pub(crate) fn command(&self, node: &str) -> Command {
        let mut words = self.wrapper.iter().map(Path::new).chain([&*self.program]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .args(["--node", node, "--controller", &self.address, "--state"])
            .arg(self.path("s"));
        command
            .arg("--run")
            .arg(self.path("r"))
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("placetd.log")).unwrap()
    }

    /// Waits until a process has written this; returns all that it wrote.
    pub(crate) async fn wrote(&self, process: &str, text: &str) -> String {
        let path = self.path(&format!("s/log/{process}.log"));
        self.holds(&path, text).await
    }

    /// Waits until the daemon has logged this.
    pub(crate) async fn logged(&self, text: &str) -> String {
        self.holds(&self.path("placetd.log"), text).await
    }

    async fn holds(&self, path: &Path, text: &str) -> String {
        let wait = async {
            loop {
                let all = std::fs::read_to_string(path).unwrap_or_default();
                if all.contains(text) {
                    return all;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(std::time::Duration::from_secs(20), wait).await;
        assert!(found.is_ok(), "`{}` never holds `{text}`", path.display());
        found.unwrap()
    }

    /// Waits until the daemon has logged `text` so often, in all of its lives.
    pub(crate) async fn logged_times(&self, text: &str, times: usize) {
        let wait = async {
            while self.log().matches(text).count() < times {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{text:?} is logged {times} times");
    }

    pub(crate) fn keeper(&self) -> i32 {
        self.child.as_ref().unwrap().id().try_into().unwrap()
    }

    pub(crate) fn agent(&self) -> i32 {
        let keeper = self.keeper();
        let own = std::fs::read_link(format!("/proc/{keeper}/exe")).unwrap();
        let children =
            std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
        let runs =
            |pid: &&str| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own);
        children
            .split_whitespace()
            .find(runs)
            .expect("an agent")
            .parse()
            .unwrap()
    }

    /// Starts the daemon anew from a copy of its program, which a test may replace.
    pub(crate) fn use_program_of_its_own(&mut self, node: &str) {
        self.stop();
        self.program = self.path("placetd");
        std::fs::copy(env!("CARGO_BIN_EXE_placetd"), &self.program).unwrap();
        self.start(node);
    }

    /// Puts another program at the path of the daemon's own.
    pub(crate) fn replace_program(&self, content: &[u8]) {
        use std::os::unix::fs::PermissionsExt as _;
        let new = self.path("placetd.new");
        std::fs::write(&new, content).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(new, &self.program).unwrap();
    }

    pub(crate) fn restore_program(&self) {
        self.replace_program(&std::fs::read(env!("CARGO_BIN_EXE_placetd")).unwrap());
    }

    /// Ends the keeper as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Tells the keeper to end; returns its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        kill(
            Pid::from_raw(child.id().try_into().unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
        child.wait().unwrap().code()
    }

    /// Waits for a daemon that ends by itself; returns its exit code and what it said.
    pub(crate) fn wait(&mut self) -> (Option<i32>, String) {
        let code = self.child.take().unwrap().wait().unwrap().code();
        (code, self.log())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.end_what_is_left();
        placet_tests::remove_groups(&self.path("r"));
        open_up(self.folder.path());
    }
}

impl Daemon {
    /// The kernel ends the keeper's children with it, but not theirs: its successor would.
    fn end_what_is_left(&self) {
        let mark = format!("NOTIFY_SOCKET={}", self.path("r").display());
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
                continue;
            };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let mut entries = environment.split(|byte| *byte == 0);
            if entries.any(|it| it.starts_with(mark.as_bytes())) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// Generations cannot be removed by who is not root before they can be written.
fn open_up(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// A process seen from outside.
pub(crate) fn is_alive(pid: u32) -> bool {
    // A zombie is not alive.
    let mut stat = String::new();
    let read = std::fs::File::open(format!("/proc/{pid}/stat"))
        .and_then(|mut file| file.read_to_string(&mut stat));
    read.is_ok()
        && stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with('Z'))
}

/// Waits until `pid` has ended.
pub(crate) async fn ended(pid: u32) {
    let wait = async {
        while is_alive(pid) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), wait)
        .await
        .expect("it does not end");
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}
