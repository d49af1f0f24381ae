//! Package files that are wrong: the place, what is wrong, and nothing stored.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use placet_packager::{BuildOptions, Confine, build};

use crate::workshop::{Workshop, chain};

#[track_caller]
fn refused(package: &str, expected: &str) {
    let workshop = Workshop::new(package);
    workshop.write("file", "text");
    workshop.refused(expected);
}

const HEAD: &str = "name: a\nversion: 1.0.0\n";

#[test]
fn wrong_fields_are_named_with_line_and_column() {
    let with = |lines: &str, expected: &str| refused(&format!("{HEAD}{lines}"), expected);
    with(
        "colour: red\nmodules: []\n",
        "package.yaml:3:1: unknown field `colour`",
    );
    with(
        "modules:\n  - path: a\n    source: file\n    sauce: b\n",
        "package.yaml:6:5: unknown field `sauce`",
    );
    with(
        "modules:\n  - path: a\n    source: file\n    process: {kind: simple, color: red}\n",
        "unknown field `color`",
    );
    with(
        "modules:\n  - path: ../a\n    source: file\n",
        "package.yaml:4:11: path `../a` is refused",
    );
    with(
        "modules:\n  - path: a\n    link: /etc/passwd\n",
        "package.yaml:5:11: path `/etc/passwd` is refused",
    );
    with(
        "modules:\n  - path: a\n    source: file\n    mode: \"4755\"\n",
        "package.yaml:6:11: `4755` is not a mode",
    );
    with(
        "modules:\n  - path: a\n    source: file\n    mode: 493\n",
        "`493` is not a mode",
    );
    with(
        "modules:\n  - path: a\n    source: file\n    type: device\n",
        "package.yaml:6:11: ",
    );
    with(
        "modules:\n  - path: a\n    source: file\n    process: {kind: simple, notify: maybe}\n",
        "package.yaml:6:",
    );
    with("", "missing field `modules`");
    with("name: b\nmodules: []\n", "package.yaml:3:1: ");
    refused(
        "name: A b\nversion: 1.0.0\nmodules: []\n",
        "package.yaml:1:7: `A b` is not a package name",
    );
    refused(
        "name: a\nversion: one\nmodules: []\n",
        "package.yaml:2:10: ",
    );
    refused("name: a\nversion: [1\n", "package.yaml:");
    refused("", "package.yaml");
}

#[test]
fn files_made_to_exhaust_memory_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = format!("*a{}", level - 1);
        let list = [below.as_str(); 9].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{list}]").unwrap();
    }
    writeln!(bomb, "{HEAD}features: *a9\nmodules: []").unwrap();
    refused(&bomb, "package.yaml:");
    let bomb = bomb.replace("a0: &a0", "features: &a0");
    refused(&bomb, "package.yaml:");
    refused(
        &format!("{HEAD}modules: {}", "[".repeat(10_000)),
        "recursion limit exceeded",
    );
    refused(
        &format!("{HEAD}#{}\nmodules: []", "x".repeat(1 << 20)),
        "such a file has at most 1048576",
    );
}

