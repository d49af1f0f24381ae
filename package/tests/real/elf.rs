//! Facts, compared with what was asked of the compiler and with `readelf`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use placet_model::{ElfClass, SymbolVersion, digest_of};
use placet_package::{ElfFile, ElfKind, read_elf};

use crate::readelf::compare_with_readelf;
use crate::tools::Folder;

fn read(bytes: &[u8]) -> ElfFile {
    read_elf(bytes).unwrap().expect("an ELF file")
}

fn set<const N: usize>(items: [&str; N]) -> BTreeSet<String> {
    items.map(str::to_owned).into_iter().collect()
}

#[test]
fn a_versioned_library_says_what_it_offers_and_needs() {
    let folder = Folder::new();
    let greet =
        folder.greet("-Wl,-rpath,/opt/a:$ORIGIN/../lib -Wl,--build-id=0x0123456789abcdef01");
    let library = read(&greet);
    assert_eq!(library.facts.soname.as_deref(), Some("libgreet.so.1"));
    assert_eq!(library.facts.needed, ["libc.so.6"]);
    assert_eq!(library.facts.versions_provided, set(["GREET_1"]));
    assert_eq!(library.facts.class, ElfClass::Elf64);
    assert_eq!(library.facts.interpreter, None);
    assert_eq!(library.facts.run_path, ["/opt/a", "/../lib"]);
    assert_eq!(library.build_id.as_deref(), Some("0123456789abcdef01"));
    assert_eq!(library.kind, ElfKind::SharedObject);
    assert!(!library.facts.opens_libraries);
    assert!(library.symbols.exported.contains("greet@@GREET_1"));
    assert!(
        !library
            .symbols
            .exported
            .iter()
            .any(|name| name.starts_with("hidden"))
    );
    assert!(
        library
            .symbols
            .imported
            .iter()
            .any(|name| name.contains("printf"))
    );
    assert_eq!(library.facts.symbols, Some(digest_of(&library.symbols)));
}

#[test]
fn a_program_says_which_versions_it_needs_and_weak_ones_are_left_out() {
    let folder = Folder::new();
    folder.greet("");
    let program = read(&folder.compile(
        "#include <dlfcn.h>\nvoid greet(const char *);\n\
         int main(void) { greet(\"x\"); return !dlopen(\"libz.so.1\", RTLD_NOW); }",
        "libgreet.so.1 -Wl,--build-id=none",
    ));
    assert_eq!(program.facts.needed, ["libgreet.so.1", "libc.so.6"]);
    assert_eq!(
        program.facts.interpreter.as_deref(),
        Some("/lib64/ld-linux-x86-64.so.2")
    );
    let greet = SymbolVersion {
        soname: "libgreet.so.1".to_owned(),
        version: "GREET_1".to_owned(),
    };
    assert!(program.facts.versions_needed.contains(&greet));
    assert!(program.symbols.imported.contains("greet@GREET_1"));
    assert_eq!(program.build_id, None);
    assert_eq!(program.kind, ElfKind::Executable);
    assert!(program.facts.opens_libraries);

    let weak = read(&folder.compile(
        "__attribute__((weak)) void greet(const char *); int main(void) { if (greet) greet(\"\"); }",
        "libgreet.so.1",
    ));
    assert!(!weak.facts.versions_needed.contains(&greet));
    assert!(!weak.symbols.imported.contains("greet@GREET_1"));
}

#[test]
fn static_programs_and_objects_have_no_dynamic_facts() {
    let folder = Folder::new();
    let program = read(&folder.compile("int main(void) { return 0; }", "-static"));
    assert_eq!(program.kind, ElfKind::Executable);
    assert!(program.facts.needed.is_empty() && program.facts.symbols.is_none());
    let object = read(&folder.compile("int f(void) { return 0; }", "-c"));
    assert_eq!(
        (object.kind, object.architecture.0.as_str()),
        (ElfKind::Other, "x86_64")
    );
    assert_eq!(read_elf(b"#!/bin/sh\n"), Ok(None));
    assert_eq!(read_elf(b""), Ok(None));
}

#[test]
fn old_hash_tables_and_old_run_paths_are_read_too() {
    let folder = Folder::new();
    let old = "-Wl,--hash-style=sysv -Wl,--disable-new-dtags -Wl,-rpath,/old";
    let (new, old) = (read(&folder.greet("")), read(&folder.greet(old)));
    assert_eq!(old.symbols.exported, new.symbols.exported);
    assert_eq!(old.symbols.imported, new.symbols.imported);
    assert_eq!(old.facts.run_path, ["/old"]);
}

#[test]
fn section_headers_do_not_matter() {
    let folder = Folder::new();
    let whole = folder.greet("");
    let mut bare = whole.clone();
    bare[0x28..0x30].fill(0);
    bare[0x3a..0x40].fill(0);
    assert_eq!(read(&bare), read(&whole));
}

/// Files of this machine, with what `readelf` says of each.
#[test]
fn the_systems_own_files_read_as_readelf_reads_them() {
    let files = system_files();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        compare_with_readelf(&file);
    }
}

fn system_files() -> Vec<PathBuf> {
    let library = Path::new("/lib/x86_64-linux-gnu");
    let names = [
        "libc.so.6",
        "libm.so.6",
        "libdl.so.2",
        "libpthread.so.0",
        "libstdc++.so.6",
        "libz.so.1",
        "libgcc_s.so.1",
        "libtinfo.so.6",
        "libcrypto.so.3",
        "libselinux.so.1",
        "libresolv.so.2",
        "ld-linux-x86-64.so.2",
    ];
    let files = names.iter().map(|name| library.join(name));
    let programs = [
        "/bin/sh",
        "/bin/ls",
        "/bin/tar",
        "/usr/bin/ld",
        "/usr/bin/as",
    ];
    let files = files.chain(programs.iter().map(PathBuf::from));
    files.filter(|file| file.exists()).collect()
}
