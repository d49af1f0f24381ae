//! A vote service in a folder of its own, and what tests do with one.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use placet_model::{
    Change, ChangeSet, Digest, ModuleChange, ModuleType, ProcessName, Silence, VoteRecord,
};
use placet_node_daemon::vote::{Question, Voter, Voters};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Long enough for a loaded machine; nothing waits so long in a test that passes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) voters: Voters,
    runtime: Runtime,
    who: Arc<Mutex<BTreeMap<i32, ProcessName>>>,
    folder: TempDir,
}

impl World {
    /// A service that knows this process as `counterd`.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let who = Arc::new(Mutex::new(BTreeMap::new()));
        let runtime = Runtime::new().unwrap();
        let voters = service(&folder, &who);
        let world = Self {
            voters,
            runtime,
            who,
            folder,
        };
        world.know(std::process::id(), "counterd");
        world
    }

    /// What a restart of the agent does.
    pub(crate) fn restart(&mut self, process: &str) {
        self.voters.withdraw(&name(process));
        self.voters = service(&self.folder, &self.who);
    }

    /// Takes process `pid` for one of `process`.
    pub(crate) fn know(&self, pid: u32, process: &str) {
        let pid = i32::try_from(pid).unwrap();
        self.who.lock().unwrap().insert(pid, name(process));
    }

    pub(crate) fn forget(&self, pid: u32) {
        let pid = i32::try_from(pid).unwrap();
        self.who.lock().unwrap().remove(&pid);
    }

    pub(crate) fn serve(&self, process: &str) -> PathBuf {
        let _runtime = self.runtime.enter();
        self.voters.serve(&name(process)).unwrap()
    }

    /// Begins something that goes on while the test does other things.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(work)
    }

    pub(crate) fn finish<T>(&self, work: JoinHandle<T>) -> T {
        let work = async { tokio::time::timeout(PATIENCE, work).await };
        self.runtime.block_on(work).expect("it ends").unwrap()
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Begins to ask.
    pub(crate) fn ask(&self, question: Question) -> JoinHandle<Vec<VoteRecord>> {
        let voters = self.voters.clone();
        self.start(async move { voters.ask(question).await })
    }

    /// Begins to ask in a dry run.
    pub(crate) fn ask_dry(&self, question: Question) -> JoinHandle<Vec<VoteRecord>> {
        let voters = self.voters.clone();
        let dry_run = true;
        self.start(async move {
            voters
                .ask_dry(Question {
                    dry_run,
                    ..question
                })
                .await
        })
    }

    pub(crate) fn prepare(&self, change: Digest) -> JoinHandle<placet_node_daemon::vote::Prepared> {
        let voters = self.voters.clone();
        self.start(async move { voters.prepare(&name("counterd"), &change, PATIENCE).await })
    }

    pub(crate) fn changed(
        &self,
        change: Digest,
        outcome: placet_node_daemon::vote::Outcome,
    ) -> JoinHandle<placet_node_daemon::vote::Handled> {
        let voters = self.voters.clone();
        self.start(async move {
            let process = name("counterd");
            voters.changed(&process, &change, outcome, PATIENCE).await
        })
    }
}

fn service(folder: &TempDir, who: &Arc<Mutex<BTreeMap<i32, ProcessName>>>) -> Voters {
    let who = who.clone();
    let who = move |pid| who.lock().unwrap().get(&pid).cloned();
    Voters::new(folder.path(), Arc::new(who))
}

pub(crate) fn name(text: &str) -> ProcessName {
    text.parse().unwrap()
}

/// A question about a change of one library, to processes with 20 s to answer.
pub(crate) fn question(change: &str, processes: &[&str]) -> Question {
    let voters = processes.iter().map(|process| Voter {
        process: name(process),
        pid: 1,
        vote_seconds: 20,
        silence: Silence::NoAnswer,
        modules: vec!["usr/lib/libgreet.so.1".parse().unwrap()],
    });
    Question {
        rollout: "main-1".to_owned(),
        revision: "main@sha1:0123".to_owned(),
        change_digest: Digest::of(change.as_bytes()),
        change_set: change_set(&["usr/lib/libgreet.so.1".to_owned()]),
        dry_run: false,
        voters: voters.collect(),
    }
}

