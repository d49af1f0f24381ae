//! Libraries that use each other in circles, and trees that lead in circles: pure, without files.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use placet_model::{Architecture, ElfClass, ElfFacts, SymbolLists, Symbols};
use placet_package::ElfKind;
use placet_packager::deps::{Files, Found, Loader, Missing, Object, SearchOrder, Tree};

fn object(soname: &str, needed: Vec<String>, exported: &[&str], imported: &[&str]) -> Arc<Object> {
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let lists = SymbolLists {
        exported: set(exported),
        imported: set(imported),
    };
    Arc::new(Object {
        architecture: Architecture("x86_64".to_owned()),
        kind: ElfKind::SharedObject,
        facts: ElfFacts {
            class: ElfClass::Elf64,
            soname: Some(soname.to_owned()),
            needed,
            versions_provided: BTreeSet::new(),
            versions_needed: BTreeSet::new(),
            interpreter: None,
            run_path: Vec::new(),
            inherited_run_path: false,
            ignores_default_folders: false,
            opens_libraries: false,
            symbols: None,
        },
        build_id: None,
        symbols: Symbols::of_lists(&lists),
    })
}

fn found(files: &Files, path: &str) -> Found {
    files.find(path).unwrap()
}

#[test]
fn libraries_in_a_circle_are_loaded_once_each() {
    const COUNT: usize = 2_000;
    let mut files = Files::default();
    for index in 0..COUNT {
        let next = |step: usize| format!("lib{}.so", (index + step) % COUNT);
        let needed = (0..50).map(|step| next(1 + 37 * step)).collect();
        let name = format!("lib{index}.so");
        let object = object(
            &name,
            needed,
            &[&format!("f{index}")],
            &[&format!("f{}", (index + 1) % COUNT), "nobody"],
        );
        files.add(&format!("/usr/lib/{name}"), object);
    }
    let order = SearchOrder::default();
    let loader = Loader::new(&files, &order);
    let start = Instant::now();
    for index in 0..10 {
        let process = loader.load(&found(&files, &format!("/usr/lib/lib{index}.so")));
        assert_eq!(process.objects.len(), COUNT);
        let missing = process.missing();
        assert_eq!(missing.len(), COUNT);
        let symbol = "nobody".to_owned();
        let library = None;
        assert_eq!(missing[0].1, Missing::Symbol { symbol, library });
    }
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn links_are_followed_as_the_kernel_follows_them() {
    let mut files = Files::default();
    files.add(
        "/usr/lib/a/liba.so.1.0",
        object("liba.so.1", Vec::new(), &[], &[]),
    );
    files.add_link("/lib", "usr/lib");
    files.add_link("/usr/lib/a/liba.so.1", "liba.so.1.0");
    files.add_link("/usr/lib/up", "../lib/./a/../a");
    files.add_link("/usr/lib/absolute", "/lib/a/liba.so.1");
    files.add_link("/usr/lib/circle", "circle");
    files.add_link("/usr/lib/grows", "grows/grows");
    for path in [
        "/lib/a/liba.so.1",
        "/lib/up/liba.so.1",
        "/usr/lib/absolute",
        "//lib//a/./liba.so.1.0",
    ] {
        let found = files.find(path).map(|found| found.path);
        assert_eq!(found.as_deref(), Some("/usr/lib/a/liba.so.1.0"), "{path}");
    }
    for path in [
        "/usr/lib/circle",
        "/usr/lib/grows",
        "/usr/lib/a",
        "/liba.so.1",
        "/../../x",
    ] {
        assert!(files.find(path).is_none(), "{path}");
    }
}

#[test]
fn lists_of_symbols_serve_as_the_files_do() {
    let mut files = Files::default();
    let exported = ["plain", "old@V1", "new@@V2"];
    let user = |imported: &[&str]| object("user", vec!["liba.so".to_owned()], &[], imported);
    files.add(
        "/lib/liba.so",
        object("liba.so", Vec::new(), &exported, &[]),
    );
    let wanted = [
        "plain", "plain@V9", "new", "new@V2", "old@V1", "old", "new@V1", "none",
    ];
    files.add("/bin/user", user(&wanted));
    let order = SearchOrder::default();
    let loaded = Loader::new(&files, &order).load(&found(&files, "/bin/user"));
    let missing: Vec<_> = loaded
        .missing()
        .into_iter()
        .map(|(_, it)| it.to_string())
        .collect();
    // Lists do not say which version is the first one, which serves whoever wants none.
    assert_eq!(missing, ["symbol new@V1", "symbol none"]);
}
