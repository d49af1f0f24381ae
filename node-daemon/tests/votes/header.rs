//! The C header against the service: a program on top of it, built as people build it and built
//! with sanitisers.

use std::process::Command;

use placet_model::{Answer, Digest};
use placet_node_daemon::vote::{Handled, Outcome, Prepared};

use crate::world::{PATIENCE, Program, World, change_set, name, question, voters};

fn each(test: impl Fn(&World, &std::path::Path)) {
    for program in voters() {
        test(&World::new(), program);
    }
}

#[test]
fn a_change_from_the_question_to_the_end() {
    each(|world, program| {
        let mut voter = Program::voter(world, program, "counterd", "accept");
        let asked = question("one", &["counterd"]);
        let change = asked.change_digest;
        let asking = world.ask(asked);
        voter.expect("proposed usr/lib/libgreet.so.1 is changed");
        voter.expect("vote 0");
        let records = world.finish(asking);
        assert_eq!(records[0].answer, Answer::Accept);
        assert_eq!(records[0].pid, voter.pid());
        let preparing = world.prepare(change);
        voter.expect("prepare 20");
        voter.expect("ready 0");
        assert_eq!(world.finish(preparing), Prepared::Ready);
        let changing = world.changed(change, Outcome::Activated);
        voter.expect("changed 1");
        voter.expect("done 0");
        assert_eq!(world.finish(changing), Handled::AsksDefault);
        let changing = world.changed(change, Outcome::Failed);
        voter.expect("changed 2");
        voter.expect("done 0");
        assert_eq!(world.finish(changing), Handled::Done);
        world.run(world.voters.release(&change, "it is \"over\"\\"));
        voter.expect("released it is \"over\"\\");
        world.voters.withdraw(&name("counterd"));
        voter.expect("next ECONNRESET");
        assert_eq!(voter.end(), "");
    });
}

#[test]
fn a_veto_and_a_defer() {
    each(|world, program| {
        let mut voter = Program::voter(world, program, "counterd", "veto");
        let asking = world.ask(question("one", &["counterd"]));
        voter.expect("proposed usr/lib/libgreet.so.1 is changed");
        voter.expect("vote 0");
        let record = world.finish(asking).remove(0);
        assert_eq!(record.answer, Answer::Veto);
        assert_eq!(record.code, "sessions-open");
        assert_eq!(record.message, "3 \"open\" sessions \\ é\\u{1}");
        drop(voter);

        let mut voter = Program::voter(world, program, "counterd", "defer");
        let asking = world.ask(question("two", &["counterd"]));
        voter.expect("proposed usr/lib/libgreet.so.1 is changed");
        voter.expect("vote 0");
        let record = world.finish(asking).remove(0);
        assert_eq!(record.answer, Answer::Defer);
        let pause = record.until.unwrap().duration_since(record.time);
        assert!((3_590..=3_600).contains(&pause.as_secs()), "{pause}");
    });
}

#[test]
fn notices_of_other_changes_arrive() {
    each(|world, program| {
        let mut voter = Program::voter(world, program, "counterd", "notices");
        voter.expect("notices 0");
        let change = Digest::of(b"change");
        world.run(async {
            world.voters.give_notice(change, "main-1", None);
            let end = Some(Outcome::Failed);
            world.voters.give_notice(change, "main-1", end);
        });
        voter.expect("began main-1");
        voter.expect("ended 2");
    });
}

