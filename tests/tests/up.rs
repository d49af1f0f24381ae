//! `placet up` as a person meets it: it says how a node joins, and the line that it prints joins one.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use placet_tests::{Feed, placet};

/// Ends the process with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn up(state: &Path) -> (Running, String) {
    let mut child = Command::new(placet())
        .args(["up", "--listen", "127.0.0.1:0", "--state"])
        .arg(state)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let joins = |line: &String| line.contains(" placetd --node ");
    let line = lines
        .map(Result::unwrap)
        .find(joins)
        .expect("a line that joins");
    (Running(child), line)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_that_up_prints_joins_this_machine() {
    let folder = tempfile::Builder::new()
        .prefix("placet-")
        .tempdir_in("/tmp")
        .unwrap();
    let state = folder.path().join("controller");
    let (_controller, line) = up(&state);
    let name = line
        .split_whitespace()
        .skip_while(|word| *word != "--node")
        .nth(1)
        .unwrap();
    let (node, run) = (folder.path().join("node"), folder.path().join("run"));
    // Pasted as it is, but for folders that are the test's own.
    let pasted = format!(
        "exec {line} --state {} --run {}",
        node.display(),
        run.display()
    );
    let daemon = Command::new("sh")
        .args(["-c", &pasted])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _daemon = Running(daemon);
    let mut feed = Feed::follow(&state.join("admin.sock"));
    let joined =
        |event: &placet_tests::Event| event.name == "nodesJoined" && event.data["nodes"][0] == name;
    feed.wait(0, "the node to join", joined).await;
    let list = Command::new(placet())
        .args(["node", "list", "--socket"])
        .arg(state.join("admin.sock"))
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains(name) && list.contains("Connected"), "{list}");
    assert!(
        list.lines().all(|line| line.chars().count() <= 80),
        "{list}"
    );
}
