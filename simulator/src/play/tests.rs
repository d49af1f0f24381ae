//! The policies of a roll-out, each as a short story. `UPDATE_EXPECT=1` writes the transcripts anew.

use std::collections::BTreeMap;

use expect_test::expect_file;
use placet_model::{OnUnreachable, Strategy, Wave, Weekday, Window};
use serde_json::json;

use super::{Script, Source, play};
use crate::compare::Side;
use crate::counsel::Files;
use crate::no_files;
use crate::tests::{Fleet, process};

/// Two core nodes and an edge node; revision `one` runs, and `two` has another library, which chatd
/// of the core nodes and clockd of all use.
const HEAD: &str = "running: one\nrevisions:\n  one: {folder: one}\n  two: {folder: two}\nsteps:\n";

fn same(_: &mut Strategy) {}

/// Revisions `one` and `two`, with this strategy in class `core`.
fn sides(strategy: impl Fn(&mut Strategy)) -> BTreeMap<String, Side> {
    let mut sides = sides_of(|fleet| fleet);
    for side in sides.values_mut() {
        strategy(&mut side.desired.classes.get_mut("core").unwrap().strategy);
    }
    sides
}

/// The same two revisions of another fleet.
fn sides_of(change: impl Fn(Fleet) -> Fleet) -> BTreeMap<String, Side> {
    let side = |name: &str, content: &str| {
        // The library stands behind what uses it.
        let fleet = change(Fleet::new(name)).greet("1.0.0", content);
        (name.to_owned(), fleet.0)
    };
    BTreeMap::from([side("one", "Hello"), side("two", "Good day")])
}

/// Plays the steps; what is told stands in `transcripts`, under the name of the story.
fn tells(sides: &BTreeMap<String, Side>, steps: &str, story: &str) {
    tells_with(sides, steps, &mut no_files, story);
}

/// The same with the files that logic needs.
fn tells_with<'a>(
    sides: &BTreeMap<String, Side>,
    steps: &str,
    files: &'a mut Files<'a>,
    story: &str,
) {
    tells_script(sides, &format!("{HEAD}{steps}"), files, story);
}

fn tells_script<'a>(
    sides: &BTreeMap<String, Side>,
    text: &str,
    files: &'a mut Files<'a>,
    story: &str,
) {
    let script = Script::parse(text, "script.yaml").unwrap();
    let transcript = play(&script, sides, files).unwrap();
    expect_file![format!("transcripts/{story}.txt")].assert_eq(&transcript.to_string());
}

#[test]
fn a_veto_holds_all_and_skip_leaves_the_node_out() {
    let steps = "
  - vote: {process: chatd, nodes: [core-1], answer: veto, code: sessions, message: 3 sessions}
  - commit: two
  - wait: 1m
  - decide: {action: skip, reason: at night}
  - wait: 1m
";
    tells(&sides(same), steps, "veto-skip");
}

#[test]
fn force_changes_those_who_object_too() {
    let steps = "
  - vote: {process: chatd, nodes: [core-1], answer: veto, message: 3 sessions}
  - commit: two
  - wait: 1m
  - decide: {action: force}
  - wait: 1m
";
    tells(&sides(same), steps, "force");
}

#[test]
fn abort_leaves_all_as_it_is() {
    let steps = "
  - vote: {process: chatd, nodes: [core-1], answer: veto, message: 3 sessions}
  - commit: two
  - wait: 1m
  - decide: {action: abort}
  - decide: {action: abort}
  - wait: 1m
";
    tells(&sides(same), steps, "abort");
}

#[test]
fn who_defers_is_asked_again_until_it_has_put_off_for_too_long() {
    let steps = "
  - vote: {process: chatd, nodes: [core-2], answer: defer, seconds: 120, message: a table is read}
  - commit: two
  - wait: 3m
  - vote: {process: chatd, nodes: [core-2], answer: accept}
  - wait: 5m
";
    tells(&sides(same), steps, "defer");
    let strict = sides(|strategy| strategy.max_defer_seconds = 200);
    let steps = "
  - vote: {process: chatd, nodes: [core-2], answer: defer, seconds: 120, message: a table is read}
  - commit: two
  - wait: 10m
";
    tells(&strict, steps, "defer-too-long");
}