#[test]
fn every_refusal_has_its_error_code() {
    each(|world, program| {
        let mut voter = Program::voter(world, program, "counterd", "probe");
        let asking = world.ask(question("one", &["counterd"]));
        for expected in [
            "unknown ENOENT",
            "no digest EINVAL",
            "long code EINVAL",
            "long message EINVAL",
            "huge message EMSGSIZE",
            "not UTF-8 EILSEQ",
            "long defer EINVAL",
            "opened 0",
            "opened nonsense EINVAL",
            "follow 0",
            "follow nothing EINVAL",
            "notices 0",
            "ready ENOMSG",
            "done ENOMSG",
            "vote 0",
            "twice EALREADY|ESTALE",
            "error dev.placet.Vote.Already",
        ] {
            let line = voter.line();
            let matches = match expected.split_once('|') {
                Some((first, other)) => line == first || line.ends_with(other),
                None => line.starts_with(expected),
            };
            assert!(matches, "{line} is not {expected}");
        }
        world.finish(asking);
        assert_eq!(world.voters.announced()[&name("counterd")].opened.len(), 1);
        assert_eq!(voter.end(), "");
    });
}

#[test]
fn change_sets_short_and_long() {
    each(|world, program| {
        let mut voter = Program::voter(world, program, "counterd", "inspect");
        for count in [1, 500, 600, 20_000] {
            let paths: Vec<_> = (0..count).map(|n| format!("usr/share/{n:05}")).collect();
            let mut question = question(&count.to_string(), &["counterd"]);
            question.change_set = change_set(&paths);
            let text = placet_model::canonical_json(&question.change_set);
            let _asking = world.ask(question);
            let digest = fnv(&text);
            voter.expect(&format!("change set {} {digest:016x}", text.len()));
        }
        assert_eq!(voter.end(), "");
    });
}

/// A checksum that is easily written in C.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn a_process_that_is_not_ours_is_sent_away() {
    each(|world, program| {
        let socket = world.serve("counterd");
        let mut voter = Program::start(
            Command::new(program)
                .arg("accept")
                .env("PLACET_SOCKET", socket),
        );
        voter.go_on();
        voter.expect("open EACCES");
        voter.expect("because dev.placet.Vote.NotYours");
        assert_eq!(voter.end(), "");
    });
}

#[test]
fn without_a_socket_nobody_asks() {
    for program in voters() {
        let mut command = Command::new(program);
        let mut voter = Program::start(command.arg("accept").env_remove("PLACET_SOCKET"));
        voter.go_on();
        voter.expect("open 0");
        assert_eq!(voter.end(), "");
        let mut command = Command::new(program);
        let mut voter = Program::start(command.arg("accept").env("PLACET_SOCKET", "/nowhere"));
        voter.go_on();
        voter.expect("open ENOENT");
        voter.expect("because");
        assert_eq!(voter.end(), "");
    }
}

#[test]
fn a_process_that_ends_is_no_stakeholder_though_its_children_hold_its_connections() {
    let world = World::new();
    let mut voter = Program::voter(&world, &voters()[0], "counterd", "orphan");
    let mut question = question("one", &["counterd"]);
    question.voters[0].vote_seconds = u32::try_from(PATIENCE.as_secs()).unwrap() * 10;
    let asking = world.ask(question);
    voter.expect("proposed usr/lib/libgreet.so.1 is changed");
    voter.expect("leaving");
    assert!(world.finish(asking).is_empty());
    assert!(!world.voters.is_registered(&name("counterd")));
}

#[test]
fn readiness_is_told() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    for (number, program) in voters().iter().enumerate() {
        let socket_name = format!("placet-header-test-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&socket_name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let mut voter = Program::start(
            Command::new(program)
                .arg("notify")
                .env("NOTIFY_SOCKET", format!("@{socket_name}")),
        );
        voter.go_on();
        voter.expect("notify 1");
        let mut buffer = [0; 32];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }
}

#[test]
fn digests_reach_the_process_whole() {
    let world = World::new();
    let change = Digest::of(b"one");
    // `accept` votes for what it was told; another digest would be refused.
    let mut voter = Program::voter(&world, &voters()[0], "counterd", "accept");
    let asking = world.ask(question("one", &["counterd"]));
    assert!(voter.line().starts_with("proposed"));
    assert_eq!(world.finish(asking)[0].change_digest, change);
}
