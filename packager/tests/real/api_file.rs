//! API files: made from real libraries, read again, and refused by the line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_package::{Elf, read_elf};
use placet_packager::{ApiFile, ApiSymbol, ApiSymbolKind};

use crate::debian::{two_libssl3, unpack};

const LIBRARY: &str = "
    #include <stdint.h>
    int counter = 7; char banner[24] = \"hello\"; _Thread_local int mine[4];
    _Alignas(64) char wide[64] = {1};
    int step_new(int by) { return counter += by; }
    int step_old(int by) { return counter += by + 1; }
    __attribute__((weak)) int hook(void) { return mine[0]; }
    __asm__(\".symver step_old,step@STEP_1\");
    __asm__(\".symver step_new,step@@STEP_2\");
";
const MAP: &str = "STEP_1 { global: counter; banner; hook; step; local: *; }; \
    STEP_2 { global: step; mine; wide; } STEP_1;";

/// The bytes of a library with two versions of a function and three kinds of data.
fn library(folder: &Path) -> Vec<u8> {
    fs::write(folder.join("step.c"), LIBRARY).unwrap();
    fs::write(folder.join("step.map"), MAP).unwrap();
    let mut command = Command::new("cc");
    command
        .args(["-shared", "-fPIC", "-O1", "-Wl,-soname,libstep.so.2"])
        .args([
            "-Wl,--version-script=step.map",
            "-o",
            "libstep.so.2",
            "step.c",
        ])
        .current_dir(folder);
    assert!(command.status().unwrap().success());
    fs::read(folder.join("libstep.so.2")).unwrap()
}

fn of_library(bytes: &[u8]) -> ApiFile {
    let elf = Elf::parse(bytes).unwrap().expect("an ELF file");
    ApiFile::of_library(&elf, "file.so").expect("it exports something")
}

fn symbol<'a>(api: &'a ApiFile, name: &str) -> &'a ApiSymbol {
    let mut symbols = api.symbols.iter();
    symbols.find(|it| it.versioned_name() == name).unwrap()
}

#[test]
fn a_library_says_its_versions_sizes_and_hidden_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let api = of_library(&library(folder.path()));
    assert_eq!((api.name.as_str(), api.version.as_str()), ("libstep", "2"));
    assert_eq!(api.soname.as_deref(), Some("libstep.so.2"));
    let versions: Vec<_> = api.versions.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(versions, ["STEP_1", "STEP_2"]);
    assert_eq!(api.versions[1].parents, ["STEP_1"]);
    let names: Vec<_> = api.symbols.iter().map(ApiSymbol::versioned_name).collect();
    let expected = [
        "banner@@STEP_1",
        "counter@@STEP_1",
        "hook@@STEP_1",
        "mine@@STEP_2",
        "step@@STEP_2",
        "step@STEP_1",
        "wide@@STEP_2",
    ];
    assert_eq!(names, expected);
    let banner = symbol(&api, "banner@@STEP_1");
    assert_eq!(
        (banner.kind, banner.size),
        (ApiSymbolKind::Object, Some(24))
    );
    let mine = symbol(&api, "mine@@STEP_2");
    assert_eq!(
        (mine.kind, mine.size),
        (ApiSymbolKind::ThreadLocal, Some(16))
    );
    assert_eq!(symbol(&api, "wide@@STEP_2").alignment(), 64);
    assert!(symbol(&api, "hook@@STEP_1").weak);
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut api = of_library(&library(folder.path()));
    // Names that YAML would take for something else.
    for name in ["null", "1e3", "yes", "~", "a: b", "#c", "-", "é"] {
        let mut odd = symbol(&api, "step@@STEP_2").clone();
        odd.name = name.to_owned();
        api.symbols.push(odd);
    }
    let text = api.to_yaml();
    assert!(
        text.contains("\n- {name: banner, version: STEP_1, kind: object, size: 24"),
        "{text}"
    );
    assert_eq!(ApiFile::parse(&text, Path::new("api.yaml")).unwrap(), api);
}

/// Every library of Debian's OpenSSL: thousands of symbols, versions and objects.
#[test]
fn a_large_library_offers_its_own_api_and_its_successor_too() {
    let Some(debs) = two_libssl3() else {
        return;
    };
    let read = |deb: &PathBuf, name: &str| {
        let folder = tempfile::tempdir().unwrap();
        unpack(deb, folder.path());
        fs::read(folder.path().join("usr/lib/x86_64-linux-gnu").join(name)).unwrap()
    };
    for name in ["libssl.so.3", "libcrypto.so.3"] {
        let (old, new) = (read(&debs[0], name), read(&debs[1], name));
        let api = of_library(&old);
        assert!(api.symbols.len() > 500, "{name}: {}", api.symbols.len());
        let again = ApiFile::parse(&api.to_yaml(), Path::new("api.yaml")).unwrap();
        assert_eq!(again, api);
        for bytes in [&old, &new] {
            let lists = read_elf(bytes).unwrap().unwrap().symbols;
            assert_eq!(api.missing_of(&lists), Vec::<String>::new(), "{name}");
        }
    }
    let crypto = of_library(&read(&debs[0], "libcrypto.so.3"));
    let ssl = read_elf(&read(&debs[0], "libssl.so.3")).unwrap().unwrap();
    assert!(crypto.used_by(&ssl.symbols).len() > 100);
    assert!(crypto.missing_of(&ssl.symbols).len() > 1_000);
}

