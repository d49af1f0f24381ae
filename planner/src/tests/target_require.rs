//! Is everything there that is needed? (D7)

use expect_test::expect;
use placet_model::Quantifier;

use super::build::{file, fleet, library, link, package, process};
use super::target::check;

#[test]
fn d7_a_required_package_must_be_on_the_node_in_a_version_that_fits() {
    let fleet = fleet([
        package("app 1.0.0", [process("app")])
            .requires("base", ">=2")
            .requires("none", "*"),
        package("base 1.0.0", [file("etc/base")]),
        package("base 2.1.0", [file("etc/base")]),
    ])
    .class("core", &["app 1.0.0", "base 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): app 1.0.0, base 1.0.0
              etc/base <- base
              usr/bin/app <- app
            problem: node core-1: package app needs base >=2; it could come from base 2.1.0
            problem: node core-1: package app needs none *; nothing in the catalog provides it
        "#]],
    );
}

#[test]
fn d7_versions_of_another_scheme_never_satisfy_and_that_is_said() {
    let fleet = fleet([
        package("app 1.0.0", [process("app")])
            .requires("base", "deb:>= 1:2.0-1")
            .requires("crypto", "deb:>= 3.0.20-1~deb12u1, << 4"),
        package("base 2.1.0", [file("etc/base")]),
        package("crypto deb:3.0.20-1~deb12u2", [file("etc/crypto")]),
    ])
    .class(
        "core",
        &["app 1.0.0", "base 2.1.0", "crypto deb:3.0.20-1~deb12u2"],
    );
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): app 1.0.0, base 2.1.0, crypto deb:3.0.20-1~deb12u2
              etc/base <- base
              etc/crypto <- crypto
              usr/bin/app <- app
            problem: node core-1: package app needs base deb:>= 1:2.0-1, which never covers the semantic version of base 2.1.0; nothing in the catalog provides it
        "#]],
    );
}

