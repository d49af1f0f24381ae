//! The certificate's life.

use jiff::SignedDuration;

use crate::controller::Controller;
use crate::daemon::{Daemon, is_alive};
use crate::software::Software;

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_before_it_ends_and_the_new_session_comes_before_the_old_one_goes()
{
    let controller = Controller::with_lifetime(SignedDuration::from_secs(4)).await;
    let daemon = Daemon::join(&controller, "core-1");
    let mut old = controller.session().await;
    for _ in 0..2 {
        let new = controller.session().await;
        assert_eq!(new.hello.boot_id, old.hello.boot_id);
        // The old one ends now, not before; and not with its certificate.
        while old.next().await.is_some() {}
        old = new;
    }
    let log = daemon.log();
    assert_eq!(log.matches("certificate is renewed").count(), 2, "{log}");
    assert!(!log.contains("session with the controller ended"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_renewed_is_cut_off_and_its_processes_go_on() {
    let controller = Controller::with_lifetime(SignedDuration::from_secs(2)).await;
    controller.refuse_renewal();
    let software = Software::new().notifier("bin/one", &[]);
    let (_daemon, mut session) = Daemon::settled(&controller, &software).await;
    let pids = session.running(&["one"]).await;
    while session.next().await.is_some() {}
    assert!(is_alive(pids["one"]));
}
