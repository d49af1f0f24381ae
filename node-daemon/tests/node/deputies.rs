//! Vote commands: they vote for processes that know nothing of Placet (V3).

use std::time::Instant;

use placet_model::{Answer, ProcessSpec, Silence, VerdictKind, VoteCommand, VoteRecord};

use crate::controller::Controller;
use crate::daemon::{Daemon, is_alive};
use crate::software::Software;

fn asks(command: &[&str], seconds: u32) -> VoteCommand {
    VoteCommand {
        command: command.iter().map(|it| (*it).to_owned()).collect(),
        seconds,
    }
}

/// What the node says to a change of the library of a process whose vote command is `script`.
async fn ask(script: &str, change: impl Fn(&mut ProcessSpec)) -> (VerdictKind, VoteRecord, Daemon) {
    let controller = Controller::start().await;
    let fleet = |library: &[u8], script: &str| {
        Software::new()
            .file("lib/data", library)
            .program("libexec/may-i", format!("#!/bin/sh\n{script}\n").as_bytes())
            .process(
                "bin/plain",
                b"#!/bin/sh\nexec sleep 1000\n",
                &["lib/data"],
                |spec| {
                    spec.vote_command = Some(asks(&["libexec/may-i", "arg"], 2));
                    change(spec);
                },
            )
    };
    let old = fleet(b"old", script);
    // The proposed generation's command is of no interest.
    let new = fleet(b"new", "exit 1");
    controller.serve(&new);
    let (daemon, mut session) = Daemon::settled(&controller, &old).await;
    session.running(&["plain"]).await;
    session.propose(&session.proposal(&old.manifest, &new.manifest));
    let verdict = session.verdict().await;
    assert_eq!(verdict.records.len(), 1, "{verdict:?}");
    (verdict.verdict, verdict.records[0].clone(), daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_vetoes_accepts_or_defers_by_its_exit_code() {
    let (verdict, record, _daemon) = ask(
        "read text; case $text in *lib/data*) ;; *) exit 3;; esac; echo \"3 sessions of $1 as $(id -un) for $PLACET_PROCESS\" >&2; exit 1",
        |spec| spec.user = Some("nobody".to_owned()),
    )
    .await;
    assert_eq!((verdict, record.answer), (VerdictKind::Veto, Answer::Veto));
    assert_eq!(record.message, "3 sessions of arg as nobody for plain");
    assert_eq!(record.process.as_str(), "plain");
    assert_eq!(record.modules, ["lib/data".parse().unwrap()]);
    let words = record.to_string();
    assert!(
        words.starts_with("plain, by its command, non placet: 3 sessions"),
        "{words}"
    );

    let (verdict, record, _daemon) = ask("exit 0", |_| {}).await;
    assert_eq!(
        (verdict, record.answer),
        (VerdictKind::Accept, Answer::Accept)
    );
    let (verdict, record, _daemon) = ask("echo later >&2; exit 75", |_| {}).await;
    assert_eq!(
        (verdict, record.answer),
        (VerdictKind::Defer, Answer::Defer)
    );
    assert!(record.until.unwrap() > record.time);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_hangs_is_silent_and_nothing_of_it_is_left() {
    let started = Instant::now();
    let (verdict, record, daemon) = ask(
        "trap '' TERM; sleep 1001 & echo $! > $RUNTIME_DIRECTORY/child; wait",
        |_| {},
    )
    .await;
    assert_eq!(
        (verdict, record.answer),
        (VerdictKind::NoAnswer, Answer::NoAnswer)
    );
    assert_eq!(record.message, "its vote command said nothing within 2 s");
    assert!(started.elapsed().as_secs() < 15);
    let child = std::fs::read_to_string(daemon.path("r/processes/plain/child")).unwrap();
    crate::daemon::ended(child.trim().parse().unwrap()).await;
    assert!(!is_alive(child.trim().parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_counts_as_the_package_says_and_a_broken_command_is_an_error() {
    let (verdict, record, _daemon) = ask("kill -9 $$", |spec| spec.silence = Silence::Veto).await;
    assert_eq!((verdict, record.answer), (VerdictKind::Veto, Answer::Veto));
    assert!(record.message.contains("signal: 9"), "{}", record.message);
    let (verdict, record, _daemon) = ask("exit 0", |spec| {
        spec.vote_command = Some(asks(&["libexec/nothing"], 1));
    })
    .await;
    assert_eq!(
        (verdict, record.answer),
        (VerdictKind::Error, Answer::Error)
    );
    assert!(
        record.message.contains("libexec/nothing` cannot be run"),
        "{}",
        record.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_talks_without_end_is_heard_in_part() {
    let (verdict, record, _daemon) = ask(
        "yes veto | head -c 3000000 >&2; yes | head -c 3000000; exit 1",
        |_| {},
    )
    .await;
    assert_eq!((verdict, record.answer), (VerdictKind::Veto, Answer::Veto));
    assert!(record.message.chars().count() <= 2_000);
}
