//! The text of a plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use expect_test::expect;
use jiff::Timestamp;
use placet_model::NodeName;

use super::build::{fleet, library, package, process, text};
use super::world::World;
use crate::{Unmet, WaitingOn};

/// Digests are as long as they are, and are what they are.
fn without_digests(text: &str) -> String {
    let is_digest = |word: &str| word.len() == 12 && word.bytes().all(|it| it.is_ascii_hexdigit());
    let lines = text.lines().map(|line| {
        let words = line.split(' ').map(|word| {
            let bare = word.trim_start_matches("r-");
            if is_digest(bare) {
                word.replace(bare, "0123456789ab")
            } else {
                word.to_owned()
            }
        });
        words.collect::<Vec<_>>().join(" ") + "\n"
    });
    lines.collect()
}

#[test]
fn a_plan_shows_modules_processes_and_reasons_node_by_node() {
    let app = || process("chatd").self_managing().needs("libtop.so");
    let top = || library("libtop.so").needs("libbase.so");
    let fleet = fleet([
        package("app 1.0.0", [app(), process("old")]),
        package(
            "app 1.1.0",
            [app().run(|spec| spec.notify = true), process("new")],
        ),
        package("base 1.0.0", [top(), library("libbase.so")]),
        package("base 2.0.0", [top(), library("libbase.so").content("2")]),
    ])
    .class("core", &["app 1.0.0", "base 1.0.0"])
    .node("core-2", |node| node.class = Some("core".to_owned()))
    .class("edge", &["base 1.0.0"]);
    let mut world = World::settled(fleet);
    world.commit("2", |fleet| {
        fleet
            .set("core", &["app 1.1.0", "base 2.0.0"])
            .set("edge", &["base 2.0.0", "gone 1.0.0"])
    });
    let shown = world.turn().to_string();
    expect![[r#"
        roll-out r-0123456789ab of main@sha1:2: Blocked, opened now
        touches 3 of 3 nodes
        problems
          package gone (oci-layout:/packages:gone-1.0.0): it has not been resolved yet
        core-1, core-2
          change   0123456789ab
          changed  usr/bin/chatd                        process     app 1.0.0 -> 1.1.0
          added    usr/bin/new                          process     app 1.1.0
          removed  usr/bin/old                          process     app 1.0.0
          changed  usr/lib/libbase.so                   library     base 1.0.0 -> 2.0.0
          ask      chatd
              the way it is run changed
              it uses usr/lib/libbase.so, which is changed, through usr/lib/libtop.so
          start    new
              it is new
          stop     old
              it is no longer wanted
        edge-1
          change   0123456789ab
          changed  usr/lib/libbase.so                   library     base 1.0.0 -> 2.0.0
        waiting
          core-1           waits until the problems are solved
          core-2           waits until the problems are solved
          edge-1           waits until the problems are solved
    "#]]
    .assert_eq(&without_digests(&shown));
    assert!(
        shown.lines().all(|line| line.len() <= 80),
        "fits a terminal"
    );
}

/// Every reason that there is.
fn reasons() -> Vec<WaitingOn> {
    let nodes = Arc::new(["a", "b", "c", "d"].map(text::<NodeName>).into());
    let time: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let unmet = Arc::new(Unmet {
        nodes: [text("a")].into(),
        package: text("app"),
        version: text("1.0.0"),
        needs: "base ^2 on another node".to_owned(),
        lacking: BTreeSet::new(),
    });
    vec![
        WaitingOn::Problems,
        WaitingOn::FirstContact,
        WaitingOn::Observation,
        WaitingOn::Connection,
        WaitingOn::OlderRollout(Arc::clone(&nodes)),
        WaitingOn::Answer,
        WaitingOn::OtherAnswers(Arc::clone(&nodes)),
        WaitingOn::Decision(1),
        WaitingOn::Deferred(time),
        WaitingOn::Staging,
        WaitingOn::OthersStaging(nodes),
        WaitingOn::Budget { unavailable: 1 },
        WaitingOn::Budget { unavailable: 2 },
        WaitingOn::Activating,
        WaitingOn::Skipped,
        WaitingOn::Aborted,
        WaitingOn::NoMemory,
        WaitingOn::GivenBack,
        WaitingOn::Failed("it died".to_owned()),
        WaitingOn::Suspended,
        WaitingOn::Maintenance("a fan is replaced".to_owned()),
        WaitingOn::Facts("its type differs".to_owned()),
        WaitingOn::Paused,
        WaitingOn::Window(Some(time)),
        WaitingOn::Window(None),
        WaitingOn::Wave {
            earlier: "canary".into(),
            left: 1,
        },
        WaitingOn::Verification(time),
        WaitingOn::Requirement(Arc::clone(&unmet)),
        WaitingOn::AfterTests(unmet),
    ]
}

#[test]
#[expect(clippy::too_many_lines, reason = "a flat list of sentences")]
fn what_is_said_of_several_nodes_agrees_with_their_number() {
    let reasons = reasons();
    let lines = reasons.iter().flat_map(|why| {
        assert_eq!(why.to_string(), why.said_of(1).to_string());
        [
            format!("core-1 {why}\n"),
            format!("core-1, core-2 {}\n", why.said_of(2)),
        ]
    });
    expect![[r#"
        core-1 waits until the problems are solved
        core-1, core-2 wait until the problems are solved
        core-1 has never joined
        core-1, core-2 have never joined
        core-1 has not yet said what it is or runs
        core-1, core-2 have not yet said what they are or run
        core-1 has no connection
        core-1, core-2 have no connection
        core-1 waits until the roll-out before has ended on a, b, c and 1 more
        core-1, core-2 wait until the roll-out before has ended on a, b, c and 1 more
        core-1 is asked
        core-1, core-2 are asked
        core-1 agrees, waits for a, b, c and 1 more
        core-1, core-2 agree, wait for a, b, c and 1 more
        core-1 waits for a decision on hold 1
        core-1, core-2 wait for a decision on hold 1
        core-1 wants to be asked again at 2026-01-01T00:00:00Z
        core-1, core-2 want to be asked again at 2026-01-01T00:00:00Z
        core-1 is fetching
        core-1, core-2 are fetching
        core-1 has fetched, waits for a, b, c and 1 more
        core-1, core-2 have fetched, wait for a, b, c and 1 more
        core-1 waits for its turn: 1 of its class is changing
        core-1, core-2 wait for their turn: 1 of their class is changing
        core-1 waits for its turn: 2 of its class are changing
        core-1, core-2 wait for their turn: 2 of their class are changing
        core-1 is changing
        core-1, core-2 are changing
        core-1 is left out by decision
        core-1, core-2 are left out by decision
        core-1 is left as it is: the roll-out was given up
        core-1, core-2 are left as they are: the roll-out was given up
        core-1 is not to store all that it is given, and cannot have it in memory only: its placetd is too old, or its --memory is not on a tmpfs
        core-1, core-2 are not to store all that they are given, and cannot have it in memory only: their placetd is too old, or their --memory is not on a tmpfs
        core-1 ran it and has given it back: `placet node retry` has it tried again
        core-1, core-2 ran it and have given it back: `placet node retry` has it tried again
        core-1 failed and is not tried again by itself: it died
        core-1, core-2 failed and are not tried again by themselves: it died
        core-1 is suspended
        core-1, core-2 are suspended
        core-1 is in maintenance, and left out: a fan is replaced
        core-1, core-2 are in maintenance, and left out: a fan is replaced
        core-1 is left as it is: its type differs
        core-1, core-2 are left as they are: its type differs
        core-1 waits: the roll-out is paused
        core-1, core-2 wait: the roll-out is paused
        core-1 waits for its window, which opens at 2026-01-01T00:00:00Z
        core-1, core-2 wait for their window, which opens at 2026-01-01T00:00:00Z
        core-1 waits for a window, of which none ever opens
        core-1, core-2 wait for a window, of which none ever opens
        core-1 waits for its wave: 1 left in wave canary
        core-1, core-2 wait for their wave: 1 left in wave canary
        core-1 waits: the wave before is watched until 2026-01-01T00:00:00Z
        core-1, core-2 wait: the wave before is watched until 2026-01-01T00:00:00Z
        core-1 cannot change by itself: node a: package app 1.0.0 needs base ^2 on another node; there is no such node
        core-1, core-2 cannot change by themselves: node a: package app 1.0.0 needs base ^2 on another node; there is no such node
        core-1 cannot stand the end of a test: node a: package app 1.0.0 needs base ^2 on another node; there is no such node
        core-1, core-2 cannot stand the end of a test: node a: package app 1.0.0 needs base ^2 on another node; there is no such node
    "#]].assert_eq(&lines.collect::<String>());
}
