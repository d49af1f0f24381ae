//! Packages made from packages: of real software where it can be had, and of small programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use placet_model::{Architecture, Digest, ModulePath, Signature, UpdateTool};
use placet_package::{Layout, Package};
use placet_packager::Glob;
use placet_packager::update::{self, Naming, Replacement, Shade, Update, UpdateError};

use crate::debian::{debs, unpack};
use crate::workshop::{Workshop, chain};

type Signatures = BTreeMap<(ModulePath, Architecture), Signature>;

fn signatures(package: &Package) -> Signatures {
    let modules = package.config.modules.iter();
    let signature = |it: &placet_model::Module| {
        let place = (it.path.clone(), it.architecture.clone());
        (place, it.signature)
    };
    modules.map(signature).collect()
}

/// The modules whose signatures differ.
fn changed(from: &Package, to: &Package) -> BTreeSet<String> {
    let (old, new) = (signatures(from), signatures(to));
    assert!(old.keys().eq(new.keys()), "the modules are the same");
    let differing = old.iter().filter(|(place, it)| new[*place] != **it);
    differing.map(|((path, _), _)| path.to_string()).collect()
}

fn all(package: &Package) -> BTreeSet<String> {
    let modules = package.config.modules.iter();
    modules.map(|it| it.path.to_string()).collect()
}

fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|it| it.parse().unwrap()).collect()
}

fn tags(package: &Package) -> BTreeSet<String> {
    package.layout.tags().unwrap().into_keys().collect()
}

fn naming(tags: &BTreeSet<String>) -> Naming<'_> {
    Naming {
        version: None,
        tags,
    }
}

/// The package as shaded, stored beside the one that it was made from and read again.
fn shaded(package: &Package, shade: &Shade, seed: &str) -> Package {
    let tags = tags(package);
    let update = update::shade(package, shade, seed.as_bytes(), naming(&tags)).unwrap();
    stored(package, &update)
}

fn stored(package: &Package, update: &Update) -> Package {
    let digest = update.write(&package.layout).unwrap();
    let stored = package.layout.package(&digest).unwrap();
    stored.verify_blobs().unwrap();
    stored
}

