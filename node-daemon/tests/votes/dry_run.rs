//! Dry runs beside real proposals.

use std::time::Duration;

use placet_model::{Answer, Digest, Silence, VoteRecord};
use placet_sdk::{Error, Event, Placet, Proposal, Vote};

use crate::world::{PATIENCE, World, question};

fn connect(world: &World) -> Placet {
    Placet::connect(&world.serve("counterd")).unwrap()
}

fn event(placet: &mut Placet) -> Event {
    let event = placet.next_event(Some(PATIENCE)).unwrap();
    event.expect("an event")
}

fn proposal(placet: &mut Placet) -> Proposal {
    match event(placet) {
        Event::Proposed(proposal) => proposal,
        other => panic!("{other:?}"),
    }
}

fn released(placet: &mut Placet) -> String {
    match event(placet) {
        Event::Released { change_digest, .. } => change_digest,
        other => panic!("{other:?}"),
    }
}

fn only(mut records: Vec<VoteRecord>) -> VoteRecord {
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0)
}

#[test]
fn it_asks_as_a_proposal_does_and_is_withdrawn_once_it_is_answered() {
    let world = World::new();
    let mut placet = connect(&world);
    let asking = world.ask_dry(question("dry", &["counterd"]));
    let asked = proposal(&mut placet);
    assert!(asked.dry_run);
    assert_eq!(asked.summary, "usr/lib/libgreet.so.1 is changed");
    assert!(placet.change_set(&asked.change_digest).is_ok());
    placet
        .vote(&asked, Vote::veto("sessions-open", "3 open sessions"))
        .unwrap();
    let record = only(world.finish(asking));
    assert_eq!(
        (record.answer, &*record.message),
        (Answer::Veto, "3 open sessions")
    );
    assert_eq!(released(&mut placet), asked.change_digest);
    let gone = placet.change_set(&asked.change_digest);
    assert!(
        matches!(&gone, Err(Error::Refused { name, .. }) if name.ends_with("UnknownProposal")),
        "{gone:?}"
    );
}

#[test]
fn a_proposal_that_is_open_meanwhile_hears_nothing_of_it() {
    let world = World::new();
    let mut placet = connect(&world);
    let real = question("real", &["counterd"]);
    let change = real.change_digest;
    let asking = world.ask(real);
    let asked = proposal(&mut placet);
    let trying = world.ask_dry(question("dry", &["counterd"]));
    let tried = proposal(&mut placet);
    assert!(tried.dry_run && !asked.dry_run);
    placet.vote(&tried, Vote::veto("no", "not today")).unwrap();
    assert_eq!(only(world.finish(trying)).answer, Answer::Veto);
    assert_eq!(released(&mut placet), tried.change_digest);
    placet.vote(&asked, Vote::accept()).unwrap();
    let record = only(world.finish(asking));
    assert_eq!(
        (record.answer, record.change_digest),
        (Answer::Accept, change)
    );
}

#[test]
fn whoever_asked_may_go_and_the_processes_are_told() {
    let world = World::new();
    let mut placet = connect(&world);
    let asking = world.ask_dry(question("dry", &["counterd"]));
    let asked = proposal(&mut placet);
    asking.abort();
    assert_eq!(released(&mut placet), asked.change_digest);
}

#[test]
fn a_process_that_leaves_them_unanswered_is_spared_until_it_votes_and_keeps_its_real_vote() {
    let world = World::new();
    let mut placet = connect(&world);
    let mut trials = Vec::new();
    for number in 0..16 {
        let mut question = question(&format!("dry {number}"), &["counterd"]);
        question.voters[0].silence = Silence::Veto;
        trials.push(world.ask_dry(question));
        // One after the other, so that all of them have been put.
        proposal(&mut placet);
    }
    let mut spared = question("one too many", &["counterd"]);
    spared.voters[0].silence = Silence::Veto;
    let record = only(world.finish(world.ask_dry(spared)));
    assert_eq!(record.answer, Answer::Veto, "silence counts as declared");
    assert!(record.message.contains("is not asked"), "{record}");

    let asking = world.ask(question("real", &["counterd"]));
    let asked = proposal(&mut placet);
    assert!(!asked.dry_run);
    placet.vote(&asked, Vote::accept()).unwrap();
    assert_eq!(only(world.finish(asking)).answer, Answer::Accept);

    let _trial = world.ask_dry(question("again", &["counterd"]));
    let again = std::iter::from_fn(|| placet.next_event(Some(Duration::from_secs(5))).unwrap())
        .find_map(|event| match event {
            Event::Proposed(asked) => Some(asked),
            _ => None,
        });
    assert_eq!(
        again.unwrap().change_digest,
        Digest::of(b"again").to_string()
    );
    trials.iter().for_each(tokio::task::JoinHandle::abort);
}
