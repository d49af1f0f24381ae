//! The Rust client against the service.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use placet_model::{Answer, Digest, Silence, VerdictKind};
use placet_node_daemon::vote::{Handled, Outcome, Prepared};
use placet_sdk::{Error, Event, Handling, Interest, Placet, Proposal, Vote};

use crate::world::{PATIENCE, Program, World, change_set, name, question, voters};

fn connect(world: &World) -> Placet {
    Placet::connect(&world.serve("counterd")).unwrap()
}

fn event(placet: &mut Placet) -> Event {
    placet
        .next_event(Some(PATIENCE))
        .unwrap()
        .expect("an event")
}

fn proposal(placet: &mut Placet) -> Proposal {
    match event(placet) {
        Event::Proposed(proposal) => proposal,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(result: Result<(), Error>, expected: &str) {
    match result {
        Err(Error::Refused { name, .. }) => assert_eq!(name, format!("dev.placet.Vote.{expected}")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_from_the_question_to_the_end() {
    let world = World::new();
    let mut placet = connect(&world);
    assert_eq!(placet.process(), "counterd");
    let question = question("one", &["counterd"]);
    let change = question.change_digest;

    let asking = world.ask(question.clone());
    let asked = proposal(&mut placet);
    assert_eq!(asked.change_digest, change.to_string());
    assert_eq!(asked.rollout, "main-1");
    assert_eq!(asked.revision, "main@sha1:0123");
    assert_eq!(asked.modules, ["usr/lib/libgreet.so.1"]);
    assert_eq!(asked.summary, "usr/lib/libgreet.so.1 is changed");
    assert!(!asked.dry_run && asked.within <= Duration::from_secs(20));
    let in_full = placet.change_set(&asked.change_digest).unwrap();
    assert_eq!(in_full, serde_json::to_value(&question.change_set).unwrap());
    placet.vote(&asked, Vote::accept()).unwrap();
    let records = world.finish(asking);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].answer, Answer::Accept);
    assert_eq!(records[0].pid, std::process::id());
    assert_eq!(records[0].change_digest, change);
    assert_eq!(records[0].modules, question.voters[0].modules);

    let preparing = world.prepare(change);
    assert!(matches!(event(&mut placet), Event::Prepare { .. }));
    placet.ready(&asked.change_digest).unwrap();
    assert_eq!(world.finish(preparing), Prepared::Ready);
    refused(placet.ready(&asked.change_digest), "NotExpected");

    for (handling, outcome, expected) in [
        (Handling::Handled, Outcome::Activated, Handled::Done),
        (Handling::Default, Outcome::Regressed, Handled::AsksDefault),
    ] {
        let changing = world.changed(change, outcome);
        match event(&mut placet) {
            Event::Changed { outcome: told, .. } => {
                assert_eq!(format!("{told:?}"), format!("{outcome:?}"));
            }
            other => panic!("{other:?}"),
        }
        placet.done(&asked.change_digest, handling).unwrap();
        assert_eq!(world.finish(changing), expected);
    }
}

#[test]
fn a_veto_is_recorded_in_its_own_words() {
    let world = World::new();
    let mut placet = connect(&world);
    let asking = world.ask(question("one", &["counterd"]));
    let asked = proposal(&mut placet);
    let veto = Vote::veto("sessions-open", "3 open\u{1b}[31m sessions\u{0}");
    placet.vote(&asked, veto).unwrap();
    let record = world.finish(asking).remove(0);
    assert_eq!(record.answer, Answer::Veto);
    assert_eq!(record.code, "sessions-open");
    let pid = std::process::id();
    assert_eq!(
        record.to_string(),
        format!(
            "counterd ({pid}) non placet: 3 open\\u{{1b}}[31m sessions\\u{{0}} [sessions-open]"
        )
    );
}

#[test]
fn a_defer_says_until_when_and_is_bounded() {
    let world = World::new();
    let mut placet = connect(&world);
    let asking = world.ask(question("one", &["counterd"]));
    let asked = proposal(&mut placet);
    for pause in [Duration::ZERO, Duration::from_hours(25)] {
        refused(placet.vote(&asked, Vote::defer(pause, "busy")), "Refused");
    }
    let before = Timestamp::now();
    placet
        .vote(&asked, Vote::defer(Duration::from_hours(1), "busy"))
        .unwrap();
    let record = world.finish(asking).remove(0);
    assert_eq!(record.answer, Answer::Defer);
    let pause = record.until.unwrap().duration_since(before);
    assert!((pause - SignedDuration::from_hours(1)).abs() < SignedDuration::from_secs(5));
}

#[test]
fn texts_of_a_vote_are_bounded_and_a_refused_vote_is_none() {
    let world = World::new();
    let mut placet = connect(&world);
    let asking = world.ask(question("one", &["counterd"]));
    let asked = proposal(&mut placet);
    for (code, message) in [
        (&*"c".repeat(65), String::new()),
        ("two words", String::new()),
        ("new\nline", String::new()),
        ("", "é".repeat(1_001)),
    ] {
        refused(placet.vote(&asked, Vote::veto(code, &message)), "Refused");
    }
    placet
        .vote(&asked, Vote::veto(&"c".repeat(64), &"é".repeat(1_000)))
        .unwrap();
    assert_eq!(world.finish(asking)[0].message, "é".repeat(1_000));
}

#[test]
fn only_the_first_answer_to_a_known_question_counts() {
    let world = World::new();
    let mut placet = connect(&world);
    let mut slow = Program::voter(&world, &voters()[0], "slowd", "silent");
    let asking = world.ask(question("one", &["counterd", "slowd"]));
    let asked = proposal(&mut placet);
    slow.expect("proposed usr/lib/libgreet.so.1 is changed");
    let mut unknown = asked.clone();
    unknown.change_digest = Digest::of(b"another").to_string();
    refused(placet.vote(&unknown, Vote::accept()), "UnknownProposal");
    unknown.change_digest = "sha256:00".to_owned();
    refused(placet.vote(&unknown, Vote::accept()), "Refused");
    placet.vote(&asked, Vote::veto("first", "")).unwrap();
    refused(placet.vote(&asked, Vote::accept()), "AlreadyVoted");
    // Its end leaves nobody to wait for.
    drop(slow);
    let records = world.finish(asking);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].code, "first");
    refused(placet.vote(&asked, Vote::accept()), "AlreadyClosed");
    world.run(world.voters.release(&records[0].change_digest, "over"));
    refused(placet.vote(&asked, Vote::accept()), "UnknownProposal");
}

#[test]
fn silence_counts_as_declared() {
    let world = World::new();
    let _placet = connect(&world);
    let policies = [
        (
            Silence::NoAnswer,
            Answer::NoAnswer,
            "did not answer within 1 s",
        ),
        (
            Silence::Accept,
            Answer::Accept,
            "did not answer within 1 s, which counts as accept",
        ),
        (
            Silence::Veto,
            Answer::Veto,
            "did not answer within 1 s, which counts as veto",
        ),
    ];
    let asking = policies.map(|(silence, answer, message)| {
        let mut question = question(message, &["counterd"]);
        question.voters[0].silence = silence;
        question.voters[0].vote_seconds = 1;
        (world.ask(question), answer, message)
    });
    for (asking, answer, message) in asking {
        let record = world.finish(asking).remove(0);
        assert_eq!((record.answer, &*record.message), (answer, message));
    }
}

#[test]
fn who_is_not_registered_is_neither_asked_nor_waited_for() {
    let world = World::new();
    world.serve("counterd");
    let question = question("one", &["counterd", "unknownd"]);
    let change = question.change_digest;
    assert!(world.finish(world.ask(question)).is_empty());
    assert_eq!(world.finish(world.prepare(change)), Prepared::NotRegistered);
    let changed = world.changed(change, Outcome::Failed);
    assert_eq!(world.finish(changed), Handled::NotRegistered);
}

#[test]
fn who_registers_late_is_asked_with_the_time_that_is_left() {
    let world = World::new();
    let mut first = Program::voter(&world, &voters()[0], "firstd", "silent");
    let asking = world.ask(question("one", &["counterd", "firstd"]));
    first.expect("proposed usr/lib/libgreet.so.1 is changed");
    let mut placet = connect(&world);
    let asked = proposal(&mut placet);
    placet.vote(&asked, Vote::accept()).unwrap();
    drop(first);
    let records = world.finish(asking);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].process, name("counterd"));
}

