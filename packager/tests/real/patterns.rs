//! Modules by patterns: many files by one entry.

use std::fs;
use std::os::unix::fs::symlink;

use crate::workshop::Workshop;

/// A workshop whose one entry says this, with a tree of files in `out`.
fn workshop(lines: &str) -> Workshop {
    let workshop = Workshop::with_module(lines);
    fs::create_dir_all(workshop.path("out/lib/deep")).unwrap();
    for name in [
        "lib/a.so.1",
        "lib/b.so.1",
        "lib/deep/c.so.1",
        "lib/note.md",
        "top",
    ] {
        workshop.write(&format!("out/{name}"), name);
    }
    symlink("a.so.1", workshop.path("out/lib/a.so")).unwrap();
    workshop
}

#[track_caller]
fn gives(lines: &str, expected: &[&str]) {
    let config = workshop(lines).built().config;
    let paths: Vec<_> = config.modules.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, expected);
}

#[test]
fn files_are_installed_as_far_below_as_they_lie() {
    gives(
        "  - path: usr/lib\n    sources: out/lib/*.so*\n",
        &["usr/lib/a.so", "usr/lib/a.so.1", "usr/lib/b.so.1"],
    );
    gives(
        "  - sources: [out/**/*.so.1, out/to?]\n",
        &["lib/a.so.1", "lib/b.so.1", "lib/deep/c.so.1", "top"],
    );
    gives(
        "  - path: x\n    sources: out/**\n    exclude: [\"*.md\", out/lib/deep/*]\n",
        &["x/lib/a.so", "x/lib/a.so.1", "x/lib/b.so.1", "x/top"],
    );
    gives(
        "  - path: x\n    sources: out/lib/note.md\n",
        &["x/note.md"],
    );
}

#[test]
fn links_stay_links_and_the_rest_of_the_entry_holds_for_each() {
    let workshop = workshop(
        "  - path: lib\n    sources: out/lib/a.so*\n    function: maths\n    mode: \"0700\"\n",
    );
    let modules = workshop.built().config.modules;
    assert_eq!(modules[0].link.as_ref().unwrap().as_str(), "a.so.1");
    assert_eq!(modules[1].mode.to_string(), "0700");
    assert!(
        modules
            .iter()
            .all(|it| it.function.as_deref() == Some("maths"))
    );
}

#[test]
fn a_path_with_an_entry_of_its_own_is_left_to_it() {
    let workshop = workshop(
        "  - path: lib/a.so.1\n    source: out/top\n    function: own\n  - path: lib\n    sources: out/lib/*\n",
    );
    let modules = workshop.built().config.modules;
    let own: Vec<_> = modules.iter().filter(|it| it.function.is_some()).collect();
    assert_eq!(
        (own.len(), own[0].path.as_str(), own[0].size),
        (1, "lib/a.so.1", 3)
    );
}

#[test]
fn patterns_that_cannot_be_followed_are_refused_with_their_line() {
    let refused = |lines: &str, expected: &str| workshop(lines).refused(expected);
    refused(
        "  - path: x\n    sources: out/*.dll\n",
        "package.yaml:5:14: module `out/*.dll` is refused: no file matches `out/*.dll`",
    );
    refused(
        "  - path: x\n    sources: out/li[b\n",
        "package.yaml:5:14: `out/li[b` is not a pattern for files",
    );
    refused(
        "  - path: x\n    sources: []\n",
        "package.yaml:5:14: an empty list",
    );
    refused(
        "  - path: x\n    sources: out/lib\n",
        "`**` reaches into them",
    );
    refused(
        "  - path: x\n    sources: [out/top, none/*]\n",
        "no file matches `none/*`",
    );
    refused(
        "  - path: x\n    sources: out/top\n    exclude: top\n",
        "no file matches `out/top`",
    );
    refused("  - source: out/top\n", "it needs a `path`");
    refused(
        "  - path: x\n    sources: out/top\n  - path: x\n    sources: out/t*\n",
        "package.yaml:6:5: module `x/top` is refused: its path is taken by the module at line 4",
    );
    let workshop = workshop("  - path: x\n    sources: out/lib/*\n");
    symlink("/etc/passwd", workshop.path("out/lib/out")).unwrap();
    workshop.refused("package.yaml:5:14: module `out/lib/out` is refused: `out/lib/out` is a symbolic link that cannot be delivered");
}
