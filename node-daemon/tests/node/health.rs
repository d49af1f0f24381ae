//! Health commands: a change counts as made when those that it touched are found well.

use std::fs;
use std::path::Path;

use placet_model::{HealthCommand, NodeManifest};

use crate::controller::{Controller, Session};
use crate::daemon::Daemon;
use crate::software::Software;

/// A server whose health command lets it pass while `sign` is there, and which the change touches.
fn fleet(library: &[u8], sign: &Path, failures: u32) -> Software {
    let sign = sign.display();
    let check = format!(
        "#!/bin/sh\n[ \"$PLACET_PROCESS\" = server ] && kill -0 $MAINPID || exit 9\n\
         [ -e {sign} ] && exit 0\necho \"no {sign} for $1\" >&2\nexit 1\n"
    );
    Software::new()
        .file("lib/data", library)
        .program("libexec/check", check.as_bytes())
        .process(
            "bin/server",
            b"#!/bin/sh\nexec sleep 1000\n",
            &["lib/data"],
            |spec| {
                spec.health = Some(HealthCommand {
                    command: vec!["libexec/check".to_owned(), "it".to_owned()],
                    every_seconds: 1,
                    seconds: 5,
                    failures,
                });
            },
        )
}

/// A node that runs the first version; the second is ordered.
async fn changing(
    controller: &Controller,
    sign: &Path,
    failures: u32,
) -> (Daemon, Session, NodeManifest) {
    fs::write(sign, "").unwrap();
    let (old, new) = (fleet(b"old", sign, failures), fleet(b"new", sign, failures));
    controller.serve(&new);
    let (daemon, mut session) = Daemon::settled(controller, &old).await;
    fs::remove_file(sign).unwrap();
    session.stage(&old.manifest, &new.manifest);
    assert_eq!(session.staged().await.error, "");
    session.activate(&old.manifest, &new.manifest);
    (daemon, session, new.manifest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_process_is_not_well_is_given_back() {
    let controller = Controller::start().await;
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("sign");
    let (_daemon, mut session, _) = changing(&controller, &sign, 1).await;
    let failed = session.activated().await;
    assert_eq!(failed.generation, 1);
    for part in [
        "server is not well: its health command ended with exit status: 1",
        "sign for it (once)",
    ] {
        assert!(failed.error.contains(part), "{}", failed.error);
    }
    session.running(&["server"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_process_gets_well_is_made() {
    let controller = Controller::start().await;
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("sign");
    let (daemon, mut session, new) = changing(&controller, &sign, 1_000).await;
    daemon.logged("server may not be well").await;
    session.soaking(&new).await;
    fs::write(&sign, "").unwrap();
    let done = session.activated().await;
    assert_eq!((done.error.as_str(), done.generation), ("", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_command_that_is_not_there_fails_the_first_change() {
    let controller = Controller::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut software = fleet(b"data", &folder.path().join("sign"), 1);
    let modules = &mut software.manifest.modules;
    modules.retain(|entry| entry.module.path.as_str() != "libexec/check");
    controller.serve(&software);
    let _daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    let failed = session
        .change(&NodeManifest::default(), &software.manifest)
        .await;
    assert_eq!(failed.generation, 0);
    assert!(
        failed
            .error
            .contains("libexec/check` cannot be run: No such file"),
        "{}",
        failed.error
    );
}
