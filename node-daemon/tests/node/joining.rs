//! First contact, and everything that can be wrong with a token.

use std::process::Stdio;

use placet_protocol::Token;

use crate::controller::Controller;
use crate::daemon::Daemon;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_once_and_then_needs_no_token() {
    let controller = Controller::start().await;
    let mut daemon = Daemon::join(&controller, "core-1");
    let session = controller.session().await;
    assert_eq!(session.node.as_str(), "core-1");
    let report = session.hello.report.as_ref().unwrap();
    assert_eq!(report.generation, 0);
    assert_eq!(
        report.manifest_digest,
        placet_model::NodeManifest::default().digest().to_string()
    );
    assert!(report.manifest_json.is_empty());
    assert_eq!(daemon.stop(), Some(0));
    daemon.start("core-1");
    let again = controller.session().await;
    assert_eq!(again.node.as_str(), "core-1");
    assert_ne!(
        again.hello.boot_id, session.hello.boot_id,
        "everything was started anew"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_used_wrong_or_for_another_node_ends_the_daemon_with_2() {
    let controller = Controller::start().await;
    let used = controller.token("core-1");
    let _first = Daemon::join_with(&controller, "core-1", &used);
    controller.session().await;
    let (code, log) = Daemon::join_with(&controller, "core-1", &used).wait();
    assert_eq!(code, Some(2), "{log}");
    assert!(
        log.contains("used already") && log.contains("placet node token core-1"),
        "{log}"
    );

    let unknown = Token {
        id: "unknown".to_owned(),
        ..used
    };
    let (code, log) = Daemon::join_with(&controller, "core-1", &unknown).wait();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("does not know this token"), "{log}");

    let (code, log) = Daemon::join_with(&controller, "core-2", &controller.token("core-1")).wait();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("another name"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_with_another_authority_does_not_get_the_secret() {
    let (ours, theirs) = (Controller::start().await, Controller::start().await);
    let token = ours.token("core-1");
    let (code, log) = Daemon::join_with(&theirs, "core-1", &token).wait();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("nothing secret was sent"), "{log}");
    // It still works where it was made for.
    let _daemon = Daemon::join_with(&ours, "core-1", &token);
    ours.session().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_work_end_the_daemon_with_2_and_what_to_do() {
    let controller = Controller::start().await;
    let daemon = Daemon::join(&controller, "core-1");
    controller.session().await;
    let run = |arguments: &[&str]| {
        let mut command = daemon.command("core-1");
        let output = command
            .args(arguments)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, error) = run(&[]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("in use by another placetd"), "{error}");

    let other = |state: &str, run: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_placetd"));
        command.args([
            "--node",
            "core-9",
            "--controller",
            "127.0.0.1:1",
            "--state",
            state,
            "--run",
            run,
        ]);
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, error) = other("/proc/nowhere", "/proc/nowhere");
    assert_eq!(code, Some(2), "{error}");
    assert!(
        error.contains("failed to make the folder `/proc/nowhere`"),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(120));
    let (code, error) = other(folder.path().to_str().unwrap(), long.to_str().unwrap());
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("shorter path with --run"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let (code, error) = other(
        folder.path().join("s").to_str().unwrap(),
        folder.path().join("r").to_str().unwrap(),
    );
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("no join token was given"), "{error}");
}
