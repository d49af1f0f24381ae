//! What nodes say of test suites, honest and other.

use placet_protocol::wire::from_node::Message;
use placet_protocol::wire::{Suite, TestFailure};
use serde_json::Value;
use tonic::{Code, Status};

use crate::bench::Bench;
use crate::node::{Line, Node};
use crate::story::settled;

fn suite(package: &str) -> Suite {
    Suite {
        package: package.to_owned(),
        version: "1.2.0".to_owned(),
        tests: 3,
        passed: 1,
        skipped: 1,
        failed: 1,
        failures: vec![TestFailure {
            test: "routes".to_owned(),
            why: "exited with code 1".to_owned(),
        }],
    }
}

/// Makes nonsense of a suite.
type Twist = fn(&mut Suite);

/// A session in which the node says this of its suites, and how it is answered.
async fn says(bench: &Bench, node: &Node, suites: Vec<Suite>) -> Result<Line, Status> {
    let mut line = Line::open(bench, &node.identity).await?;
    let state = node.state.lock().unwrap().clone();
    let Message::Hello(mut hello) = state.hello() else {
        panic!("a Hello");
    };
    hello.report.as_mut().unwrap().suites = suites;
    line.say(Message::Hello(hello));
    line.order().await?;
    Ok(line)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_suite_came_to_stands_in_the_status_and_in_the_feed() {
    let bench = Bench::start().await;
    let (first, _second, mut feed) = settled(&bench).await;
    let running = Suite {
        passed: 0,
        failed: 0,
        failures: Vec::new(),
        ..suite("checks")
    };
    let _line = says(&bench, &first, vec![running]).await.unwrap();
    let message = |node: &Value| {
        let conditions = node["status"]["conditions"].as_array().unwrap().iter();
        let mut ready = conditions.filter(|it| it["type"] == "Ready");
        ready.next().unwrap()["message"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let runs = |node: &Value| message(node).ends_with("; its tests run (1 of 3 have ended)");
    bench.until("FleetNode", "core-1", runs).await;

    let _line = says(&bench, &first, vec![suite("checks")]).await.unwrap();
    let told = feed.named("testsFailed").await;
    assert_eq!(
        (told.text("node"), told.text("suite")),
        ("core-1", "checks")
    );
    assert_eq!(told.list("failures"), ["routes: it exited with code 1"]);
    let failed = |node: &Value| {
        message(node) == "test routes of suite checks 1.2.0 failed: it exited with code 1"
    };
    bench.until("FleetNode", "core-1", failed).await;

    let passed = Suite {
        passed: 2,
        failed: 0,
        failures: Vec::new(),
        ..suite("checks")
    };
    let _line = says(&bench, &first, vec![passed]).await.unwrap();
    let told = feed.named("testsPassed").await;
    assert_eq!(told.text("suite"), "checks");
    let is_ready = |node: &Value| message(node).ends_with("runs as declared");
    bench.until("FleetNode", "core-1", is_ready).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suites_are_bounded_and_nonsense_ends_the_session() {
    let bench = Bench::start().await;
    let (first, _second, _feed) = settled(&bench).await;
    let twists: [(Twist, &str); 4] = [
        (|it| it.package = "A b".to_owned(), "`A b`"),
        (|it| it.version = "one".to_owned(), "cannot be read"),
        (
            |it| it.passed = u32::MAX,
            "more tests have ended than it has",
        ),
        (|it| it.failures[0].test = "../x".to_owned(), "`../x`"),
    ];
    for (twist, expected) in twists {
        let mut twisted = suite("checks");
        twist(&mut twisted);
        let ended = says(&bench, &first, vec![twisted]).await;
        let ended = ended.err().unwrap();
        assert_eq!(ended.code(), Code::InvalidArgument);
        assert!(ended.message().contains(expected), "{ended}");
    }

    let mut long = suite("checks");
    long.failures[0].why = "\u{1b}".repeat(5_000);
    long.failures = vec![long.failures[0].clone(); 50];
    let others = (0..100).map(|number| suite(&format!("checks-{number}")));
    let all = [long.clone(), long].into_iter().chain(others).collect();
    let _line = says(&bench, &first, all).await.unwrap();
    let is_told = |node: &Value| !node["status"]["suites"].is_null();
    bench.until("FleetNode", "core-1", is_told).await;
    let node = bench.get("FleetNode", "core-1").await;
    let suites = node["status"]["suites"].as_array().unwrap();
    assert_eq!(suites.len(), 31, "two of the same are one");
    let failures = suites[0]["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 5);
    let why = failures[0]["why"].as_str().unwrap();
    assert!(!why.contains('\u{1b}') && why.len() < 10_000, "{why}");
}
