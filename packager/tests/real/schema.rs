//! The schema accepts and refuses what the reader does.

use std::env;
use std::fs;
use std::path::Path;

use jsonschema::Validator;
use placet_packager::{generated, parse_package_file, schema};
use serde_json::Value;

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

/// Reader and schema agree on `text`.
#[track_caller]
fn agree(validator: &Validator, text: &str, accepted: bool) {
    let read = parse_package_file(text.as_bytes());
    assert_eq!(
        read.is_ok(),
        accepted,
        "the reader says {:?} of {text}",
        read.err()
    );
    let value: Value = serde_yaml::from_str(text).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&value)
        .map(|it| it.to_string())
        .collect();
    assert_eq!(
        errors.is_empty(),
        accepted,
        "the schema says {errors:?} of {text}"
    );
}

const FULL: &str = include_str!("package-files/full.yaml");

#[test]
fn a_file_with_every_field_is_accepted_by_both() {
    agree(&validator(), FULL, true);
    let value: Value = serde_yaml::from_str(FULL).unwrap();
    assert_eq!(unused(&schema(), &value), Vec::<String>::new());
}

/// The fields of the schema that `value` does not use anywhere.
fn unused(schema: &Value, value: &Value) -> Vec<String> {
    let definitions = schema["$defs"].as_object().unwrap().values();
    let all = definitions
        .chain([schema])
        .filter_map(|it| it["properties"].as_object());
    let text = value.to_string();
    let keys = all.flat_map(|it| it.keys().cloned());
    keys.filter(|key| !text.contains(&format!("\"{key}\":")))
        .collect()
}

#[test]
fn what_one_refuses_the_other_does() {
    let validator = validator();
    let head = "name: a\nversion: 1.0.0\n";
    for lines in [
        "modules: []",
        "modules: []\nfeatures: [a, a]",
        "modules: []\nsourceRevision:",
        "modules: [{path: a, sources: [b, \"c*\"]}]",
        "modules: [{path: a, source: b, process: {kind: simple, startOrder: -7}}]",
        "modules: []\nrequires: [{package: b, version: \">=1.2, <2\"}]",
        "modules: []\nrequires: [{package: b, version: \"*\"}, {package: c, version: ~1.2.3-rc.1}]",
        "modules: []\nrequires: [{package: b, version: \"deb:>= 1.2-3, << 2\"}]",
        "modules: []\nrequiresRemote: [{package: b, version: \"1.x\", quantifier: {at-least: 2}}]",
    ] {
        agree(&validator, &format!("{head}{lines}\n"), true);
    }
    for lines in [
        "",
        "modules: {}",
        "modules: []\ncolour: red",
        "modules: []\npurpose: fun",
        "modules: []\nfeatures: a",
        "modules: []\nbuildSeconds: 0",
        "modules: []\nbuildSeconds: 4294967296",
        "modules: []\nbuildEnvironment: {a-b: c}",
        "modules: []\npassEnvironment: [PWD]",
        "modules: []\nrequires: [{package: b}]",
        "modules: []\nrequires: [{package: b, version: new}]",
        "modules: []\nrequires: [{package: B, version: \"1\"}]",
        "modules: []\nrequires: [{package: b, version: \">1 <2\"}]",
        "modules: []\nrequires: [{package: b, version: \"deb:1.2\"}]",
        "modules: []\nrequiresRemote: [{package: b, version: \"1\", quantifier: some}]",
        "modules: []\nrequiresRemote: [{package: b, version: \"1\", quantifier: {at-least: -1}}]",
        "modules: [{path: /a, source: b}]",
        "modules: [{path: \"a\\\\b\", source: b}]",
        "modules: [{path: a, link: /b}]",
        "modules: [{path: a, source: b, mode: \"4755\"}]",
        "modules: [{path: a, source: b, type: device}]",
        "modules: [{path: a, sources: []}]",
        "modules: [{path: a, source: b, provides: [{name: a, version: \"1\", colour: red}]}]",
        "modules: [{path: a, source: b, supplemental: [{}]}]",
        "modules: [{path: a, source: b, process: {}}]",
        "modules: [{path: a, source: b, process: {kind: simple, startOrder: 2147483648}}]",
        "modules: [{path: a, source: b, process: {kind: simple, stopSignal: KILL}}]",
        "modules: [{path: a, source: b, process: {kind: simple, state: {saves: [session]}}}]",
        "modules: [{path: a, source: b, process: {kind: simple, rules: [{name: a, rule: b}]}}]",
        "modules: [{path: a, source: b, process: {kind: simple, limits: {files: 1}}}]",
        "modules: [{path: a, source: b, process: {kind: simple, sockets: [{name: a}]}}]",
    ] {
        agree(&validator, &format!("{head}{lines}\n"), false);
    }
}

#[test]
fn both_know_the_same_versions() {
    let validator = validator();
    for (version, accepted) in [
        ("1.2.3-rc.1+build.5", true),
        ("deb:1:2.3-4", true),
        ("rpm:2.3-4.el9", true),
        ("1.2", false),
        ("01.2.3", false),
        ("1.2.3-01", false),
        ("deb:", false),
    ] {
        let text = format!("name: a\nversion: {version:?}\nmodules: []\n");
        agree(&validator, &text, accepted);
    }
}

#[test]
fn generated_files_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, text) in generated() {
        if env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(root.join(name), &text).unwrap();
        }
        let current = fs::read_to_string(root.join(name)).unwrap_or_default();
        assert!(current == text, "{name} is old: run `cargo xtask generate`");
    }
}

/// Every package file of the repository.
#[test]
fn the_schema_accepts_the_examples() {
    let validator = validator();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            if path.extension().is_some_and(|it| it == "yaml") && text.contains("\nmodules:") {
                agree(&validator, &text, true);
                count += 1;
            }
        }
    }
    assert!(count > 2, "{count} package files");
}
