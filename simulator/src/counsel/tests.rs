//! What the logic of processes says in a comparison, good and bad.

use placet_model::{Answer, Module, Voter};
use serde_json::{Value, json};

use super::Files;
use crate::compare::{Side, compare};
use crate::effect::{Effect, Outcome};
use crate::tests::{Fleet, module, process};

const PATH: &str = "usr/lib/vote.wasm";

/// Logic that answers this JSON text.
fn answers(text: &str) -> Vec<u8> {
    let data = text.replace('"', "\\22");
    assemble(&format!(
        r#"(import "placet" "answer" (func $answer (param i32 i32)))
           (memory (export "memory") 1) (data (i32.const 0) "{data}")
           (func (export "decide") (call $answer (i32.const 0) (i32.const {})))"#,
        text.len()
    ))
}

/// Logic that does this, whatever it is asked.
fn does(body: &str) -> Vec<u8> {
    assemble(&format!(
        r#"(memory (export "memory") 1) (func $decide (export "decide") {body})"#
    ))
}

fn assemble(fields: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {fields})")).unwrap()
}

/// A fleet whose clock carries logic; `content` tells the library of one revision from that of
/// another.
fn fleet(content: &str, silence: &str) -> Side {
    let mut clockd = process("clockd", "simple", &["libgreet.so.1"]);
    clockd["process"]["voteLogic"] =
        json!({"module": PATH, "fuel": 100_000, "memoryBytes": 65_536});
    clockd["process"]["silence"] = json!(silence);
    let logic: Value = module(PATH, "data", content);
    let fleet = Fleet::new(content).package("base", "clock", "1.0.0", &[clockd, logic]);
    fleet.greet("1.0.0", content).0
}

/// What a change does, where the older revision has this logic and the newer one has none that works.
fn effect(logic: &[u8], silence: &str) -> Effect {
    let (from, to) = (fleet("old", silence), fleet("new", silence));
    let is_old = |module: &Module| {
        let entries = from.catalog.entries.values().flatten();
        let mut modules = entries.flat_map(|entry| &entry.config.modules);
        modules.any(|it| it.path == module.path && it.digest == module.digest)
    };
    let bytes = |module: &Module| if is_old(module) { logic } else { b"broken" };
    let files: &mut Files<'_> = &mut |_, _, module| Ok(module.map(|it| bytes(it).to_vec()));
    compare(&from, &to, files).unwrap()
}

#[track_caller]
fn says(effect: &Effect, answer: Answer, words: &str) {
    let vetoes: Vec<_> = effect.changes.iter().flat_map(|it| &it.vetoes).collect();
    assert!(!vetoes.is_empty(), "nobody objects");
    for veto in vetoes {
        assert_eq!((veto.by, veto.rule.as_str()), (Voter::Logic, "clockd"));
        assert_eq!(veto.answer, answer, "{}", veto.message);
        assert!(veto.message.contains(words), "{}", veto.message);
    }
}

#[test]
fn logic_of_the_older_version_decides() {
    let objects = answers(r#"{"answer":"veto","code":"peers","message":"2 peers are up"}"#);
    let effect = effect(&objects, "no-answer");
    says(&effect, Answer::Veto, "2 peers are up [peers]");
    assert_eq!(effect.outcome, Outcome::Objection);
    let text = crate::text(&effect, crate::Paint::default());
    assert!(text.contains("2 peers are up [peers]"), "{text}");
}

#[test]
fn who_defers_keeps_nobody_from_agreeing() {
    let defers = answers(r#"{"answer":"defer","seconds":90,"message":"a table is read"}"#);
    let effect = effect(&defers, "no-answer");
    says(
        &effect,
        Answer::Defer,
        "a table is read (asks again in 90 s)",
    );
    assert_eq!(effect.outcome, Outcome::Clean);
}

#[test]
fn logic_that_means_no_good_counts_as_silent_with_the_reason() {
    let hostile = [
        (does("(loop $l (br $l))"), "100000 units of fuel"),
        (
            does("(loop $l (drop (memory.grow (i32.const 1))) (br $l))"),
            "more than 65536 bytes of memory",
        ),
        (does("(call $decide)"), "nest too deep"),
        (does("unreachable"), "it stopped"),
        (does(""), "without an answer"),
        (answers(&"x".repeat(9_000)), "at most 8192"),
        (b"#!/bin/sh".to_vec(), "no WebAssembly core module"),
        (
            assemble(r#"(import "env" "system" (func))"#),
            "imports `env.system`",
        ),
    ];
    for (logic, reason) in hostile {
        let silent = effect(&logic, "no-answer");
        says(&silent, Answer::NoAnswer, reason);
        assert_eq!(silent.outcome, Outcome::Objection);
        let vetoes = effect(&logic, "veto");
        says(&vetoes, Answer::Veto, reason);
        let accepts = effect(&logic, "accept");
        assert_eq!(accepts.outcome, Outcome::Clean);
        assert!(accepts.changes.iter().all(|it| it.vetoes.is_empty()));
    }
}

#[test]
fn logic_that_cannot_be_had_leaves_it_unknown() {
    let (from, to) = (fleet("old", "accept"), fleet("new", "accept"));
    let effect = compare(&from, &to, &mut crate::no_files).unwrap();
    says(&effect, Answer::Error, "`usr/lib/vote.wasm` is not at hand");
    assert_eq!(effect.outcome, Outcome::Unknown);
}
