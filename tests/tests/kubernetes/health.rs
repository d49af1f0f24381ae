//! What replicas tell of themselves over HTTP.

use serde_json::Value;

use crate::common::{kubernetes, settled};

#[test]
fn replicas_say_who_leads_and_count_what_they_ask_of_the_api_server() {
    let Some(mut fleet) = kubernetes(&["a", "b"]) else {
        return;
    };
    settled(&mut fleet);
    let leader = fleet.leader().expect("a leader");
    let follower = if leader == "a" { "b" } else { "a" };
    assert_eq!(
        fleet.look(&leader, "/readyz"),
        (200, "this replica leads\n".to_owned())
    );
    let words = format!("{leader} leads, and this replica follows\n");
    fleet.until("the follower to know who leads", |fleet| {
        (fleet.look(follower, "/readyz") == (200, words.clone())).then_some(())
    });
    assert_eq!(fleet.look(follower, "/healthz").0, 200);
    let has = |name: &str, line: &str| {
        let (_, text) = fleet.look(name, "/metrics");
        let mut lines = text.lines();
        lines.any(|it| it.rsplit_once(' ') == line.rsplit_once(' '))
    };
    assert!(has(&leader, "placet_leader 1"));
    assert!(has(follower, "placet_leader 0"));
    assert!(has(&leader, "placet_connected_nodes 3"));
    assert!(has(follower, "placet_connected_nodes 0"));
    let asked = "placet_api_requests_total{verb=\"patch\",result=\"ok\"} 0";
    assert!(!has(&leader, asked), "statuses are patched");
    assert!(has(follower, asked), "a follower writes nothing");

    fleet.cluster().kill_api_server();
    fleet.until("a replica that leads nobody to say so", |fleet| {
        let (status, words) = fleet.look(&leader, "/readyz");
        (status == 503 && words.contains("no replica is known to lead")).then_some(())
    });
    assert_eq!(
        fleet.look(&leader, "/healthz").0,
        200,
        "starting anew would not help"
    );
    fleet.cluster().start_api_server();
    fleet.until("somebody to lead again", |fleet| {
        ["a", "b"]
            .iter()
            .any(|name| fleet.look(name, "/readyz").1 == "this replica leads\n")
            .then_some(())
    });
}

/// The lines of a program's log.
fn log(fleet: &placet_tests::KubeFleet, name: &str) -> Vec<String> {
    let log = std::fs::read_to_string(fleet.path("logs").join(name)).expect("a log");
    log.lines().map(str::to_owned).collect()
}

#[test]
fn one_trace_leads_from_the_controllers_log_to_the_nodes() {
    let Some(mut fleet) = kubernetes(&[]) else {
        return;
    };
    // Nobody listens there: traces are in the logs all the same.
    let arguments = ["--log", "json", "--otlp-endpoint", "http://127.0.0.1:9"];
    fleet.add_controller("a", &arguments.map(str::to_owned));
    settled(&mut fleet);
    let rollout = fleet.object("rollout", "ro-1");
    let traceparent = &rollout["metadata"]["annotations"]["placet.dev/traceparent"];
    let trace = traceparent.as_str().and_then(|text| text.split('-').nth(1));
    let trace = trace.expect("a trace");

    let lines = log(&fleet, "a");
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let is_of_trace = |line: &&Value| line["span"]["trace_id"] == trace;
    let messages: Vec<&str> = lines
        .iter()
        .filter(is_of_trace)
        .filter_map(|line| line["fields"]["message"].as_str())
        .collect();
    for word in ["roll-out ro-1 of", "verdict", "activating", "verified"] {
        let found = messages.iter().any(|message| message.starts_with(word));
        assert!(found, "{word}: {messages:?}");
    }
    let complaint = "spans cannot be sent to http://127.0.0.1:9";
    fleet.until("a complaint about the collector", |fleet| {
        let lines = log(fleet, "a");
        lines.iter().any(|it| it.contains(complaint)).then_some(())
    });
    let node = log(&fleet, "core-1");
    for words in ["is asked about", "is staged for ro-1", "is active for ro-1"] {
        let line = node.iter().find(|line| line.contains(words)).expect(words);
        assert!(line.contains(trace), "{line}");
    }
}