fn blobs(layout: &Layout) -> BTreeSet<String> {
    let folder = layout.dir().join("blobs/sha256");
    let names = fs::read_dir(folder).unwrap();
    names
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// FRR as Debian packages it, daemons, libraries, scripts and links, without processes.
fn frr() -> Option<(Workshop, Package)> {
    let deb = debs(&["frr"])?.remove(0);
    let workshop = Workshop::new(
        "name: frr\nversion: 8.4.4\nmodules:\n  - sources: files/**\n    exclude: ['*.gz']\n",
    );
    unpack(&deb, &workshop.path("files"));
    let built = workshop.built();
    let package = workshop.open(&built.tag);
    Some((workshop, package))
}

#[test]
fn white_black_and_gray_change_no_signature_all_and_exactly_the_chosen_ones() {
    let Some((_workshop, frr)) = frr() else {
        return;
    };
    assert!(
        frr.config.modules.len() > 50,
        "it is a package of some size"
    );
    let mut before = blobs(&frr.layout);
    let cases = [
        (Shade::White, BTreeSet::new()),
        (Shade::Black, all(&frr)),
        (
            Shade::Gray(globs(&["libfrr.so*", "usr/lib/frr/bgpd"])),
            all(&frr)
                .into_iter()
                .filter(|path| path.contains("/libfrr.so") || path == "usr/lib/frr/bgpd")
                .collect(),
        ),
    ];
    for (shade, expected) in cases {
        let update = shaded(&frr, &shade, "seed");
        assert_eq!(changed(&frr, &update), expected, "{shade:?}");
        let derived = update.config.derived.as_ref().unwrap();
        assert_eq!(
            (&derived.digest, &derived.version),
            (&frr.digest, &frr.config.version)
        );
        let marked: BTreeSet<_> = derived.shaded.iter().map(ToString::to_string).collect();
        assert_eq!(marked, expected, "it says which signatures are random");
        // Modules and symbols are shared; config and manifest are new.
        let after = blobs(&frr.layout);
        assert_eq!(after.difference(&before).count(), 2, "{shade:?}");
        before = after;
    }
    let tags: Vec<_> = frr.layout.tags().unwrap().into_keys().collect();
    assert_eq!(
        tags,
        ["8.4.4", "8.4.4_1.white", "8.4.4_2.black", "8.4.4_3.gray"]
    );
}

/// A simple process, its library, a link and a file.
fn chat() -> (Workshop, Package) {
    let workshop = Workshop::new(
        "name: chat\nversion: 1.0.0\nbuild:\n\
         - gcc $CFLAGS -O2 -fPIC -shared -Wl,-soname,libchat.so.1 -o libchat.so.1 lib.c\n\
         - gcc $CFLAGS -O2 -o chatd main.c libchat.so.1\n\
         modules:\n\
         - path: usr/bin/chatd\n  source: chatd\n  mode: \"0750\"\n  function: chat\n  \
           process: {kind: simple, stopSeconds: 7}\n\
         - {path: usr/lib/libchat.so.1, source: libchat.so.1}\n\
         - {path: usr/lib/libchat.so, link: libchat.so.1}\n\
         - {path: etc/chat.conf, source: chat.conf}\n",
    );
    workshop
        .write("lib.c", "int chat(void) { return 1; }\n")
        .write(
            "main.c",
            "int chat(void); int main(void) { return chat(); }\n",
        )
        .write("chat.conf", "rooms = 1\n");
    let built = workshop.built();
    let package = workshop.open(&built.tag);
    (workshop, package)
}

#[test]
fn the_same_seed_gives_the_same_update_and_another_one_does_not() {
    let (_workshop, chat) = chat();
    let tags = BTreeSet::new();
    let config = |seed: &str| {
        let update = update::shade(&chat, &Shade::Black, seed.as_bytes(), naming(&tags));
        update.unwrap().config
    };
    assert_eq!(config("a"), config("a"));
    assert_ne!(config("a"), config("b"));
}

#[test]
fn a_shaded_package_can_be_shaded_again() {
    let (_workshop, chat) = chat();
    let first = shaded(&chat, &Shade::Black, "seed");
    let second = shaded(&first, &Shade::Black, "seed");
    assert_eq!(changed(&first, &second), all(&chat));
    assert!(second.config.version > first.config.version);
    let third = shaded(&second, &Shade::White, "seed");
    assert_eq!(changed(&second, &third), BTreeSet::new());
    let derived = third.config.derived.as_ref().unwrap();
    assert_eq!(derived.by, UpdateTool::White);
    assert_eq!(derived.digest, second.digest);
    assert_eq!(derived.shaded.len(), 4, "the signatures are still random");
}

#[test]
fn what_cannot_be_shaded_is_named() {
    let (_workshop, chat) = chat();
    let tags = tags(&chat);
    let gray = Shade::Gray(globs(&["usr/lib/libchat.so.1", "usr/lib/libssl*"]));
    let error = update::shade(&chat, &gray, b"", naming(&tags)).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("chat 1.0.0 has no module `usr/lib/libssl*`"),
        "{said}"
    );
    let wanted = "1.0.0".parse().unwrap();
    let same = Naming {
        version: Some(&wanted),
        tags: &tags,
    };
    let error = update::shade(&chat, &Shade::White, b"", same).unwrap_err();
    assert!(matches!(error, UpdateError::Same(_)), "{error}");
}

fn replacement(workshop: &Workshop, path: &str, file: &str) -> Replacement {
    Replacement {
        path: path.parse().unwrap(),
        file: workshop.path(file),
    }
}

/// What comes of replacing modules, or what a person reads.
fn repacked(
    package: &Package,
    replacements: &[Replacement],
    removed: &[&str],
    may_open: &[&str],
) -> Result<Update, String> {
    let may_open = may_open.iter().map(|it| it.parse().unwrap()).collect();
    let tags = tags(package);
    let removed = globs(removed);
    update::repack(package, replacements, &removed, &may_open, naming(&tags))
        .map_err(|error| chain(&error))
}

fn compile(workshop: &Workshop, source: &str, options: &[&str], output: &str) {
    workshop.write("new.c", source);
    let mut gcc = Command::new("gcc");
    gcc.args(options).args(["new.c", "-o", output]);
    let status = gcc.current_dir(workshop.path("")).status().unwrap();
    assert!(status.success());
}

const LIBRARY: &[&str] = &["-O2", "-fPIC", "-shared", "-Wl,-soname,libchat.so.1"];