#[test]
fn d7_a_soname_that_the_catalog_provides_must_be_on_the_node() {
    let fleet = fleet([
        package(
            "app 1.0.0",
            [process("app").needs("libz.so.1").needs("libc.so.6")],
        ),
        package("zlib 1.3.0", [library("libz.so.1")]),
        package("zlib-arm 1.3.0", [library("libz.so.1").on("aarch64")]),
    ])
    .class("core", &["app 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): app 1.0.0
              usr/bin/app <- app
            problem: node core-1: usr/bin/app of package app needs libz.so.1; it could come from zlib 1.3.0
            note: NodeClass core: taken to be part of the base software: libc.so.6
        "#]],
    );
}

#[test]
fn d7_a_soname_that_nothing_provides_is_taken_for_base_software_and_said() {
    let fleet = fleet([package(
        "app 1.0.0",
        [process("app")
            .needs("libssl.so.3")
            .needs("libc.so.6")
            .interpreter("/lib64/ld-linux-x86-64.so.2")],
    )])
    .class("core", &["app 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0
          usr/bin/app <- app
        note: NodeClass core: taken to be part of the base software: /lib64/ld-linux-x86-64.so.2, libc.so.6, libssl.so.3
    "#]],
    );
}

#[test]
fn d7_the_c_library_may_be_the_nodes_own_though_another_class_brings_one() {
    let fleet = fleet([
        package(
            "app 1.0.0",
            [process("app")
                .needs("libc.so.6")
                .interpreter("/lib64/ld-linux-x86-64.so.2")],
        ),
        package(
            "libc 2.41.0",
            [
                library("libc.so.6"),
                library("ld-linux-x86-64.so.2").at("lib64/ld-linux-x86-64.so.2"),
            ],
        ),
    ])
    .class("core", &["app 1.0.0"])
    .class("edge", &["app 1.0.0", "libc 2.41.0"]);
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0
          usr/bin/app <- app
        edge-1 (edge): app 1.0.0, libc 2.41.0
          lib64/ld-linux-x86-64.so.2 <- libc
          usr/bin/app <- app
          usr/lib/libc.so.6 <- libc
        note: NodeClass core: taken to be part of the base software: /lib64/ld-linux-x86-64.so.2, libc.so.6
    "#]],
    );
}

#[test]
fn d7_a_library_that_no_file_of_its_name_leads_to_does_not_count() {
    let real = library("libz.so.1").at("usr/lib/libz.so.1.3");
    let app = process("app").needs("libz.so.1");
    let without = fleet([package("app 1.0.0", [app.clone(), real.clone()])]);
    check(
        &without.class("core", &["app 1.0.0"]),
        &expect![[r#"
            core-1 (core): app 1.0.0
              usr/bin/app <- app
              usr/lib/libz.so.1.3 <- app
            problem: node core-1: usr/bin/app of package app needs a file libz.so.1, by which the loader finds usr/lib/libz.so.1.3; it could come from a symbolic link beside it
        "#]],
    );
    let linked = link("usr/lib/libz.so.1", "libz.so.1.3");
    let with = fleet([package("app 1.0.0", [app, real, linked])]);
    check(
        &with.class("core", &["app 1.0.0"]),
        &expect![[r#"
        core-1 (core): app 1.0.0
          usr/bin/app <- app
          usr/lib/libz.so.1 <- app
          usr/lib/libz.so.1.3 <- app
    "#]],
    );
}

#[test]
fn d7_a_symbol_version_must_be_provided_by_the_library_that_is_mapped() {
    let app = process("app")
        .needs("libz.so.1")
        .needs_version("libz.so.1", "ZLIB_1.3");
    let fleet = fleet([
        package("app 1.0.0", [app]),
        package("zlib 1.2.0", [library("libz.so.1").version("ZLIB_1.2")]),
        package(
            "zlib 1.3.0",
            [library("libz.so.1").version("ZLIB_1.2").version("ZLIB_1.3")],
        ),
    ])
    .class("core", &["app 1.0.0", "zlib 1.2.0"])
    .class("edge", &["app 1.0.0", "zlib 1.3.0"]);
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): app 1.0.0, zlib 1.2.0
              usr/bin/app <- app
              usr/lib/libz.so.1 <- zlib
            edge-1 (edge): app 1.0.0, zlib 1.3.0
              usr/bin/app <- app
              usr/lib/libz.so.1 <- zlib
            problem: node core-1: usr/bin/app of package app needs libz.so.1(ZLIB_1.3); it could come from zlib 1.3.0
        "#]],
    );
}

#[test]
fn d7_a_named_api_must_be_provided_in_exactly_this_version() {
    let fleet = fleet([
        package("app 1.0.0", [process("app").uses("session", "2")]),
        package("old 1.0.0", [process("old").provides("session", "1")]),
        package("new 1.0.0", [process("new").provides("session", "2")]),
    ])
    .class("core", &["app 1.0.0", "old 1.0.0"])
    .class("edge", &["app 1.0.0", "new 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): app 1.0.0, old 1.0.0
              usr/bin/app <- app
              usr/bin/old <- old
            edge-1 (edge): app 1.0.0, new 1.0.0
              usr/bin/app <- app
              usr/bin/new <- new
            problem: node core-1: usr/bin/app of package app needs API session 2; it could come from new 1.0.0
        "#]],
    );
}

#[test]
fn d7_of_supplemental_dependencies_one_is_enough_and_optional_ones_never_block() {
    let app = process("app")
        .opens_one_of(&["plugins/a.so", "plugins/b.so"])
        .opens_if_present("plugins/extra.so");
    let fleet = fleet([
        package("app 1.0.0", [app]),
        package("plug 1.0.0", [file("plugins/b.so")]),
    ])
    .class("core", &["app 1.0.0", "plug 1.0.0"])
    .class("edge", &["app 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): app 1.0.0, plug 1.0.0
              plugins/b.so <- plug
              usr/bin/app <- app
            edge-1 (edge): app 1.0.0
              usr/bin/app <- app
            problem: node edge-1: usr/bin/app of package app needs plugins/a.so or plugins/b.so; it could come from plug 1.0.0
        "#]],
    );
}

#[test]
fn d7_an_upgrade_needs_its_base() {
    let fleet = fleet([package("fix 1.0.0", [file("etc/a")]).upgrades("base", "^1")])
        .class("core", &["fix 1.0.0"]);
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): fix 1.0.0
              etc/a <- fix
            problem: node core-1: package fix needs base ^1, which it upgrades; nothing in the catalog provides it
        "#]],
    );
}

#[test]
fn d7_a_remote_requirement_of_one_node_type_holds_on_nodes_of_that_type_alone() {
    let mut agent = package("agent 1.0.0", [process("agent")]).requires_on_others(
        "server >=1",
        Quantifier::Any,
        "hub",
    );
    let requirement = &mut agent.0.requires_remote[0];
    requirement.node_types = ["router".to_owned()].into();
    let fleet = fleet([agent])
        .class("core", &["agent 1.0.0"])
        .node("router-1", |node| {
            node.class = Some("core".to_owned());
            node.facts.kind = Some("router".to_owned());
        });
    check(
        &fleet,
        &expect![[r#"
        core-1 (core): agent 1.0.0
          usr/bin/agent <- agent
        router-1 (core): agent 1.0.0
          usr/bin/agent <- agent
        problem: node router-1: package agent needs server >=1 on another node with class hub; nothing in the catalog provides it
    "#]],
    );
}

#[test]
fn d7_remote_requirements_look_at_the_target_of_all_other_nodes() {
    let fleet = fleet([
        package("agent 1.0.0", [process("agent")]).requires_on_others(
            "server >=2",
            Quantifier::Any,
            "hub",
        ),
        package("peer 1.0.0", [process("peer")]).requires_on_others(
            "peer ^1",
            Quantifier::AtLeast(2),
            "ring",
        ),
        package("strict 1.0.0", [process("strict")]).requires_on_others(
            "server >=1",
            Quantifier::All,
            "hub",
        ),
        package("server 1.0.0", [process("server")]),
        package("server 2.0.0", [process("server")]),
    ])
    .class("core", &["agent 1.0.0", "strict 1.0.0"])
    .class("hub", &["server 1.0.0"])
    .class("ring", &["peer 1.0.0"])
    .node("ring-2", |node| node.class = Some("ring".to_owned()));
    check(
        &fleet,
        &expect![[r#"
            core-1 (core): agent 1.0.0, strict 1.0.0
              usr/bin/agent <- agent
              usr/bin/strict <- strict
            hub-1 (hub): server 1.0.0
              usr/bin/server <- server
            ring-1 (ring): peer 1.0.0
              usr/bin/peer <- peer
            ring-2 (ring): peer 1.0.0
              usr/bin/peer <- peer
            problem: node core-1: package agent needs server >=2 on another node with class hub; it could come from server 2.0.0
            problem: nodes ring-1, ring-2: package peer needs peer ^1 on at least 2 other nodes with class ring; it could come from peer 1.0.0
        "#]],
    );
    let solved = fleet
        .set("hub", &["server 2.0.0"])
        .node("ring-3", |node| node.class = Some("ring".to_owned()));
    assert_eq!(solved.target().problems, []);
}
