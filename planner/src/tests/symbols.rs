//! Is every symbol defined that the modules of a node import? (D7, B3)

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::build::{F, M, file, fleet, library, package, process};
use super::world::World;
use crate::CatalogEntry;

/// What there is to say of a fleet in which class `core` has the packages `list`.
#[track_caller]
fn check(packages: impl IntoIterator<Item = super::build::P>, list: &[&str], expected: &Expect) {
    said(&fleet(packages).class("core", list), expected);
}

#[track_caller]
fn said(fleet: &F, expected: &Expect) {
    let target = fleet.target();
    let mut said = String::new();
    for problem in &target.problems {
        writeln!(said, "{problem}").unwrap();
    }
    for note in &target.notes {
        writeln!(said, "note: {note}").unwrap();
    }
    expected.assert_eq(&said);
}

/// A program that calls `greet` and `greet_twice` of `libgreet.so.1`.
fn greeter() -> M {
    process("greeter")
        .needs("libgreet.so.1")
        .imports("greet greet_twice")
}

fn greet(symbols: &str) -> M {
    library("libgreet.so.1").exports(symbols)
}

#[test]
fn d7_a_function_that_a_library_does_not_define_is_missing_where_it_is_used() {
    let packages = || {
        [
            package("app 1.0.0", [greeter()]),
            package("greet 1.0.0", [greet("greet greet_twice")]),
            package("greet 2.0.0", [greet("greet")]),
        ]
    };
    check(packages(), &["app 1.0.0", "greet 1.0.0"], &expect![""]);
    check(
        packages(),
        &["app 1.0.0", "greet 2.0.0"],
        &expect![[r#"
        node core-1: usr/bin/greeter of package app needs symbol greet_twice, which libgreet.so.1 does not define, in process greeter; it could come from greet 1.0.0
    "#]],
    );
}

#[test]
fn d7_a_symbol_with_a_version_is_defined_in_that_version_or_by_a_library_without_any() {
    let app = || {
        process("app")
            .needs("libz.so.1")
            .needs_version("libz.so.1", "Z_1")
            .imports("open@Z_1 close@Z_1")
    };
    let with = |library: M| {
        [
            package("app 1.0.0", [app()]),
            package("zlib 1.0.0", [library]),
        ]
    };
    let list = ["app 1.0.0", "zlib 1.0.0"];
    let versioned = |symbols: &str| {
        library("libz.so.1")
            .version("Z_1")
            .version("Z_2")
            .exports(symbols)
    };
    check(
        with(versioned("open@Z_1 open@@Z_2 close@@Z_1")),
        &list,
        &expect![""],
    );
    check(
        with(versioned("open@Z_1 close@@Z_2")),
        &list,
        &expect![[r#"
        node core-1: usr/bin/app of package app needs symbol close@Z_1, which libz.so.1 does not define, in process app; nothing in the catalog provides it
    "#]],
    );
    check(
        with(library("libz.so.1").exports("open close")),
        &list,
        &expect![""],
    );
    // Without the version as a whole, that is all there is to say.
    let lacking = library("libz.so.1")
        .version("Z_2")
        .exports("open@@Z_2 close@@Z_2");
    check(
        with(lacking),
        &list,
        &expect![[r#"
        node core-1: usr/bin/app of package app needs libz.so.1(Z_1); nothing in the catalog provides it
    "#]],
    );
}

#[test]
fn d7_whatever_a_process_loads_may_define_what_another_part_of_it_imports() {
    let app = process("app").needs("liba.so").exports("callback");
    let a = library("liba.so").needs("libb.so").imports("callback deep");
    let b = library("libb.so").needs("libc1.so").imports("back");
    let c = library("libc1.so").exports("deep back");
    check(
        [package("app 1.0.0", [app.clone(), a.clone(), b.clone(), c])],
        &["app 1.0.0"],
        &expect![""],
    );
    let other = process("other").needs("liba.so").imports("back");
    let c = library("libc1.so").exports("back");
    check(
        [package("app 1.0.0", [app, other, a, b, c])],
        &["app 1.0.0"],
        &expect![[r#"
            node core-1: usr/lib/liba.so of package app needs symbols callback, deep, which nothing defines that it loads, in processes app, other; nothing in the catalog provides it
        "#]],
    );
}

#[test]
fn d7_symbols_of_base_software_are_not_known_and_never_missing() {
    let app = process("app")
        .needs("libssl.so.3")
        .needs("libc.so.6")
        .needs_version("libc.so.6", "GLIBC_2.34")
        .imports("puts@GLIBC_2.34 SSL_new");
    check(
        [package("app 1.0.0", [app])],
        &["app 1.0.0"],
        &expect![[r#"
        note: NodeClass core: taken to be part of the base software: libc.so.6, libssl.so.3
        note: NodeClass core: not known whether all symbols are there for usr/bin/app: no package says what libssl.so.3 defines
    "#]],
    );
}

#[test]
fn d7_a_symbol_without_version_is_of_no_library_of_which_the_module_names_versions() {
    let app = greeter()
        .needs("libc.so.6")
        .needs_version("libc.so.6", "GLIBC_2.34")
        .imports("puts@GLIBC_2.34");
    let plain = library("libgreet.so.1")
        .needs("libc.so.6")
        .needs("libm.so.6")
        .needs("libstdc++.so.6");
    check(
        [package("app 1.0.0", [app, plain.exports("greet")])],
        &["app 1.0.0"],
        &expect![[r#"
            node core-1: usr/bin/greeter of package app needs symbol greet_twice, which libgreet.so.1 does not define, in process greeter; nothing in the catalog provides it
            note: NodeClass core: taken to be part of the base software: libc.so.6, libm.so.6, libstdc++.so.6
        "#]],
    );
}

#[test]
fn d7_a_library_whose_symbols_nobody_lists_may_define_anything() {
    check(
        [
            package("app 1.0.0", [greeter()]),
            package("greet 1.0.0", [greet("greet")]).without_symbols(),
        ],
        &["app 1.0.0", "greet 1.0.0"],
        &expect![[r#"
            note: NodeClass core: not known whether all symbols are there for usr/bin/greeter: no package says what usr/lib/libgreet.so.1 defines
        "#]],
    );
}

#[test]
fn d7_what_is_opened_at_run_time_serves_and_is_served_by_those_who_declare_it() {
    let plugin = || {
        library("plugin.so")
            .at("usr/lib/app/plugin.so")
            .imports("register")
            .exports("start")
    };
    let app = process("app").imports("start");
    let declared = app
        .clone()
        .opens_one_of(&["usr/lib/app/plugin.so"])
        .exports("register");
    check(
        [package("app 1.0.0", [declared, plugin()])],
        &["app 1.0.0"],
        &expect![""],
    );
    let lacking = app.clone().opens_if_present("usr/lib/app/plugin.so");
    check(
        [package("app 1.0.0", [lacking, plugin()])],
        &["app 1.0.0"],
        &expect![[r#"
            node core-1: usr/lib/app/plugin.so of package app needs symbol register, which nothing defines that it loads, in process app; nothing in the catalog provides it
        "#]],
    );
    // Whoever opens it may define what it wants; what it exports serves nobody.
    check(
        [package("app 1.0.0", [app, plugin()])],
        &["app 1.0.0"],
        &expect![[r#"
            node core-1: usr/bin/app of package app needs symbol start, which nothing defines that it loads, in process app; nothing in the catalog provides it
            note: NodeClass core: not known whether all symbols are there for usr/lib/app/plugin.so: no process is known to load it
        "#]],
    );
}

#[test]
fn d7_what_is_preloaded_serves() {
    let app = process("app").imports("trace").run(|spec| {
        let preload = ("LD_PRELOAD".to_owned(), "/usr/lib/libtrace.so".to_owned());
        spec.environment.extend([preload]);
    });
    check(
        [package(
            "app 1.0.0",
            [app, library("libtrace.so").exports("trace")],
        )],
        &["app 1.0.0"],
        &expect![""],
    );
}

#[test]
fn d7_an_object_of_which_a_program_has_a_copy_is_defined_by_a_library_too() {
    let app = process("app")
        .needs("liba.so")
        .imports("table")
        .exports("table");
    let with = |symbols: &str| {
        [package(
            "app 1.0.0",
            [app.clone(), library("liba.so").exports(symbols)],
        )]
    };
    check(with("table"), &["app 1.0.0"], &expect![""]);
    check(
        with("other"),
        &["app 1.0.0"],
        &expect![[r#"
            node core-1: usr/bin/app of package app needs symbol table, which liba.so does not define, in process app; nothing in the catalog provides it
        "#]],
    );
}

#[test]
fn d7_where_a_library_is_found_depends_on_who_looks_any_of_that_name_serves() {
    let mut app = process("app").needs("liba.so").imports("a");
    let with_run_path = app.0.elf.as_mut().unwrap();
    with_run_path.run_path = vec!["$ORIGIN/../own".to_owned()];
    with_run_path.inherited_run_path = true;
    let own = library("liba.so").at("usr/own/liba.so").exports("a");
    let first = library("liba.so").at("usr/first/liba.so").exports("b");
    check(
        [package("app 1.0.0", [app, own, first])],
        &["app 1.0.0"],
        &expect![""],
    );
}

#[test]
fn d7_each_configuration_is_told_of_with_its_nodes() {
    let fleet = fleet([
        package("app 1.0.0", [greeter()]),
        package("greet 1.0.0", [greet("greet greet_twice")]),
        package("greet 2.0.0", [greet("greet")]),
        package(
            "tool 1.0.0",
            [process("tool").needs("libgreet.so.1").imports("greet")],
        ),
    ])
    .class("core", &["app 1.0.0", "greet 2.0.0"])
    .node("core-2", |node| node.class = Some("core".to_owned()))
    .class("edge", &["app 1.0.0", "greet 1.0.0"])
    .class("tools", &["tool 1.0.0", "greet 2.0.0"]);
    said(
        &fleet,
        &expect![[r#"
        nodes core-1, core-2: usr/bin/greeter of package app needs symbol greet_twice, which libgreet.so.1 does not define, in process greeter; it could come from greet 1.0.0
    "#]],
    );
}

#[test]
fn b3_symbols_never_shrink_the_restart_set() {
    let app = || process("app").needs("libgreet.so.1").imports("greet");
    let manifest = |library: M| {
        let fleet = fleet([package("app 1.0.0", [app(), library])]).class("core", &["app 1.0.0"]);
        let target = fleet.target();
        assert_eq!(target.problems, []);
        let node = target.nodes.values().next().unwrap();
        (*node.manifest).clone()
    };
    // What it uses is the same, and what it does not use differs.
    let change = crate::change(&manifest(greet("greet")), &manifest(greet("greet wave")));
    let touched: Vec<_> = change
        .change_set
        .processes
        .iter()
        .map(|it| it.name.to_string())
        .collect();
    assert_eq!(touched, ["app"]);
}

#[test]
fn d7_no_node_is_asked_while_one_would_miss_a_symbol() {
    let mut world = World::settled(
        fleet([
            package("app 1.0.0", [greeter()]),
            package("greet 1.0.0", [greet("greet greet_twice")]),
            package("greet 2.0.0", [greet("greet")]),
            package("data 1.0.0", [file("etc/data")]),
            package("data 2.0.0", [file("etc/data").content("2")]),
        ])
        .class("core", &["app 1.0.0", "greet 1.0.0"])
        .class("edge", &["data 1.0.0", "greet 1.0.0"]),
    );
    world.commit("2", |fleet| {
        fleet
            .set("core", &["app 1.0.0", "greet 2.0.0"])
            .set("edge", &["data 2.0.0", "greet 2.0.0"])
    });
    world.check(&expect![[r#"
        Blocked
        core-1 waits until the problems are solved
        edge-1 waits until the problems are solved
    "#]]);
    assert!(world.orders.values().all(Vec::is_empty));
}

/// What stands in the way of a fleet that runs `from` in class `core` and is to run `to`; only what is
/// declared is in the catalog.
#[track_caller]
fn in_the_way(
    packages: impl IntoIterator<Item = super::build::P>,
    from: &str,
    to: &str,
    expected: &Expect,
) {
    let (from, to): (Vec<_>, Vec<_>) = (from.split(", ").collect(), to.split(", ").collect());
    let fleet = fleet(packages)
        .class("core", &from)
        .node("core-2", |node| node.class = Some("core".to_owned()));
    let mut world = World::settled(fleet);
    world.commit("2", |mut fleet| {
        let is_listed = |entry: &CatalogEntry| {
            let label = format!("{} {}", entry.config.name, entry.config.version);
            to.contains(&label.as_str())
        };
        let entries = &mut fleet.catalog.entries;
        entries.retain(|_, entry| entry.as_ref().is_ok_and(is_listed));
        fleet.set("core", &to)
    });
    let problems = world.turn().problems;
    let lines = problems.iter().map(|problem| format!("{problem}\n"));
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn d7_a_plan_says_with_what_a_module_runs_now_that_would_miss_symbols() {
    let packages = || {
        [
            package("app 1.0.0", [greeter()]),
            package("greet 1.0.0", [greet("greet greet_twice")]),
            package("greet 2.0.0", [greet("greet")]),
            package("own 1.0.0", [greet("greet greet_twice")]),
        ]
    };
    in_the_way(
        packages(),
        "app 1.0.0, greet 1.0.0",
        "app 1.0.0, greet 2.0.0",
        &expect![[r#"
            nodes core-1, core-2: usr/bin/greeter of package app needs symbol greet_twice, which libgreet.so.1 does not define, in process greeter; nothing in the catalog provides it; on node core-1 it runs with usr/lib/libgreet.so.1 of greet 1.0.0 now
        "#]],
    );
    // Another package brought it.
    in_the_way(
        packages(),
        "app 1.0.0, own 1.0.0",
        "app 1.0.0, greet 2.0.0",
        &expect![[r#"
            nodes core-1, core-2: usr/bin/greeter of package app needs symbol greet_twice, which libgreet.so.1 does not define, in process greeter; nothing in the catalog provides it; on node core-1 it runs with usr/lib/libgreet.so.1 of own 1.0.0 now
        "#]],
    );
}

#[test]
fn d7_of_a_module_that_imports_more_than_before_nothing_is_said_of_what_runs() {
    let packages = [
        package(
            "app 1.0.0",
            [process("greeter").needs("libgreet.so.1").imports("greet")],
        ),
        package("app 2.0.0", [greeter()]),
        package("greet 1.0.0", [greet("greet greet_once")]),
        package("greet 2.0.0", [greet("greet")]),
    ];
    in_the_way(
        packages,
        "app 1.0.0, greet 1.0.0",
        "app 2.0.0, greet 2.0.0",
        &expect![[r#"
            nodes core-1, core-2: usr/bin/greeter of package app needs symbol greet_twice, which libgreet.so.1 does not define, in process greeter; nothing in the catalog provides it
        "#]],
    );
}

#[test]
fn d7_where_it_is_open_which_library_lost_a_symbol_all_that_lost_some_are_named() {
    let plugin = || {
        library("plugin.so")
            .needs("liba.so")
            .needs("libb.so")
            .imports("a b")
    };
    let app = process("app").needs("plugin.so").exports("main");
    let packages = [
        package("app 1.0.0", [app, plugin()]),
        package("a 1.0.0", [library("liba.so").exports("a")]),
        package("a 2.0.0", [library("liba.so").exports("c")]),
        package("b 1.0.0", [library("libb.so").exports("b d")]),
        package("b 2.0.0", [library("libb.so").exports("b")]),
    ];
    in_the_way(
        packages,
        "app 1.0.0, a 1.0.0, b 1.0.0",
        "app 1.0.0, a 2.0.0, b 2.0.0",
        &expect![[r#"
            nodes core-1, core-2: usr/lib/plugin.so of package app needs symbol a, which nothing defines that it loads, in process app; nothing in the catalog provides it; on node core-1 it runs with usr/lib/liba.so of a 1.0.0, usr/lib/libb.so of b 1.0.0 now
        "#]],
    );
}
