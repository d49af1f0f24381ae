//! Archives that lie, escape or explode: each is refused with what, where and what to do, and
//! nothing is stored.

use std::fs;

use placet_model::Digest;
use placet_packager::import::{ImportChoice, ImportLimits, ImportOptions, import};
use tar::EntryType;

use crate::archives::{CONTROL, Tar, deb, deb_of, gzip, member, put};
use crate::workshop::chain;

/// Asserts that `archive` is refused with all of `words`, and that nothing is left.
#[track_caller]
fn refused_with(archive: &[u8], choice: &ImportChoice, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = put(folder.path(), "odd.deb", archive);
    let layout = folder.path().join("layout");
    let watch = |_: placet_packager::Step<'_>| std::ops::ControlFlow::Continue(());
    let result = import(&file.to_string_lossy(), &layout, choice, &watch);
    let error = chain(&result.expect_err("it is refused"));
    for word in words {
        assert!(error.contains(word), "`{word}` in: {error}");
    }
    assert!(!layout.exists(), "a layout was made");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{error}");
}

#[track_caller]
fn refused(archive: &[u8], words: &[&str]) {
    refused_with(archive, &ImportChoice::default(), words);
}

#[test]
fn names_that_lead_elsewhere() {
    for name in ["../x", "a/../../x", "./../x"] {
        refused(
            &deb(Tar::default().file(name, b"x")),
            &[name, "leads out of the tree", "odd.deb"],
        );
    }
    refused(
        &deb(Tar::default().file("/etc/x", b"x")),
        &["`/etc/x`", "absolute"],
    );
    let control = Tar::default().file("a\nb", b"x");
    refused(&deb(control), &["control character", "a\\nb"]);
    let latin = Tar::default().entry(b"caf\xe9", EntryType::Regular, 0o644, b"", b"x");
    refused(&deb(latin), &["not UTF-8"]);
    let empty = Tar::default().file("./", b"");
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "x", &deb(empty));
}

#[test]
fn entries_that_contradict_each_other() {
    let twice = Tar::default().file("./a", b"x").file("a", b"y");
    refused(&deb(twice), &["entry `a`", "occurs twice"]);
    let through = Tar::default().link("a", "b").file("a/passwd", b"x");
    refused(&deb(through), &["`a/passwd`", "written through `a`"]);
    let inside = Tar::default().file("a", b"").file("a/b", b"x");
    refused(&deb(inside), &["`a/b`", "lies in `a`, which is a file"]);
    let missing = Tar::default().hard_link("a", "./b").file("b", b"x");
    refused(&deb(missing), &["`a`", "hard link to `./b`", "not there"]);
    let folder = Tar::default().folder("b").hard_link("a", "b");
    refused(&deb(folder), &["hard link to `b`"]);
}

#[test]
fn links_that_lead_out() {
    let out = Tar::default().link("usr/bin/a", "../../../etc/shadow");
    refused(
        &deb(out),
        &["usr/bin/a", "points out of the generation", "exclude"],
    );
    let absolute = Tar::default().link("a", "/etc/shadow");
    refused(
        &deb(absolute),
        &["link to `/etc/shadow`", "--absolute-links", "--exclude"],
    );
}

#[test]
fn what_no_package_delivers() {
    let device = Tar::default().entry(b"dev/null", EntryType::Char, 0o666, b"", b"");
    refused(&deb(device), &["`dev/null` is a device", "--exclude"]);
    let pipe = Tar::default().entry(b"p", EntryType::Fifo, 0o644, b"", b"");
    refused(&deb(pipe), &["`p` is a pipe"]);
    let set_id = Tar::default().with_mode("usr/bin/su", 0o4755);
    refused(
        &deb(set_id),
        &["`usr/bin/su` has mode 4755", "--drop-set-id"],
    );
    let sparse = Tar::default().entry(b"s", EntryType::GNUSparse, 0o644, b"", b"");
    refused(&deb(sparse), &["`s`", "sparse"]);
}

#[test]
fn sizes_that_lie_and_ends_that_are_missing() {
    let lie = Tar::default().raw(b"a", EntryType::Regular, 0o644, b"", 1 << 40, b"x");
    refused(
        &deb(lie),
        &["`a`", "more than 17179869184 bytes", "--limit-bytes"],
    );
    let short = Tar::default().raw(b"a", EntryType::Regular, 0o644, b"", 90_000, b"x");
    refused(&deb(short), &["`a`", "ends before it is complete"]);
    let whole = deb(Tar::default().file("a", &[7; 5_000]));
    for length in [
        0,
        7,
        30,
        68,
        100,
        140,
        whole.len() / 2,
        whole.len() - 300,
        whole.len() - 9,
    ] {
        refused(&whole[..length], &["odd.deb"]);
    }
    let no_end = Tar::default().file("a", b"x").0;
    let archive = deb_of(&[("./control", CONTROL)], "data.tar", &no_end);
    refused(&archive, &["a tar archive ends before it is complete"]);
    let mut wrong = Tar::default().file("a", b"x").end();
    wrong[1] ^= 1;
    let archive = deb_of(&[("./control", CONTROL)], "data.tar", &wrong);
    refused(&archive, &["checksum of a tar header"]);
    let mut damaged = gzip(&Tar::default().file("a", b"x").end());
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    let archive = deb_of(&[("./control", CONTROL)], "data.tar.gz", &damaged);
    refused(&archive, &["damaged"]);
}

