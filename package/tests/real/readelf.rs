//! What `readelf` says of a file, which facts have to agree with.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use placet_model::SymbolVersion;
use placet_package::{ElfFile, read_elf};

/// Reads the file at `path` and compares everything with `readelf`.
#[track_caller]
pub(crate) fn compare_with_readelf(path: &Path) -> ElfFile {
    let found = read_elf(&fs::read(path).unwrap()).unwrap();
    let found = found.expect("an ELF file");
    let expected = readelf(path);
    let name = path.display();
    assert_eq!(found.facts.soname, expected.soname, "{name}");
    assert_eq!(found.facts.needed, expected.needed, "{name}");
    assert_eq!(found.facts.run_path, expected.run_path, "{name}");
    assert_eq!(found.facts.interpreter, expected.interpreter, "{name}");
    assert_eq!(found.facts.versions_provided, expected.provided, "{name}");
    assert_eq!(
        found.facts.versions_needed, expected.versions_needed,
        "{name}"
    );
    assert_eq!(found.build_id, expected.build_id, "{name}");
    // readelf shows the symbols that stand for the versions themselves without a version.
    let exported = found
        .symbols
        .exported
        .iter()
        .map(|name| match name.split_once("@@") {
            Some((name, version)) if name == version => name.to_owned(),
            _ => name.clone(),
        });
    assert_same(&exported.collect(), &expected.exported, path);
    assert_same(&found.symbols.imported, &expected.imported, path);
    found
}

/// Shows the difference alone: libraries have thousands of symbols.
#[track_caller]
fn assert_same(found: &BTreeSet<String>, expected: &BTreeSet<String>, file: &Path) {
    let more: Vec<_> = found.difference(expected).take(9).collect();
    let missing: Vec<_> = expected.difference(found).take(9).collect();
    let name = file.display();
    assert!(
        more.is_empty() && missing.is_empty(),
        "{name}: more {more:?}, missing {missing:?}"
    );
}

#[derive(Debug, Default)]
struct Expected {
    soname: Option<String>,
    needed: Vec<String>,
    run_path: Vec<String>,
    interpreter: Option<String>,
    provided: BTreeSet<String>,
    versions_needed: BTreeSet<SymbolVersion>,
    build_id: Option<String>,
    exported: BTreeSet<String>,
    imported: BTreeSet<String>,
    /// Objects of which a program has a copy; weak ones may be missing.
    copied: BTreeSet<String>,
    weak: BTreeSet<String>,
}

fn readelf(file: &Path) -> Expected {
    let name = file.display();
    let mut expected = Expected::default();
    let mut command = Command::new("readelf");
    command
        .args(["-WldnrV", "--dyn-syms"])
        .arg(file)
        .env("LC_ALL", "C");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{name}");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut soname_needed = String::new();
    for line in text.lines() {
        let words = words(line);
        let bracket = || line.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
        if line.contains("(SONAME)") {
            expected.soname = Some(bracket());
        } else if line.contains("(NEEDED)") {
            expected.needed.push(bracket());
        } else if line.contains("(RUNPATH)") || line.contains("(RPATH)") {
            expected.run_path = bracket().split(':').map(ToOwned::to_owned).collect();
        } else if line.contains("[Requesting program interpreter: ") {
            let path = line.split("interpreter: ").nth(1).unwrap_or_default();
            expected.interpreter = Some(path.trim_end_matches(']').to_owned());
        } else if let Some(id) = line.split("Build ID: ").nth(1) {
            expected.build_id = Some(id.to_owned());
        } else if let Some(index) = words.iter().position(|word| *word == "File:") {
            soname_needed = words[index + 1].to_owned();
        } else if let Some(index) = words.iter().position(|word| *word == "Name:") {
            let version = words[index + 1].to_owned();
            if line.contains("Index:") || line.contains("Rev:") {
                if line.contains("Rev:") && !line.contains("Flags: BASE") {
                    expected.provided.insert(version);
                }
            } else if line.contains("Flags:") && !line.contains("WEAK") {
                let soname = soname_needed.clone();
                expected
                    .versions_needed
                    .insert(SymbolVersion { soname, version });
            }
        } else if words.len() > 4 && words[2].ends_with("_COPY") {
            expected.copied.insert(words[4].to_owned());
        } else if words.len() >= 8 && words[0].ends_with(':') {
            symbol(&words, &mut expected);
        }
    }
    let copied = expected.copied.difference(&expected.weak);
    expected.imported.extend(copied.cloned());
    expected
}

/// The words of a line, without what readelf says in brackets of symbols of some processors.
fn words(line: &str) -> Vec<&str> {
    let is_symbol = line.contains(" GLOBAL ") || line.contains(" WEAK ");
    match (line.find('['), line.find(']')) {
        (Some(start), Some(end)) if is_symbol && start < end => {
            let (before, after) = (&line[..start], &line[end + 1..]);
            before
                .split_whitespace()
                .chain(after.split_whitespace())
                .collect()
        }
        _ => line.split_whitespace().collect(),
    }
}

/// `Num: Value Size Type Bind Vis Ndx Name`.
fn symbol(words: &[&str], expected: &mut Expected) {
    let (bind, visibility, section) = (words[4], words[5], words[6]);
    if bind == "LOCAL" {
        return;
    }
    let name = words[7].to_owned();
    if bind == "WEAK" {
        expected.weak.insert(name.clone());
    }
    match (section, bind, visibility) {
        ("UND", "WEAK", _) => {}
        ("UND", ..) => drop(expected.imported.insert(name)),
        (_, _, "DEFAULT" | "PROTECTED") => drop(expected.exported.insert(name)),
        _ => {}
    }
}