#[test]
fn a_process_that_hangs_up_is_no_stakeholder() {
    let world = World::new();
    let mut placet = connect(&world);
    placet.opened(&["usr/lib/plugin.so"]).unwrap();
    let started = Instant::now();
    let asking = world.ask(question("one", &["counterd"]));
    proposal(&mut placet);
    drop(placet);
    assert!(world.finish(asking).is_empty());
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "it did not wait for the deadline"
    );
    assert!(!world.voters.is_registered(&name("counterd")));
    assert!(world.voters.announced().is_empty());
}

#[test]
fn a_released_question_ends_and_is_never_an_accept() {
    let world = World::new();
    let mut placet = connect(&world);
    let question = question("one", &["counterd"]);
    let change = question.change_digest;
    let asking = world.ask(question);
    proposal(&mut placet);
    world.run(world.voters.release(&change, "a newer\u{7} revision came"));
    match event(&mut placet) {
        Event::Released { reason, .. } => assert_eq!(reason, "a newer\\u{7} revision came"),
        other => panic!("{other:?}"),
    }
    let records = world.finish(asking);
    assert_eq!(VerdictKind::from(records[0].answer), VerdictKind::Error);
}

#[test]
fn asked_again_about_the_same_change_the_new_question_counts() {
    let world = World::new();
    let mut placet = connect(&world);
    let first = world.ask(question("one", &["counterd"]));
    proposal(&mut placet);
    let second = world.ask(question("one", &["counterd"]));
    let asked = proposal(&mut placet);
    assert_eq!(world.finish(first)[0].answer, Answer::Error);
    placet.vote(&asked, Vote::accept()).unwrap();
    assert_eq!(world.finish(second)[0].answer, Answer::Accept);
}

