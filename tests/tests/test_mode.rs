//! A node that runs its changes in test mode, and what people order for it.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use placet_packager::BuildOptions;
use placet_tests::{Fleet, FleetOptions, pids, poll};
use serde_json::Value;

const NODE: &str = "edge-1";

async fn settled() -> Fleet {
    Fleet::settled(FleetOptions {
        nodes: vec!["core-1", NODE],
        ..FleetOptions::default()
    })
    .await
}

/// A fleet where one node runs version 1.1.0 in test mode, and the other has stored it.
async fn testing() -> Fleet {
    test(settled().await).await
}

async fn test(mut fleet: Fleet) -> Fleet {
    let nodes = fs::read_to_string(fleet.path("fleet/nodes.yaml")).expect("declarations");
    let tested = format!("name: {NODE}\nspec:\n");
    assert!(nodes.contains(&tested));
    let nodes = nodes.replace(&tested, &format!("{tested}  testMode:\n    seconds: 600\n"));
    fs::write(fleet.path("fleet/nodes.yaml"), nodes).expect("declarations");
    let commit = fleet.commit_greet("1.1.0");
    fleet.verified(&commit).await;
    fleet
}

fn status(fleet: &Fleet) -> Value {
    fleet.resource("fnode", NODE)["status"].clone()
}

/// The status of the node once it is as wanted.
fn awaited(fleet: &Fleet, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    poll(what, || Some(status(fleet)).filter(|status| is(status)))
}

/// What the node starts when it starts.
fn committed(fleet: &Fleet) -> PathBuf {
    fs::read_link(fleet.node(NODE).state.join("committed")).expect("a link")
}

