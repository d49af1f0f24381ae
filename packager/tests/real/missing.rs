//! What the loader would miss, compared with what it says itself (`ldd -r`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_packager::deps::{Collection, Missing};
use tempfile::TempDir;

/// A folder with sources, programs and libraries.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for name in ["lib", "old", "bin"] {
            fs::create_dir(folder.path(name)).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Compiles `source` with these options into `name`.
    fn compile(&self, name: &str, source: &str, options: &str) -> &Self {
        fs::write(self.path("source.c"), source).unwrap();
        self.run(&format!("gcc -O1 -w -o {name} source.c {options}"))
    }

    /// Compiles a library with its soname.
    fn library(&self, name: &str, source: &str, options: &str) -> &Self {
        let soname = name.rsplit('/').next().unwrap();
        let options = format!("-shared -fPIC -Wl,-soname,{soname} {options}");
        self.compile(name, source, &options)
    }

    fn run(&self, line: &str) -> &Self {
        let mut command = Command::new("sh");
        command.args(["-ec", line]).current_dir(self.0.path());
        assert!(command.status().unwrap().success(), "{line}");
        self
    }
}

/// What is missing, as sets of names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) libraries: BTreeSet<String>,
    pub(crate) versions: BTreeSet<String>,
    pub(crate) symbols: BTreeSet<String>,
}

impl Found {
    /// What the real loader says.
    fn by_ldd(program: &Path) -> Self {
        Self::of_ldd(&ldd(program).0)
    }