#[test]
fn long_names_that_lie() {
    let long = |kind, size| {
        let name = b"././@LongLink";
        Tar::default().raw(name, kind, 0o644, b"", size, b"x")
    };
    for kind in [
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
    ] {
        refused(
            &deb(long(kind, 1 << 33)),
            &["8589934592 bytes", "no name has"],
        );
    }
    let name = [b"../".repeat(50), b"x".to_vec()].concat();
    let longer = Tar::default()
        .entry(b"././@LongLink", EntryType::GNULongName, 0o644, b"", &name)
        .file("short", b"x");
    refused(&deb(longer), &["leads out of the tree"]);
    let pax = Tar::default()
        .entry(b"pax", EntryType::XHeader, 0o644, b"", b"15 path=../etc\n")
        .file("short", b"x");
    refused(&deb(pax), &["`../etc`", "leads out of the tree"]);
    let pax = Tar::default()
        .entry(b"pax", EntryType::XHeader, 0o644, b"", b"99 path=x\n")
        .file("short", b"x");
    refused(&deb(pax), &["a pax header cannot be read"]);
}

#[test]
fn decompression_bombs() {
    let zeros = vec![0; 100 << 20];
    let bomb = deb(Tar::default().file("a", &zeros));
    assert!(bomb.len() < 200_000);
    refused(&bomb, &["`a`", "200 times its size", "--limit-ratio"]);
    let choice = |limits| ImportChoice {
        options: ImportOptions {
            limits,
            ..ImportOptions::default()
        },
        ..ImportChoice::default()
    };
    let files = (0..20).fold(Tar::default(), |tar, number| {
        tar.file(&format!("f{number}"), b"")
    });
    let few = ImportLimits {
        entries: 10,
        ..ImportLimits::default()
    };
    refused_with(
        &deb(files),
        &choice(few),
        &["more than 10 entries", "--limit-entries"],
    );
    let small = ImportLimits {
        bytes: 1_000,
        ..ImportLimits::default()
    };
    let file = deb(Tar::default().file("a", &[1; 1_001]));
    refused_with(&file, &choice(small), &["`a`", "more than 1000 bytes"]);
}

#[test]
fn packages_that_are_none() {
    refused(b"hello", &["neither a .deb nor an .rpm"]);
    refused(b"", &["neither a .deb nor an .rpm"]);
    let mut twice = deb(Tar::default().file("a", b"x"));
    twice.extend(member("data.tar.gz", &gzip(&Tar::default().end())));
    refused(&twice, &["data.tar.gz", "not the next part"]);
    let no_control = deb_of(&[("./md5sums", "")], "data.tar", &Tar::default().end());
    refused(&no_control, &["the file `control` is missing"]);
    let version = deb_of(
        &[("./control", "Package: odd\nVersion: 1_0\n")],
        "data.tar",
        &Tar::default().end(),
    );
    refused(&version, &["`control`", "`deb:1_0` is not a version"]);
    let sums = [
        ("./control", CONTROL),
        ("./md5sums", "00000000000000000000000000000000  a\n"),
    ];
    let sums = deb_of(&sums, "data.tar", &Tar::default().file("a", b"x").end());
    refused(&sums, &["`a`", "MD5"]);
    let lzma = deb_of(&[("./control", CONTROL)], "data.tar.bz2", b"BZh91AY&SY");
    refused(&lzma, &["bzip2", "not supported"]);
    let rpm = [
        &[0xed, 0xab, 0xee, 0xdb, 3][..],
        &[0; 91],
        &[0x8e, 0xad, 0xe8, 1],
    ]
    .concat();
    refused(&rpm, &["header", "ends before it is complete"]);
    let count = [&rpm[..], &[0; 4], &[0xff; 8]].concat();
    refused(&count, &["a header claims 4294967295 tags"]);
}

#[test]
fn bytes_that_are_not_those_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let archive = deb(Tar::default().file("usr/bin/a", b"x"));
    put(folder.path(), "a.deb", &archive);
    let text = |digest: Digest| {
        format!(
            "name: a\nversion: 1.0.0\nimports:\n  - {{name: deb, file: a.deb, digest: \"{digest}\"}}\nmodules:\n  - {{import: deb, path: usr/bin/a}}\n"
        )
    };
    let file = put(
        folder.path(),
        "package.yaml",
        text(Digest::of(b"other")).as_bytes(),
    );
    let layout = folder.path().join("layout");
    let build =
        || placet_packager::build(&file, &layout, &placet_packager::BuildOptions::default());
    let error = chain(&build().err().unwrap());
    assert!(error.contains("package.yaml:4:5"), "{error}");
    assert!(error.contains("fetch the right file"), "{error}");
    assert!(!layout.exists());
    put(
        folder.path(),
        "package.yaml",
        text(Digest::of(&archive)).as_bytes(),
    );
    let made = build().unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(made.config.modules[0].path.as_str(), "usr/bin/a");
}