#[test]
fn a_process_may_restart_itself_and_then_be_done() {
    let world = World::new();
    let mut placet = connect(&world);
    let change = Digest::of(b"one");
    let changing = world.changed(change, Outcome::Activated);
    assert!(matches!(event(&mut placet), Event::Changed { .. }));
    drop(placet);
    let mut successor = connect(&world);
    successor
        .done(&change.to_string(), Handling::Handled)
        .unwrap();
    assert_eq!(world.finish(changing), Handled::Done);
}

#[test]
fn a_process_that_goes_while_it_prepares_is_prepared() {
    let world = World::new();
    let mut placet = connect(&world);
    let preparing = world.prepare(Digest::of(b"one"));
    assert!(matches!(event(&mut placet), Event::Prepare { .. }));
    drop(placet);
    assert_eq!(world.finish(preparing), Prepared::Ready);
}

#[test]
fn who_does_not_say_ready_or_done_is_not_waited_for_longer_than_it_may_take() {
    let world = World::new();
    let _placet = connect(&world);
    let (process, change) = (name("counterd"), Digest::of(b"one"));
    let within = Duration::from_millis(50);
    let prepared = world.run(world.voters.prepare(&process, &change, within));
    assert_eq!(prepared, Prepared::TimedOut);
    let outcome = Outcome::Activated;
    let handled = world.run(world.voters.changed(&process, &change, outcome, within));
    assert_eq!(handled, Handled::TimedOut);
}

#[test]
fn what_was_opened_counts_until_the_process_goes() {
    let world = World::new();
    let mut placet = connect(&world);
    placet.opened(&["usr/lib/plugin.so"]).unwrap();
    for path in ["/usr/lib/plugin.so", "../plugin.so", ""] {
        refused(placet.opened(&[path]), "Refused");
    }
    let opened = world.voters.announced();
    let paths: Vec<_> = opened[&name("counterd")]
        .opened
        .iter()
        .map(placet_model::ModulePath::as_str)
        .collect();
    assert_eq!(paths, ["usr/lib/plugin.so"]);
    let users = [("usr/lib/plugin.so".parse().unwrap(), [name("chatd")].into())];
    world.voters.set_users(users.into());
    assert_eq!(
        placet.users("usr/lib/plugin.so").unwrap(),
        ["chatd", "counterd"]
    );
    assert!(placet.users("usr/lib/other.so").unwrap().is_empty());
}

