//! Changes that run from memory only (C-D2), and what brings back what is stored (C-R1).

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use placet_model::NodeManifest;
use placet_protocol::wire::to_node::Order;
use placet_protocol::wire::{Forget, Memory, Report};
use tempfile::TempDir;

use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, signal};
use crate::software::Software;

/// A file system without a disk.
const SHARED_MEMORY: &str = "/dev/shm";

/// One process that the two versions have in common, and one that they have not.
fn version(number: u8) -> Software {
    let script = format!("echo version {number}; exec sleep 1000");
    Software::new()
        .file("share/same", b"the same in both")
        .script("bin/server", &script)
        .notifier("bin/loner", &[])
}

struct Node {
    daemon: Daemon,
    memory: TempDir,
    old: Software,
    new: Software,
}

impl Node {
    /// A node that has the first version stored and runs the second in test mode.
    async fn testing(controller: &Controller, seconds: u32) -> (Self, Session) {
        let memory = tempfile::tempdir_in(SHARED_MEMORY).unwrap();
        let folder = memory.path().to_str().unwrap();
        let (old, new) = (version(1), version(2));
        controller.serve(&new);
        let daemon = Daemon::join_saying(controller, "core-1", &["--memory", folder]);
        let mut session = controller.settle(&old).await;
        session.running(&["server", "loner"]).await;
        session.memory = Some(Memory { seconds });
        let done = session.change(&old.manifest, &new.manifest).await;
        assert_eq!((done.error.as_str(), done.generation), ("", 2));
        session.memory = None;
        let node = Self {
            daemon,
            memory,
            old,
            new,
        };
        (node, session)
    }

    fn committed(&self) -> PathBuf {
        fs::read_link(self.daemon.path("s/committed")).unwrap()
    }

