//! The text of a plan.

use expect_test::expect;

use super::build::{fleet, library, package, process};
use super::world::World;

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