#[test]
fn an_interest_is_announced_checked_and_bounded() {
    let mut world = World::new();
    let mut placet = connect(&world);
    let paths = |path: &str| Interest {
        paths: vec![path.to_owned()],
        ..Interest::default()
    };
    refused(placet.follow(&Interest::default()), "Refused");
    refused(placet.follow(&paths("")), "Refused");
    let odd = Interest {
        types: vec!["song".to_owned()],
        ..Interest::default()
    };
    refused(placet.follow(&odd), "Refused");
    for number in 0..64 {
        placet.follow(&paths(&format!("etc/{number}"))).unwrap();
    }
    placet.follow(&paths("etc/0")).unwrap();
    refused(placet.follow(&paths("etc/64")), "Refused");
    let follows = |world: &World| world.voters.announced()[&name("counterd")].follows.len();
    assert_eq!(follows(&world), 64);
    world.restart("counterd");
    assert!(placet.next_event(Some(PATIENCE)).is_err());
    world.serve("counterd");
    placet.reconnect().unwrap();
    assert_eq!(follows(&world), 64, "it is named again");
}

#[test]
fn who_asks_for_it_is_told_of_every_change_and_of_its_end() {
    let world = World::new();
    let mut placet = connect(&world);
    let change = Digest::of(b"change");
    world.run(async { world.voters.give_notice(change, "main-1", None) });
    placet.notices(true).unwrap();
    world.run(async {
        world.voters.give_notice(change, "main-2", None);
        let end = Some(Outcome::Regressed);
        world.voters.give_notice(change, "main-2", end);
    });
    let change_digest = change.to_string();
    let began = Event::Began {
        change_digest: change_digest.clone(),
        rollout: "main-2".to_owned(),
    };
    assert_eq!(event(&mut placet), began, "not of the one before it asked");
    let ended = Event::Ended {
        change_digest,
        outcome: placet_sdk::Outcome::Regressed,
    };
    assert_eq!(event(&mut placet), ended);
}

#[test]
fn a_change_set_that_fits_no_message_comes_as_a_file() {
    let world = World::new();
    let mut placet = connect(&world);
    let paths: Vec<_> = (0..5_000)
        .map(|n| format!("usr/share/data/{n:04}"))
        .collect();
    let mut question = question("one", &["counterd"]);
    question.change_set = change_set(&paths);
    question.voters[0].modules = paths.iter().map(|path| path.parse().unwrap()).collect();
    let expected = serde_json::to_value(&question.change_set).unwrap();
    let _asking = world.ask(question);
    let asked = proposal(&mut placet);
    assert_eq!(asked.module_count, 5_000);
    assert!(asked.modules.len() > 100 && asked.modules.len() < 5_000);
    assert_eq!(
        asked.summary,
        "usr/share/data/0000 is changed, and 4999 more modules"
    );
    assert_eq!(placet.change_set(&asked.change_digest).unwrap(), expected);
}

#[test]
fn after_a_restart_of_the_agent_the_client_registers_again() {
    let mut world = World::new();
    let mut placet = connect(&world);
    placet.opened(&["usr/lib/plugin.so"]).unwrap();
    world.restart("counterd");
    let result = placet.next_event(Some(PATIENCE));
    assert!(matches!(result, Err(Error::Disconnected)), "{result:?}");
    assert!(matches!(placet.reconnect(), Err(Error::Connect { .. })));
    world.serve("counterd");
    placet.reconnect().unwrap();
    assert_eq!(world.voters.announced()[&name("counterd")].opened.len(), 1);
    let asking = world.ask(question("one", &["counterd"]));
    let asked = proposal(&mut placet);
    placet.vote(&asked, Vote::accept()).unwrap();
    assert_eq!(world.finish(asking).len(), 1);
}

#[test]
fn a_process_of_another_service_is_sent_away() {
    let world = World::new();
    let path = world.serve("counterd");
    world.forget(std::process::id());
    match Placet::connect(&path) {
        Err(Error::Refused { name, parameters }) => {
            assert_eq!(name, "dev.placet.Vote.NotYours");
            assert_eq!(parameters["pid"], std::process::id());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_event_is_no_error() {
    let world = World::new();
    let mut placet = connect(&world);
    assert_eq!(placet.next_event(Some(Duration::ZERO)).unwrap(), None);
    assert!(placet.fd() >= 0);
}
