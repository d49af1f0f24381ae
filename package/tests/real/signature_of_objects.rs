//! The signature of what is linked again: objects and static archives.

use placet_model::{Signature, SignatureKind};
use placet_package::signature;

use crate::tools::Folder;

fn sign(bytes: &[u8]) -> Signature {
    signature(bytes).unwrap()
}

const SOURCE: &str = "\
#include <stdio.h>
struct pair { int one; const char *two; };
static struct pair pairs[] = {{1, \"one\"}, {2, \"two\"}};
int counter;
int count(struct pair *pair) { counter += pair->one; return puts(pair->two); }
int all(void) { return count(&pairs[0]) + count(&pairs[1]); }
";

/// The object that a compiler makes of the source, in a folder of its own.
fn object(source: &str, options: &str) -> Vec<u8> {
    Folder::new().compile(source, &format!("-c {options}"))
}

#[test]
fn debug_data_of_objects_may_differ_come_and_go() {
    let plain = object(SOURCE, "-ffunction-sections");
    let wanted = sign(&plain);
    assert_eq!(wanted.kind(), SignatureKind::Object1);
    for options in ["-g", "-g3 -gdwarf-4", "-g -gz", "-g -fdebug-types-section"] {
        let other = object(SOURCE, &format!("-ffunction-sections {options}"));
        assert_ne!(other, plain);
        assert_eq!(sign(&other), wanted, "{options}");
    }
    let folder = Folder::new();
    folder.compile(SOURCE, "-c -g -ffunction-sections");
    for line in ["strip -g out", "objcopy -R .comment out"] {
        folder.run(line);
        assert_eq!(sign(&folder.read("out")), wanted, "{line}");
    }
}

#[test]
fn whatever_else_is_different_in_an_object_counts() {
    let wanted = sign(&object(SOURCE, "-g"));
    for (from, to) in [
        ("\"two\"", "\"too\""),
        ("int counter", "long counter"),
        ("int counter", "static int counter"),
        ("int all", "int ale"),
        ("count(&pairs[1])", "count(&pairs[2])"),
        ("int counter", "__attribute__((weak)) int counter"),
        ("int counter", "__attribute__((aligned(64))) int counter"),
        (
            "int counter",
            "__attribute__((visibility(\"hidden\"))) int counter",
        ),
    ] {
        let changed = SOURCE.replacen(from, to, 1);
        assert_ne!(sign(&object(&changed, "-g")), wanted, "{from} -> {to}");
    }
    assert_ne!(sign(&object(SOURCE, "-g -fdata-sections")), wanted);
}

/// Machine code that looks at debug data is not left alone with what it sees.
#[test]
fn debug_data_that_the_code_refers_to_counts() {
    let source = |text: &str| {
        format!(
            "__asm__(\".section .debug_mine\\nmine: .ascii \\\"{text}\\\"\\n.text\\n.quad mine\\n\");\n"
        )
    };
    let [one, other] = ["one", "two"].map(|text| sign(&object(&source(text), "")));
    assert_ne!(one, other);
}

#[test]
fn the_build_id_of_a_kernel_module_does_not_count() {
    let folder = Folder::new();
    folder.compile(SOURCE, "-c -g");
    let linked = |options: &str| {
        folder.run(&format!("ld -r {options} -o module.ko out"));
        folder.read("module.ko")
    };
    let one = linked("--build-id=0x11111111111111111111");
    let other = linked("--build-id=0x22222222222222222222");
    assert_ne!(one, other);
    assert_eq!(sign(&one), sign(&other));
    assert_ne!(sign(&one), sign(&linked("")));
    // What was appended, as the signature of a kernel module, counts.
    assert_ne!(
        sign(&[&one[..], b"~Module signature appended~\n"].concat()),
        sign(&one)
    );
}

/// An archive of two objects, as another person makes it another day.
fn archive(folder: &Folder, source: &str, options: &str, line: &str) -> Vec<u8> {
    folder
        .write("one.c", source)
        .write("a_name_longer_than_fits.c", "int two(void) { return 2; }\n");
    folder.run(&format!(
        "gcc -O2 {options} -c one.c a_name_longer_than_fits.c"
    ));
    folder.run(&format!(
        "rm -f out.a; {line} out.a one.o a_name_longer_than_fits.o"
    ));
    folder.read("out.a")
}

#[test]
fn an_archive_made_elsewhere_at_another_time_is_unchanged() {
    let (one, two) = (Folder::new(), Folder::new());
    let first = archive(&one, SOURCE, "-g", "ar rcsD");
    let wanted = sign(&first);
    assert_eq!(wanted.kind(), SignatureKind::Archive1);
    let second = archive(&two, SOURCE, "-g", "touch -d 2001-01-01 *.o; ar rcsU");
    assert_ne!(first, second);
    assert_eq!(sign(&second), wanted);
    let without = archive(&two, SOURCE, "-DPLACET", "ar rcsD");
    assert_ne!(first.len(), without.len(), "the index tells other places");
    assert_eq!(sign(&without), wanted);
    one.run("strip -g out.a");
    assert_eq!(sign(&one.read("out.a")), wanted);
}

#[test]
fn whatever_else_is_different_in_an_archive_counts() {
    let folder = Folder::new();
    let first = archive(&folder, SOURCE, "", "ar rcsD");
    let wanted = sign(&first);
    for line in [
        "ar rcSD",
        "touch note; ar rcsD out.a note; ar rcsD",
        "ar rcsD other.a one.o; mv one.o three.o; cp three.o one.o; ar rcsD out.a three.o; ar rcsD",
        "chmod 600 one.o; ar rcsU",
    ] {
        assert_ne!(sign(&archive(&folder, SOURCE, "", line)), wanted, "{line}");
    }
    let changed = SOURCE
        .replace("one->", "two->")
        .replace("counter +=", "counter -=");
    assert_ne!(sign(&archive(&folder, &changed, "", "ar rcsD")), wanted);
    // What is not well made is a file like any other.
    let cut = &first[..first.len() - 1];
    assert_eq!(sign(cut).kind(), SignatureKind::Plain);
    let [thin, text] = [&b"!<thin>\n"[..], b"!<arch>\nand other letters\n"];
    assert_eq!(sign(thin).kind(), SignatureKind::Plain);
    assert_eq!(sign(text).kind(), SignatureKind::Plain);
}

/// A linker believes the index: one that points elsewhere is a change.
#[test]
fn the_index_of_an_archive_counts_by_the_members_it_names() {
    let folder = Folder::new();
    let first = archive(&folder, SOURCE, "", "ar rcsD");
    let wanted = sign(&first);
    // Behind the header of the index and the number of symbols.
    let offsets = 8 + 60 + 4;
    let mut swapped = first.clone();
    let last = offsets + 12;
    assert_ne!(first[offsets..offsets + 4], first[last..last + 4]);
    swapped[offsets..offsets + 4].copy_from_slice(&first[last..last + 4]);
    assert_ne!(sign(&swapped), wanted);
}
