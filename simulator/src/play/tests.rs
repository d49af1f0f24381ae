//! The policies of a roll-out, each as a short story. `UPDATE_EXPECT=1` writes the transcripts anew.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use placet_model::{OnUnreachable, Strategy, Wave, Weekday, Window};
use serde_json::json;

use super::{Script, Source, play};
use crate::compare::Side;
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

#[track_caller]
fn tells(sides: &BTreeMap<String, Side>, steps: &str, expected: &Expect) {
    let text = format!("{HEAD}{steps}");
    let script = Script::parse(&text, "script.yaml").unwrap();
    let files = &mut no_files;
    let transcript = play(&script, sides, files).unwrap();
    expected.assert_eq(&transcript.to_string());
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
    tells(
        &sides(same),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: chatd (1) non placet: 3 sessions [sessions]
                              node core-2: placet
                              ro-1: Held
                              ro-1: hold 1 is open:
                                node core-1: chatd (1) non placet: 3 sessions [sessions]
        2026-01-01T00:00:05Z  node edge-1: placet
        2026-01-01T00:01:01Z  ro-1: decided: skip
                              ro-1: Staging
                              core-2, edge-1: told to fetch
                              core-1: is left out by decision
        2026-01-01T00:01:04Z  node edge-1: has fetched
        2026-01-01T00:01:06Z  node core-2: has fetched
                              ro-1: Activating
                              core-2, edge-1: told to change
        2026-01-01T00:01:07Z  node core-2: has changed
        2026-01-01T00:01:10Z  node edge-1: has changed
                              ro-1: Done
        2026-01-01T00:02:01Z  the end: ro-1 is Done
                              2 of 3 nodes run two
    "#]],
    );
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
    tells(
        &sides(same),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: chatd (1) non placet: 3 sessions
                              node core-2: placet
                              ro-1: Held
                              ro-1: hold 1 is open:
                                node core-1: chatd (1) non placet: 3 sessions
        2026-01-01T00:00:05Z  node edge-1: placet
        2026-01-01T00:01:01Z  ro-1: decided: force
                              ro-1: Staging
                              core-1, core-2, edge-1: told to fetch
        2026-01-01T00:01:02Z  node edge-1: has fetched
        2026-01-01T00:01:04Z  node core-2: has fetched
        2026-01-01T00:01:06Z  node core-1: has fetched
                              ro-1: Activating
                              core-2, edge-1: told to change
                              core-1: told to change, forced
        2026-01-01T00:01:07Z  node core-2: has changed
        2026-01-01T00:01:10Z  node core-1: has changed
        2026-01-01T00:01:11Z  node edge-1: has changed
                              ro-1: Done
        2026-01-01T00:02:01Z  the end: ro-1 is Done
                              3 of 3 nodes run two
    "#]],
    );
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
    tells(
        &sides(same),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: chatd (1) non placet: 3 sessions
                              node core-2: placet
                              ro-1: Held
                              ro-1: hold 1 is open:
                                node core-1: chatd (1) non placet: 3 sessions
        2026-01-01T00:00:05Z  node edge-1: placet
        2026-01-01T00:01:01Z  ro-1: decided: abort
                              ro-1: Aborted
                              core-1, core-2, edge-1: released: given up by script: as
                              the script says
        2026-01-01T00:01:02Z  decision abort: refused: no hold is open: there is nothing
                              to decide
        2026-01-01T00:02:02Z  the end: ro-1 is Aborted
                              0 of 3 nodes run two
    "#]],
    );
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
    tells(
        &sides(same),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: placet
                              node core-2: chatd (1) defers until 2026-01-01T00:02:01Z:
                              a table is read
                              core-2: wants to be asked again at 2026-01-01T00:02:01Z
        2026-01-01T00:00:05Z  node edge-1: placet
        2026-01-01T00:02:01Z  core-2: asked
        2026-01-01T00:02:06Z  node core-2: chatd (1) defers until 2026-01-01T00:04:06Z:
                              a table is read
                              core-2: wants to be asked again at 2026-01-01T00:04:06Z
        2026-01-01T00:04:06Z  core-2: asked
        2026-01-01T00:04:09Z  node core-2: placet
                              ro-1: Staging
                              core-1, core-2, edge-1: told to fetch
        2026-01-01T00:04:10Z  node core-1: has fetched
                              node edge-1: has fetched
        2026-01-01T00:04:13Z  node core-2: has fetched
                              ro-1: Activating
                              core-1, core-2, edge-1: told to change
        2026-01-01T00:04:14Z  node core-2: has changed
        2026-01-01T00:04:15Z  node edge-1: has changed
        2026-01-01T00:04:18Z  node core-1: has changed
                              ro-1: Done
        2026-01-01T00:08:00Z  the end: ro-1 is Done
                              3 of 3 nodes run two
    "#]],
    );
    let strict = sides(|strategy| strategy.max_defer_seconds = 200);
    let steps = "
  - vote: {process: chatd, nodes: [core-2], answer: defer, seconds: 120, message: a table is read}
  - commit: two
  - wait: 10m
";
    tells(
        &strict,
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: placet
                              node core-2: chatd (1) defers until 2026-01-01T00:02:01Z:
                              a table is read
                              core-2: wants to be asked again at 2026-01-01T00:02:01Z
        2026-01-01T00:00:05Z  node edge-1: placet
        2026-01-01T00:02:01Z  core-2: asked
        2026-01-01T00:02:06Z  node core-2: chatd (1) defers until 2026-01-01T00:04:06Z:
                              a table is read
                              core-2: wants to be asked again at 2026-01-01T00:03:20Z
        2026-01-01T00:03:20Z  ro-1: Held
                              ro-1: hold 1 is open:
                                node core-2: chatd (1) defers until
                              2026-01-01T00:04:06Z: a table is read
        2026-01-01T00:10:00Z  the end: ro-1 is Held
                              0 of 3 nodes run two
    "#]],
    );
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
    tells(
        &with("no-answer"),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-2: placet
        2026-01-01T00:00:05Z  node core-1: chatd (1) did not answer: did not answer
                              within 5 s
                              node edge-1: placet
                              ro-1: Held
                              ro-1: hold 1 is open:
                                node core-1: chatd (1) did not answer: did not answer
                              within 5 s
        2026-01-01T00:01:00Z  the end: ro-1 is Held
                              0 of 3 nodes run two
    "#]],
    );
    tells(
        &with("accept"),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-2: placet
        2026-01-01T00:00:05Z  node core-1: placet
                              node edge-1: placet
                              ro-1: Staging
                              core-1, core-2, edge-1: told to fetch
        2026-01-01T00:00:06Z  node edge-1: has fetched
        2026-01-01T00:00:08Z  node core-2: has fetched
        2026-01-01T00:00:10Z  node core-1: has fetched
                              ro-1: Activating
                              core-1, core-2, edge-1: told to change
        2026-01-01T00:00:11Z  node core-2: has changed
        2026-01-01T00:00:14Z  node core-1: has changed
        2026-01-01T00:00:15Z  node edge-1: has changed
                              ro-1: Done
        2026-01-01T00:01:00Z  the end: ro-1 is Done
                              3 of 3 nodes run two
    "#]],
    );
    tells(
        &with("veto"),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-2: placet
        2026-01-01T00:00:05Z  node core-1: chatd (1) non placet: did not answer within 5
                              s, which counts as veto
                              node edge-1: placet
                              ro-1: Held
                              ro-1: hold 1 is open:
                                node core-1: chatd (1) non placet: did not answer within
                              5 s, which counts as veto
        2026-01-01T00:01:00Z  the end: ro-1 is Held
                              0 of 3 nodes run two
    "#]],
    );
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
    tells(
        &with(OnUnreachable::Wait),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              node core-2: has lost its connection
        2026-01-01T00:01:00Z  commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, edge-1: asked
                              core-2: has no connection
        2026-01-01T00:01:01Z  node core-1: placet
                              node edge-1: placet
        2026-01-01T00:03:00Z  node core-2: has a connection again
                              core-2: asked
        2026-01-01T00:03:05Z  node core-2: placet
                              ro-1: Staging
                              core-1, core-2, edge-1: told to fetch
        2026-01-01T00:03:06Z  node edge-1: has fetched
        2026-01-01T00:03:08Z  node core-2: has fetched
        2026-01-01T00:03:10Z  node core-1: has fetched
                              ro-1: Activating
                              core-1, core-2, edge-1: told to change
        2026-01-01T00:03:11Z  node core-2: has changed
        2026-01-01T00:03:14Z  node core-1: has changed
        2026-01-01T00:03:15Z  node edge-1: has changed
                              ro-1: Done
        2026-01-01T00:04:00Z  the end: ro-1 is Done
                              3 of 3 nodes run two
    "#]],
    );
    tells(
        &with(OnUnreachable::Skip),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              node core-2: has lost its connection
        2026-01-01T00:01:00Z  commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, edge-1: asked
                              core-2: has no connection
        2026-01-01T00:01:01Z  node core-1: placet
                              node edge-1: placet
                              ro-1: Staging
                              core-1, edge-1: told to fetch
        2026-01-01T00:01:06Z  node core-1: has fetched
                              node edge-1: has fetched
                              ro-1: Activating
                              core-1, edge-1: told to change
        2026-01-01T00:01:07Z  node edge-1: has changed
        2026-01-01T00:01:09Z  node core-1: has changed
                              ro-1: Done
        2026-01-01T00:03:00Z  node core-2: has a connection again
                              ro-1: Proposing
                              core-2: asked
        2026-01-01T00:03:04Z  node core-2: placet
                              ro-1: Staging
                              core-2: told to fetch
        2026-01-01T00:03:05Z  node core-2: has fetched
                              ro-1: Activating
                              core-2: told to change
        2026-01-01T00:03:10Z  node core-2: has changed
                              ro-1: Done
        2026-01-01T00:04:00Z  the end: ro-1 is Done
                              3 of 3 nodes run two
    "#]],
    );
    tells(
        &with(OnUnreachable::Fail),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              node core-2: has lost its connection
        2026-01-01T00:01:00Z  commit two
                              ro-1 begins: to two
                              ro-1: Held
                              ro-1: hold 1 is open:
                                node core-2: it cannot be reached
                              core-1, edge-1: asked
        2026-01-01T00:01:01Z  node core-1: placet
                              node edge-1: placet
        2026-01-01T00:03:00Z  node core-2: has a connection again
                              ro-1: Proposing
                              core-2: asked
        2026-01-01T00:03:05Z  node core-2: placet
                              ro-1: Staging
                              core-1, core-2, edge-1: told to fetch
        2026-01-01T00:03:06Z  node edge-1: has fetched
        2026-01-01T00:03:08Z  node core-2: has fetched
        2026-01-01T00:03:10Z  node core-1: has fetched
                              ro-1: Activating
                              core-1, core-2, edge-1: told to change
        2026-01-01T00:03:11Z  node core-2: has changed
        2026-01-01T00:03:14Z  node core-1: has changed
        2026-01-01T00:03:15Z  node edge-1: has changed
                              ro-1: Done
        2026-01-01T00:04:00Z  the end: ro-1 is Done
                              3 of 3 nodes run two
    "#]],
    );
}

