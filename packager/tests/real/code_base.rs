//! A real code base with dozens of programs: 9base, the tools of Plan 9, statically linked against
//! one library.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use placet_packager::{Built, Confine};

use crate::debian_source::source;
use crate::workshop::Workshop;

const PROGRAMS: &[&str] = &[
    "ascii",
    "basename",
    "cal",
    "cat",
    "cleanname",
    "cmp",
    "date",
    "dd",
    "du",
    "echo",
    "factor",
    "fmt",
    "fortune",
    "freq",
    "getflags",
    "join",
    "look",
    "ls",
    "mkdir",
    "mtime",
    "pbd",
    "primes",
    "read",
    "seq",
    "sha1sum",
    "sleep",
    "sort",
    "split",
    "strings",
    "tail",
    "tee",
    "test",
    "touch",
    "tr",
    "unicode",
    "uniq",
    "unutf",
];

fn workshop(source: &Path) -> Workshop {
    let programs = PROGRAMS.join(" ");
    let files: Vec<_> = PROGRAMS.iter().map(|it| format!("{it}/{it}")).collect();
    let files = files.join(", ");
    let workshop = Workshop::new(&format!(
        "name: plan9\nversion: 6.0.0\nroot: src\nbuild:\n  - make -j2 STRIP=true SUBDIRS='lib9 {programs}' \
         CFLAGS=\"$CFLAGS -g -O0 -w -fcommon -c -I. -DPREFIX='\\\"/usr\\\"'\"\n\
         modules:\n  - path: usr/bin\n    sources: [{files}]\n"
    ));
    let status = Command::new("cp")
        .arg("-r")
        .args([source, &workshop.path("src")])
        .status();
    assert!(status.is_ok_and(|it| it.success()));
    workshop
}

/// The modules whose signature is another one than before.
fn changed(before: &Built, after: &Built) -> BTreeSet<String> {
    let both = before.config.modules.iter().zip(&after.config.modules);
    both.filter(|(before, after)| before.signature != after.signature)
        .map(|(_, after)| after.path.file_name().to_owned())
        .collect()
}

/// The programs whose table of symbols names `symbol`.
fn with_symbol(workshop: &Workshop, symbol: &str) -> BTreeSet<String> {
    let has = |program: &&&str| {
        let file = workshop.path(&format!("src/{program}/{program}"));
        let output = Command::new("nm").arg(file).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .any(|line| line.ends_with(&format!(" {symbol}")))
    };
    PROGRAMS
        .iter()
        .filter(has)
        .map(|it| (*it).to_owned())
        .collect()
}

fn replace(workshop: &Workshop, name: &str, from: &str, to: &str) {
    let text = fs::read_to_string(workshop.path(name)).unwrap();
    assert!(text.contains(from), "{name}");
    workshop.write(name, text.replacen(from, to, 1));
}

/// Two roots, two times, confined and not: the same package, byte for byte. Then one constant.
#[test]
fn dozens_of_programs_are_the_same_wherever_they_are_built() {
    let Some(source) = source("9base") else {
        return;
    };
    let (one, two) = (workshop(&source), workshop(&source));
    let first = one.build_as(Confine::Auto).unwrap();
    let second = two.build_as(Confine::Never).unwrap();
    assert_eq!(first.config.modules.len(), PROGRAMS.len());
    assert!(first.config.modules.iter().all(|it| it.elf.is_some()));
    assert_eq!(changed(&first, &second), BTreeSet::new());
    assert_eq!(first.digest, second.digest);
    assert_eq!((first.warnings, second.warnings.len()), (Vec::new(), 0));

    replace(&one, "src/cat/cat.c", "char buf[8192]", "char buf[4096]");
    let own = one.built();
    assert_eq!(changed(&second, &own), BTreeSet::from(["cat".to_owned()]));

    replace(&one, "src/lib9/dirmodefmt.c", "\"--x\"", "\"--X\"");
    // The makefiles of the programs do not look at the library.
    for program in PROGRAMS {
        fs::remove_file(one.path(&format!("src/{program}/{program}"))).unwrap();
    }
    let shared = one.built();
    let users = with_symbol(&one, "dirmodefmt");
    assert!(
        users.len() < PROGRAMS.len() && !users.is_empty(),
        "{users:?}"
    );
    assert_eq!(changed(&own, &shared), users);
}
