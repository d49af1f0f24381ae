//! Impact (V1, V2).

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use placet_model::{Follow, FollowAction, ModuleType, NodeChange, NodeManifest};

use super::build::{M, file, fleet, library, link, package, process, text};
use crate::{Announcement, Announcements, change, change_with, library_directories};

fn manifest(modules: &[M]) -> NodeManifest {
    let fleet =
        fleet([package("app 1.0.0", modules.iter().cloned())]).class("core", &["app 1.0.0"]);
    NodeManifest::clone(&fleet.target().nodes[&text("core-1")].manifest)
}

#[track_caller]
fn check(from: &[M], to: &[M], expected: &Expect) {
    let change = change(&manifest(from), &manifest(to));
    expected.assert_eq(&shown(&change));
}

fn shown(change: &NodeChange) -> String {
    format!("change\n{}", change.change_set)
}

#[test]
fn v2_direct_and_transitive_users_of_a_library_are_affected_and_others_are_not() {
    let users = [
        process("direct").needs("libz.so"),
        process("through").needs("libtop.so"),
        process("both").needs("libtop.so").needs("libz.so"),
        process("other").needs("libc.so.6"),
        library("libtop.so").needs("libmid.so"),
        library("libmid.so").needs("libz.so"),
    ];
    let with = |library: M| [&users[..], &[library]].concat();
    check(
        &with(library("libz.so")),
        &with(library("libz.so").content("new")),
        &expect![[r#"
            change
              changed  usr/lib/libz.so                      library     app 1.0.0 -> 1.0.0
              restart  both
                  it uses usr/lib/libz.so, which is changed
              restart  direct
                  it uses usr/lib/libz.so, which is changed
              restart  through
                  it uses usr/lib/libz.so, which is changed, through usr/lib/libtop.so and
                  usr/lib/libmid.so
        "#]],
    );
}

#[test]
fn v2_of_several_chains_the_shortest_and_then_the_first_by_name_is_told() {
    let users = [
        process("app")
            .needs("libb.so")
            .needs("liba.so")
            .needs("liblong.so"),
        library("liblong.so").needs("libb.so"),
        library("libb.so").needs("libz.so"),
        library("liba.so").needs("libz.so"),
    ];
    let with = |library: M| [&users[..], &[library]].concat();
    check(
        &with(library("libz.so")),
        &with(library("libz.so").content("new")),
        &expect![[r#"
            change
              changed  usr/lib/libz.so                      library     app 1.0.0 -> 1.0.0
              restart  app
                  it uses usr/lib/libz.so, which is changed, through usr/lib/liba.so
        "#]],
    );
}

#[test]
fn v2_a_self_managing_process_is_asked_and_a_simple_one_restarted() {
    check(
        &[process("chatd").self_managing(), process("logd")],
        &[
            process("chatd").self_managing().content("new"),
            process("logd").content("new"),
        ],
        &expect![[r#"
            change
              changed  usr/bin/chatd                        process     app 1.0.0 -> 1.0.0
              changed  usr/bin/logd                         process     app 1.0.0 -> 1.0.0
              ask      chatd
                  its own program changed
              restart  logd
                  its own program changed
        "#]],
    );
}

#[test]
fn v2_new_processes_start_and_those_no_longer_wanted_stop() {
    check(
        &[process("old"), process("oldm").self_managing()],
        &[process("new"), process("newm").self_managing()],
        &expect![[r#"
            change
              added    usr/bin/new                          process     app 1.0.0
              added    usr/bin/newm                         process     app 1.0.0
              removed  usr/bin/old                          process     app 1.0.0
              removed  usr/bin/oldm                         process     app 1.0.0
              start    new
                  it is new
              start    newm
                  it is new
              stop     old
                  it is no longer wanted
              stop     oldm
                  it is no longer wanted
        "#]],
    );
}

#[test]
fn v2_another_digest_with_the_same_signature_is_no_change() {
    check(
        &[process("app")],
        &[process("app").rebuilt("later")],
        &expect![[r#"
            change
              nothing that a process could notice
        "#]],
    );
}

#[test]
fn v2_the_way_a_process_is_run_is_a_reason_of_its_own() {
    check(
        &[process("args"), process("mode"), process("both")],
        &[
            process("args").run(|spec| spec.arguments.push("-v".to_owned())),
            process("mode").mode(0o700),
            process("both")
                .content("new")
                .run(|spec| spec.notify = true),
        ],
        &expect![[r#"
            change
              changed  usr/bin/args                         process     app 1.0.0 -> 1.0.0
              changed  usr/bin/both                         process     app 1.0.0 -> 1.0.0
              changed  usr/bin/mode                         process     app 1.0.0 -> 1.0.0
              restart  args
                  the way it is run changed
              restart  both
                  its own program changed
                  the way it is run changed
              restart  mode
                  the way it is run changed
        "#]],
    );
}

#[test]
fn v2_time_outs_take_effect_without_touching_the_process() {
    let change = change(
        &manifest(&[process("app")]),
        &manifest(&[process("app").run(|spec| spec.stop_seconds = 99)]),
    );
    assert_eq!(
        (
            change.change_set.modules.len(),
            change.change_set.processes.len()
        ),
        (1, 0)
    );
}

#[test]
fn v2_what_a_process_opens_affects_it_and_so_does_what_that_maps() {
    let users = [
        process("plugged").opens_one_of(&["plugins/a.so", "plugins/b.so"]),
        process("maybe").opens_if_present("plugins/a.so"),
        process("plain"),
        library("libz.so").needs("libc.so.6"),
    ];
    let plugin = || library("a.so").at("plugins/a.so").needs("libz.so");
    let with = |more: &[M]| [&users[..], more].concat();
    check(
        &with(&[plugin()]),
        &with(&[plugin().content("new")]),
        &expect![[r#"
            change
              changed  plugins/a.so                         library     app 1.0.0 -> 1.0.0
              restart  maybe
                  it opens plugins/a.so, which is changed
              restart  plugged
                  it opens plugins/a.so, which is changed
        "#]],
    );
    let mut changed = with(&[plugin()]);
    changed[3] = library("libz.so").content("new");
    check(
        &with(&[plugin()]),
        &changed,
        &expect![[r#"
            change
              changed  usr/lib/libz.so                      library     app 1.0.0 -> 1.0.0
              restart  maybe
                  it uses usr/lib/libz.so, which is changed, through plugins/a.so
              restart  plugged
                  it uses usr/lib/libz.so, which is changed, through plugins/a.so
        "#]],
    );
}

#[test]
fn v2_libraries_opened_at_run_time_count_on_the_node_only() {
    let (from, to) = (
        manifest(&[process("app"), library("libx.so")]),
        manifest(&[process("app"), library("libx.so").content("new")]),
    );
    let announced = Announcement {
        opened: [text("usr/lib/libx.so")].into(),
        ..Announcement::default()
    };
    let opened: Announcements = BTreeMap::from([(text("app"), announced)]);
    assert!(change(&from, &to).change_set.processes.is_empty());
    expect![[r#"
        change
          changed  usr/lib/libx.so                      library     app 1.0.0 -> 1.0.0
          restart  app
              it opens usr/lib/libx.so, which is changed
    "#]]
    .assert_eq(&shown(&change_with(&from, &to, &opened)));
}

#[test]
fn v2_libraries_that_come_and_go_affect_their_users() {
    let app = process("app").needs("libz.so.1");
    check(
        &[
            app.clone(),
            link("usr/lib/libz.so.1", "libz.so.1.2"),
            library("libz.so.1").at("usr/lib/libz.so.1.2"),
        ],
        &[
            app.clone(),
            link("usr/lib/libz.so.1", "libz.so.1.3"),
            library("libz.so.1").at("usr/lib/libz.so.1.3"),
        ],
        &expect![[r#"
            change
              changed  usr/lib/libz.so.1                    data        app 1.0.0 -> 1.0.0
              removed  usr/lib/libz.so.1.2                  library     app 1.0.0
              added    usr/lib/libz.so.1.3                  library     app 1.0.0
              restart  app
                  it uses usr/lib/libz.so.1, which is changed
                  it uses usr/lib/libz.so.1.2, which is removed
                  it uses usr/lib/libz.so.1.3, which is added
        "#]],
    );
    check(
        std::slice::from_ref(&app),
        &[app.clone(), library("libz.so.1")],
        &expect![[r#"
            change
              added    usr/lib/libz.so.1                    library     app 1.0.0
              restart  app
                  it uses usr/lib/libz.so.1, which is added
        "#]],
    );
}

#[test]
fn v2_a_process_that_moves_is_restarted_from_its_new_place() {
    check(
        &[process("app")],
        &[process("app").at("opt/app")],
        &expect![[r#"
            change
              added    opt/app                              process     app 1.0.0
              removed  usr/bin/app                          process     app 1.0.0
              restart  app
                  its own program changed
        "#]],
    );
}

#[test]
fn v2_processes_are_handled_by_start_order_then_users_after_what_they_use() {
    let modules = |content: &str| {
        [
            process("late")
                .content(content)
                .run(|spec| spec.start_order = 1),
            process("alpha")
                .content(content)
                .opens_one_of(&["usr/bin/zeta"]),
            process("zeta").content(content),
            process("early")
                .content(content)
                .run(|spec| spec.start_order = -1),
        ]
    };
    let change = change(&manifest(&modules("1")), &manifest(&modules("2")));
    let names: Vec<_> = change
        .change_set
        .processes
        .iter()
        .map(|process| process.name.as_str())
        .collect();
    assert_eq!(names, ["early", "zeta", "alpha", "late"]);
}

#[test]
fn v4_the_change_digest_depends_on_both_sides_and_nothing_else() {
    let (one, two) = (
        manifest(&[process("app")]),
        manifest(&[process("app").content("2")]),
    );
    assert_eq!(change(&one, &two).digest(), change(&one, &two).digest());
    assert_ne!(change(&one, &two).digest(), change(&two, &one).digest());
    assert!(change(&one, &one).change_set.is_empty());
}

#[test]
fn directories_of_libraries_come_in_the_order_of_the_packages() {
    let fleet = fleet([
        package(
            "app 1.0.0",
            [
                process("app").needs("libplain.so"),
                library("liba.so").at("opt/z/liba.so"),
            ],
        ),
        package(
            "base 1.0.0",
            [
                library("libb.so"),
                link("opt/a/libplain.so", "../../usr/lib/libb.so"),
                file("etc/x"),
            ],
        ),
    ])
    .class("core", &["app 1.0.0", "base 1.0.0"]);
    let directories = library_directories(&fleet.target().nodes[&text("core-1")].manifest);
    assert_eq!(directories, ["opt/z", "opt/a", "usr/lib"]);
}

#[test]
fn cs6_whether_a_restart_is_hitless_is_planned_for_both_ways() {
    let server = |saves: &str, restores: &[&str], content: &str| {
        process("server").content(content).run(|spec| {
            spec.state.saves = [saves.parse().unwrap()].into();
            spec.state.restores = restores.iter().map(|it| it.parse().unwrap()).collect();
        })
    };
    let three = server("session/3", &["session/3"], "three");
    check(
        std::slice::from_ref(&three),
        &[server("session/4", &["session/3", "session/4"], "four")],
        &expect![[r#"
            change
              changed  usr/bin/server                       process     app 1.0.0 -> 1.0.0
              restart  server
                  its own program changed
                  hitless: its successor takes over what it saves
                  the way back would be cold: format session/4 is unknown to app 1.0.0
        "#]],
    );
    check(
        &[server("session/4", &["session/4"], "four")],
        &[three],
        &expect![[r#"
            change
              changed  usr/bin/server                       process     app 1.0.0 -> 1.0.0
              restart  server
                  its own program changed
                  cold restart: format session/4 is unknown to app 1.0.0
                  the way back would be cold: format session/3 is unknown to app 1.0.0
        "#]],
    );
    let plain = process("server").content("plain");
    check(
        std::slice::from_ref(&plain),
        &[plain.clone().content("other")],
        &expect![[r#"
            change
              changed  usr/bin/server                       process     app 1.0.0 -> 1.0.0
              restart  server
                  its own program changed
        "#]],
    );
}

#[test]
fn v3_a_process_that_follows_a_file_is_reloaded_told_or_restarted_as_it_declares() {
    let follows = |name: &str, action| {
        process(name).run(|spec| {
            spec.follows = vec![Follow {
                paths: ["etc/*.conf".to_owned()].into(),
                action,
                ..Follow::default()
            }];
        })
    };
    let all = |content: &str| {
        [
            follows("reloads", FollowAction::Reload),
            follows("restarts", FollowAction::Restart),
            follows("looks", FollowAction::Nothing),
            process("other"),
            file("etc/a.conf").content(content),
        ]
    };
    check(
        &all("old"),
        &all("new"),
        &expect![[r#"
        change
          changed  etc/a.conf                           data        app 1.0.0 -> 1.0.0
          notify   looks
              it follows etc/a.conf, which is changed
          reload   reloads
              it follows etc/a.conf, which is changed
          restart  restarts
              it follows etc/a.conf, which is changed
    "#]],
    );
}

#[test]
fn v3_what_is_followed_adds_a_reason_where_something_else_restarts_the_process() {
    let app = |content: &str| {
        let app = process("app").content(content).run(|spec| {
            spec.follows = vec![Follow {
                types: [ModuleType::Data].into(),
                ..Follow::default()
            }];
        });
        [app, file("etc/a.conf").content(content)]
    };
    check(
        &app("old"),
        &app("new"),
        &expect![[r#"
        change
          changed  etc/a.conf                           data        app 1.0.0 -> 1.0.0
          changed  usr/bin/app                          process     app 1.0.0 -> 1.0.0
          restart  app
              its own program changed
              it follows etc/a.conf, which is changed
    "#]],
    );
}

#[test]
fn v3_an_interest_that_was_told_at_run_time_counts_as_one_that_was_declared() {
    let all = |content: &str| manifest(&[process("app"), file("etc/a.conf").content(content)]);
    let announced = Announcement {
        follows: vec![Follow {
            paths: ["etc/**".to_owned()].into(),
            action: FollowAction::Restart,
            ..Follow::default()
        }],
        ..Announcement::default()
    };
    let announced = BTreeMap::from([(text("app"), announced)]);
    let change = change_with(&all("old"), &all("new"), &announced);
    expect![[r#"
        change
          changed  etc/a.conf                           data        app 1.0.0 -> 1.0.0
          notify   app
              it follows etc/a.conf, which is changed
    "#]]
    .assert_eq(&shown(&change));
}

#[test]
fn b8_tests_are_no_services_and_no_change_affects_them() {
    let all = |content: &str| {
        let fleet = fleet([
            package("app 1.0.0", [library("libapp.so").content(content)]),
            package("checks 1.0.0", [process("check").needs("libapp.so")]).suite(),
            package("fix 1.0.0", [process("check").needs("libapp.so")]).upgrades("checks", "^1"),
        ]);
        let fleet = fleet.class("core", &["fix 1.0.0", "app 1.0.0", "checks 1.0.0"]);
        NodeManifest::clone(&fleet.target().nodes[&text("core-1")].manifest)
    };
    let (old, new) = (all("old"), all("new"));
    let suites: Vec<_> = new.suites().collect();
    let names: Vec<_> = suites.iter().map(|suite| suite.name.as_str()).collect();
    assert_eq!(names, ["fix", "checks"]);
    assert_eq!(new.tests(suites[0])[0].name.as_str(), "check");
    assert_eq!(new.services().count(), 0);
    expect![[r#"
        change
          changed  usr/lib/libapp.so                    library     app 1.0.0 -> 1.0.0
    "#]]
    .assert_eq(&shown(&change(&old, &new)));
}