#[test]
fn a_repacked_package_has_what_the_new_files_say_and_what_the_author_said() {
    let (workshop, chat) = chat();
    let source = "int chat(void) { return 2; } int rooms(void) { return 3; }\n";
    compile(&workshop, source, LIBRARY, "new.so");
    workshop.write("new.conf", "rooms = 2\n");
    let replacements = [
        replacement(&workshop, "usr/lib/libchat.so.1", "new.so"),
        replacement(&workshop, "etc/chat.conf", "new.conf"),
    ];
    let update = repacked(&chat, &replacements, &["libchat.so"], &[]).unwrap();
    let update = stored(&chat, &update);
    assert_eq!(update.config.version.to_string(), "1.0.0+1.repack");
    let find = |package: &Package, path: &str| {
        let mut modules = package.config.modules.iter();
        let found = modules.find(|it| it.path.as_str() == path);
        found.unwrap().clone()
    };
    let library = find(&update, "usr/lib/libchat.so.1");
    let bytes = fs::read(workshop.path("new.so")).unwrap();
    assert_eq!(library.digest, Digest::of(&bytes));
    assert_eq!(
        library.signature,
        placet_package::signature(&bytes).unwrap()
    );
    let symbols = update.symbols(&library).unwrap().unwrap();
    assert!(symbols.exported.contains("rooms"), "{symbols:?}");
    assert_eq!(
        find(&update, "usr/bin/chatd"),
        find(&chat, "usr/bin/chatd"),
        "the rest stays as it was"
    );
    assert!(!all(&update).contains("usr/lib/libchat.so"));
    let derived = update.config.derived.unwrap();
    assert_eq!(derived.replaced.len(), 2);
    assert_eq!(
        derived.removed,
        BTreeSet::from(["usr/lib/libchat.so".parse().unwrap()])
    );
}

#[test]
fn a_replaced_process_keeps_its_settings_and_a_replaced_shade_its_content() {
    let (workshop, chat) = chat();
    let black = shaded(&chat, &Shade::Black, "seed");
    compile(&workshop, "int main(void) { return 0; }\n", &["-O2"], "new");
    let replaced = [replacement(&workshop, "usr/bin/chatd", "new")];
    let update = repacked(&black, &replaced, &[], &[]).unwrap();
    let update = stored(&black, &update);
    let modules = update.config.modules.iter();
    let daemon = modules
        .clone()
        .find(|it| it.path.file_name() == "chatd")
        .unwrap();
    let process = daemon.process.as_ref().unwrap();
    assert_eq!((process.stop_seconds, daemon.mode.bits()), (7, 0o750));
    assert_eq!(daemon.function.as_deref(), Some("chat"));
    let derived = update.config.derived.as_ref().unwrap();
    assert!(
        !derived.shaded.contains(&daemon.path),
        "its signature is true again"
    );
    assert_eq!(derived.shaded.len(), 3);
}

#[test]
fn a_library_that_opens_others_is_refused_as_in_a_build() {
    let (workshop, chat) = chat();
    let source = "#include <dlfcn.h>\nint chat(void) { return !dlopen(\"x.so\", 2); }\n";
    compile(&workshop, source, LIBRARY, "new.so");
    let replaced = [replacement(&workshop, "usr/lib/libchat.so.1", "new.so")];
    let error = repacked(&chat, &replaced, &[], &[]).unwrap_err();
    assert!(
        error.contains("`usr/bin/chatd`") && error.contains("--acknowledge-opens usr/bin/chatd"),
        "{error}"
    );
    let update = repacked(&chat, &replaced, &[], &["usr/bin/chatd"]).unwrap();
    let opens = stored(&chat, &update);
    // What was acknowledged once stays so, as long as nothing else opens libraries.
    let white = shaded(&opens, &Shade::White, "");
    repacked(&white, &replaced, &[], &[]).unwrap();
}

#[test]
fn what_cannot_be_repacked_is_named() {
    let (workshop, chat) = chat();
    let with = |path: &str, file: &str| [replacement(&workshop, path, file)];
    let cases = [
        (
            &with("usr/bin/talkd", "chatd")[..],
            &[][..],
            "no module `usr/bin/talkd`",
        ),
        (&with("usr/bin/chatd", "nothing"), &[], "does not exist"),
        (&with("usr/bin/chatd", ""), &[], "is a folder"),
        (&with("usr/bin/chatd", "chat.conf"), &[], "is for neutral"),
        (&with("usr/bin/chatd", "chatd"), &["chatd"], "named twice"),
        (&[], &["**"], "no module would be left of chat 1.0.0"),
        (&[], &["usr/sbin/*"], "no module `usr/sbin/*`"),
    ];
    for (replacements, removed, expected) in cases {
        let error = repacked(&chat, replacements, removed, &[]).unwrap_err();
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
    }
    workshop.write("cut", &fs::read(workshop.path("chatd")).unwrap()[..100]);
    let error = repacked(&chat, &with("usr/bin/chatd", "cut"), &[], &[]).unwrap_err();
    assert!(
        error.contains("module `usr/bin/chatd` is refused"),
        "{error}"
    );
}
