//! Two packages in a few lines, and what is said of them.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use placet_model::{Digest, PackageConfig, SymbolLists, digest_of};
use serde_json::{Value, json};

use super::{PackageDiff, PackageSide, Status, diff, markdown, symbols_wanted, text};
use crate::tests::{library, process};
use crate::{LENGTH_MAX, Paint};

/// A package and its lists of symbols.
#[derive(Clone)]
struct Built {
    config: Value,
    symbols: BTreeMap<Digest, SymbolLists>,
}

/// A chat, its library and its manual.
fn chat(version: &str) -> Built {
    let mut manual = library("manual", "text");
    manual["path"] = json!("usr/share/doc/chat.txt");
    manual["type"] = json!("data");
    manual["architecture"] = json!("neutral");
    manual.as_object_mut().unwrap().remove("elf");
    let config = json!({
        "name": "chat", "version": version, "created": "2026-01-01T00:00:00Z",
        "modules": [
            process("chatd", "simple", &["libchat.so.1"]),
            process("clockd", "simple", &[]),
            library("libchat.so.1", "one"),
            manual,
        ],
    });
    Built {
        config,
        symbols: BTreeMap::new(),
    }
}

impl Built {
    fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.config.pointer_mut(parent).unwrap()[key] = value;
        self
    }

    /// Another content for a module, with another signature unless it was only built again.
    fn content(self, module: usize, content: &str, is_rebuilt: bool) -> Self {
        let other = library("x", content);
        let built = self.set(
            &format!("/modules/{module}/digest"),
            other["digest"].clone(),
        );
        if is_rebuilt {
            return built;
        }
        let signature = other["signature"].clone();
        built.set(&format!("/modules/{module}/signature"), signature)
    }

    fn exports(mut self, module: usize, names: &[&str]) -> Self {
        let lists = SymbolLists {
            exported: names.iter().map(ToString::to_string).collect(),
            ..SymbolLists::default()
        };
        let digest = digest_of(&lists);
        self.symbols.insert(digest, lists);
        self.set(&format!("/modules/{module}/elf/symbols"), json!(digest))
    }

    fn config(&self) -> PackageConfig {
        serde_json::from_value(self.config.clone()).unwrap()
    }
}

fn compared(from: &Built, to: &Built) -> PackageDiff {
    let (old, new) = (from.config(), to.config());
    let mut symbols = from.symbols.clone();
    symbols.extend(to.symbols.clone());
    symbols.retain(|digest, _| symbols_wanted(&old, &new).contains(digest));
    let side = |config| PackageSide {
        digest: digest_of(config),
        config,
        symbols: &symbols,
    };
    let mut diff = diff(side(&old), side(&new));
    diff.retain(|module| module.status != Status::Unchanged);
    diff
}

#[track_caller]
fn check(from: &Built, to: &Built, expected: &Expect) {
    let diff = compared(from, to);
    let text = text(&diff, Paint::default());
    let long: Vec<_> = text.lines().filter(|it| it.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:?}");
    // Digests of the packages differ with every field of the format.
    let shown = diff.from.digest.short();
    let text = text.replace(&shown, "<from>");
    expected.assert_eq(&text.replace(&diff.to.digest.short(), "<to>"));
}

