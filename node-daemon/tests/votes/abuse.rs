//! Processes that flood, stall, hang up halfway, or speak another language.

use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use placet_model::Answer;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{Program, Raw, World, change_set, name, question, voters};

fn assert_serves(world: &World) {
    let mut calls = Raw::connect(&world.serve("counterd"));
    let info = calls.call("org.varlink.service.GetInfo", &json!({}));
    assert_eq!(info["parameters"]["product"], "placetd");
}

/// How much memory this process holds, in kilobytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_message_of_a_gigabyte_is_cut_off_early() {
    let world = World::new();
    let mut calls = Raw::connect(&world.serve("counterd"));
    let before = resident();
    let chunk = vec![b'x'; 1 << 16];
    let mut sent: u64 = 0;
    let error = loop {
        match calls.stream().write(&chunk) {
            Ok(count) => sent += count as u64,
            Err(error) => break error,
        }
        assert!(sent < 1 << 30, "it took all of it");
    };
    assert!(matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    ));
    // What the kernel buffers for one socket, with room to spare.
    assert!(sent < 4 << 20, "{sent} bytes were taken");
    assert!(resident() < before + (64 << 10));
    assert_serves(&world);
}

#[test]
fn a_flood_of_calls_is_cut_off_and_others_are_served() {
    let world = World::new();
    let path = world.serve("counterd");
    let (mut calls, mut events) = Raw::register(&path);
    let mut flood = Raw::connect(&path);
    let call = b"{\"method\":\"org.varlink.service.GetInfo\"}\0";
    let started = Instant::now();
    // Some fail: it is cut off meanwhile.
    let _ = flood.stream().write_all(&call.repeat(2_000));
    let mut replies = 0;
    while flood.receive().is_some() {
        replies += 1;
    }
    let permitted = 200 + started.elapsed().as_millis() / 10 + 1;
    assert!(replies <= permitted, "{replies} calls were answered");
    // The registration stands: only the connection that flooded is gone.
    let question = question("one", &["counterd"]);
    let change = question.change_digest;
    let asking = world.ask(question);
    assert_eq!(events.receive().unwrap()["parameters"]["event"], "proposed");
    calls.call(
        "dev.placet.Vote.Vote",
        &json!({"changeDigest": change, "answer": "accept"}),
    );
    assert_eq!(world.finish(asking)[0].answer, Answer::Accept);
}

#[test]
fn a_service_has_so_many_connections_and_gets_them_back() {
    let world = World::new();
    let path = world.serve("counterd");
    let info = |raw: &mut Raw| {
        // The service may have hung up before the call.
        let _ = raw
            .stream()
            .write_all(b"{\"method\":\"org.varlink.service.GetInfo\"}\0");
        raw.receive()
    };
    let mut open: Vec<_> = (0..8).map(|_| Raw::connect(&path)).collect();
    assert!(open.iter_mut().all(|raw| info(raw).is_some()));
    assert_eq!(info(&mut Raw::connect(&path)), None);
    drop(open);
    let deadline = Instant::now() + crate::world::PATIENCE;
    while info(&mut Raw::connect(&path)).is_none() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn strangers_take_no_connection_from_those_who_belong() {
    let world = World::new();
    let path = world.serve("counterd");
    world.forget(std::process::id());
    let _strangers: Vec<_> = (0..8).map(|_| Raw::connect(&path)).collect();
    let mut voter = Program::voter(&world, &voters()[0], "counterd", "accept");
    let asking = world.ask(question("one", &["counterd"]));
    voter.expect("proposed usr/lib/libgreet.so.1 is changed");
    assert_eq!(world.finish(asking)[0].answer, Answer::Accept);
}

/// A question whose event is large, so that few of them fill the buffers of a socket.
fn long_question(change: &str, processes: &[&str]) -> placet_node_daemon::vote::Question {
    let mut question = question(change, processes);
    let paths: Vec<_> = (0..200)
        .map(|n| format!("usr/share/{}/{n}", "x".repeat(80)))
        .collect();
    question.change_set = change_set(&paths);
    for voter in &mut question.voters {
        voter.modules = paths.iter().map(|path| path.parse().unwrap()).collect();
    }
    question
}

#[test]
fn who_never_reads_delays_nobody() {
    let world = World::new();
    let _deaf = Raw::register(&world.serve("counterd"));
    let mut voter = Program::voter(&world, &voters()[0], "chatd", "accept");
    let mut unread = question("unread", &["counterd"]);
    unread.voters[0].vote_seconds = 2;
    let unread = world.ask(unread);
    let mut slowest = Duration::ZERO;
    // More than its queue and the buffers of its socket hold.
    for round in 0..100 {
        let question = long_question(&round.to_string(), &["counterd", "chatd"]);
        let change = question.change_digest;
        let started = Instant::now();
        let asking = world.ask(question);
        assert!(voter.line().starts_with("proposed "));
        slowest = slowest.max(started.elapsed());
        voter.expect("vote 0");
        world.run(world.voters.release(&change, "enough"));
        voter.expect("released enough");
        let records = world.finish(asking);
        let answered = records
            .iter()
            .find(|record| record.process == name("chatd"));
        assert_eq!(answered.unwrap().answer, Answer::Accept);
    }
    assert!(slowest < Duration::from_millis(100), "it took {slowest:?}");
    assert!(
        !world.voters.is_registered(&name("counterd")),
        "it was given up"
    );
    // Not reading is silence, and no way out of being asked.
    assert_eq!(world.finish(unread)[0].answer, Answer::NoAnswer);
}

#[test]
fn who_breaks_the_protocol_where_it_watches_could_not_be_asked() {
    let world = World::new();
    let (_calls, mut events) = Raw::register(&world.serve("counterd"));
    let asking = world.ask(question("one", &["counterd"]));
    assert_eq!(events.receive().unwrap()["parameters"]["event"], "proposed");
    events.stream().write_all(b"\x1b[31m\0").unwrap();
    let record = world.finish(asking).remove(0);
    assert_eq!(record.answer, Answer::Error);
    assert_eq!(
        record.message,
        "it made a call on the connection that it watches"
    );
    assert_eq!(events.receive(), None::<Value>);
}

#[test]
fn a_message_may_come_in_pieces_or_stop_halfway() {
    let world = World::new();
    let path = world.serve("counterd");
    let message = b"{\"method\":\"org.varlink.service.GetInfo\"}\0";
    for split in 0..message.len() {
        // The first half of them hang up, the others go on.
        let mut raw = Raw::connect(&path);
        raw.stream().write_all(&message[..split]).unwrap();
        if split % 2 == 0 {
            continue;
        }
        raw.stream().write_all(&message[split..]).unwrap();
        assert!(raw.receive().unwrap()["parameters"].is_object());
    }
    assert_serves(&world);
}

#[test]
fn anything_at_all_may_arrive() {
    let world = World::new();
    let path = world.serve("counterd");
    let byte = || prop_oneof![4 => any::<u8>(), 1 => Just(0), 1 => Just(b'{'), 1 => Just(b'"')];
    let strategy = prop::collection::vec(byte(), 1..3_000);
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(48)
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&strategy, |bytes| {
        let mut raw = Raw::connect(&path);
        let _ = raw.stream().write_all(&bytes);
        let _ = raw.stream().shutdown(std::net::Shutdown::Write);
        // Whatever it says, it says in whole messages and ends.
        while raw.receive().is_some() {}
        Ok(())
    });
    outcome.unwrap();
    assert_serves(&world);
}