#[test]
fn silence_counts_as_the_package_says() {
    let with = |silence: &str| {
        let mut chatd = process("chatd", "self-managing", &["libgreet.so.1"]);
        chatd["process"]["silence"] = json!(silence);
        sides_of(|fleet| fleet.package("chat", "chat", "1.0.0", std::slice::from_ref(&chatd)))
    };
    let steps = "
  - vote: {process: chatd, nodes: [core-1], answer: silent}
  - commit: two
  - wait: 1m
";
    tells(&with("no-answer"), steps, "silence-no-answer");
    tells(&with("accept"), steps, "silence-accept");
    tells(&with("veto"), steps, "silence-veto");
}

#[test]
fn nodes_that_cannot_be_reached_count_as_the_class_says() {
    let with = |policy| sides(move |strategy| strategy.on_unreachable = policy);
    let steps = "
  - lose: [core-2]
  - wait: 1m
  - commit: two
  - wait: 2m
  - return: [core-2]
  - wait: 1m
";
    tells(&with(OnUnreachable::Wait), steps, "unreachable-wait");
    tells(&with(OnUnreachable::Skip), steps, "unreachable-skip");
    tells(&with(OnUnreachable::Fail), steps, "unreachable-fail");
}

#[test]
fn waves_go_one_after_the_other_and_a_failure_halts() {
    let waves = sides(|strategy| {
        strategy.canaries = 1;
        strategy.verify_seconds = 60;
    });
    tells(&waves, "  - commit: two\n  - wait: 5m\n", "canary");
    let steps = "
  - fail: {nodes: [core-1, core-2], what: start, message: chatd does not start}
  - commit: two
  - wait: 5m
  - mend: [core-1, core-2]
  - decide: {action: skip}
  - wait: 5m
";
    tells(&waves, steps, "canary-fails");
}

#[test]
fn so_many_change_at_once_and_no_more() {
    let one_by_one = sides(|strategy| {
        strategy.max_unavailable = Some(1);
        strategy.waves = vec![Wave {
            name: "all".to_owned(),
            percent: Some(100),
            ..Wave::default()
        }];
    });
    tells(&one_by_one, "  - commit: two\n  - wait: 5m\n", "one-by-one");
}

#[test]
fn nothing_begins_outside_of_a_window() {
    let at_night = sides(|strategy| {
        strategy.windows = vec![Window {
            days: [Weekday::Friday].into(),
            hour: 23,
            minute: 30,
            minutes: 60,
            time_zone: "UTC".to_owned(),
        }];
    });
    let steps = "
  - commit: two
  - at: 2026-01-02T23:40:00Z
";
    tells(&at_night, steps, "window");
}

#[test]
fn a_newer_revision_takes_the_place_of_one_that_waits() {
    let steps = "
  - vote: {process: chatd, nodes: [core-1], answer: veto, message: 3 sessions}
  - commit: two
  - wait: 1m
  - commit: one
  - wait: 1m
";
    tells(&sides(same), steps, "superseded");
}

#[test]
fn one_that_has_begun_finishes_what_it_does_before_it_makes_way() {
    let steps = "
  - commit: two
  - wait: 11s
  - commit: one
  - wait: 1m
";
    tells(&sides(same), steps, "superseded-under-way");
}

#[test]
fn a_downgrade_is_a_change_as_any_other() {
    let steps = "
  - commit: two
  - wait: 1m
  - vote: {process: chatd, nodes: [core-2], answer: veto, message: 5 sessions}
  - commit: one
  - wait: 1m
  - vote: {process: chatd, answer: accept}
  - decide: {action: force, nodes: [core-2], reason: two is broken}
  - wait: 1m
";
    tells(&sides(same), steps, "downgrade");
}

#[test]
fn force_of_some_nodes_leaves_the_others_out() {
    let steps = "
  - vote: {process: chatd, answer: veto, message: 3 sessions}
  - commit: two
  - wait: 1m
  - decide: {action: force, nodes: [core-2]}
  - wait: 1m
";
    tells(&sides(same), steps, "force-some");
}