#[test]
fn sources_that_cannot_be_delivered_are_named_with_their_line() {
    let workshop = Workshop::with_module("  - path: a\n    source: missing\n");
    workshop.refused("package.yaml:5:13: module `a` is refused: source `missing` does not exist");

    let workshop = Workshop::with_module("  - path: a\n    source: tool\n");
    workshop.write("tool", "x");
    fs::set_permissions(workshop.path("tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    workshop.refused("package.yaml:5:13: module `a` is refused: source `tool` has mode 4755");
    fs::set_permissions(workshop.path("tool"), fs::Permissions::from_mode(0o2755)).unwrap();
    workshop.refused("has mode 2755");

    Workshop::with_module("  - path: a\n    source: /dev/null\n")
        .refused("source `/dev/null` is a device");
    Workshop::with_module("  - path: a\n    source: .\n").refused("source `.` is a folder");
    Workshop::with_module("  - path: a\n")
        .refused("package.yaml:4:5: module `a` is refused: it needs exactly one");
    Workshop::with_module("  - path: a\n    source: b\n    link: c\n")
        .refused("it needs exactly one");

    let workshop = Workshop::with_module("  - path: a\n    source: broken\n");
    let shell = fs::read("/bin/sh").unwrap();
    workshop.write("broken", &shell[..shell.len() / 2]);
    workshop
        .refused("package.yaml:5:13: module `a` is refused: source `broken` cannot be delivered: ");
}

#[test]
fn modules_that_contradict_each_other_are_refused() {
    let with = |lines: &str, expected: &str| {
        let workshop = Workshop::with_module(lines);
        workshop.write("file", "text");
        workshop.refused(expected);
    };
    let file = "  - path: a\n    source: file\n";
    with(
        &format!("{file}{file}"),
        "package.yaml:6:5: module `a` is refused: its path is taken by the module at line 4",
    );
    with(
        &format!("{file}    type: data\n    process: {{kind: simple}}\n"),
        "only a `process` has a `process` section",
    );
    with(
        &format!("{file}    type: process\n"),
        "has no `process` section",
    );
    with(
        "  - path: A b\n    source: file\n    process: {kind: simple}\n",
        "give `process.name`",
    );
    with(
        "  - path: a\n    link: b\n    process: {kind: simple}\n",
        "a symbolic link cannot be a process",
    );
}

#[test]
fn test_suites_have_tests_that_are_no_services() {
    let with = |module: &str, expected: &str| {
        let head =
            "name: a\nversion: 1.0.0\npurpose: test\nmodules:\n  - path: a\n    source: file\n";
        let workshop = Workshop::new(&format!("{head}{module}"));
        workshop.write("file", "#!/bin/sh\n");
        if expected.is_empty() {
            workshop.built();
        } else {
            workshop.refused(expected);
        }
    };
    with("", "needs at least one module with a `process` section");
    with(
        "    process: {kind: simple, readySeconds: 600}\n    mode: \"0755\"\n",
        "",
    );
    for field in [
        "kind: self-managing",
        "notify: true",
        "health: {command: [check]}",
        "state: {saves: [a/1]}",
        "storedDescriptors: 1",
        "follows: [{paths: [etc/a]}]",
        "rules: [{name: a, rule: \"true\", message: a}]",
        "voteCommand: {command: [check]}",
        "voteLogic: {module: a.wasm}",
    ] {
        let kind = if field.starts_with("kind") {
            ""
        } else {
            "kind: simple, "
        };
        let name = field.split(": ").next().unwrap();
        let expected = if kind.is_empty() { field } else { name };
        with(
            &format!("    process: {{{kind}{field}}}\n"),
            &format!(
                "package.yaml:5:5: module `a` is refused: it is a test, which runs once and ends, so that `{expected}` means nothing"
            ),
        );
    }
}

/// Rules that every reader checks too.
#[test]
fn what_readers_would_refuse_is_not_stored() {
    let with = |lines: &str, expected: &str| {
        let workshop = Workshop::with_module(lines);
        workshop.write("file", "text");
        workshop.refused(expected);
    };
    with(
        "  - path: a\n    link: ../b\n",
        "package.yaml:4:5: symbolic link `a` -> `../b` is refused: path `../b` is refused: it points out of the generation",
    );
    with(
        "  - path: a\n    source: file\n  - path: a/b\n    source: file\n",
        "package.yaml:6:5: `a` is a file or link, and `a/b` would lie inside it",
    );
    with(
        "  - path: a\n    source: file\n    process: {kind: simple}\n",
        "package.yaml:4:5: `a` is a process, but its mode lets nobody execute it: give it the mode \"0755\"",
    );
}

#[test]
fn a_package_is_not_its_own_condition() {
    let with = |lines: &str, expected: &str| {
        refused(&format!("{HEAD}{lines}\nmodules: []\n"), expected);
    };
    with(
        "requires:\n  - {package: b, version: \"*\"}\n  - {package: a, version: \"<1\"}",
        "package.yaml:5:5: a package cannot require itself",
    );
    with(
        "upgrades: [{package: a, version: \"<1\"}]",
        "package.yaml:3:12: a package cannot upgrade itself",
    );
    with(
        "requires:\n  - {package: b, version: \">=2\"}\nupgrades:\n  - {package: b, version: \"<2\"}",
        "package.yaml:6:5: no version of `b` is both `>=2` (line 4) and `<2`",
    );
    with(
        "requires:\n  - {package: b, version: ^1}\n  - {package: b, version: ^2}",
        "package.yaml:5:5: no version of `b` is both `^1` (line 4) and `^2`",
    );
    with(
        "nodeTypes: [x]\nrequires:\n  - {package: b, version: ^1, nodeTypes: [x, y]}",
        "package.yaml:5:5: node type `y` is not among the `nodeTypes`",
    );
    with(
        "requiresRemote:\n  - {package: b, version: ^1, quantifier: {at-least: 0}}",
        "package.yaml:4:5: `at-least: 0` is satisfied by no node",
    );
    let apart = "requires:\n  - {package: b, version: ^1, nodeTypes: [x]}\n  - {package: b, version: ^2, nodeTypes: [y]}";
    Workshop::new(&format!("{HEAD}{apart}\nmodules: []\n")).built();
}

#[test]
fn fields_of_a_module_that_contradict_each_other_are_refused() {
    let with = |lines: &str, expected: &str| {
        let package = format!("{HEAD}features: [b, c]\nmodules:\n  - path: a\n{lines}");
        let at = format!("package.yaml:5:5: module `a` is refused: {expected}");
        refused(&package, &at);
    };
    let source = "    source: file\n";
    for (line, expected) in [
        (
            "features: [b, d]",
            "feature `d` is not among the `features` of the package (b, c)",
        ),
        ("optional: [a]", "`optional` names the module itself"),
        (
            "supplemental: [{oneOf: [b, a]}]",
            "`supplemental` names the module itself",
        ),
        (
            "supplemental: [{oneOf: []}]",
            "an entry of `supplemental` names no module in `oneOf`",
        ),
        (
            "supplemental: [{oneOf: [b]}]\n    optional: [b]",
            "`b` is both in `supplemental`, where it is needed, and in `optional`",
        ),
        ("exclude: x", "`exclude` means nothing without `sources`"),
        (
            "acknowledgeOpens: true",
            "`acknowledgeOpens` means nothing unless",
        ),
    ] {
        with(&format!("{source}    {line}\n"), expected);
    }
    with(
        "    link: b\n    mode: \"0755\"\n",
        "`mode` means nothing of a symbolic link",
    );
    with(
        "    link: b\n    type: data\n",
        "`type` means nothing of a symbolic link",
    );
    let package =
        format!("{HEAD}modules:\n  - sources: file\n    process: {{kind: simple, name: a}}\n");
    refused(
        &package,
        "module `file` is refused: `process.name` means nothing with `sources`",
    );
}

#[test]
fn a_command_that_fails_is_shown_with_what_it_wrote() {
    let failing = |command: &str| {
        let workshop = Workshop::new(&format!(
            "{HEAD}build:\n  - 'true'\n  - {command}\nmodules: []\n"
        ));
        workshop.refused("package.yaml:5:5: ")
    };
    let error = failing("echo before; echo oh no >&2; false; echo after");
    assert!(
        error.contains("ended with exit code 1; it wrote:\n    before\n    oh no"),
        "{error}"
    );
    assert!(!error.contains("    after"), "{error}");
    assert!(failing("kill -9 $$").contains("ended with signal 9; it wrote nothing"));
    assert!(
        failing("printf '\\033[31mred'; exit 3")
            .contains("exit code 3; it wrote:\n    \\u{1b}[31mred")
    );
    let long = failing("yes line | head -n 100000; exit 1");
    assert!(long.len() < 100_000, "{}", long.len());
}

#[test]
fn files_and_folders_that_cannot_be_used_are_named() {
    let workshop = Workshop::new(&format!("{HEAD}build: ['true']\nmodules: []\n"));
    fs::create_dir(workshop.path("white space")).unwrap();
    fs::rename(
        workshop.path("package.yaml"),
        workshop.path("white space/package.yaml"),
    )
    .unwrap();
    let file = workshop.path("white space/package.yaml");
    let attempt = |file: &std::path::Path, options: &BuildOptions| {
        chain(&build(file, &workshop.path("layout"), options).unwrap_err())
    };
    let unconfined = BuildOptions {
        confine: Confine::Never,
        ..BuildOptions::default()
    };
    let error = attempt(&file, &unconfined);
    assert!(error.contains("its path contains white space"), "{error}");
    let error = attempt(&workshop.path("none.yaml"), &BuildOptions::default());
    assert!(
        error.contains("failed to read") && error.contains("none.yaml"),
        "{error}"
    );
    let epoch = BuildOptions {
        source_date_epoch: Some(i64::MAX),
        ..BuildOptions::default()
    };
    assert!(attempt(&file, &epoch).contains("SOURCE_DATE_EPOCH is"));
    let root = BuildOptions {
        root: Some(workshop.path("")),
        ..BuildOptions::default()
    };
    assert!(build(&file, &workshop.path("layout"), &root).is_ok());
}
