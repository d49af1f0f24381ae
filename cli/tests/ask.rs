//! `placet node ask` against a real vote service.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use placet_model::{Answer, ChangeSet, Digest, ProcessName, Silence};
use placet_node_daemon::vote::{Handled, Outcome, Prepared, Question, Voter, Voters};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(30);

/// A vote service with one process, to which whoever connects belongs, or nobody.
struct World {
    folder: TempDir,
    runtime: Runtime,
    voters: Voters,
    knows: Arc<AtomicBool>,
}

fn chat() -> ProcessName {
    "chat".parse().unwrap()
}

fn service(folder: &Path, knows: &Arc<AtomicBool>) -> Voters {
    let knows = knows.clone();
    let who = move |_| knows.load(Ordering::SeqCst).then(chat);
    Voters::new(folder, Arc::new(who))
}

impl World {
    fn new(knows: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let knows = Arc::new(AtomicBool::new(knows));
        let voters = service(folder.path(), &knows);
        let world = Self {
            folder,
            runtime: Runtime::new().unwrap(),
            voters,
            knows,
        };
        world.serve();
        world
    }

    fn serve(&self) {
        let _runtime = self.runtime.enter();
        self.voters.serve(&chat()).unwrap();
    }

    /// What a restart of the agent does.
    fn restart(&mut self) {
        self.voters.withdraw(&chat());
        self.voters = service(self.folder.path(), &self.knows);
        self.serve();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_placet"));
        command
            .args(["node", "ask", "--run"])
            .arg(self.folder.path());
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn question(change_set: ChangeSet) -> Question {
        Question {
            rollout: "ro-1".to_owned(),
            revision: "main@1".to_owned(),
            change_digest: Digest::of(b"one"),
            change_set,
            dry_run: false,
            voters: vec![Voter {
                process: chat(),
                pid: 1,
                vote_seconds: 30,
                silence: Silence::NoAnswer,
                modules: vec!["lib/greet".parse().unwrap()],
            }],
        }
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Somebody who takes part; ends with this value.
struct Watcher {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Watcher {
    fn start(world: &World, arguments: &[&str]) -> Self {
        let mut child = world
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self {
            child,
            input,
            output: BufReader::new(output),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_lists_who_can_be_asked_and_describes_the_interface() {
    let world = World::new(false);
    let list = world.ask(&[]);
    assert!(list.status.success());
    assert!(stdout(&list).contains("chat"), "{}", stdout(&list));
    let description = stdout(&world.ask(&["chat"]));
    assert!(description.contains("\ninterface dev.placet.Vote\n"));
    let info: Value =
        serde_json::from_str(&stdout(&world.ask(&["chat", "GetInfo", "-o", "json"]))).unwrap();
    assert_eq!(info["product"], "placetd");
    let users = world.ask(&["chat", "GetUsers", r#"{"module": "lib/greet"}"#]);
    assert_eq!(
        stdout(&users).split_whitespace().collect::<String>(),
        r#"{"processes":[]}"#
    );
}

#[test]
fn what_cannot_be_asked_is_said_with_what_to_do() {
    let world = World::new(false);
    let refused = world.ask(&[
        "chat",
        "Vote",
        r#"{"changeDigest": "x", "answer": "accept"}"#,
    ]);
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(said.starts_with("dev.placet.Vote.NotYours"), "{said}");
    assert!(said.contains("only processes of the service"), "{said}");
    for (arguments, expected) in [
        (&["nobody"][..], "those that have: chat"),
        (&["chat", "Vote", "accept"], "are no JSON"),
        (
            &["/nowhere/x.sock"],
            "failed to ask at the vote socket `/nowhere/x.sock`",
        ),
    ] {
        let output = world.ask(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    let watch = world.ask(&["chat", "--watch"]);
    assert_eq!(watch.status.code(), Some(1), "{}", stderr(&watch));
}

#[test]
fn whoever_watches_takes_part_from_the_question_to_the_end() {
    let mut world = World::new(true);
    let mut watcher = Watcher::start(&world, &["chat", "--watch"]);
    assert_eq!(watcher.line(), "watching");

    let change = Digest::of(b"one");
    let (voters, question) = (world.voters.clone(), World::question(ChangeSet::default()));
    let asking = world
        .runtime
        .spawn(async move { voters.ask(question).await });
    let proposed = format!("proposed {change} lib/greet is changed");
    assert_eq!(watcher.line(), proposed);
    watcher.say("nonsense that no one knows");
    watcher.say(&format!("veto {change} 3 sessions are open"));
    let records = world.runtime.block_on(asking).unwrap();
    assert_eq!(records[0].answer, Answer::Veto);
    assert_eq!(records[0].message, "3 sessions are open");

    let voters = world.voters.clone();
    let told = world.runtime.spawn(async move {
        let prepared = voters.prepare(&chat(), &change, PATIENCE).await;
        let outcome = Outcome::Activated;
        (
            prepared,
            voters.changed(&chat(), &change, outcome, PATIENCE).await,
        )
    });
    assert_eq!(watcher.line(), format!("prepare {change}"));
    watcher.say(&format!("ready {change}"));
    assert_eq!(watcher.line(), format!("changed {change} activated"));
    watcher.say(&format!("default {change}"));
    let ended = world.runtime.block_on(told).unwrap();
    assert_eq!(ended, (Prepared::Ready, Handled::AsksDefault));

    world.restart();
    assert_eq!(watcher.line(), "watching", "it registers again");
    world.knows.store(false, Ordering::SeqCst);
    world.restart();
    assert_eq!(watcher.line(), "", "it is sent away");
    assert_eq!(watcher.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_long_change_set_arrives_whole() {
    let world = World::new(false);
    let module = |index: usize| json!({"path": format!("usr/share/{index:05}"), "change": "removed", "type": "data"});
    let modules: Vec<_> = (0..2_000).map(module).collect();
    let change_set = serde_json::from_value(json!({"modules": modules, "processes": []})).unwrap();
    let question = World::question(change_set);
    // Nobody is registered: it is over at once, and stays known.
    let records = world.runtime.block_on(world.voters.ask(question));
    assert_eq!(records, []);
    let about = json!({"changeDigest": Digest::of(b"one")}).to_string();
    let output = world.ask(&["chat", "GetChangeSet", &about, "-o", "json"]);
    let reply: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let arrived = reply["changeSet"]["modules"].as_array().unwrap();
    assert_eq!(arrived.len(), 2_000, "{}", stderr(&output));
}
