//! What modules say, and what becomes of those that mean no good.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use placet_model::{
    Answer, ChangeSet, Digest, ManifestEntry, NodeDescription, NodeManifest, ProcessChange,
    ProcessSpec, Silence, VoteLogic,
};
use proptest::prelude::*;
use serde_json::json;

use crate::{Decider, Logic, LogicError, MODULE_MOST, Opinion, Question, Vote};

const FUEL: u32 = 50_000_000;
const MEMORY: u32 = 16 << 20;

/// Imports, memory and helpers of the modules of these tests.
const HEAD: &str = r#"
    (import "placet" "read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "placet" "count" (func $count (param i32 i32) (result i32)))
    (import "placet" "answer" (func $answer (param i32 i32)))
    (memory (export "memory") 1)"#;

fn change() -> ChangeSet {
    let value = json!({"modules": [], "processes": [{
        "name": "chatd", "path": "bin/chatd", "kind": "simple", "action": "restart",
        "because": [{"reason": "ownModule"}],
    }]});
    serde_json::from_value(value).unwrap()
}

fn process() -> ProcessChange {
    change().processes.remove(0)
}

fn node() -> NodeDescription {
    NodeDescription {
        name: "core-1".to_owned(),
        location: "berlin".to_owned(),
        ..NodeDescription::default()
    }
}

fn question() -> Question {
    let file = |path: &str, text: Option<&str>| (path.parse().unwrap(), text.map(str::to_owned));
    let files = BTreeMap::from([
        file("etc/chatd.conf", Some("sessions 3\n")),
        file("no", None),
    ]);
    Question::new(&process(), &node(), &change(), &files)
}

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {HEAD} {text})")).unwrap()
}

fn run(bytes: &[u8]) -> Result<Opinion, LogicError> {
    Logic::new(bytes, FUEL, MEMORY)?.decide(&question())
}

