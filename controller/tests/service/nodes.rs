//! Nodes, honest and other.

use placet_model::{DecisionKind, Digest, canonical_json};
use placet_protocol::wire::from_node::Message;
use placet_protocol::wire::to_node::Order;
use placet_protocol::wire::{DeleteRequest, Hello, Protocol, ToNode};
use placet_protocol::{Error, TokenRefusal, connect, join, renew};
use serde_json::Value;
use tonic::Code;

use crate::bench::Bench;
use crate::node::{Line, Node, State, join_as};
use crate::story::settled;

fn is_welcome(order: &ToNode) -> bool {
    matches!(order.order, Some(Order::Welcome(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_nobody_declares_is_seen_and_blocks_nobody() {
    let bench = Bench::start().await;
    let claimed = Node::join(&bench, "claimed").await;
    let identity = join_as(&bench, "stranger").await;
    let mut stranger = Line::open(&bench, &identity).await.unwrap();
    let mut state = State::new("stranger");
    state.kind = "other";
    stranger.say(state.hello());
    assert!(is_welcome(&stranger.order().await.unwrap().unwrap()));
    let (_first, _second, _feed) = settled(&bench).await;
    let node = bench.get("fnode", "stranger").await;
    assert_eq!(node["status"]["presence"], "Connected");
    assert_eq!(node["status"]["facts"]["type"], "other");
    assert_eq!(node["status"]["conditions"][0]["reason"], "ClassUnclear");
    let node = bench.get("fnode", "claimed").await;
    assert_eq!(
        node["status"]["class"], "core",
        "the selector claims it by its facts"
    );
    assert_eq!(claimed.changes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_once_for_its_node() {
    let bench = Bench::start().await;
    let token = bench.token("core-1", false).await.unwrap().parse().unwrap();
    let addresses = [bench.address()];
    let refusal = |error: Error| match error {
        Error::Token { refusal, .. } => refusal,
        other => panic!("{other}"),
    };
    let other = join(&addresses, &token, &"core-2".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(refusal(other), TokenRefusal::OtherNode);
    join(&addresses, &token, &"core-1".parse().unwrap())
        .await
        .unwrap();
    let again = join(&addresses, &token, &"core-1".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(refusal(again), TokenRefusal::Used);
    let refused = bench.token("core-1", false).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    bench.token("core-1", true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_deleted_gets_no_new_certificate() {
    let bench = Bench::start().await;
    let identity = join_as(&bench, "core-1").await;
    let channel = connect(&[bench.address()], &identity).await.unwrap();
    let mut feed = bench.feed(0).await;
    let renewed = renew(channel.clone(), &identity).await.unwrap();
    assert_eq!(feed.named("renewed").await.text("node"), "core-1");
    let request = DeleteRequest {
        kind: "fnode".to_owned(),
        name: "core-1".to_owned(),
    };
    bench.admin().await.delete(request).await.unwrap();
    let Error::Call { status, .. } = renew(channel, &renewed).await.unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_session_of_a_node_wins() {
    let bench = Bench::start().await;
    let identity = join_as(&bench, "core-1").await;
    let state = State::new("core-1");
    let mut first = Line::open(&bench, &identity).await.unwrap();
    first.say(state.hello());
    assert!(is_welcome(&first.order().await.unwrap().unwrap()));
    let mut second = Line::open(&bench, &identity).await.unwrap();
    second.say(state.hello());
    assert!(is_welcome(&second.order().await.unwrap().unwrap()));
    assert!(
        matches!(first.order().await, Ok(None)),
        "the older one ends"
    );
    let mut feed = bench.feed(0).await;
    drop(second);
    let lost = feed.named("nodeLost").await;
    assert_eq!(lost.text("node"), "core-1");
    assert_eq!(feed.count("nodeLost"), 1, "only the one that counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_version_is_welcome_and_what_only_it_knows_is_left_out() {
    let bench = Bench::start().await;
    let identity = join_as(&bench, "core-1").await;
    let state = State::new("core-1");
    for version in [
        "",
        "0.0.1",
        "99.0.0",
        "\u{1b}[2J and much more than a version has",
    ] {
        let mut line = Line::open(&bench, &identity).await.unwrap();
        let Message::Hello(hello) = state.hello() else {
            panic!("a Hello");
        };
        let mut facts: Value = serde_json::from_slice(&hello.facts_json).unwrap();
        facts["later"] = serde_json::json!({"than": "this"});
        line.say(Message::Hello(Hello {
            version: version.to_owned(),
            facts_json: facts.to_string().into_bytes(),
            ..hello
        }));
        assert!(
            is_welcome(&line.order().await.unwrap().unwrap()),
            "{version}"
        );
        // Messages of a kind that a later version may have; what comes after them is heard.
        line.say_nothing();
        line.say_nothing();
        line.say(Message::VerdictJson(b"{}".to_vec()));
        let ended = line.order().await.unwrap_err();
        assert!(
            ended.message().contains("verdict cannot be read"),
            "{ended}"
        );
    }
}

fn ready(node: &Value) -> &Value {
    let conditions = node["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions
        .find(|it| it["type"] == "Ready")
        .unwrap_or(&Value::Null)
}

/// The Hello of a node that speaks these protocol numbers, with nothing else that can be read.
fn hello_of(version: &str, least: u32, most: u32) -> Message {
    Message::Hello(Hello {
        version: version.to_owned(),
        facts_json: b"what only it can read".to_vec(),
        protocol: Some(Protocol { least, most }),
        ..Hello::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_speaks_other_protocols_is_refused_and_named_until_it_fits() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    let identity = first.identity.clone();
    let state = first.state.lock().unwrap().clone();
    drop(first);
    feed.named("nodeLost").await;
    let digest = state.manifest.digest().to_string();

    for (hello, expected) in [
        (
            hello_of("9.9.0", 7, 9),
            "(9.9.0) speaks protocol 7 to 9, the controller (0.1.0) speaks protocol 1: update the controller, or go back to an earlier placetd on core-1; until then",
        ),
        (
            hello_of("0.0.1", 0, 0),
            "(0.0.1) speaks protocol 0, the controller",
        ),
        (hello_of("sly", 3, 1), "(sly) speaks protocol 3 to 1"),
        (
            hello_of("0.0.1", 0, 0),
            "update placetd on core-1; until then the node goes on",
        ),
    ] {
        let mut line = Line::open(&bench, &identity).await.unwrap();
        line.say(hello);
        let refused = line.order().await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains(expected), "{refused}");
        let told = feed.named("nodeRefused").await;
        assert_eq!(told.text("node"), "core-1");
        assert_eq!(told.text("reason"), refused.message());
        let is_told = |node: &Value| {
            let status = &node["status"];
            ready(node)["reason"] == "ProtocolMismatch"
                && status["presence"] == "Away"
                && status["manifestDigest"] == digest.as_str()
        };
        bench.until("FleetNode", "core-1", is_told).await;
    }
    let node = bench.get("FleetNode", "core-1").await;
    let told = ready(&node)["message"].as_str().unwrap();
    assert!(
        told.ends_with("until then the node goes on with what it runs"),
        "{told}"
    );

    // One that speaks later numbers too.
    let Message::Hello(hello) = state.hello() else {
        panic!("a Hello");
    };
    let protocol = Some(Protocol { least: 1, most: 9 });
    let mut line = Line::open(&bench, &identity).await.unwrap();
    line.say(Message::Hello(Hello { protocol, ..hello }));
    let order = line.order().await.unwrap().unwrap();
    let Some(Order::Welcome(welcome)) = order.order else {
        panic!("a welcome");
    };
    assert_eq!(welcome.protocol, Some(placet_protocol::SPOKEN.into()));
    assert_eq!(welcome.version, env!("CARGO_PKG_VERSION"));
    let fits = |node: &Value| ready(node)["reason"] != "ProtocolMismatch";
    bench.until("FleetNode", "core-1", fits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_with_an_honest_hello() {
    let bench = Bench::start().await;
    let identity = join_as(&bench, "core-1").await;
    let mut silent = Line::open(&bench, &identity).await.unwrap();
    silent.say(Message::VerdictJson(Vec::new()));
    let ended = silent.order().await.unwrap_err();
    assert!(ended.message().contains("begins with Hello"), "{ended}");

    let mut state = State::new("core-1");
    state.generation = 1;
    let mut liar = Line::open(&bench, &identity).await.unwrap();
    let Message::Hello(mut hello) = state.hello() else {
        panic!("a Hello");
    };
    hello.report.as_mut().unwrap().manifest_digest = Digest::of(b"another").to_string();
    liar.say(Message::Hello(hello));
    let ended = liar.order().await.unwrap_err();
    assert!(
        ended.message().contains("does not have the digest"),
        "{ended}"
    );

    state.generation = 0;
    state.boot_id = "a\nb".to_owned();
    let mut forger = Line::open(&bench, &identity).await.unwrap();
    forger.say(state.hello());
    let ended = forger.order().await.unwrap_err();
    assert_eq!(ended.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_speaks_only_for_itself_and_only_to_what_it_was_asked() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    first.vetoes(Some("no"));
    second.is_deaf_to(&["propose"]);
    bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("held").await;

    // A vote that nobody asked for, and one to another change, are not counted.
    let state = second.state.lock().unwrap().clone();
    let mut line = Line::open(&bench, &second.identity).await.unwrap();
    line.say(state.hello());
    assert!(is_welcome(&line.order().await.unwrap().unwrap()));
    let Some(Order::ProposalJson(bytes)) = line.order().await.unwrap().unwrap().order else {
        panic!("it is asked again, since the question may have been lost");
    };
    let proposal = serde_json::from_slice(&bytes).unwrap();
    let honest = state.verdict(&proposal, None);
    for twisted in [
        |verdict: &mut placet_model::Verdict| verdict.rollout = "ro-1".to_owned(),
        |verdict: &mut placet_model::Verdict| verdict.plan_digest = Digest::of(b"x"),
        |verdict: &mut placet_model::Verdict| verdict.change_digest = Digest::of(b"x"),
        |verdict: &mut placet_model::Verdict| verdict.boot_id = "an older boot".to_owned(),
    ] {
        let mut verdict = honest.clone();
        twisted(&mut verdict);
        line.say(Message::VerdictJson(canonical_json(&verdict)));
    }
    line.say(Message::VerdictJson(canonical_json(&honest)));
    let counted = feed.named("verdict").await;
    assert_eq!(counted.text("node"), "core-2");
    assert_eq!(
        counted.text("changeDigest"),
        honest.change_digest.to_string()
    );
    let node = bench.get("fnode", "core-2").await;
    assert_eq!(
        node["status"]["rollout"]["state"]["verdict"]["planDigest"],
        honest.plan_digest.to_string()
    );

    let mut other = honest;
    other.node = "core-1".parse().unwrap();
    line.say(Message::VerdictJson(canonical_json(&other)));
    let ended = line.order().await.unwrap_err();
    assert_eq!(ended.code(), Code::PermissionDenied);
    let verdict = bench.get("fnode", "core-1").await["status"]["lastVerdict"]["verdict"].clone();
    assert_eq!(verdict, "veto", "what core-1 said stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_given_only_to_nodes_that_were_told_to_stage_them() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    first.vetoes(Some("no"));
    second.is_deaf_to(&["stage"]);
    bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("tally").await;
    let wanted = Digest::of(b"Good day\n");
    let open = |node: &Node| {
        let identity = node.identity.clone();
        let bench = &bench;
        async move { connect(&[bench.address()], &identity).await.unwrap() }
    };
    let fetch = |channel, digest: Digest, offset| async move {
        let mut client = placet_protocol::nodes_client(channel);
        let digest = digest.to_string();
        let request = placet_protocol::wire::FetchRequest {
            digest,
            offset,
            base: String::new(),
        };
        let mut chunks = client.fetch(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            bytes.extend(chunk.data);
        }
        Ok::<_, tonic::Status>(bytes)
    };
    let (one, two) = (open(&first).await, open(&second).await);
    let before = bench.travelled("core-2");
    let early = fetch(two.clone(), wanted, 0).await.unwrap_err();
    assert_eq!(early.code(), Code::PermissionDenied);
    assert_eq!(bench.travelled("core-2"), before);

    bench.decide("ro-2", 1, DecisionKind::Skip).await.unwrap();
    feed.named("staging").await;
    assert_eq!(fetch(two.clone(), wanted, 0).await.unwrap(), b"Good day\n");
    assert_eq!(fetch(two.clone(), wanted, 5).await.unwrap(), b"day\n");
    assert_eq!(fetch(two.clone(), wanted, 9).await.unwrap(), b"");
    let past = fetch(two.clone(), wanted, 10).await.unwrap_err();
    assert_eq!(past.code(), Code::OutOfRange);
    let other = fetch(two.clone(), Digest::of(b"other"), 0)
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied, "not of its manifest");
    // What it runs may have been damaged there.
    assert_eq!(
        fetch(two, Digest::of(b"Hello\n"), 0).await.unwrap(),
        b"Hello\n"
    );
    let skipped = fetch(one, wanted, 0).await.unwrap_err();
    assert_eq!(skipped.code(), Code::PermissionDenied, "it was left out");
    assert_eq!(bench.travelled("core-2"), before + 9 + 4 + 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_another_boot_is_asked_again() {
    let bench = Bench::start().await;
    let (first, second, mut feed) = settled(&bench).await;
    first.vetoes(Some("no"));
    let commit = bench.commit_version("1.1.0", &["core-1", "core-2"]);
    feed.named("tally").await;
    second.state.lock().unwrap().boot_id = "a second boot".to_owned();
    let second = second.again(&bench).await;
    let again = feed.named("verdict").await;
    assert_eq!(again.text("node"), "core-2");
    bench.decide("ro-2", 1, DecisionKind::Skip).await.unwrap();
    feed.verified(&commit).await;
    let asked = second
        .orders()
        .iter()
        .filter(|order| *order == "propose")
        .count();
    assert_eq!(asked, 3, "once for each change, and once more");
    assert_eq!(first.changes(), 1);
}