/// What is wrong with an API file whose line 3 and following are `rest`.
fn refused(rest: &str) -> String {
    let text = format!("name: greeting\nversion: \"1\"\n{rest}");
    let error = ApiFile::parse(&text, Path::new("greet.api.yaml")).expect_err(rest);
    error.to_string()
}

#[test]
fn what_is_wrong_is_named_by_line_and_field() {
    let long = "x".repeat(256);
    let long = format!("soname: {long}\nsymbols: [{{name: a}}]");
    let cases = [
        ("", "2:1: missing field `symbols`"),
        (
            "symbols: []",
            "3:10: `symbols` is empty; an API has at least one function or object",
        ),
        (
            "soname: lib/a.so\nsymbols: [{name: a}]",
            "3:9: `soname` has a `/`; it is the name of a file, without its folder",
        ),
        (&long, "3:9: `soname` has more than 255 bytes; shorten it"),
        (
            "symbols: [{name: \"\"}]",
            "3:11: `name` is empty; give it a name",
        ),
        (
            "symbols: [{name: \"a\\e[2J\"}]",
            "3:11: `name` has a control character in `a\\u{1b}[2J`",
        ),
        (
            "symbols: [{name: a, nature: odd}]",
            "3:21: unknown field `nature`",
        ),
        (
            "symbols:\n  - {name: a}\n  - {name: b, version: V1}",
            "5:5: symbol `b` has the version `V1`, which is not among `versions`; add it there",
        ),
        (
            "symbols: [{name: a@V1}]",
            "3:11: symbol `a@V1` has an `@`; write the version in `version`",
        ),
        (
            "symbols:\n  - {name: a}\n  - {name: a}",
            "5:5: symbol `a` occurs twice; keep one of them",
        ),
    ];
    check_refusals(&cases);
}

#[test]
fn versions_and_sizes_have_to_make_sense() {
    let cases = [
        (
            "versions: [{name: V1}, {name: V2}]\nsymbols:\n  - {name: a, version: V1}\n  - {name: a, version: V2}",
            "6:5: symbol `a` has two versions that are not hidden; say `hidden: true` of the older one",
        ),
        (
            "versions: [{name: V2, parents: [V1]}, {name: V1}]\nsymbols: [{name: a}]",
            "3:12: version `V2` has the parent `V1`, which does not stand above it; declare that first",
        ),
        (
            "versions: [{name: V1}, {name: V1}]\nsymbols: [{name: a}]",
            "3:24: version `V1` occurs twice; keep one of them",
        ),
        (
            "symbols: [{name: a, hidden: true}]",
            "3:11: symbol `a` is hidden and has no version; only a version can be hidden",
        ),
        (
            "symbols: [{name: a, kind: object}]",
            "3:11: symbol `a` is an object without `size`; give its size in bytes",
        ),
        (
            "symbols: [{name: a, size: 4}]",
            "3:11: symbol `a` is a function and has `size`; remove it, or say `kind: object`",
        ),
        (
            "symbols: [{name: a, kind: object, size: 4, align: 3}]",
            "3:11: symbol `a` has `align: 3`; it is a power of two up to 4096",
        ),
        (
            "symbols: [{name: a, kind: object, size: -1}]",
            "3:41: invalid",
        ),
    ];
    check_refusals(&cases);
}

#[track_caller]
fn check_refusals(cases: &[(&str, &str)]) {
    let cases = cases.iter().map(|(rest, expected)| {
        let expected = format!("greet.api.yaml:{expected}");
        (refused(rest), expected)
    });
    let wrong: Vec<_> = cases
        .filter(|(error, expected)| !error.starts_with(expected))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_schema_says_what_the_fields_are() {
    let schema = serde_json::to_value(ApiFile::schema()).unwrap();
    assert_eq!(
        schema["required"],
        serde_json::json!(["name", "version", "symbols"])
    );
    let symbol = &schema["$defs"]["ApiSymbol"];
    assert_eq!(symbol["additionalProperties"], false);
    let fields = symbol["properties"].as_object().unwrap();
    assert!(
        fields.values().all(|it| it["description"].is_string()),
        "{fields:?}"
    );
}
