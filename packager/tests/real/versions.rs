//! The order of versions, beside what Debian's and RPM's own tools say of random pairs.

use std::env;
use std::fmt::Write as _;
use std::process::Command;

use placet_model::{Version, VersionRequirement};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// How many random pairs are compared.
fn samples() -> usize {
    if env::var_os("PLACET_FULL").is_some() {
        20_000
    } else {
        1_000
    }
}

/// Pairs of which the second half is mostly the first with little changed.
fn pairs(scheme: &str, version: &str) -> Vec<[String; 2]> {
    let pattern = format!("{scheme}([01]:)?{version}");
    let pattern = Box::leak(pattern.into_boxed_str());
    let mut runner = TestRunner::default();
    let mut draw = || {
        let text = (*pattern).new_tree(&mut runner).expect("a valid pattern");
        text.current()
    };
    (0..samples()).map(|_| [draw(), draw()]).collect()
}

fn parsed(text: &str) -> Version {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// True if the tool `name` is here.
///
/// # Panics
///
/// In CI, where nothing is skipped.
fn has(name: &str) -> bool {
    let is_here = Command::new(name).arg("--version").output().is_ok();
    if !is_here {
        assert!(env::var_os("CI").is_none(), "{name} is not installed");
        eprintln!("skipped: the order of versions beside {name}, which is not installed");
    }
    is_here
}

/// What a program says about every pair, a line each.
fn lines(program: &str, arguments: &[&str], count: usize) -> Vec<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.trim_end().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{errors}");
    lines
}

#[test]
fn debian_versions_are_ordered_as_dpkg_orders_them() {
    if !has("dpkg") {
        return;
    }
    let pairs = pairs("deb:", "[0-2a][0-3a+~.-]{0,5}(-[0-2a+~.]{1,3})?");
    let script = r#"
        while read -r one other; do
            for relation in lt eq gt; do
                dpkg --compare-versions "$one" $relation "$other" && echo $relation && break
            done
        done < "$1""#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pairs");
    let pairs: Vec<_> = pairs
        .into_iter()
        .filter(|pair| pair.iter().all(|it| it.parse::<Version>().is_ok()))
        .collect();
    let mut text = String::new();
    for [one, other] in &pairs {
        writeln!(text, "{} {}", &one[4..], &other[4..]).unwrap();
    }
    std::fs::write(&file, text).unwrap();
    let file = file.to_string_lossy();
    let said = lines("sh", &["-c", script, "sh", &file], pairs.len());
    for ([one, other], relation) in pairs.iter().zip(said) {
        let sign = match &*relation {
            "lt" => "<<",
            "eq" => "=",
            _ => ">>",
        };
        let required = format!("deb:{sign} {}", &other[4..]);
        let required: VersionRequirement = required.parse().unwrap();
        assert!(required.matches(&parsed(one)), "{one} {relation} {other}");
    }
}

#[test]
fn rpm_versions_are_ordered_as_rpm_orders_them() {
    if !has("rpm") {
        return;
    }
    let pairs = pairs("rpm:", "[0-2a._+~^]{1,6}(-[0-2a._~^]{1,3})?");
    let mut script = String::from(
        "local function compare(one, other)
            one, other = rpm.ver(one), rpm.ver(other)
            print((one < other and '<' or one == other and '=' or '>') .. '\\n')
        end\n",
    );
    for [one, other] in &pairs {
        let (one, other) = (&one[4..], &other[4..]);
        writeln!(script, "compare('{one}', '{other}')").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compare.lua");
    std::fs::write(&file, script).unwrap();
    let run = format!("%{{lua:dofile(\"{}\")}}", file.display());
    let said = lines("rpm", &["--eval", &run], pairs.len());
    for ([one, other], sign) in pairs.iter().zip(said) {
        let order = match sign.trim() {
            "<" => std::cmp::Ordering::Less,
            "=" => std::cmp::Ordering::Equal,
            _ => std::cmp::Ordering::Greater,
        };
        let (Version::Rpm(left), Version::Rpm(right)) = (parsed(one), parsed(other)) else {
            panic!("{one}, {other}: not RPM's");
        };
        assert_eq!(left.compare(&right), order, "{one} {sign} {other}");
    }
}
