//! What processes really have mapped (C-R2).

use std::fs;
use std::process::Command;

use placet_model::NodeManifest;

use crate::controller::Controller;
use crate::daemon::Daemon;
use crate::software::Software;

/// A shared library that says which version it is.
fn library(version: u32) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, built) = (folder.path().join("one.c"), folder.path().join("libone.so"));
    fs::write(&source, format!("int one(void) {{ return {version}; }}\n")).unwrap();
    let mut compiler = Command::new("cc");
    let compiler = compiler.args(["-shared", "-fPIC", "-Wl,-soname,libone.so", "-o"]);
    let status = compiler.arg(&built).arg(&source).status().unwrap();
    assert!(status.success(), "the C compiler failed");
    fs::read(built).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_only_says_it_has_handled_a_change_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("handle"), "").unwrap();
    let version = |version| {
        Software::new()
            .elf("lib/libone.so", &library(version), &[], None)
            .voter_with("bin/one", &["lib/libone.so"], folder.path(), |spec| {
                let preloaded = ("LD_PRELOAD".to_owned(), "libone.so".to_owned());
                spec.environment.extend([preloaded]);
            })
    };
    let (old, new) = (version(1), version(2));
    let controller = Controller::start().await;
    controller.serve(&old);
    controller.serve(&new);
    let _daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    let pristine = NodeManifest::default();
    let done = session.change(&pristine, &old.manifest).await;
    assert_eq!(done.error, "");
    let before = session.running(&["one"]).await;
    let maps = fs::read_to_string(format!("/proc/{}/maps", before["one"])).unwrap();
    assert!(maps.contains("generations/1/tree/lib/libone.so"), "{maps}");
    let done = session.change(&old.manifest, &new.manifest).await;
    assert_eq!(done.error, "");
    assert_eq!(
        session.running(&["one"]).await,
        before,
        "it was not restarted"
    );
    let drifts = session.drifts().await;
    let [drift] = &drifts[..] else {
        panic!("one finding: {drifts:?}");
    };
    assert_eq!(drift.path, "lib/libone.so");
    let words = format!(
        "process one (pid {}) still executes it from generation 1 (build id ",
        before["one"]
    );
    assert!(drift.what.starts_with(&words), "{}", drift.what);
    assert!(drift.running && !drift.repaired);
}
