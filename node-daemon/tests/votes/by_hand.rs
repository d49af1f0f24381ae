//! The interface as somebody meets it who has no client at all.

use std::io::Write as _;

use serde_json::json;

use crate::world::{Raw, World, question};

#[test]
fn a_whole_vote_by_hand() {
    let world = World::new();
    let path = world.serve("counterd");
    let mut calls = Raw::connect(&path);
    let reply = calls.call("dev.placet.Vote.Register", &json!({"client": "a person"}));
    let pid = std::process::id();
    assert_eq!(
        reply,
        json!({"parameters": {"process": "counterd", "pid": pid}})
    );

    let mut events = Raw::connect(&path);
    events.send(&json!({"method": "dev.placet.Vote.Watch"}));
    let reply = events.receive().unwrap();
    assert_eq!(reply["error"], "org.varlink.service.ExpectedMore");
    events.send(&json!({"method": "dev.placet.Vote.Watch", "more": true}));
    let watching = json!({"parameters": {"event": "watching"}, "continues": true});
    assert_eq!(events.receive().unwrap(), watching);

    let question = question("one", &["counterd"]);
    let change = question.change_digest;
    let asking = world.ask(question);
    let event = events.receive().unwrap();
    let deadline = event["parameters"]["deadline"].as_str().unwrap();
    assert!(deadline.parse::<jiff::Timestamp>().is_ok());
    assert_eq!(
        event,
        json!({"continues": true, "parameters": {
            "event": "proposed",
            "changeDigest": change,
            "rollout": "main-1",
            "revision": "main@sha1:0123",
            "dryRun": false,
            "deadline": deadline,
            "seconds": event["parameters"]["seconds"],
            "modules": ["usr/lib/libgreet.so.1"],
            "moduleCount": 1,
            "summary": "usr/lib/libgreet.so.1 is changed",
        }})
    );
    let vote = json!({"changeDigest": change, "answer": "veto", "code": "no", "message": "No."});
    let reply = calls.call("dev.placet.Vote.Vote", &vote);
    assert_eq!(reply, json!({"parameters": {}}));
    assert_eq!(world.finish(asking)[0].message, "No.");
}

#[test]
fn the_service_describes_itself() {
    let world = World::new();
    let mut calls = Raw::connect(&world.serve("counterd"));
    let info = calls.call("org.varlink.service.GetInfo", &json!({}));
    let interfaces = json!(["org.varlink.service", "dev.placet.Vote"]);
    assert_eq!(info["parameters"]["interfaces"], interfaces);
    for interface in ["org.varlink.service", "dev.placet.Vote"] {
        let reply = calls.call(
            "org.varlink.service.GetInterfaceDescription",
            &json!({"interface": interface}),
        );
        let description = reply["parameters"]["description"].as_str().unwrap();
        assert!(description.contains(&format!("\ninterface {interface}\n")));
    }
}

#[test]
fn every_event_and_error_on_the_wire_is_in_the_description() {
    let description = include_str!("../../../sdk/dev.placet.Vote.varlink");
    let sources = [
        include_str!("../../src/vote/ballot.rs"),
        include_str!("../../src/vote/connection.rs"),
        include_str!("../../src/vote/look.rs"),
        include_str!("../../src/vote/state.rs"),
    ];
    let mut count = 0;
    for source in sources {
        for pattern in ["CallError::about(\"", "CallError::of(\""] {
            for rest in source.split(pattern).skip(1) {
                let name = rest.split('"').next().unwrap();
                assert!(description.contains(&format!("\nerror {name} (")), "{name}");
                count += 1;
            }
        }
        for rest in source.split("\"dev.placet.Vote.").skip(1) {
            let method = rest.split('"').next().unwrap();
            assert!(
                description.contains(&format!("\nmethod {method}(")),
                "{method}"
            );
            count += 1;
        }
    }
    assert!(count >= 16, "{count}");
}

