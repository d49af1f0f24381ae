//! What replicas tell of themselves over HTTP.

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
