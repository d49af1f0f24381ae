//! What nodes start from (D9), and what they store without running it (C-A7).

use std::sync::Arc;

use expect_test::{Expect, expect};
use placet_model::OnUnreachable;

use super::build::{F, boot_package, fleet, image, library, package, process};
use super::target;
use super::world::World;

/// A core node with a self-managing process and a simple one, and boot images for it.
fn software() -> F {
    let chat = || process("chatd").self_managing();
    fleet([
        package("app 1.0.0", [chat(), process("logd")]),
        package("app 2.0.0", [chat().content("2"), process("logd")]),
        boot_package("image 1.0.0", [image("core.img")]),
        boot_package("image 1.0.1", [image("core.img").rebuilt("other bytes")]),
        boot_package("image 1.1.0", [image("core.img").content("2")]),
        boot_package(
            "line 1.0.0",
            [image("line.img").on("aarch64"), image("line.img")],
        ),
        package("tool 1.0.0", [image("core.img")]),
        boot_package("empty 1.0.0", [library("libempty.so")]),
    ])
    .class("core", &["app 1.0.0"])
}

#[test]
fn d9_the_first_image_that_fits_a_node_stands_behind_its_packages() {
    let fleet = software()
        .node("core-2", |node| {
            node.class = Some("core".to_owned());
            node.facts.kind = Some("line-card".to_owned());
        })
        .boots("core", "line-card", "line 1.0.0")
        .boots("core", "", "image 1.0.0")
        .with_class("core", |class| {
            // What else it wants does not keep it from starting.
            class.wants.types = [placet_model::ModuleType::Process].into();
        });
    target::check(
        &fleet,
        &expect![[r#"
        core-1 (core): app 1.0.0, image 1.0.0
          boot/core.img <- image
          usr/bin/chatd <- app
          usr/bin/logd <- app
        core-2 (core): app 1.0.0, line 1.0.0
          boot/line.img <- line
          usr/bin/chatd <- app
          usr/bin/logd <- app
    "#]],
    );
}

#[test]
fn d9_what_cannot_be_a_boot_image_is_a_problem() {
    let problems = |fleet: F, expected: &Expect| {
        let target = fleet.target();
        let problems: Vec<_> = target.problems.iter().map(|it| format!("{it}\n")).collect();
        expected.assert_eq(&problems.concat());
    };
    problems(
        software().boots("core", "", "tool 1.0.0"),
        &expect![[r#"
            package tool (oci-layout:/packages:tool-1.0.0): its purpose is feature, and a boot image needs one of purpose boot
        "#]],
    );
    problems(
        software().boots("core", "", "empty 1.0.0"),
        &expect![[r#"
            package empty (oci-layout:/packages:empty-1.0.0): it holds no module of type boot-image for x86_64
        "#]],
    );
    problems(
        software().boots("core", "", "image 9.0.0"),
        &expect![[r#"
            package image (oci-layout:/packages:image-9.0.0): it has not been resolved yet
        "#]],
    );
    let twice = software().set("core", &["app 1.0.0", "image 1.0.0"]);
    problems(
        twice.boots("core", "", "image 1.0.0"),
        &expect![[r#"
        package image (oci-layout:/packages:image-1.0.0): it is the boot image of the class and stands in a package set too: name it in one place
    "#]],
    );
}

/// What the change from one fleet to the other is to the core node.
fn shown(from: &F, to: &F) -> String {
    let manifest =
        |fleet: &F| Arc::clone(&fleet.target().nodes.into_values().next().unwrap().manifest);
    let change = crate::change(&manifest(from), &manifest(to));
    format!("change\n{}", change.change_set)
}

#[test]
fn v2_another_boot_image_restarts_the_node_and_asks_everybody() {
    let old = software().boots("core", "", "image 1.0.0");
    let new = software().boots("core", "", "image 1.1.0");
    expect![[r#"
        change
          restart  the node, for its boot image: image 1.0.0 -> image 1.1.0
          changed  boot/core.img                        boot-image  image 1.0.0 -> 1.1.0
          ask      chatd
              the node restarts for its boot image: image 1.0.0 -> image 1.1.0
          restart  logd
              the node restarts for its boot image: image 1.0.0 -> image 1.1.0
    "#]]
    .assert_eq(&shown(&old, &new));
    expect![[r#"
        change
          restart  the node, for its boot image: image 1.1.0
          added    boot/core.img                        boot-image  image 1.1.0
          ask      chatd
              the node restarts for its boot image: image 1.1.0
          restart  logd
              the node restarts for its boot image: image 1.1.0
    "#]]
    .assert_eq(&shown(&software(), &new));
    // The same image again, and none at all, restart nothing.
    let same = software().boots("core", "", "image 1.0.1");
    expect![[r#"
        change
          nothing that a process could notice
    "#]]
    .assert_eq(&shown(&old, &same));
    expect![[r#"
        change
          removed  boot/core.img                        boot-image  image 1.0.0
    "#]]
    .assert_eq(&shown(&old, &software()));
}

#[test]
fn a_node_that_restarts_for_its_image_has_the_time_of_its_class_for_it() {
    for policy in [
        OnUnreachable::Wait,
        OnUnreachable::Skip,
        OnUnreachable::Fail,
    ] {
        let declare = |image: &str| {
            software()
                .boots("core", "", image)
                .with_class("core", |class| {
                    class.strategy.on_unreachable = policy;
                })
        };
        let mut world = World::settled(declare("image 1.0.0"));
        world.commit("2", |_| declare("image 1.1.0"));
        world.turn();
        world.accept(&["core-1"]).turn();
        world.stage(&["core-1"]).turn();
        world.soak("core-1").away("core-1");
        let mut during = world.clone();
        during.tick(299);
        during.check(&expect![[r#"
            Activating
            core-1 is changing
        "#]]);
        // It comes back with the new image, in another boot.
        during.back("core-1");
        during.node("core-1").boot_id.push('+');
        during.soaked("core-1", None).check(&expect![[r#"
            Done
        "#]]);
        // Or with the old one, and says so.
        let mut failed = world.clone();
        failed.tick(100);
        failed.back("core-1");
        failed.node("core-1").boot_id.push('+');
        failed.soaked("core-1", Some("it does not run the image"));
        failed.check(&expect![[r#"
            Halted
              objection node core-1: activation failed: it does not run the image
            core-1 failed and is not tried again by itself: it does not run the image
        "#]]);
        // Or not at all.
        world.tick(301);
        let plan = world.turn();
        let ended = plan.phase.to_string();
        assert_eq!(
            ended,
            match policy {
                OnUnreachable::Wait => "Activating",
                OnUnreachable::Skip => "Done",
                OnUnreachable::Fail => "Held",
            }
        );
    }
}

#[test]
fn s1_an_image_that_is_not_kept_needs_room_in_memory_and_nothing_else_does() {
    let declare = |image: &str, is_kept: bool| {
        software()
            .boots("core", "", image)
            .with_class("core", |class| class.transient_image = !is_kept)
    };
    let image_of = |fleet: F| {
        let mut nodes = fleet.target().nodes.into_values();
        let manifest = Arc::clone(&nodes.next().unwrap().manifest);
        let paths = |modules: &mut dyn Iterator<Item = &placet_model::Module>| {
            modules.map(|it| it.path.to_string()).collect::<Vec<_>>()
        };
        let stored = paths(&mut manifest.stored_modules());
        (stored, paths(&mut manifest.transient_image()))
    };
    let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let everything = ["boot/core.img", "usr/bin/chatd", "usr/bin/logd"];
    assert_eq!(
        image_of(declare("image 1.0.0", true)),
        (words(&everything), Vec::new())
    );
    assert_eq!(
        image_of(declare("image 1.0.0", false)),
        (words(&everything[1..]), words(&everything[..1]))
    );
    // Where nothing is stored the image is no exception.
    let in_memory =
        declare("image 1.0.0", false).with_class("core", |class| class.memory_only = true);
    assert_eq!(image_of(in_memory), (words(&everything), Vec::new()));

    let mut world = World::settled(declare("image 1.0.0", true));
    world.node("core-1").has_memory = false;
    world.commit("2", |_| declare("image 1.1.0", false));
    world.check(&expect![[r#"
        Done
        core-1 is not to store all that it is given, and cannot have it in memory only: its placetd is too old, or its --memory is not on a tmpfs
    "#]]);
    world.commit("3", |_| declare("image 1.1.0", true));
    world.check(&expect![[r#"
        Proposing
        core-1 > propose
    "#]]);
}

#[test]
fn ca7_a_package_is_stored_without_being_active_and_activated_without_being_fetched() {
    let before = software();
    let stored = software()
        .set("next", &["app 2.0.0"])
        .inactive("next", "app")
        .with_class("core", |class| class.package_sets.push("next".to_owned()));
    target::check(
        &stored,
        &expect![[r#"
        core-1 (core): app 1.0.0
          usr/bin/chatd <- app
          usr/bin/logd <- app
    "#]],
    );
    expect![[r#"
        change
          store    app 2.0.0, which stays inactive
    "#]]
    .assert_eq(&shown(&before, &stored));
    // One commit turns both around.
    let turned = software()
        .inactive("core", "app")
        .set("next", &["app 2.0.0"])
        .with_class("core", |class| class.package_sets.push("next".to_owned()));
    expect![[r#"
        change
          changed  usr/bin/chatd                        process     app 1.0.0 -> 2.0.0
          store    app 1.0.0, which stays inactive
          ask      chatd
              its own program changed
    "#]]
    .assert_eq(&shown(&stored, &turned));
    let manifest =
        |fleet: &F| Arc::clone(&fleet.target().nodes.into_values().next().unwrap().manifest);
    let has: std::collections::BTreeSet<_> = manifest(&stored)
        .stored_modules()
        .map(|module| module.digest)
        .collect();
    let (turned, everything) = (manifest(&turned), has.len());
    assert!(
        turned
            .stored_modules()
            .all(|module| has.contains(&module.digest))
    );
    assert_eq!(everything, 3);
}