#[test]
fn so_many_failures_halt_and_no_fewer() {
    let patient = sides(|strategy| {
        strategy.halt_threshold = 2;
        strategy.max_unavailable = Some(1);
    });
    let steps = "
  - fail: {nodes: [core-1], what: start, message: chatd does not start}
  - commit: two
  - wait: 1m
";
    tells(&patient, steps, "halt-threshold-below");
    let steps = "
  - fail: {nodes: [core-1, core-2], what: start, message: chatd does not start}
  - commit: two
  - wait: 1m
";
    tells(&patient, steps, "halt-threshold-reached");
}

#[test]
fn who_cannot_fetch_keeps_all_from_changing() {
    let steps = "
  - fail: {nodes: [core-1], what: fetch, message: the disk is full}
  - commit: two
  - wait: 1m
  - mend: [core-1]
  - wait: 10m
";
    tells(&sides(same), steps, "fetch-fails");
}

#[test]
fn a_rule_of_a_class_objects_in_its_own_words() {
    let rule = "change.processes.exists(p, p.name == 'chatd')";
    let steps = "
  - commit: two
  - wait: 1m
  - decide: {action: skip}
  - wait: 1m
";
    tells(&sides_of(|fleet| fleet.rule("core", rule)), steps, "rule");
}

/// What `placet package shade` makes of the packages: the same software, of which nothing (white),
/// the clock alone (gray) or everything (black) pretends to have changed.
#[test]
fn shaded_updates_ask_whom_a_real_one_would_ask() {
    let shaded = |name: &str, kind: &str, is_shaded: bool| {
        let mut process = process(name, kind, &["libgreet.so.1"]);
        if is_shaded {
            process["signature"] = json!(format!("md5:{}", "f".repeat(32)));
        }
        [process]
    };
    let fleet = |name: &str, version: &str, chat: bool, clock: bool| {
        let fleet = Fleet::new(name)
            .package(
                "chat",
                "chat",
                version,
                &shaded("chatd", "self-managing", chat),
            )
            .package("base", "clock", version, &shaded("clockd", "simple", clock));
        (name.to_owned(), fleet.greet(version, "Hello").0)
    };
    let sides = BTreeMap::from([
        fleet("one", "1.0.0", false, false),
        fleet("white", "1.0.1", false, false),
        fleet("gray", "1.0.2", false, true),
        fleet("black", "1.0.3", true, true),
    ]);
    for colour in ["white", "gray", "black"] {
        let text = format!(
            "running: one
revisions: {{one: {{folder: one}}, {colour}: {{folder: {colour}}}}}
steps:
  - vote: {{process: chatd, answer: veto, message: 3 sessions}}
  - commit: {colour}
  - wait: 1m
"
        );
        tells_script(&sides, &text, &mut no_files, colour);
    }
}

#[test]
fn what_fails_while_it_is_watched_is_given_back() {
    let watched = sides(|strategy| strategy.soak_seconds = 30);
    let steps = "
  - fail: {nodes: [core-1], what: health, message: chatd answers nobody}
  - commit: two
  - wait: 2m
  - decide: {action: skip}
  - wait: 1m
";
    tells(&watched, steps, "failed-health");
}

#[test]
fn who_was_started_anew_is_asked_anew() {
    let steps = "
  - vote: {process: chatd, nodes: [core-2], answer: veto, message: 3 sessions}
  - commit: two
  - wait: 1m
  - vote: {process: chatd, answer: accept}
  - lose: [core-2]
  - wait: 10s
  - reboot: [core-2]
  - wait: 1m
";
    tells(&sides(same), steps, "started-anew");
}

