//! Events of Kubernetes: what `kubectl describe` shows.

use placet_tests::KubeFleet;
use serde_json::Value;

use crate::common::{kubernetes, open_session, settled};

/// Changes what the repository declares; it is put right.
fn drift(fleet: &KubeFleet) {
    let set = fleet.object("packageset", "base");
    let patch = r#"[{"op":"replace","path":"/spec/packages/0/version","value":"1.1.0"}]"#;
    fleet.kubectl(&["patch", "packageset", "base", "--type=json", "-p", patch]);
    fleet.until("the declaration to be put right", |fleet| {
        (fleet.object("packageset", "base")["spec"] == set["spec"]).then_some(())
    });
}

/// The Events about an object that have this word in their text.
fn about(fleet: &KubeFleet, (kind, name): (&str, &str), word: &str) -> Vec<Value> {
    // Another fleet had objects of the same names.
    let object = fleet.object(kind, name)["metadata"]["uid"].clone();
    let events = fleet.objects("events.v1.events.k8s.io").into_iter();
    let about = events.filter(|event| {
        event["regarding"]["uid"] == object
            && event["note"]
                .as_str()
                .is_some_and(|text| text.contains(word))
    });
    about.collect()
}

#[test]
fn a_hold_is_told_in_the_words_of_the_veto_and_what_is_repeated_is_counted() {
    let Some(mut fleet) = kubernetes(&["a"]) else {
        return;
    };
    settled(&mut fleet);
    drift(&fleet);
    fleet.until("an Event of the drift", |fleet| {
        (about(fleet, ("gitsource", "fleet"), "PackageSet/base").len() == 1).then_some(())
    });
    drift(&fleet);
    fleet.until("the Event to be counted", |fleet| {
        let [event] = &about(fleet, ("gitsource", "fleet"), "PackageSet/base")[..] else {
            return None;
        };
        (event["series"]["count"] == 2).then_some(())
    });

    let session = open_session(&fleet, "core-1");
    let commit = fleet.commit_greet("1.0.0", "1.1.0");
    let held = fleet.rollout(&commit, "Held");
    let name = held["metadata"]["name"].as_str().expect("a name");
    let veto = held["status"]["vetoes"][0]
        .as_str()
        .expect("a veto")
        .to_owned();
    fleet.placet(&["rollout", "decide", name, "--skip", "--reason", "tonight"]);
    fleet.rollout(&commit, "Done");
    let told = fleet.until("the end to be told", |fleet| {
        let told = fleet.kubectl(&["describe", "rollout", name]);
        told.contains("runs everywhere it should").then_some(told)
    });
    let events = told.rsplit_once("Events:").expect("Events").1;
    for words in [&*veto, "chatd", "3 nodes change", "decided: skip (tonight)"] {
        assert!(events.contains(words), "{words} in {events}");
    }
    let [of_node] = &about(&fleet, ("fleetnode", "core-1"), "non placet")[..] else {
        panic!("one Event of the node that objects");
    };
    assert_eq!(of_node["type"], "Warning");
    assert_eq!(
        about(&fleet, ("fleetnode", "core-2"), "").len(),
        0,
        "who accepts is not told"
    );
    drop(session);
}