    /// Generations that lie on the disk.
    fn stored(&self) -> Vec<String> {
        let entries = fs::read_dir(self.daemon.path("s/generations")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

/// True if the program of this version lies in the store at `root`.
fn holds(root: &Path, software: &Software) -> bool {
    let module = software.manifest.get(&"bin/server".parse().unwrap());
    let digest = module.unwrap().module.digest;
    root.join("store").join(digest.hex()).exists()
}

fn program_of(pid: u32) -> String {
    let arguments = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let entries = arguments.split(|byte| *byte == 0);
    let root = entries
        .map(|entry| String::from_utf8_lossy(entry).into_owned())
        .find_map(|entry| Some(entry.strip_prefix("PLACET_ROOT=")?.to_owned()));
    root.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_test_is_stored_and_a_power_cut_ends_it() {
    let controller = Controller::start().await;
    let (mut node, mut session) = Node::testing(&controller, 0).await;
    let pids = session.running(&["server", "loner"]).await;
    let memory = node.memory.path();
    assert!(program_of(pids["server"]).starts_with(memory.to_str().unwrap()));
    assert_eq!(node.committed(), Path::new("generations/1"));
    assert_eq!(node.stored(), ["1"]);
    assert!(!holds(&node.daemon.path("s"), &node.new));
    assert!(holds(memory, &node.new));
    let report = session.report(|report| report.in_memory.is_some()).await;
    let told = report.in_memory.unwrap();
    assert_eq!((told.stored_generation, told.seconds_left), (1, 0));
    assert_eq!(told.stored_digest, node.old.manifest.digest().to_string());

    node.daemon.kill();
    node.daemon.start("core-1");
    let mut session = controller.session().await;
    let report = session.hello.report.clone().unwrap();
    assert_eq!((report.generation, report.in_memory), (1, None));
    session.running(&["server", "loner"]).await;
    node.daemon
        .logged("generation 2 ran in test mode, which has ended with the restart")
        .await;
    assert!(!holds(node.memory.path(), &node.new));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_a_restart_ended_waits_to_be_asked_for() {
    let controller = Controller::start().await;
    let (mut node, _) = Node::testing(&controller, 600).await;
    node.daemon.kill();
    node.daemon.start("core-1");
    let session = controller.session().await;
    let [failed] = &session.hello.failed[..] else {
        panic!("one manifest ended: {:?}", session.hello.failed);
    };
    let new = node.new.manifest.digest().to_string();
    assert_eq!(failed.manifest_digest, new);
    assert!(failed.reason.contains("ended with a restart"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_its_time_brings_back_what_is_stored_and_it_waits_to_be_asked_for() {
    let controller = Controller::start().await;
    let (node, mut session) = Node::testing(&controller, 1).await;
    let loner = session.running(&["loner"]).await["loner"];
    session.report(|report| report.in_memory.is_some()).await;
    let is_over = |report: &Report| report.in_memory.is_none() && report.generation == 1;
    session.report(is_over).await;
    let after = session.running(&["server", "loner"]).await;
    assert_eq!(after["loner"], loner);
    let stored = node.daemon.path("s/generations/1");
    assert!(Path::new(&program_of(after["server"])).starts_with(stored));
    // It is not tried again until somebody says so.
    session.memory = Some(Memory { seconds: 0 });
    let refused = session.change(&node.old.manifest, &node.new.manifest).await;
    assert!(
        refused.error.contains("its time is over"),
        "{}",
        refused.error
    );
    session.order(Order::Forget(Forget {
        manifest_digest: node.new.manifest.digest().to_string(),
    }));
    let done = session.change(&node.old.manifest, &node.new.manifest).await;
    assert_eq!(done.error, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_stay_is_stored_without_touching_a_process_or_fetching() {
    let controller = Controller::start().await;
    let (mut node, mut session) = Node::testing(&controller, 600).await;
    let before = session.running(&["server", "loner"]).await;
    let report = session.report(|report| report.in_memory.is_some()).await;
    assert!(report.in_memory.unwrap().seconds_left > 500);
    session.stage(&node.new.manifest, &node.new.manifest);
    let staged = session.staged().await;
    assert_eq!((staged.error.as_str(), staged.bytes), ("", 0));
    session.activate(&node.new.manifest, &node.new.manifest);
    let done = session.activated().await;
    assert_eq!((done.error.as_str(), done.generation), ("", 3));
    assert_eq!(node.committed(), Path::new("generations/3"));
    assert!(holds(&node.daemon.path("s"), &node.new));
    let after = session.running(&["server", "loner"]).await;
    assert_eq!(after, before);
    // What lives runs on from memory; what starts, starts from what is stored.
    node.daemon.kill();
    node.daemon.start("core-1");
    let mut session = controller.session().await;
    let after = session.running(&["server", "loner"]).await;
    let stored = node.daemon.path("s/generations/3");
    assert!(Path::new(&program_of(after["server"])).starts_with(stored));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_and_its_time_go_on_when_the_agent_dies() {
    let controller = Controller::start().await;
    let (node, mut session) = Node::testing(&controller, 600).await;
    let before = session.running(&["server", "loner"]).await;
    signal(node.daemon.agent().try_into().unwrap(), Signal::SIGKILL);
    let mut session = controller.session().await;
    assert_eq!(session.running(&["server", "loner"]).await, before);
    let report = session.hello.report.clone().unwrap();
    assert_eq!(report.generation, 2);
    let left = report.in_memory.unwrap().seconds_left;
    assert!((500..=600).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_on_a_disk_is_no_memory() {
    let controller = Controller::start().await;
    let software = version(1);
    controller.serve(&software);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().to_str().unwrap();
    let _daemon = Daemon::join_saying(&controller, "core-1", &["--memory", path]);
    let mut session = controller.session().await;
    session.memory = Some(Memory { seconds: 0 });
    session.stage(&NodeManifest::default(), &software.manifest);
    let staged = session.staged().await;
    assert!(
        staged.error.contains("is on a disk") && staged.error.contains("--memory"),
        "{}",
        staged.error
    );
}