#[test]
fn logic_decides_for_who_is_not_registered() {
    let logic = r#"(module
        (import "placet" "answer" (func $answer (param i32 i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "{\22answer\22:\22veto\22,\22message\22:\22says its logic\22}")
        (func (export "decide") (call $answer (i32.const 0) (i32.const 44))))"#;
    let logic = wat::parse_str(logic).unwrap();
    let mut clockd = process("clockd", "simple", &["libgreet.so.1"]);
    clockd["process"]["voteLogic"] = json!({"module": "usr/lib/vote.wasm"});
    let module = crate::tests::module("usr/lib/vote.wasm", "data", "logic");
    let modules = [clockd, module];
    let sides = sides_of(|fleet| fleet.package("base", "clock", "1.0.0", &modules));
    let files = &mut |_: &_, _: &_, module: Option<&_>| Ok(module.map(|_| logic.clone()));
    tells_with(&sides, "  - commit: two\n  - wait: 1m\n", files, "logic");
}

#[test]
fn the_seed_says_how_long_all_takes() {
    let played = |seed: u32| {
        let text = format!("seed: {seed}\n{HEAD}  - commit: two\n  - wait: 5m\n");
        let script = Script::parse(&text, "script.yaml").unwrap();
        play(&script, &sides(same), &mut no_files).unwrap()
    };
    assert_eq!(played(1), played(1));
    assert_ne!(played(1), played(2));
    let last = |seed| played(seed).lines.pop().unwrap().text;
    for seed in 0..20 {
        assert_eq!(last(seed), "3 of 3 nodes run two");
    }
}

#[test]
fn a_revision_may_be_another_one_with_other_packages() {
    let text = "revisions:
  one: {folder: fleet}
  two: {base: one, packages: {greet: 1.1.0, chat: 2.0.0}}
  three: {base: two, packages: {greet: 1.2.0}}
steps: []
";
    let script = Script::parse(text, "script.yaml").unwrap();
    let (source, packages) = script.source("three");
    assert_eq!(source, Source::Folder("fleet".to_owned()));
    let packages: Vec<_> = packages
        .iter()
        .map(|(name, it)| format!("{name} {it}"))
        .collect();
    assert_eq!(packages, ["chat 2.0.0", "greet 1.2.0"]);
}

#[test]
fn what_cannot_be_played_is_refused_with_its_line() {
    let refused = |text: &str, expected: &str| {
        let played = Script::parse(text, "script.yaml")
            .and_then(|script| play(&script, &sides(same), &mut no_files));
        let error = played.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let steps = |lines: &str| format!("{HEAD}{lines}");
    refused("steps: [", "script.yaml:1");
    refused("revisions: {}\nsteps: []\nwaves: 3\n", "script.yaml:3: ");
    refused(
        "revisions:\n  a: {base: b}\n  b: {base: c}\n  c: {base: a}\nsteps: []\n",
        "script.yaml:2: revisions are based on each other: a, b, c, a",
    );
    refused(
        "revisions:\n  a: {folder: x, git: y}\nsteps: []\n",
        "script.yaml:2: revision `a` needs exactly one of",
    );
    refused(
        &steps("  - commit: three\n"),
        "script.yaml:6: there is no revision `three`; there are one, two",
    );
    refused(
        &steps("  - wait: 1m\n  - at: 2026-01-01T00:00:59Z\n    commit: two\n"),
        "script.yaml:7: 2026-01-01T00:00:59Z is over: it is 2026-01-01T00:01:00Z by then",
    );
    refused(
        &steps("  - at: 9999-01-01T00:00:00Z\n"),
        "script.yaml:6: 9999-01-01T00:00:00Z is later than 3000-01-01T00:00:00Z",
    );
    refused(
        &steps("  - wait: 3000d\n  - wait: 3000d\n"),
        "script.yaml:7: a script lasts ten years at most",
    );
    refused(
        &steps("  - wait: soon\n"),
        "script.yaml:6: `soon` is no time",
    );
    refused(
        &steps("  - {wait: 1m, commit: two}\n"),
        "script.yaml:6: a step does one thing, and this one 2",
    );
    refused(
        &steps("  - lose: [core-9]\n"),
        "script.yaml:6: no revision declares a node `core-9`",
    );
    refused(
        &steps("  - vote: {process: nobody, answer: veto}\n"),
        "script.yaml:6: no package has a process `nobody`",
    );
}
