//! What a node does when it starts, with the controller there or away.

use std::path::Path;

use placet_model::NodeManifest;
use placet_protocol::wire::{Boot, Welcome};

use crate::controller::Controller;
use crate::daemon::Daemon;
use crate::software::Software;

/// A node that runs one process, which leaves a line in `starts` each time that it starts; it was
/// cut off its power, and its controller is away.
async fn powerless(controller: &Controller, starts: &Path) -> Daemon {
    let starts = starts.display();
    let software = Software::new().script("bin/one", &format!("echo up >> {starts}; sleep 1000"));
    let (mut daemon, mut session) = Daemon::settled(controller, &software).await;
    session.running(&["one"]).await;
    controller.go_away(true);
    daemon.kill();
    daemon
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_what_is_committed_while_the_controller_is_away_and_is_compared_later() {
    let controller = Controller::start().await;
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let mut daemon = powerless(&controller, &starts).await;
    daemon.start("core-1");
    daemon.logged("the controller is away").await;
    while lines(&starts) < 2 {
        tokio::task::yield_now().await;
    }
    controller.welcome_with(Welcome {
        boot: Boot::Continue.into(),
        ..Welcome::default()
    });
    controller.go_away(false);
    let mut session = controller.session().await;
    session.running(&["one"]).await;
    daemon
        .logged("continue, generation 1 is what it is to run")
        .await;
    assert_eq!(lines(&starts), 2, "being compared starts nothing anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_to_start_alone_waits_for_a_controller_and_then_starts() {
    let controller = Controller::start().await;
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let mut daemon = powerless(&controller, &starts).await;
    daemon.start_with("core-1", &["--start-alone", "no"]);
    daemon
        .logged("nothing is started before a controller was reached")
        .await;
    // The second attempt in vain comes well after the first start would have.
    daemon.logged_times("the controller is away", 3).await;
    assert_eq!(lines(&starts), 1, "{}", daemon.log());
    controller.go_away(false);
    let mut session = controller.session().await;
    let pids = session.running(&["one"]).await;
    assert_eq!(lines(&starts), 2);
    // An agent that starts anew takes over what runs, and does not wait.
    controller.go_away(true);
    let agent = daemon.agent().try_into().unwrap();
    crate::daemon::signal(agent, nix::sys::signal::Signal::SIGKILL);
    daemon.logged_times("the controller is away", 4).await;
    controller.go_away(false);
    assert_eq!(controller.session().await.running(&["one"]).await, pids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_what_it_lacks() {
    let controller = Controller::start().await;
    controller.welcome_with(Welcome {
        boot: Boot::Change.into(),
        manifest_digest: NodeManifest::default().digest().to_string(),
        modules: 3,
        bytes: 4_096,
        ..Welcome::default()
    });
    let daemon = Daemon::join(&controller, "core-1");
    controller.session().await;
    daemon.logged("lacks 3 modules (4096 bytes)").await;
}