#[test]
fn a_changed_library_restarts_its_users_and_says_what_it_exports_now() {
    let from = chat("1.0.0").exports(2, &["chat_open", "chat_send"]);
    let to = chat("1.1.0")
        .content(2, "two", false)
        .exports(2, &["chat_open", "chat_send_all"])
        .set("/modules/2/size", json!(2_500));
    check(
        &from,
        &to,
        &expect![[r#"
            chat 1.0.0 -> 1.1.0 (<from> -> <to>)
            1 module changed, 3 unchanged

            Modules
              changed    usr/lib/libchat.so.1                  library     1.5 kB -> 2.5 kB
                  symbols exported: chat_send -> chat_send_all

            Processes
              restart  chatd
                  it uses usr/lib/libchat.so.1, which is changed

            Processes of other packages may be touched too: `placet check` says that.
        "#]],
    );
}

#[test]
fn other_bytes_under_an_equal_signature_restart_nothing() {
    let to = chat("1.0.1")
        .content(0, "again", true)
        .content(2, "again", true);
    let diff = compared(&chat("1.0.0"), &to);
    assert!(!diff.changed);
    check(
        &chat("1.0.0"),
        &to,
        &expect![[r#"
            chat 1.0.0 -> 1.0.1 (<from> -> <to>)
            2 modules rebuilt, 2 unchanged

            Modules
              rebuilt    usr/bin/chatd                         process     1.5 kB
                  bytes differ, signature equal: nothing restarts
              rebuilt    usr/lib/libchat.so.1                  library     1.5 kB
                  bytes differ, signature equal: nothing restarts

            Nothing that a node could notice.
        "#]],
    );
}

#[test]
fn what_is_said_of_a_package_is_compared_field_by_field() {
    let to = chat("1.1.0")
        .set("/requires", json!([{"package": "base", "version": ">=1"}]))
        .set("/features", json!(["chat/rooms"]))
        .set("/characteristics", json!({"tier": "core"}))
        .set(
            "/modules/0/process/arguments",
            json!(["--rooms", "two words"]),
        )
        .set("/modules/0/mode", json!("0750"))
        .set("/modules/1/process/stopSeconds", json!(30))
        .set("/modules/3/function", json!("manual"));
    check(
        &chat("1.0.0"),
        &to,
        &expect![[r#"
            chat 1.0.0 -> 1.1.0 (<from> -> <to>)
            2 modules changed, 1 described, 1 unchanged

            Modules
              changed    usr/bin/chatd                         process     1.5 kB
                  signature equal: what is said of it differs
                  mode: 0755 -> 0750
                  process arguments: [] -> [--rooms, two words]
              changed    usr/bin/clockd                        process     1.5 kB
                  signature equal: what is said of it differs
                  process stopSeconds: 10 -> 30
              described  usr/share/doc/chat.txt                data        1.5 kB
                  function: +manual

            Package
              characteristics tier: +core
              features: +chat/rooms
              requires: +base >=1

            Processes
              restart  chatd
                  the way it is run changed

            Processes of other packages may be touched too: `placet check` says that.
        "#]],
    );
}

#[test]
fn a_library_under_another_name_is_compared_with_the_one_that_had_its_soname() {
    let from = chat("1.0.0")
        .set("/modules/2/path", json!("usr/lib/libchat.so.1.0"))
        .exports(2, &["a", "b"]);
    let to = chat("1.1.0")
        .set("/modules/2/path", json!("usr/lib/libchat.so.1.1"))
        .content(2, "two", false)
        .exports(2, &["b", "c"]);
    check(
        &from,
        &to,
        &expect![[r#"
            chat 1.0.0 -> 1.1.0 (<from> -> <to>)
            1 module added, 1 removed, 3 unchanged

            Modules
              removed    usr/lib/libchat.so.1.0                library     1.5 kB
              added      usr/lib/libchat.so.1.1                library     1.5 kB
                  takes the place of usr/lib/libchat.so.1.0
                  symbols exported: a -> c

            Processes
              restart  chatd
                  it uses usr/lib/libchat.so.1.0, which is removed
                  it uses usr/lib/libchat.so.1.1, which is added

            Processes of other packages may be touched too: `placet check` says that.
        "#]],
    );
}

#[test]
fn a_shaded_package_says_so() {
    let from = chat("1.0.0");
    let mut to = chat("1.0.0+1.gray").content(2, "random", false);
    to = to.set(
        "/modules/2/digest",
        from.config["modules"][2]["digest"].clone(),
    );
    let to = to.set(
        "/derived",
        json!({
            "by": "gray", "version": "1.0.0", "digest": Digest::of(b"1.0.0"),
            "shaded": ["usr/lib/libchat.so.1"],
        }),
    );
    check(
        &from,
        &to,
        &expect![[r#"
            chat 1.0.0 -> 1.0.0+1.gray (<from> -> <to>)
            1.0.0+1.gray is 1.0.0 (92521fc3cbd9) shaded gray: the signature of 1 module
                is random
            1 module changed, 3 unchanged

            Modules
              changed    usr/lib/libchat.so.1                  library     1.5 kB
                  signature differs, bytes equal: it was shaded

            Processes
              restart  chatd
                  it uses usr/lib/libchat.so.1, which is changed

            Processes of other packages may be touched too: `placet check` says that.
        "#]],
    );
}

#[test]
fn every_architecture_is_judged_by_itself() {
    let from = chat("1.0.0");
    let mut to = chat("1.1.0");
    let mut other = library("libchat.so.1", "arm");
    other["architecture"] = json!("aarch64");
    let modules = to.config["modules"].as_array_mut().unwrap();
    modules.insert(2, other);
    let mut daemon = process("chatd", "simple", &["libchat.so.1"]);
    daemon["architecture"] = json!("aarch64");
    modules.insert(0, daemon);
    check(
        &from,
        &to,
        &expect![[r#"
            chat 1.0.0 -> 1.1.0 (<from> -> <to>)
            2 modules added, 4 unchanged

            Modules
              added      usr/bin/chatd                         process     1.5 kB
                  for aarch64
              added      usr/lib/libchat.so.1                  library     1.5 kB
                  for aarch64

            Processes on aarch64
              start    chatd
                  it is new

            Processes of other packages may be touched too: `placet check` says that.
        "#]],
    );
}

#[test]
fn equal_packages_differ_in_nothing() {
    let diff = compared(&chat("1.0.0"), &chat("1.0.0"));
    assert!(!diff.changed && diff.package.is_empty() && diff.modules.is_empty());
    assert_eq!(diff.counts, BTreeMap::from([(Status::Unchanged, 4)]));
}

#[test]
fn programs_read_the_same_and_whole() {
    let names: Vec<_> = (0..100).map(|number| format!("symbol_{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let from = chat("1.0.0").exports(2, &["a"]);
    let to = chat("1.1.0").content(2, "two", false).exports(2, &names);
    let diff = compared(&from, &to);
    let value = serde_json::to_value(&diff).unwrap();
    let library = &value["modules"][0];
    assert_eq!(library["status"], "changed");
    let symbols = &library["differences"][0];
    assert_eq!(symbols["field"], "symbols.exported");
    assert_eq!(symbols["removed"], json!(["a"]));
    assert_eq!(symbols["added"].as_array().unwrap().len(), 100);
    assert_eq!(value["impact"][0]["processes"][0]["name"], "chatd");
    assert_eq!(value["counts"], json!({"changed": 1, "unchanged": 3}));
    assert!(text(&diff, Paint::default()).contains("+92 more"));
}

#[test]
fn a_comment_is_bounded_and_cannot_be_broken_out_of() {
    let hostile = format!("````` </details> @everyone {}", "x ".repeat(400));
    let mut to = chat("1.1.0");
    let modules: Vec<_> = (0..400)
        .map(|number| {
            let mut module = library(&format!("lib{number:03}.so"), "x");
            module["function"] = json!(hostile);
            module
        })
        .collect();
    let mut from = chat("1.0.0");
    from.config["modules"] = json!(modules);
    for module in from.config["modules"].as_array_mut().unwrap() {
        module["function"] = json!("plain");
    }
    to.config["modules"] = json!(modules);
    let comment = markdown(&compared(&from, &to));
    assert!(comment.chars().count() <= LENGTH_MAX);
    assert!(comment.contains("and ") && comment.contains("``````text"));
    let mut inside = false;
    for line in comment.lines() {
        match line {
            "``````text" | "```text" => inside = true,
            "``````" | "```" => inside = false,
            line => assert!(inside || !line.contains("@everyone"), "{line}"),
        }
    }
}
