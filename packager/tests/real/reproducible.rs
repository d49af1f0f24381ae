//! What a build makes, and that it makes the same again elsewhere.

use std::fs;

use placet_model::{Mode, ModuleType, ProcessKind, Quantifier, Silence};

use placet_packager::Confine;

use crate::workshop::Workshop;

const PACKAGE: &str = r#"
name: greet
version: 1.2.3+local
features: [greeting]
characteristics: {tier: core}
nodeTypes: [router]
requires:
  - {package: base, version: ">=1, <3"}
requiresRemote:
  - {package: base, version: "*", class: core, quantifier: all, nodeTypes: [router]}
  - {package: base, version: "*", quantifier: {at-least: 2}}
upgrades:
  - {package: old, version: "<1"}
sourceRevision: main@sha1:1234
build:
  - gcc $CFLAGS -g -O2 -fPIC -shared -Wl,-soname,libgreet.so.1 -o libgreet.so.1 lib.c
  - |
    gcc $CFLAGS -g -O2 -o greetd main.c libgreet.so.1
    gcc $CFLAGS -g -O2 -fPIC -shared -o plugin.so plugin.c
modules:
  - path: usr/sbin/greetd
    source: greetd
    mode: "0750"
    owner: {user: greet}
    function: greeting
    characteristics: {size: small}
    features: [greeting]
    provides: [{name: greet, version: "1"}]
    supplemental:
      - oneOf: [usr/lib/greet/plugin.so]
    optional: [etc/greet/extra.conf]
    process:
      kind: self-managing
      arguments: [--verbose, "two\nlines"]
      environment: {LEVEL: "3"}
      startOrder: 5
      notify: true
      voteSeconds: 9
      silence: veto
  - path: usr/lib/libgreet.so.1
    source: libgreet.so.1
  - path: usr/lib/libgreet.so
    link: libgreet.so.1
  - path: usr/lib/greet/plugin.so
    source: plugin.so
  - path: etc/greet/greet.conf
    source: greet.conf
"#;

const LIBRARY: &str = "#include <stdio.h>\nvoid greet(void) { puts(\"Hello from \" __FILE__); }\n";

fn workshop() -> Workshop {
    let workshop = Workshop::new(PACKAGE);
    workshop
        .write("lib.c", LIBRARY)
        .write(
            "main.c",
            "void greet(void); int main(void) { greet(); return 0; }\n",
        )
        .write("plugin.c", "int plugin(void) { return 1; }\n")
        .write("greet.conf", "text\n");
    workshop
}

#[test]
fn the_same_inputs_in_two_folders_give_the_same_manifest_digest() {
    let (one, two) = (workshop(), workshop());
    let (first, second) = (one.built(), two.built());
    assert_eq!(first.config, second.config);
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.warnings, []);
    assert_eq!(
        one.built().digest,
        first.digest,
        "a second build in the same folder"
    );
    two.write("lib.c", LIBRARY.replace("Hello", "Howdy"));
    let changed = two.built();
    assert_ne!(changed.digest, first.digest);
    let signatures = |built: &placet_packager::Built| {
        let modules = built.config.modules.iter();
        modules
            .map(|module| (module.path.clone(), module.signature))
            .collect::<Vec<_>>()
    };
    let pairs = signatures(&changed).into_iter().zip(signatures(&first));
    let changed: Vec<_> = pairs
        .filter(|(new, old)| new != old)
        .map(|(new, _)| new.0)
        .collect();
    assert_eq!(changed, ["usr/lib/libgreet.so.1".parse().unwrap()]);
}

#[test]
fn everything_that_the_file_says_and_the_bytes_tell_is_in_the_config() {
    let workshop = workshop();
    let built = workshop.built();
    assert_eq!(built.tag, "1.2.3_local");
    let package = workshop.open("1.2.3_local");
    assert_eq!(
        (package.digest, &package.config),
        (built.digest, &built.config)
    );
    let config = &built.config;
    assert_eq!(config.created.as_second(), 1_700_000_000);
    assert_eq!(config.requires[0].version.to_string(), ">=1, <3");
    assert_eq!(config.requires_remote[1].quantifier, Quantifier::AtLeast(2));
    assert_eq!(config.upgrades[0].package.as_str(), "old");
    let kinds: Vec<_> = config
        .modules
        .iter()
        .map(|module| (module.path.as_str(), module.kind, module.mode.to_string()))
        .collect();
    let expected = [
        ("etc/greet/greet.conf", ModuleType::Data, "0644"),
        ("usr/lib/greet/plugin.so", ModuleType::Plugin, "0755"),
        ("usr/lib/libgreet.so", ModuleType::Data, "0777"),
        ("usr/lib/libgreet.so.1", ModuleType::Library, "0755"),
        ("usr/sbin/greetd", ModuleType::Process, "0750"),
    ];
    assert_eq!(
        kinds,
        expected.map(|(path, kind, mode)| (path, kind, mode.to_owned()))
    );
    assert!(config.requires_remote[0].node_types.contains("router"));
    assert_eq!(config.modules[4].characteristics["size"], "small");
    let process = config.modules[4].process.as_ref().unwrap();
    assert_eq!(
        (process.name.as_str(), process.kind),
        ("greetd", ProcessKind::SelfManaging)
    );
    assert_eq!((process.ready_seconds, process.vote_seconds), (30, 9));
    assert_eq!((process.silence, process.start_order), (Silence::Veto, 5));
    let elf = config.modules[4].elf.as_ref().unwrap();
    assert_eq!(elf.needed, ["libgreet.so.1", "libc.so.6"]);
    assert_eq!(config.modules[4].architecture.0, "x86_64");
    assert_eq!(config.modules[0].architecture.0, "neutral");
    let declared_in = config.modules[4].supplemental[0].declared_in.as_deref();
    assert_eq!(declared_in, Some("package.yaml"));
    let symbols = package.symbols(&config.modules[3]).unwrap().unwrap();
    assert!(symbols.exported.contains("greet"));
}

