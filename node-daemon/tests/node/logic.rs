//! Decision logic of packages: it votes for processes that cannot, or do not run (M3).

use placet_model::{
    Answer, NodeDescription, Proposal, Silence, VerdictKind, VoteLogic, VoteRecord, Voter,
};

use crate::controller::Controller;
use crate::daemon::Daemon;
use crate::software::Software;

/// Logic that objects with the text at a JSON pointer.
fn objects_with(pointer: &str) -> Vec<u8> {
    let head = r"{\22answer\22:\22veto\22,\22code\22:\22read\22,\22message\22:\22";
    let length = r#"{"answer":"veto","code":"read","message":""#.len();
    let text = format!(
        r#"(module
          (import "placet" "read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "placet" "answer" (func $answer (param i32 i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "{pointer}") (data (i32.const 1000) "{head}")
          (func (export "decide") (local $end i32)
            (local.set $end (i32.add (i32.const {at})
              (call $read (i32.const 0) (i32.const {}) (i32.const {at}) (i32.const 500))))
            (i32.store16 (local.get $end) (i32.const 0x7d22))
            (call $answer (i32.const 1000) (i32.sub (local.get $end) (i32.const 998)))))"#,
        pointer.len(),
        at = 1000 + length,
    );
    wat::parse_str(text).unwrap()
}

fn endless() -> Vec<u8> {
    let text = r#"(module (memory (export "memory") 1)
        (func (export "decide") (loop $l (br $l))))"#;
    wat::parse_str(text).unwrap()
}

fn carries(spec: &mut placet_model::ProcessSpec) {
    spec.vote_logic = Some(VoteLogic {
        module: "lib/vote.wasm".parse().unwrap(),
        files: ["etc/conf".parse().unwrap()].into(),
        fuel: 1_000_000,
        memory_bytes: 1 << 20,
    });
}

/// What a node says when a file that its processes use changes, and their logic with it.
async fn ask(
    logic: &[u8],
    fleet: impl Fn(Software) -> Software,
    about: impl FnOnce(&mut Proposal),
) -> (VerdictKind, Vec<VoteRecord>, Daemon) {
    let controller = Controller::start().await;
    let software = |data: &[u8], logic: &[u8]| {
        let software = Software::new().file("lib/data", data);
        fleet(
            software
                .file("lib/vote.wasm", logic)
                .file("etc/conf", b"as configured"),
        )
    };
    let old = software(b"old", logic);
    // The proposed generation's logic is of no interest.
    let new = software(b"new", &endless());
    controller.serve(&new);
    let (daemon, mut session) = Daemon::settled(&controller, &old).await;
    let mut proposal = session.proposal(&old.manifest, &new.manifest);
    about(&mut proposal);
    session.propose(&proposal);
    let verdict = session.verdict().await;
    (verdict.verdict, verdict.records, daemon)
}

fn plain(software: Software) -> Software {
    let script = b"#!/bin/sh\nexec sleep 1000\n";
    software.process("bin/plain", script, &["lib/data"], carries)
}

#[tokio::test(flavor = "multi_thread")]
async fn logic_of_the_running_version_votes_for_a_simple_process() {
    let (verdict, records, daemon) = ask(&objects_with("/files/etc~1conf"), plain, |_| {}).await;
    assert_eq!(verdict, VerdictKind::Veto);
    let [record] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!((record.voter, record.answer), (Voter::Logic, Answer::Veto));
    assert_eq!(record.modules, ["lib/data".parse().unwrap()]);
    let words = "plain, by its logic, non placet: as configured [read]";
    assert_eq!(record.to_string(), words);
    assert!(daemon.log().contains(words), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn logic_knows_the_node_as_the_controller_does() {
    let told = |proposal: &mut Proposal| {
        proposal.about = Some(NodeDescription {
            location: "exchange".to_owned(),
            ..NodeDescription::default()
        });
    };
    let (_, records, _daemon) = ask(&objects_with("/node/location"), plain, told).await;
    assert_eq!(records[0].message, "exchange");
    let (_, records, _daemon) = ask(&objects_with("/node/name"), plain, |_| {}).await;
    assert_eq!(records[0].message, "core-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn logic_that_does_not_end_is_silent_and_the_node_goes_on() {
    let (verdict, records, daemon) = ask(&endless(), plain, |_| {}).await;
    assert_eq!(verdict, VerdictKind::NoAnswer);
    assert_eq!(
        records[0].message,
        "its logic gave no answer: it did not come to an end within 1000000 units of fuel"
    );
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    let vetoes = |software: Software| {
        software.process(
            "bin/plain",
            b"#!/bin/sh\nexec sleep 1000\n",
            &["lib/data"],
            |spec| {
                carries(spec);
                spec.silence = Silence::Veto;
            },
        )
    };
    let (verdict, ..) = ask(b"\0asm", vetoes, |_| {}).await;
    assert_eq!(verdict, VerdictKind::Veto);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_speaks_for_itself_needs_no_logic() {
    let mind = tempfile::tempdir().unwrap();
    let both =
        |software: Software| software.voter_with("bin/chat", &["lib/data"], mind.path(), carries);
    let (verdict, records, _daemon) = ask(&objects_with("/node/name"), both, |_| {}).await;
    assert_eq!(verdict, VerdictKind::Accept, "{records:?}");
    assert_eq!(records[0].voter, Voter::Process);
    assert_eq!(records.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn logic_votes_for_a_self_managing_process_that_never_registers() {
    let mute = |software: Software| {
        software.process(
            "bin/mute",
            b"#!/bin/sh\nexec sleep 1000\n",
            &["lib/data"],
            |spec| {
                carries(spec);
                spec.kind = placet_model::ProcessKind::SelfManaging;
            },
        )
    };
    let (verdict, records, _daemon) = ask(&objects_with("/process/action"), mute, |_| {}).await;
    assert_eq!(verdict, VerdictKind::Veto);
    let said: Vec<_> = records
        .iter()
        .map(|it| (it.voter, it.message.as_str()))
        .collect();
    assert_eq!(said, [(Voter::Logic, "ask")]);
}