fn decide(body: &str) -> Result<Opinion, LogicError> {
    run(&module(&format!(r#"(func (export "decide") {body})"#)))
}

/// A module that answers this text, whatever the question.
fn answers(text: &str) -> Result<Opinion, LogicError> {
    let data = text.replace('\\', "\\5c").replace('"', "\\22");
    run(&module(&format!(
        r#"(data (i32.const 0) "{data}")
           (func (export "decide") (call $answer (i32.const 0) (i32.const {})))"#,
        text.len()
    )))
}

/// A module whose veto is the value at a JSON pointer.
fn says(pointer: &str) -> Result<Opinion, LogicError> {
    let head = r"{\22answer\22:\22veto\22,\22message\22:\22";
    let length = r#"{"answer":"veto","message":""#.len();
    run(&module(&format!(
        r#"(data (i32.const 0) "{pointer}") (data (i32.const 1000) "{head}")
           (func (export "decide") (local $size i32)
             (local.set $size (call $read (i32.const 0) (i32.const {}) (i32.const {at}) (i32.const 500)))
             (i32.store8 (i32.add (i32.const {at}) (local.get $size)) (i32.const 34))
             (i32.store8 (i32.add (i32.const {end}) (local.get $size)) (i32.const 125))
             (call $answer (i32.const 1000) (i32.add (local.get $size) (i32.const {}))))"#,
        pointer.len(),
        length + 2,
        at = 1000 + length,
        end = 1001 + length,
    )))
}

fn veto(code: &str, message: &str) -> Opinion {
    Opinion::Veto {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

#[track_caller]
fn fails(result: Result<Opinion, LogicError>, expected: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_module_accepts_vetoes_or_defers() {
    assert_eq!(answers(r#"{"answer":"accept"}"#), Ok(Opinion::Accept {}));
    assert_eq!(
        answers(r#"{"answer":"veto","code":"peers/up","message":"2 \u001b[2J peers"}"#),
        Ok(veto("peers/up", "2 \\u{1b}[2J peers"))
    );
    let later = Opinion::Defer {
        seconds: 60,
        message: String::new(),
    };
    assert_eq!(answers(r#"{"answer":"defer","seconds":60}"#), Ok(later));
}

#[test]
fn a_module_reads_what_it_asks_for_and_nothing_else() {
    assert_eq!(says("/node/location"), Ok(veto("", "berlin")));
    assert_eq!(says("/change/processes/0/action"), Ok(veto("", "restart")));
    assert_eq!(says("/version"), Ok(veto("", "1")));
    assert_eq!(says("/files/no"), Ok(veto("", "null")));
    let counted = decide(
        r"(if (i32.ne (call $count (i32.const 0) (i32.const 0)) (i32.const 5)) (then unreachable))
          (if (i32.ne (call $read (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)) (i32.const -1)) (then unreachable))",
    );
    fails(counted, "without an answer");
}

#[test]
fn what_means_nothing_is_no_answer() {
    for (text, expected) in [
        ("", "EOF"),
        ("yes", "expected"),
        (r#"{"answer":"yes"}"#, "unknown variant"),
        (r#"{"answer":"veto"}"#, "missing field `message`"),
        (r#"{"answer":"accept","until":3}"#, "unknown field"),
        (r#"{"answer":"defer","seconds":0}"#, "1 to 86400"),
        (r#"{"answer":"defer","seconds":86401}"#, "1 to 86400"),
        (r#"{"answer":"veto","code":"a b","message":""}"#, "`code`"),
    ] {
        fails(answers(text), expected);
    }
    let long = format!(r#"{{"answer":"veto","message":"{}"}}"#, "x".repeat(1_001));
    fails(answers(&long), "at most 1000 characters");
    fails(
        decide("(call $answer (i32.const 0) (i32.const 65536))"),
        "at most 8192",
    );
    let twice = "(call $answer (i32.const 0) (i32.const 0))";
    fails(decide(&twice.repeat(2)), "answered twice");
}

#[test]
fn what_means_no_good_is_ended_and_ends_nobody() {
    let started = Instant::now();
    fails(decide("(loop $l (br $l))"), "50000000 units of fuel");
    fails(
        decide("(loop $l (drop (memory.grow (i32.const 1))) (br $l))"),
        "more than 16777216 bytes of memory",
    );
    fails(decide("unreachable"), "it stopped: ");
    fails(
        decide("(i32.div_u (i32.const 1) (i32.const 0)) drop"),
        "it stopped: ",
    );
    fails(
        run(&module(r#"(func $f (export "decide") (call $f))"#)),
        "nest too deep",
    );
    fails(
        run(&module(
            r#"(func $s (loop $l (br $l))) (start $s) (func (export "decide"))"#,
        )),
        "units of fuel",
    );
    // Calls of the host cost fuel too, and more of it the more they give.
    fails(
        decide(
            "(loop $l (drop (call $read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 9))) (br $l))",
        ),
        "units of fuel",
    );
    let strange = [
        "(call $answer (i32.const -1) (i32.const -1))",
        "(call $answer (i32.const 65536) (i32.const 1))",
        "(drop (call $read (i32.const -1) (i32.const 10) (i32.const 0) (i32.const 0)))",
        "(drop (call $read (i32.const 0) (i32.const 0) (i32.const -1) (i32.const -1)))",
        "(drop (call $count (i32.const 0) (i32.const -1)))",
    ];
    for body in strange {
        let error = decide(body).unwrap_err();
        assert!(
            matches!(error, LogicError::Bounds(_) | LogicError::Fuel(_)),
            "{body}: {error}"
        );
    }
    assert!(started.elapsed() < Duration::from_mins(1));
}

#[test]
fn what_cannot_be_used_is_refused_before_it_runs() {
    let text = |text: &str| run(&wat::parse_str(text).unwrap());
    fails(run(b"\x7fELF"), "no WebAssembly core module");
    fails(run(&vec![0; 10 << 20]), "has 10485760 bytes");
    fails(run(&vec![0; 1 << 20]), "no WebAssembly core module");
    fails(
        text(r#"(module (import "env" "system" (func)))"#),
        "imports `env.system`",
    );
    fails(
        text(r#"(module (import "placet" "read" (func)))"#),
        "imports `placet.read`",
    );
    fails(
        text(r#"(module (import "placet" "memory" (memory 1)))"#),
        "imports `placet.memory`",
    );
    fails(
        text(r#"(module (func (export "decide")))"#),
        "exports no memory",
    );
    fails(
        text(r#"(module (memory (export "memory") 1))"#),
        "exports no function `decide`",
    );
    fails(
        text(r#"(module (memory (export "memory") 1) (func (export "decide") (param i32)))"#),
        "exports no function `decide`",
    );
    fails(
        text(r#"(module (memory (export "memory") 300) (func (export "decide")))"#),
        "more than 16777216 bytes",
    );
    fails(
        text(
            r#"(module (memory (export "memory") 1) (table 1000000 funcref) (func (export "decide")))"#,
        ),
        "it ",
    );
}

/// A node that runs `chatd` with this logic.
fn manifest(logic: &[u8], silence: Silence) -> NodeManifest {
    let entry = |path: &str, size: usize, process: Option<ProcessSpec>| {
        let module = serde_json::from_value(json!({
            "path": path, "mode": "0755", "type": "data", "size": size,
            "digest": Digest::of(path.as_bytes()),
            "signature": "md5:00000000000000000000000000000000", "process": process,
        }));
        ManifestEntry {
            package: "chat".parse().unwrap(),
            module: module.unwrap(),
        }
    };
    let spec = ProcessSpec {
        name: "chatd".parse().unwrap(),
        silence,
        vote_logic: Some(VoteLogic {
            module: "lib/vote.wasm".parse().unwrap(),
            files: ["etc/chatd.conf".parse().unwrap()].into(),
            fuel: 1_000,
            memory_bytes: 65_536,
        }),
        ..ProcessSpec::default()
    };
    NodeManifest {
        modules: vec![
            entry("bin/chatd", 1, Some(spec)),
            entry("etc/chatd.conf", 300_000, None),
            entry("lib/vote.wasm", logic.len(), None),
        ],
        ..NodeManifest::default()
    }
}

fn vote(logic: &[u8], silence: Silence) -> Vote {
    let mut manifest = manifest(logic, silence);
    manifest.modules[1].module.size = 10;
    let name = process().name;
    let decider = Decider::of(&manifest, &name, &mut |path, module| {
        assert!(module.is_some());
        let is_logic = path.as_str() == "lib/vote.wasm";
        Ok(Some(if is_logic {
            logic.to_vec()
        } else {
            b"x".to_vec()
        }))
    });
    let decider = decider.unwrap().expect("logic");
    decider.vote(&process(), &node(), &change())
}

#[test]
fn no_answer_counts_by_the_policy_of_the_process() {
    let endless = module(r#"(func (export "decide") (loop $l (br $l)))"#);
    let said = vote(&endless, Silence::NoAnswer);
    assert_eq!(said.answer, Answer::NoAnswer);
    assert_eq!(
        said.message,
        "its logic gave no answer: it did not come to an end within 1000 units of fuel"
    );
    let said = vote(&endless, Silence::Veto);
    assert_eq!(said.answer, Answer::Veto);
    assert!(said.message.ends_with("which counts as veto"));
    assert_eq!(vote(b"none", Silence::Accept).answer, Answer::Accept);
}

#[test]
fn files_that_cannot_be_had_are_an_error() {
    let manifest = manifest(b"", Silence::Accept);
    let of = |process: &str, lookup: &mut crate::Lookup<'_>| {
        Decider::of(&manifest, &process.parse().unwrap(), lookup)
    };
    let too_large = of("chatd", &mut |_, _| panic!("not read")).unwrap_err();
    assert_eq!(
        too_large,
        "`etc/chatd.conf` has 300000 bytes; its logic can be given at most 262144"
    );
    assert!(
        of("other", &mut |_, _| panic!("not read"))
            .unwrap()
            .is_none()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_end_in_an_answer_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = run(&bytes);
    }

    /// Modules that are almost right reach what random bytes do not.
    #[test]
    fn any_damage_ends_in_an_answer_or_a_reason(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = module(r#"(data (i32.const 8) "/node/location")
            (func $f (param i32) (result i32) (if (result i32) (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 7))))
            (func (export "decide")
              (drop (memory.grow (call $f (i32.const 3))))
              (drop (call $read (i32.const 8) (i32.const 14) (i32.const 100) (i32.const 100)))
              (call $answer (i32.const 100) (call $count (i32.const 0) (i32.const 0))))"#);
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let decided = Logic::new(&bytes, 100_000, 1 << 20).and_then(|logic| logic.decide(&question()));
        let is_sound = decided.is_err() || decided == Ok(Opinion::Accept {});
        prop_assert!(is_sound);
    }
}

#[test]
fn the_largest_module_is_not_too_large() {
    let mut bytes = module(r#"(func (export "decide"))"#);
    // A custom section fills it up.
    let rest = usize::try_from(MODULE_MOST).unwrap() - bytes.len() - 6;
    let mut length = rest;
    bytes.push(0);
    for place in 0..5 {
        let more = if place < 4 { 0x80 } else { 0 };
        bytes.push(u8::try_from(length & 0x7f).unwrap() | more);
        length >>= 7;
    }
    bytes.extend(vec![0; rest]);
    assert_eq!(bytes.len() as u64, MODULE_MOST);
    fails(run(&bytes), "without an answer");
}