#[test]
fn a_module_that_remembers_its_folder_is_tainted() {
    let workshop = Workshop::new(
        "name: a\nversion: 1.0.0\nbuild:\n  - gcc -fPIC -shared -o out.so \"$PWD/source.c\"\n\
         modules:\n  - path: out.so\n    source: out.so\n  - path: text\n    source: text\n",
    );
    let folder = fs::canonicalize(workshop.path("")).unwrap();
    workshop.write("source.c", "const char *file = __FILE__;");
    workshop.write("text", format!("x={}/y {0}z", folder.display()));
    let warnings = workshop.build_as(Confine::Never).unwrap().warnings;
    let texts: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert!(
        texts[0].contains("`out.so` is tainted: it holds the path of its build folder")
            && texts[0].contains(".rodata"),
        "{texts:?}"
    );
    assert!(
        texts[1].contains("`text` is tainted") && texts[1].contains(", once at offset 0x2;"),
        "{texts:?}"
    );
}

#[test]
fn a_module_that_remembers_its_day_is_tainted_at_a_symbol() {
    let workshop = Workshop::new(
        "name: a\nversion: 1.0.0\nbuild:\n  - 'gcc -fPIC -shared -DDAY=\"\\\"$(date +%F)\\\"\" -o out.so source.c'\n\
         modules:\n  - path: out.so\n    source: out.so\n",
    );
    workshop.write(
        "source.c",
        "const char built_on[] = DAY; const char macros[] = __DATE__ __TIME__;",
    );
    let warnings = workshop.built().warnings;
    let texts: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(
        texts[0].contains("`out.so` is tainted: it holds the day of its build, `20")
            && texts[0].contains("in section .rodata, symbol `built_on`"),
        "{texts:?}"
    );
}

#[test]
fn simple_processes_that_open_libraries_pass_when_it_is_declared() {
    let lines = |extra: &str, kind: &str| {
        let workshop = Workshop::new(&format!(
            "name: a\nversion: 1.0.0\nbuild:\n  - gcc -o a a.c\nmodules:\n  - path: bin/a\n    source: a\n{extra}    process: {{kind: {kind}}}\n"
        ));
        workshop.write(
            "a.c",
            "#include <dlfcn.h>\nint main(void) { return dlopen(\"x\", 2) != 0; }",
        );
        workshop
    };
    lines("    acknowledgeOpens: true\n", "simple").built();
    lines("    supplemental: [{oneOf: [lib/x]}]\n", "simple").built();
    lines("", "self-managing").built();
    lines("", "simple").refused("package.yaml:6:5: module `bin/a` is refused: this simple process can open libraries at run time (bin/a imports dlopen)");
}

#[test]
fn a_library_of_the_package_that_opens_others_counts_for_its_users() {
    let build = |supplemental: &str| {
        let workshop = Workshop::new(&format!(
            "name: a\nversion: 1.0.0\nbuild:\n\
             \x20 - gcc -fPIC -shared -Wl,-soname,libb.so -o libb.so b.c\n\
             \x20 - gcc -fPIC -shared -Wl,-soname,liba.so -o liba.so a.c libb.so\n\
             \x20 - gcc -o main main.c liba.so -Wl,-rpath-link,.\n\
             modules:\n  - {{path: bin/main, source: main, process: {{kind: simple}}}}\n\
             \x20 - {{path: lib/liba.so, source: liba.so}}\n  - {{path: lib/libb.so, source: libb.so{supplemental}}}\n"
        ));
        workshop
            .write(
                "b.c",
                "#include <dlfcn.h>\nint b(void) { return dlopen(\"x\", 2) != 0; }",
            )
            .write("a.c", "int b(void); int a(void) { return b(); }")
            .write("main.c", "int a(void); int main(void) { return a(); }");
        workshop
    };
    build("").refused("module `bin/main` is refused: this simple process can open libraries at run time (lib/libb.so imports dlopen)");
    build(", supplemental: [{oneOf: [lib/x.so]}]").built();
}

#[test]
fn a_source_that_is_a_link_is_followed_and_modes_are_kept_from_the_umask() {
    let workshop = Workshop::with_module(
        "  - path: file\n    source: link\n  - path: tool\n    source: tool\n",
    );
    workshop.write("real", "text").write("tool", "#!/bin/sh\n");
    std::os::unix::fs::symlink("real", workshop.path("link")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(workshop.path("tool"), mode).unwrap();
    let config = workshop.built().config;
    assert!(config.modules[0].link.is_none());
    assert_eq!(config.modules[0].mode, Mode::new(0o644).unwrap());
    assert_eq!(config.modules[1].mode, Mode::new(0o755).unwrap());
}