pub(crate) fn change_set(paths: &[String]) -> ChangeSet {
    let modules = paths.iter().map(|path| ModuleChange {
        path: path.parse().unwrap(),
        change: Change::Changed,
        kind: ModuleType::Library,
        from: None,
        to: None,
    });
    ChangeSet {
        modules: modules.collect(),
        ..ChangeSet::default()
    }
}

/// A connection by hand.
pub(crate) struct Raw(pub(crate) BufReader<UnixStream>);

impl Raw {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn stream(&mut self) -> &mut UnixStream {
        self.0.get_mut()
    }

    pub(crate) fn send(&mut self, call: &Value) {
        let mut message = serde_json::to_vec(call).unwrap();
        message.push(0);
        self.stream().write_all(&message).unwrap();
    }

    /// The next message; `None` if the service hung up.
    pub(crate) fn receive(&mut self) -> Option<Value> {
        let mut message = Vec::new();
        match self.0.read_until(0, &mut message) {
            Ok(0) => None,
            Ok(_) => {
                assert_eq!(message.pop(), Some(0), "the message is whole");
                assert!(message.len() <= 65_536);
                Some(serde_json::from_slice(&message).unwrap())
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.send(&json!({"method": method, "parameters": parameters}));
        self.receive().expect("a reply")
    }

    /// Two connections, registered and watching.
    pub(crate) fn register(path: &Path) -> (Self, Self) {
        let mut calls = Self::connect(path);
        calls.call("dev.placet.Vote.Register", &json!({}));
        let mut events = Self::connect(path);
        events.send(&json!({"method": "dev.placet.Vote.Watch", "more": true}));
        assert_eq!(events.receive().unwrap()["parameters"]["event"], "watching");
        (calls, events)
    }
}

/// The folder of the project.
pub(crate) fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs the C compiler.
pub(crate) fn compile(arguments: &[&str], output: &Path) {
    let include = project().join("sdk/c");
    let output = Command::new("gcc")
        .args(["-g", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o"])
        .arg(output)
        .arg("-I")
        .arg(include)
        .args(arguments)
        .output()
        .expect("these tests need gcc");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The test program on top of the C header, once as people build it and once with sanitisers.
pub(crate) fn voters() -> &'static [PathBuf; 2] {
    static PROGRAMS: OnceLock<(TempDir, [PathBuf; 2])> = OnceLock::new();
    let build = || {
        let folder = tempfile::tempdir().unwrap();
        let source = project().join("sdk/c/tests/voter.c");
        let source = source.to_str().unwrap();
        let plain = folder.path().join("voter");
        compile(&["-O2", "-std=c99", source], &plain);
        let sanitised = folder.path().join("voter-sanitised");
        let sanitise = "-fsanitize=address,undefined";
        compile(
            &["-O1", sanitise, "-fno-sanitize-recover=all", source],
            &sanitised,
        );
        (folder, [plain, sanitised])
    };
    &PROGRAMS.get_or_init(build).1
}

/// A program under test; it ends with this value.
pub(crate) struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Starts a voter that does as `mode` says, and lets it announce itself as `process`.
    pub(crate) fn voter(world: &World, program: &Path, process: &str, mode: &str) -> Self {
        let socket = world.serve(process);
        let mut voter = Self::start(Command::new(program).arg(mode).env("PLACET_SOCKET", socket));
        world.know(voter.pid(), process);
        voter.go_on();
        voter.expect("open 1");
        voter
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the line that it waits for.
    pub(crate) fn go_on(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// Ends its input and waits until it has ended; says what else it said.
    pub(crate) fn end(mut self) -> String {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {rest}");
        rest
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