#[test]
fn calls_that_make_no_sense_are_answered_with_errors() {
    let world = World::new();
    let mut calls = Raw::connect(&world.serve("counterd"));
    for (method, parameters, expected) in [
        (
            "dev.placet.Vote.Shout",
            json!({}),
            "org.varlink.service.MethodNotFound",
        ),
        (
            "org.example.Other.Do",
            json!({}),
            "org.varlink.service.InterfaceNotFound",
        ),
        ("", json!({}), "org.varlink.service.InterfaceNotFound"),
        ("dev.placet.Vote.Vote", json!({}), "dev.placet.Vote.Refused"),
        ("dev.placet.Vote.Vote", json!([]), "dev.placet.Vote.Refused"),
        (
            "dev.placet.Vote.Register",
            json!({"name": "root"}),
            "dev.placet.Vote.Refused",
        ),
        (
            "dev.placet.Vote.Register",
            json!({"client": "x".repeat(65)}),
            "dev.placet.Vote.Refused",
        ),
        (
            "dev.placet.Vote.Opened",
            json!({"libraries": []}),
            "dev.placet.Vote.NotRegistered",
        ),
        (
            "dev.placet.Vote.GetUsers",
            json!({"module": "/etc"}),
            "dev.placet.Vote.Refused",
        ),
        (
            "dev.placet.Vote.Ready",
            json!({"changeDigest": question("one", &[]).change_digest}),
            "dev.placet.Vote.NotRegistered",
        ),
        (
            "dev.placet.Vote.GetChangeSet",
            json!({"changeDigest": question("one", &[]).change_digest}),
            "dev.placet.Vote.UnknownProposal",
        ),
    ] {
        assert_eq!(
            calls.call(method, &parameters)["error"],
            expected,
            "{method} {parameters}"
        );
    }
}

#[test]
fn watching_needs_a_registration_and_happens_once() {
    let world = World::new();
    let path = world.serve("counterd");
    let mut events = Raw::connect(&path);
    events.send(&json!({"method": "dev.placet.Vote.Watch", "more": true}));
    assert_eq!(
        events.receive().unwrap()["error"],
        "dev.placet.Vote.NotRegistered"
    );
    let _registered = Raw::register(&path);
    events.send(&json!({"method": "dev.placet.Vote.Watch", "more": true}));
    assert_eq!(
        events.receive().unwrap()["error"],
        "dev.placet.Vote.AlreadyWatching"
    );
}

#[test]
fn a_oneway_call_gets_no_reply() {
    let world = World::new();
    let mut calls = Raw::connect(&world.serve("counterd"));
    calls.send(&json!({"method": "org.varlink.service.GetInfo", "oneway": true}));
    let reply = calls.call("dev.placet.Vote.Register", &json!({}));
    assert_eq!(reply["parameters"]["process"], "counterd");
}

#[test]
fn who_is_no_process_of_the_service_may_look_but_not_speak() {
    let world = World::new();
    let path = world.serve("counterd");
    world.forget(std::process::id());
    let mut guest = Raw::connect(&path);
    let info = guest.call("org.varlink.service.GetInfo", &json!({}));
    assert_eq!(info["parameters"]["product"], "placetd");
    let users = guest.call("dev.placet.Vote.GetUsers", &json!({"module": "lib/x"}));
    assert_eq!(users["parameters"], json!({"processes": []}));
    let unknown = guest.call("org.example.Foo", &json!({}));
    assert_eq!(unknown["error"], "org.varlink.service.InterfaceNotFound");
    let refused = guest.call("dev.placet.Vote.Register", &json!({}));
    assert_eq!(refused["error"], "dev.placet.Vote.NotYours");
    assert_eq!(guest.receive(), None, "it was sent away");
    for speaks in ["Watch", "Vote", "Ready", "Done", "Opened", "Follow"] {
        let method = format!("dev.placet.Vote.{speaks}");
        let refused = Raw::connect(&path).call(&method, &json!({}));
        assert_eq!(refused["error"], "dev.placet.Vote.NotYours", "{speaks}");
    }
}

#[test]
fn a_guest_that_floods_is_sent_away() {
    let world = World::new();
    let path = world.serve("counterd");
    world.forget(std::process::id());
    let mut guest = Raw::connect(&path);
    let call = b"{\"method\":\"org.varlink.service.GetInfo\"}\0";
    // Some fail: it is cut off meanwhile.
    let _ = guest.stream().write_all(&call.repeat(500));
    let mut replies = 0;
    while guest.receive().is_some() {
        replies += 1;
    }
    assert!((1..100).contains(&replies), "{replies} calls were answered");
}
