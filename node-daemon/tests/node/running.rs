//! What processes run against what they should run.

use std::fs;

use nix::sys::signal::Signal;
use placet_model::ProcessName;

use crate::controller::Controller;
use crate::daemon::{Daemon, signal};
use crate::software::{Software, compile_file};

/// A server that starts a tool of which its package says nothing.
fn software(tool: &[u8]) -> Software {
    let script = "\"${0%/*}/tool\" & wait";
    Software::new()
        .script("bin/server", script)
        .elf("bin/tool", tool, &[], None)
}

fn tool(version: u32) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("tool.c");
    let text = format!(
        "#include <unistd.h>\nconst int version = {version};\nint main(void) {{ for (;;) pause(); }}\n"
    );
    fs::write(&source, text).unwrap();
    compile_file(&source)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_runs_an_earlier_program_is_told_of_until_it_is_restarted() {
    let controller = Controller::start().await;
    let (old, new) = (software(&tool(1)), software(&tool(2)));
    controller.serve(&new);
    let daemon = Daemon::join_saying(&controller, "core-1", &["--look-every", "1"]);
    let mut session = controller.settle(&old).await;
    let server = session.running(&["server"]).await["server"];
    let runs = daemon.path("s/generations/1/tree/bin/tool");
    executed(server, &runs.display().to_string()).await;

    // Nothing says that the server needs the tool, so the change leaves it alone.
    assert_eq!(session.change(&old.manifest, &new.manifest).await.error, "");
    let drifts = session.drifts().await;
    let [drift] = &*drifts else {
        panic!("{drifts:?}");
    };
    let id = |software: &Software| {
        let path = "bin/tool".parse().unwrap();
        let tool = software.manifest.get(&path).unwrap();
        tool.module.build_id.clone().unwrap()
    };
    let (before, after) = (id(&old), id(&new));
    assert_ne!(before, after);
    assert_eq!(drift.path, "bin/tool");
    assert!(drift.running && !drift.repaired, "{drift:?}");
    let says = format!(
        "still executes it from generation 1 (build id {before}); generation 2 has build id {after}; a restart puts it right"
    );
    let name: ProcessName = "server".parse().unwrap();
    assert!(
        drift.what.starts_with(&format!("process {name} (pid ")),
        "{drift:?}"
    );
    assert!(drift.what.ends_with(&says), "{drift:?}");
    assert_eq!(session.running(&["server"]).await["server"], server);

    // Whoever decides so restarts it.
    signal(server, Signal::SIGKILL);
    session.running_other("server", server).await;
    let report = session.report(|report| report.drifts.is_empty()).await;
    assert_eq!(report.generation, 2);
}

/// Waits until a child of `pid` executes `path`.
async fn executed(pid: u32, path: &str) {
    let list = format!("/proc/{pid}/task/{pid}/children");
    loop {
        let children = fs::read_to_string(&list).unwrap();
        let runs = |child: &str| fs::read_link(format!("/proc/{child}/exe")).ok();
        let mut programs = children.split_whitespace().filter_map(runs);
        if programs.any(|program| program.to_str() == Some(path)) {
            return;
        }
        tokio::task::yield_now().await;
    }
}
