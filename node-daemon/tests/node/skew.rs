//! A controller of a later version, which says what this version does not know.

use placet_model::{Digest, NodeManifest, Proposal, VerdictKind, canonical_json};
use placet_planner::change;
use placet_protocol::wire::from_node::Message;
use placet_protocol::wire::to_node::Order;
use placet_protocol::wire::{Protocol, Stage, Welcome};
use serde_json::{Value, json};

use crate::controller::{Controller, Session};
use crate::daemon::{Daemon, is_alive};
use crate::software::Software;

/// A field that a later version may give to every process.
const LATER: &str = "warmStandby";

/// The same with something for its process that this version does not know.
fn later(manifest: &mut Value) {
    let entries = manifest["modules"].as_array_mut().unwrap();
    let process = entries
        .iter_mut()
        .find_map(|entry| entry.get_mut("process"));
    process.expect("a process")[LATER] = json!(true);
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// What a later controller asks, as it would write it.
fn proposal(session: &Session, software: &Software) -> (Proposal, Value) {
    let proposal = session.proposal(&NodeManifest::default(), &software.manifest);
    let value = serde_json::from_slice(&canonical_json(&proposal)).unwrap();
    (proposal, value)
}

fn assert_says_what_to_do(why: &str) {
    for part in ["core-1 runs placetd", LATER, "update placetd"] {
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_later_controller_knows_is_refused_with_what_to_do_or_left_out() {
    let controller = Controller::start().await;
    let software = Software::new().script("bin/loner", "exec sleep 1000");
    controller.serve(&software);
    let daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;

    let (asked, mut value) = proposal(&session, &software);
    later(&mut value["manifest"]);
    session.order(Order::ProposalJson(bytes(&value)));
    let verdict = session.verdict().await;
    assert_eq!(verdict.verdict, VerdictKind::Error);
    assert_eq!(verdict.change_digest, asked.change_digest);
    assert_says_what_to_do(&verdict.message);

    value["dryRun"] = json!(true);
    value["rollout"] = json!("dry-1");
    session.order(Order::ProposalJson(bytes(&value)));
    let verdict = session.verdict().await;
    assert_eq!(
        (verdict.verdict, verdict.rollout.as_str()),
        (VerdictKind::Error, "dry-1")
    );
    assert_says_what_to_do(&verdict.message);

    session.order(Order::Stage(Stage {
        rollout: "r".to_owned(),
        change_digest: asked.change_digest.to_string(),
        manifest_json: bytes(&value["manifest"]),
        memory: false,
    }));
    assert_says_what_to_do(&session.staged().await.error);

    // Not even an envelope that can be read: there is nothing to answer, and the log says why.
    session.order(Order::ProposalJson(b"{\"later\":true}".to_vec()));
    daemon.logged("refuses an order: it is not readable").await;

    // An order of a later kind, and fields that change nothing for who does not know them.
    session.say_nothing();
    daemon
        .logged("an order of a kind that this version does not know")
        .await;
    let (_, mut value) = proposal(&session, &software);
    value["reviewedBy"] = json!("somebody");
    session.order(Order::ProposalJson(bytes(&value)));
    assert_eq!(session.verdict().await.verdict, VerdictKind::Accept);
    let done = session
        .change(&NodeManifest::default(), &software.manifest)
        .await;
    assert_eq!(done.error, "");
    session.running(&["loner"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_later_controller_computes_otherwise_is_told_as_such() {
    let controller = Controller::start().await;
    let software = Software::new().script("bin/loner", "exec sleep 1000");
    controller.serve(&software);
    let _daemon = Daemon::join(&controller, "core-1");
    let mut session = controller.session().await;
    let mut asked = session.proposal(&NodeManifest::default(), &software.manifest);
    asked.change_digest = Digest::of(b"what a later version makes of it");
    session.propose(&asked);
    let verdict = session.verdict().await;
    let own = change(&NodeManifest::default(), &software.manifest).digest();
    assert_eq!(verdict.verdict, VerdictKind::Error);
    for part in [
        own.to_string().as_str(),
        "their versions do not fit together",
    ] {
        assert!(verdict.message.contains(part), "{}", verdict.message);
    }
}

/// What a controller says of itself that speaks these numbers.
fn speaks(version: &str, least: u32, most: u32) -> Welcome {
    Welcome {
        version: version.to_owned(),
        protocol: Some(Protocol { least, most }),
        ..Welcome::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_alone_while_its_controller_speaks_nothing_that_it_knows() {
    let controller = Controller::start().await;
    let software = Software::new().notifier("bin/one", &[]);
    controller.serve(&software);
    let daemon = Daemon::join(&controller, "core-1");
    // This controller is of a version that says nothing of protocols: it speaks number 1.
    let mut session = controller.session().await;
    let spoken = session.hello.protocol.unwrap();
    assert_eq!(
        (spoken.least, spoken.most),
        (placet_protocol::SPOKEN.least, placet_protocol::SPOKEN.most)
    );
    session
        .change(&NodeManifest::default(), &software.manifest)
        .await;
    let before = session.running(&["one"]).await;

    for (welcome, expected) in [
        (
            speaks("9.9.0", 7, 9),
            "the controller (9.9.0) speaks protocol 7 to 9: update placetd on core-1; until then the node goes on with what it runs",
        ),
        (
            speaks("0.0.1", 0, 0),
            "the controller (0.0.1) speaks protocol 0: update the controller, or go back to an earlier placetd on core-1",
        ),
        (speaks("sly", 9, 1), "(sly) speaks protocol 9 to 1"),
    ] {
        controller.welcome_with(welcome);
        drop(session);
        session = controller.session().await;
        // The node ends it.
        while session.next().await.is_some() {}
        daemon.logged(expected).await;
        assert!(is_alive(before["one"]));
    }

    // One that speaks later numbers too is obeyed.
    controller.welcome_with(speaks("1.0.0", 1, 9));
    let mut session = loop {
        let mut session = controller.session().await;
        session.stage(&software.manifest, &software.manifest);
        if let Some(Message::Staged(staged)) = session.next().await {
            assert_eq!(staged.error, "");
            break session;
        }
    };
    assert_eq!(session.running(&["one"]).await, before);
}