fn is_testing(status: &Value) -> bool {
    status["committedGeneration"] == 1 && status["generation"] != 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_not_stored_ends_with_a_restart_and_stays_by_order() {
    let mut fleet = testing().await;
    let tested = awaited(&fleet, "the test", is_testing);
    assert!(tested["testEnds"].is_string(), "{tested:#}");
    assert_eq!(tested["manifestDigest"], tested["preferredDigest"]);
    assert_eq!(committed(&fleet).file_name().expect("a name"), "1");
    assert!(fleet.placet(&["node", "list"]).contains("test mode"));

    fleet.kill_node(NODE);
    fleet.start_node(NODE);
    let over = awaited(&fleet, "the end of the test", |status| {
        status["generation"] == 1 && status["committedGeneration"].is_null()
    });
    assert_eq!(over["failed"][0], tested["manifestDigest"]);
    let shown = fleet.placet(&["node", "show", NODE]);
    assert!(shown.contains("has given it back"), "{shown}");

    let nothing = fleet.placet_output(&["node", "commit", NODE]);
    assert_eq!(nothing.status.code(), Some(1), "there is nothing to commit");
    fleet.placet(&["node", "retry", NODE, "--reason", "seen"]);
    awaited(&fleet, "the second test", is_testing);

    let before = pids(&fleet, NODE);
    fleet.placet(&["node", "commit", NODE, "--reason", "ran well"]);
    let stored = awaited(&fleet, "what was tested to be stored", |status| {
        status["committedGeneration"].is_null() && status["generation"] != 1
    });
    assert_eq!(pids(&fleet, NODE), before, "no process was touched");
    assert_eq!(stored["manifestDigest"], stored["preferredDigest"]);
    assert_eq!(stored["lastOrder"]["do"], "commit");
    assert_eq!(stored["lastOrder"]["reason"], "ran well");
    let link = committed(&fleet);
    let generation = stored["generation"].to_string();
    assert_eq!(link.file_name().expect("a name"), generation.as_str());
}

/// A test suite beside `greet`, whose test waits until there is the file `go`, and fails until there
/// is `mended`.
fn add_suite(fleet: &Fleet) {
    let source = fleet.path("suite");
    fs::create_dir(&source).expect("a folder");
    let file = |name: &str, text: &str| fs::write(source.join(name), text).expect("a file");
    let folder = source.display();
    file(
        "steps.sh",
        &format!(
            "#!/bin/sh\nuntil test -e {folder}/go; do sleep 0.05; done\n\
             test -e {folder}/mended || {{ echo the third step is missing; exit 1; }}\n"
        ),
    );
    file(
        "package.yaml",
        "name: checks\nversion: 1.0.0\npurpose: test\nmodules:\n  - path: checks/steps\n    \
         source: steps.sh\n    mode: \"0755\"\n    process: {kind: simple, readySeconds: 60}\n",
    );
    let layout = source.join("layout");
    let options = BuildOptions::default();
    placet_packager::build(&source.join("package.yaml"), &layout, &options).expect("a package");
    let packages = fleet.path("fleet/packages.yaml");
    let mut text = fs::read_to_string(&packages).expect("declarations");
    let entry = "    - name: checks\n      version: 1.0.0\n      reference: oci-layout:";
    writeln!(text, "{entry}{}:1.0.0", layout.display()).expect("text");
    fs::write(packages, text).expect("declarations");
}

/// Why what runs in test mode cannot be stored.
fn refused_commit(fleet: &Fleet) -> String {
    let refused = fleet.placet_output(&["node", "commit", NODE]);
    assert_eq!(refused.status.code(), Some(1));
    String::from_utf8_lossy(&refused.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_decide_whether_what_runs_in_test_mode_may_be_stored() {
    let fleet = settled().await;
    add_suite(&fleet);
    let fleet = test(fleet).await;
    let is = |state: &'static str| move |status: &Value| status["suites"][0]["state"] == state;
    awaited(&fleet, "the tests", is("Running"));
    let why = refused_commit(&fleet);
    assert!(why.contains("its tests run (0 of 1 have ended)"), "{why}");
    assert!(fleet.placet(&["node", "list"]).contains(" tests"));

    fs::write(fleet.path("suite/go"), "").expect("a file");
    let failed = awaited(&fleet, "the end of the tests", is("Failed"));
    let failure = &failed["suites"][0]["failures"][0]["why"];
    let expected = "exited with code 1; it wrote: the third step is missing";
    assert_eq!(*failure, expected);
    let shown = fleet.placet(&["node", "show", NODE]);
    assert!(
        shown.contains("\nsteps failed: it exited with code 1; it wrote: the"),
        "{shown}"
    );
    assert!(shown.contains("checks 1.0.0  Failed"), "{shown}");
    let why = refused_commit(&fleet);
    assert!(why.contains("the third step is missing"), "{why}");
    assert!(why.contains("placet node retry"), "{why}");
    let core = fleet.resource("fnode", "core-1");
    assert!(core["status"]["suites"].is_null(), "{core:#}");

    fs::write(fleet.path("suite/mended"), "").expect("a file");
    fleet.placet(&["node", "retry", NODE]);
    awaited(&fleet, "the tests to pass", is("Passed"));
    fleet.placet(&["node", "commit", NODE]);
    awaited(&fleet, "what was tested to be stored", |status| {
        status["committedGeneration"].is_null() && status["suites"].is_null()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_back_by_order_and_is_not_led_forward_again() {
    let fleet = testing().await;
    awaited(&fleet, "the test", is_testing);
    fleet.placet(&["node", "regress", NODE, "--reason", "sessions are lost"]);
    let back = awaited(&fleet, "the way back", |status| {
        status["generation"] == 1 && !status["failed"].is_null()
    });
    assert_ne!(back["manifestDigest"], back["preferredDigest"]);
    let node = fleet.log(NODE);
    assert!(node.contains("given back by order of"), "{node}");
    assert!(node.contains("sessions are lost"), "{node}");
    // Its part in the roll-out is over, which was done and stays so.
    let rollout = back["rollout"]["name"].as_str().expect("a roll-out");
    let rollout = fleet.resource("rollout", rollout);
    assert_eq!(rollout["status"]["phase"], "Done", "{rollout:#}");
    let again = fleet.placet_output(&["node", "commit", NODE]);
    assert_eq!(again.status.code(), Some(1));
}