    /// What `ldd -r` means by this text.
    pub(crate) fn of_ldd(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_suffix(" => not found") {
                found.libraries.insert(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("undefined symbol: ") {
                let name = rest.split_whitespace().next().unwrap();
                found.symbols.insert(name.trim_end_matches(',').to_owned());
            } else if line.contains("link time reference") && line.starts_with("symbol ") {
                let name = line["symbol ".len()..].split([' ', ',']).next();
                found.symbols.insert(name.unwrap().to_owned());
            } else if let Some((_, rest)) = line.split_once("version `") {
                let version = rest.split('\'').next().unwrap();
                found.versions.insert(version.to_owned());
            }
        }
        found
    }

    fn by_placet(program: &Path) -> Self {
        let sources = [program.to_str().unwrap().to_owned()];
        let collection = Collection::read(&sources, Some(Path::new("/"))).unwrap();
        let mut found = Self::default();
        for unresolved in collection.unresolved() {
            let with_library = unresolved.symbols.iter().map(|it| name_of(it));
            found.symbols.extend(with_library);
            found.add(unresolved.missing);
        }
        found
    }

    pub(crate) fn add(&mut self, missing: Missing) {
        match missing {
            Missing::Library { name } | Missing::Interpreter { path: name } => {
                self.libraries.insert(name);
            }
            Missing::Version { version, .. } => drop(self.versions.insert(version)),
            Missing::Symbol { symbol, .. } => drop(self.symbols.insert(name_of(&symbol))),
            // Each of them is told as missing too.
            Missing::Libraries { .. } => {}
        }
    }
}

fn name_of(symbol: &str) -> String {
    symbol.split('@').next().unwrap().to_owned()
}

/// What `ldd -r` says of a file, and whether it takes it for one that it can judge.
pub(crate) fn ldd(program: &Path) -> (String, bool) {
    let mut command = Command::new("ldd");
    command
        .arg("-r")
        .arg(program)
        .env("LC_ALL", "C")
        .env_remove("LD_LIBRARY_PATH");
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    // It fails where a version is missing too.
    let is_judged = output.status.success() || text.contains("=>");
    (text, is_judged)
}

/// Both say that this is missing: `library a`, `version b`, `symbol c`.
#[track_caller]
fn missing<const N: usize>(folder: &Folder, program: &str, expected: [&str; N]) {
    let program = folder.path(program);
    let (ldd, placet) = (Found::by_ldd(&program), Found::by_placet(&program));
    assert_eq!(placet, ldd, "Placet and ldd");
    let named = |kind: &str, names: &BTreeSet<String>| {
        let names = names.iter().map(|name| format!("{kind} {name}"));
        names.collect::<Vec<_>>()
    };
    let found = [
        named("library", &placet.libraries),
        named("version", &placet.versions),
        named("symbol", &placet.symbols),
    ];
    assert_eq!(found.concat(), expected);
}

const MAIN_A: &str = "int a(void); int main(void) { return a(); }";

/// `liba.so` uses `libb.so`, both in `lib`; `bin/main` uses `liba.so` and finds it by `path`.
fn chain(path: &str) -> Folder {
    let folder = Folder::new();
    folder
        .library("lib/libb.so", "int b(void) { return 0; }", "")
        .library(
            "lib/liba.so",
            "int b(void); int a(void) { return b(); }",
            "lib/libb.so",
        )
        .compile(
            "bin/main",
            MAIN_A,
            &format!("-Wl,--allow-shlib-undefined lib/liba.so {path}"),
        );
    folder
}

#[test]
fn a_run_path_is_for_ones_own_needs_alone() {
    let folder = chain("-Wl,--enable-new-dtags -Wl,-rpath,'$ORIGIN/../lib'");
    missing(&folder, "bin/main", ["library libb.so", "symbol b"]);
}

#[test]
fn an_old_run_path_is_inherited() {
    let old = "-Wl,--disable-new-dtags -Wl,-rpath,'${ORIGIN}/../lib'";
    missing(&chain(old), "bin/main", []);
}

#[test]
fn who_has_a_run_path_does_not_inherit() {
    let folder = chain("-Wl,--disable-new-dtags -Wl,-rpath,'$ORIGIN/../lib'");
    folder.library(
        "lib/liba.so",
        "int b(void); int a(void) { return b(); }",
        "lib/libb.so -Wl,--enable-new-dtags -Wl,-rpath,/nowhere",
    );
    missing(&folder, "bin/main", ["library libb.so", "symbol b"]);
}

#[test]
fn what_is_loaded_already_is_not_looked_for() {
    let folder = chain("");
    let options = "-Wl,--no-as-needed lib/libb.so lib/liba.so \
        -Wl,--enable-new-dtags -Wl,-rpath,'$ORIGIN/../lib'";
    folder.compile("bin/main", MAIN_A, options);
    missing(&folder, "bin/main", []);
}

#[test]
fn a_name_with_a_folder_is_that_file_alone() {
    let folder = Folder::new();
    let path = folder.path("lib/liba.so");
    let source = "int a(void) { return 0; }";
    let options = format!("-shared -fPIC -Wl,-soname,{}", path.display());
    folder.compile("lib/liba.so", source, &options);
    folder.compile("bin/main", MAIN_A, "lib/liba.so");
    missing(&folder, "bin/main", []);
    fs::rename(&path, folder.path("liba.so")).unwrap();
    let library = format!("library {}", path.display());
    missing(&folder, "bin/main", [&library, "symbol a"]);
}

#[test]
fn files_for_other_processors_are_passed_over() {
    let folder = chain("-Wl,--disable-new-dtags -Wl,-rpath,'$ORIGIN/../old:$ORIGIN/../lib'");
    let mut bytes = fs::read(folder.path("lib/liba.so")).unwrap();
    // AArch64.
    bytes[18] = 183;
    fs::write(folder.path("old/liba.so"), bytes).unwrap();
    missing(&folder, "bin/main", []);
}

const RUN_PATH: &str = "-Wl,-rpath,'$ORIGIN/../lib'";

/// A program that was linked with one library and finds another.
fn replaced(first: (&str, &str), second: (&str, &str), main: &str) -> Folder {
    let folder = Folder::new();
    let map = |text: &str| {
        fs::write(folder.path("a.map"), text).unwrap();
        if text.is_empty() {
            ""
        } else {
            "-Wl,--version-script=a.map"
        }
    };
    folder.library("lib/liba.so", first.0, map(first.1));
    folder.compile(
        "bin/main",
        main,
        &format!("lib/liba.so {RUN_PATH} -rdynamic"),
    );
    folder.library("lib/liba.so", second.0, map(second.1));
    folder
}

const A: &str = "int a(void) { return 0; }";
const A_AND_B: &str = "int a(void) { return 0; } int b(void) { return 0; }";
const MAIN_AB: &str = "int a(void); int b(void); int main(void) { return a() + b(); }";
const V1: &str = "V1 { global: a; local: *; };";
const V1_AND_V2: &str = "V1 { global: a; local: *; }; V2 { global: b; } V1;";

#[test]
fn versions_and_symbols_that_a_library_lost_are_named() {
    let without = replaced((A_AND_B, ""), (A, ""), MAIN_AB);
    missing(&without, "bin/main", ["symbol b"]);
    let versioned = replaced((A_AND_B, V1_AND_V2), (A, V1), MAIN_AB);
    missing(&versioned, "bin/main", ["version V2", "symbol b"]);
    // The version is there, the symbol is not.
    let empty = "V1 { global: a; local: *; }; V2 { global: c; } V1;";
    let c = "int a(void) { return 0; } int c(void) { return 0; }";
    let moved = replaced((A_AND_B, V1_AND_V2), (c, empty), MAIN_AB);
    missing(&moved, "bin/main", ["symbol b"]);
}

#[test]
fn who_wants_no_version_gets_the_default_one_or_the_first() {
    let plain = replaced((A_AND_B, ""), (A_AND_B, V1_AND_V2), MAIN_AB);
    missing(&plain, "bin/main", []);
    let hidden = "int a(void) { return 0; } int b1(void) { return 0; } int b3(void) { return 0; }
        __asm__(\".symver b3,b@V3\");";
    let map = "V1 { global: a; local: *; }; V2 { global: c; } V1; V3 { global: b; } V2;";
    let third = replaced((A_AND_B, ""), (hidden, map), MAIN_AB);
    missing(&third, "bin/main", ["symbol b"]);
    let first = "int a(void) { return 0; } int b1(void) { return 0; }
        __asm__(\".symver b1,b@V1\");";
    let map = "V1 { global: b; local: *; }; V2 { global: a; } V1;";
    let first = replaced((A_AND_B, ""), (first, map), MAIN_AB);
    missing(&first, "bin/main", []);
}

#[test]
fn weak_symbols_are_not_missed() {
    let main = "int a(void); __attribute__((weak)) int b(void);
        int main(void) { return a() + (b ? b() : 0); }";
    let weak = replaced((A_AND_B, ""), (A, ""), main);
    missing(&weak, "bin/main", []);
}

#[test]
fn an_object_that_is_copied_has_to_be_there() {
    let main = "extern int n; int main(void) { return n; }";
    let folder = Folder::new();
    folder.library("lib/liba.so", "int n = 1;", "");
    folder.compile(
        "bin/main",
        main,
        &format!("-no-pie -fno-pic lib/liba.so {RUN_PATH}"),
    );
    missing(&folder, "bin/main", []);
    folder.library("lib/liba.so", "int other = 1;", "");
    missing(&folder, "bin/main", ["symbol n"]);
}

#[test]
fn a_library_is_served_by_the_program_and_not_without_it() {
    let uses = "int callback(void); int a(void) { return callback(); }";
    let main = "int a(void); int callback(void) { return 0; } int main(void) { return a(); }";
    let folder = replaced((uses, ""), (uses, ""), main);
    missing(&folder, "bin/main", []);
    let library = folder.path("lib/liba.so");
    assert_eq!(Found::by_placet(&library), Found::by_ldd(&library));
    let sources = [folder.0.path().to_str().unwrap().to_owned()];
    let collection = Collection::read(&sources, None).unwrap();
    let unresolved = collection.unresolved();
    assert!(
        unresolved
            .iter()
            .all(|it| !it.missing.to_string().contains("callback")),
        "{unresolved:?}"
    );
    fs::remove_file(folder.path("bin/main")).unwrap();
    let collection = Collection::read(&sources, None).unwrap();
    let unresolved = collection.unresolved();
    assert!(
        unresolved
            .iter()
            .any(|it| it.missing.to_string() == "symbol callback"),
        "{unresolved:?}"
    );
}

/// What is missing in a program, in words, with the symbols under each.
fn told(folder: &Folder, program: &str) -> Vec<(String, String)> {
    let sources = [folder.path(program).to_str().unwrap().to_owned()];
    let collection = Collection::read(&sources, Some(Path::new("/"))).unwrap();
    let unresolved = collection.unresolved().into_iter();
    let told = unresolved.map(|it| {
        let symbols: Vec<_> = it.symbols.into_iter().collect();
        (it.missing.to_string(), symbols.join(" "))
    });
    told.collect()
}

#[test]
fn symbols_of_a_library_that_is_missing_as_a_whole_stand_under_it() {
    let folder = Folder::new();
    fs::write(folder.path("a.map"), "A_1 { global: *; };").unwrap();
    let versioned = "-Wl,--version-script=a.map";
    let main = "int a1(void); int a2(void); int b1(void); int c1(void); \
                int main(void) { return a1() + a2() + b1() + c1(); }";
    folder
        .library(
            "lib/liba.so",
            "int a1(void) { return 1; } int a2(void) { return 2; }",
            versioned,
        )
        .library("lib/libb.so", "int b1(void) { return 3; }", "")
        .library("lib/libc1.so", "int c1(void) { return 4; }", "")
        .compile(
            "bin/main",
            main,
            &format!("lib/liba.so lib/libb.so lib/libc1.so {RUN_PATH}"),
        );
    assert_eq!(told(&folder, "bin/main"), []);
    fs::remove_file(folder.path("lib/liba.so")).unwrap();
    let of_a = ("library liba.so".to_owned(), "a1@A_1 a2@A_1".to_owned());
    assert_eq!(told(&folder, "bin/main"), std::slice::from_ref(&of_a));
    fs::remove_file(folder.path("lib/libb.so")).unwrap();
    let of_b = |symbols: &str| ("library libb.so".to_owned(), symbols.to_owned());
    // What has no version may be of either.
    let either = ("one of liba.so, libb.so".to_owned(), "b1".to_owned());
    assert_eq!(told(&folder, "bin/main"), [of_a, of_b(""), either]);
    folder.library(
        "lib/liba.so",
        "int a1(void) { return 1; } int a2(void) { return 2; }",
        versioned,
    );
    assert_eq!(told(&folder, "bin/main"), [of_b("b1")]);
    // A library that is there and lacks a symbol is not missing as a whole.
    folder.library("lib/libb.so", "int other(void) { return 3; }", "");
    assert_eq!(
        told(&folder, "bin/main"),
        [("symbol b1".to_owned(), String::new())]
    );
}

/// Programs of this machine, on which nothing is missing.
#[test]
fn this_machines_programs_miss_what_ldd_says() {
    for program in [
        "/bin/ls",
        "/usr/bin/ld",
        "/usr/bin/git",
        "/usr/bin/apt-get",
        "/usr/bin/perl",
    ] {
        let program = Path::new(program);
        if program.exists() {
            let placet = Found::by_placet(program);
            assert_eq!(placet, Found::by_ldd(program), "{}", program.display());
            assert_eq!(placet, Found::default());
        }
    }
}
