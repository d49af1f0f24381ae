//! The keeper's update: it hands all that it holds to the program that stands at its path now.

use nix::sys::signal::Signal;

use crate::daemon::{ended, signal};
use crate::software::Software;
use crate::supervise::{free_address, listens, node, who_answers};

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_hands_processes_sockets_and_descriptors_to_its_successor() {
    let address = free_address();
    let software = Software::new()
        .actor("bin/web", &["told", "store:kept", "serve"], |spec| {
            listens(&address.to_string())(spec);
            spec.stored_descriptors = 1;
        })
        .notifier("bin/quiet", &[]);
    let (controller, daemon, mut session) = node(&software).await;
    let before = session.running(&["web", "quiet"]).await;
    let (keeper, agent) = (daemon.keeper(), daemon.agent());
    for round in 1..=3 {
        signal(keeper.unsigned_abs(), Signal::SIGHUP);
        ended(agent.unsigned_abs()).await;
        let mut again = controller.session().await;
        assert_eq!(again.running(&["web", "quiet"]).await, before);
        assert_eq!(again.hello.boot_id, session.hello.boot_id);
        assert_eq!(daemon.keeper(), keeper, "it is the same process");
        assert_eq!(who_answers(address), before["web"]);
        let log = daemon.log();
        assert_eq!(log.matches("keeper goes on as this version").count(), round);
    }
    // The successor knows when they end, and has what is to be handed over.
    signal(before["web"], Signal::SIGKILL);
    daemon.wrote("web", "told web kept.\n").await;
    assert_ne!(who_answers(address), before["web"]);
    // What they write still arrives.
    signal(before["quiet"], Signal::SIGKILL);
    let wrote = daemon.wrote("quiet", "is ready\nis ready\n").await;
    assert_eq!(wrote.lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_does_not_understand_is_not_let_in() {
    let software = Software::new().notifier("bin/quiet", &[]);
    let (controller, mut daemon, mut session) = node(&software).await;
    let before = session.running(&["quiet"]).await;
    daemon.use_program_of_its_own("core-1");
    let mut session = controller.session().await;
    let before_copy = session.running(&["quiet"]).await;
    assert_ne!(before_copy, before);
    for (program, why) in [
        (
            "#!/bin/sh\necho I am another program >&2\nexit 3\n",
            "it ended with exit status: 3",
        ),
        ("no program", "Exec format error"),
    ] {
        daemon.replace_program(program.as_bytes());
        signal(daemon.keeper().unsigned_abs(), Signal::SIGHUP);
        daemon.logged(why).await;
        daemon.restore_program();
        let mut again = controller.session().await;
        assert_eq!(again.running(&["quiet"]).await, before_copy);
    }
}