#[test]
fn waves_go_one_after_the_other_and_a_failure_halts() {
    let waves = sides(|strategy| {
        strategy.canaries = 1;
        strategy.verify_seconds = 60;
    });
    tells(
        &waves,
        "  - commit: two\n  - wait: 5m\n",
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: placet
                              node core-2: placet
        2026-01-01T00:00:05Z  node edge-1: placet
                              ro-1: Staging
                              core-1, core-2, edge-1: told to fetch
        2026-01-01T00:00:06Z  node edge-1: has fetched
        2026-01-01T00:00:08Z  node core-2: has fetched
        2026-01-01T00:00:10Z  node core-1: has fetched
                              ro-1: Activating
                              core-1, edge-1: told to change
                              core-2: waits for its wave: 1 left in wave canary
        2026-01-01T00:00:11Z  node edge-1: has changed
        2026-01-01T00:00:14Z  node core-1: has changed
                              core-2: waits: the wave before is watched until
                              2026-01-01T00:01:14Z
        2026-01-01T00:01:14Z  core-2: told to change
        2026-01-01T00:01:19Z  node core-2: has changed
                              ro-1: Done
        2026-01-01T00:05:00Z  the end: ro-1 is Done
                              3 of 3 nodes run two
    "#]],
    );
    let steps = "
  - fail: {nodes: [core-1, core-2], what: start, message: chatd does not start}
  - commit: two
  - wait: 5m
  - mend: [core-1, core-2]
  - decide: {action: skip}
  - wait: 5m
";
    tells(
        &waves,
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: placet
                              node core-2: placet
        2026-01-01T00:00:05Z  node edge-1: placet
                              ro-1: Staging
                              core-1, core-2, edge-1: told to fetch
        2026-01-01T00:00:06Z  node edge-1: has fetched
        2026-01-01T00:00:08Z  node core-2: has fetched
        2026-01-01T00:00:10Z  node core-1: has fetched
                              ro-1: Activating
                              core-1, edge-1: told to change
                              core-2: waits for its wave: 1 left in wave canary
        2026-01-01T00:00:11Z  node edge-1: has changed
        2026-01-01T00:00:14Z  node core-1: has given back: chatd does not start
                              ro-1: Halted
                              ro-1: hold 1 is open:
                                node core-1: activation failed: chatd does not start
                              core-1: failed and is not tried again by itself: chatd
                              does not start
        2026-01-01T00:05:01Z  ro-1: decided: skip
                              ro-1: Activating
                              core-2: told to change
        2026-01-01T00:05:06Z  node core-2: has changed
                              ro-1: Done
        2026-01-01T00:10:01Z  the end: ro-1 is Done
                              2 of 3 nodes run two
    "#]],
    );
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
    tells(
        &one_by_one,
        "  - commit: two\n  - wait: 5m\n",
        &expect![[r#"
            2026-01-01T00:00:00Z  all nodes run one
                                  commit two
                                  ro-1 begins: to two
                                  ro-1: Proposing
                                  core-1, core-2, edge-1: asked
            2026-01-01T00:00:01Z  node core-1: placet
                                  node core-2: placet
            2026-01-01T00:00:05Z  node edge-1: placet
                                  ro-1: Staging
                                  core-1, core-2, edge-1: told to fetch
            2026-01-01T00:00:06Z  node edge-1: has fetched
            2026-01-01T00:00:08Z  node core-2: has fetched
            2026-01-01T00:00:10Z  node core-1: has fetched
                                  ro-1: Activating
                                  core-1, edge-1: told to change
            2026-01-01T00:00:11Z  node edge-1: has changed
            2026-01-01T00:00:14Z  node core-1: has changed
                                  core-2: told to change
            2026-01-01T00:00:19Z  node core-2: has changed
                                  ro-1: Done
            2026-01-01T00:05:00Z  the end: ro-1 is Done
                                  3 of 3 nodes run two
        "#]],
    );
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
    tells(
        &at_night,
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: placet
                              node core-2: placet
        2026-01-01T00:00:05Z  node edge-1: placet
                              ro-1: Staging
                              core-1, core-2, edge-1: told to fetch
        2026-01-01T00:00:06Z  node edge-1: has fetched
        2026-01-01T00:00:08Z  node core-2: has fetched
        2026-01-01T00:00:10Z  node core-1: has fetched
                              ro-1: Activating
                              edge-1: told to change
                              core-1, core-2: waits for its window, which opens at
                              2026-01-02T23:30:00Z
        2026-01-01T00:00:14Z  node edge-1: has changed
        2026-01-02T23:30:00Z  ro-1: Proposing
                              core-1, core-2: asked
        2026-01-02T23:30:01Z  node core-1: placet
        2026-01-02T23:30:05Z  node core-2: placet
                              ro-1: Activating
                              core-1, core-2: told to change
        2026-01-02T23:30:06Z  node core-1: has changed
        2026-01-02T23:30:07Z  node core-2: has changed
                              ro-1: Done
        2026-01-02T23:40:00Z  the end: ro-1 is Done
                              3 of 3 nodes run two
    "#]],
    );
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
    tells(
        &sides(same),
        steps,
        &expect![[r#"
            2026-01-01T00:00:00Z  all nodes run one
                                  commit two
                                  ro-1 begins: to two
                                  ro-1: Proposing
                                  core-1, core-2, edge-1: asked
            2026-01-01T00:00:01Z  node core-1: chatd (1) non placet: 3 sessions
                                  node core-2: placet
                                  ro-1: Held
                                  ro-1: hold 1 is open:
                                    node core-1: chatd (1) non placet: 3 sessions
            2026-01-01T00:00:05Z  node edge-1: placet
            2026-01-01T00:01:00Z  commit one
                                  ro-1 is superseded
                                  ro-2 begins: to one
                                  core-1: released
                                  core-2: released
                                  edge-1: released
                                  ro-2: Done
            2026-01-01T00:02:00Z  the end: ro-2 is Done
                                  3 of 3 nodes run one
        "#]],
    );
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
    tells(
        &watched,
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: placet
                              node core-2: placet
        2026-01-01T00:00:05Z  node edge-1: placet
                              ro-1: Staging
                              core-1, core-2, edge-1: told to fetch
        2026-01-01T00:00:06Z  node edge-1: has fetched
        2026-01-01T00:00:08Z  node core-2: has fetched
        2026-01-01T00:00:10Z  node core-1: has fetched
                              ro-1: Activating
                              core-1, core-2, edge-1: told to change
        2026-01-01T00:00:11Z  node core-2: has changed, watches for 30 s
        2026-01-01T00:00:14Z  node core-1: has changed, watches for 30 s
        2026-01-01T00:00:15Z  node edge-1: has changed
        2026-01-01T00:00:41Z  node core-2: has changed
        2026-01-01T00:00:44Z  node core-1: has given back: chatd answers nobody
                              ro-1: Halted
                              ro-1: hold 1 is open:
                                node core-1: activation failed: chatd answers nobody
                              core-1: failed and is not tried again by itself: chatd
                              answers nobody
        2026-01-01T00:02:01Z  ro-1: decided: skip
                              ro-1: Done
        2026-01-01T00:03:01Z  the end: ro-1 is Done
                              2 of 3 nodes run two
    "#]],
    );
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
    tells(
        &sides(same),
        steps,
        &expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: placet
                              node core-2: chatd (1) non placet: 3 sessions
                              ro-1: Held
                              ro-1: hold 1 is open:
                                node core-2: chatd (1) non placet: 3 sessions
        2026-01-01T00:00:05Z  node edge-1: placet
        2026-01-01T00:01:00Z  node core-2: has lost its connection
        2026-01-01T00:01:10Z  node core-2: has a connection again, started anew
                              ro-1: Proposing
                              core-2: asked
        2026-01-01T00:01:15Z  node core-2: placet
                              ro-1: Staging
                              core-1, core-2, edge-1: told to fetch
        2026-01-01T00:01:16Z  node core-2: has fetched
        2026-01-01T00:01:18Z  node core-1: has fetched
        2026-01-01T00:01:19Z  node edge-1: has fetched
                              ro-1: Activating
                              core-1, core-2, edge-1: told to change
        2026-01-01T00:01:20Z  node core-1: has changed
                              node edge-1: has changed
        2026-01-01T00:01:24Z  node core-2: has changed
                              ro-1: Done
        2026-01-01T00:02:10Z  the end: ro-1 is Done
                              3 of 3 nodes run two
    "#]],
    );
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
    let text = format!("{HEAD}  - commit: two\n  - wait: 1m\n");
    let script = Script::parse(&text, "script.yaml").unwrap();
    let files = &mut |_: &_, _: &_, module: Option<&_>| Ok(module.map(|_| logic.clone()));
    let transcript = play(&script, &sides, files).unwrap();
    expect![[r#"
        2026-01-01T00:00:00Z  all nodes run one
                              commit two
                              ro-1 begins: to two
                              ro-1: Proposing
                              core-1, core-2, edge-1: asked
        2026-01-01T00:00:01Z  node core-1: clockd, by its logic, non placet: says its
                              logic
                              node core-2: clockd, by its logic, non placet: says its
                              logic
                              ro-1: Held
                              ro-1: hold 1 is open:
                                node core-1: clockd, by its logic, non placet: says its
                              logic
                                node core-2: clockd, by its logic, non placet: says its
                              logic
        2026-01-01T00:00:05Z  node edge-1: clockd, by its logic, non placet: says its
                              logic
        2026-01-01T00:01:00Z  the end: ro-1 is Held
                              0 of 3 nodes run two
    "#]]
    .assert_eq(&transcript.to_string());
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
