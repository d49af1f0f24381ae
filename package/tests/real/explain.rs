//! What `compare` says of two files.

use std::fs::File;

use placet_package::{Comparison, compare, ignored};

use crate::tools::Folder;

fn compared(folder: &Folder, names: [&str; 2]) -> Comparison {
    let open = |name: &str| File::open(folder.path(name)).unwrap();
    let files = names.map(open);
    compare([&files[0], &files[1]]).unwrap()
}

#[test]
fn a_changed_constant_is_named_by_section_and_symbol() {
    let folder = Folder::new();
    let source = "const char greeting[] = \"Hello\"; int number = 1; int main(void) { return greeting[number]; }";
    folder.write("one", folder.compile(source, "-g"));
    folder.write(
        "two",
        folder.compile(&source.replace("Hello", "Howdy"), "-g"),
    );
    let found = compared(&folder, ["one", "two"]);
    assert_ne!(found.signatures[0], found.signatures[1]);
    let first = &found.regions[0];
    assert_eq!(
        (first.region.as_str(), first.symbol.as_deref()),
        (".rodata", Some("greeting"))
    );
    assert_eq!((first.counts, first.bytes), (true, 4));
    assert_eq!(
        first.excerpts.each_ref().map(|it| &it[..4]),
        [b"ello", b"owdy"]
    );
    let bytes = folder.read("one");
    let at = usize::try_from(first.offsets[0]).unwrap();
    assert_eq!(&bytes[at - 1..at + 4], b"Hello");
    let build_id = found
        .regions
        .iter()
        .find(|it| it.region == ".note.gnu.build-id");
    assert_eq!(build_id.map(|it| it.counts), Some(false));
}

#[test]
fn files_that_differ_only_in_what_does_not_count_are_told_so() {
    let folder = Folder::new();
    let source = "int main(void) { return 7; }";
    folder.write("one", folder.compile(source, "-g"));
    folder.run("strip -o two one; objcopy -R .comment one three");
    for other in ["two", "three"] {
        let found = compared(&folder, ["one", other]);
        assert_eq!(found.signatures[0], found.signatures[1]);
        assert!(!found.regions.is_empty());
        assert!(found.regions.iter().all(|it| !it.counts), "{found:?}");
    }
    assert_eq!(compared(&folder, ["one", "one"]).regions, []);
    let names: Vec<_> = ignored(&File::open(folder.path("one")).unwrap()).unwrap();
    let names: Vec<_> = names.iter().map(|(name, ..)| name.as_str()).collect();
    for name in [
        ".debug_info",
        ".symtab",
        ".note.gnu.build-id",
        "section headers",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(!names.contains(&".text"), "{names:?}");
}

#[test]
fn members_of_archives_and_plain_files_are_compared() {
    let folder = Folder::new();
    folder.compile("int one(void) { return 1; }", "-c");
    folder.run("mv out one.o; ar rcsD one.a one.o");
    folder.compile("int one(void) { return 2; }", "-c");
    folder.run("mv out one.o; ar rcsD two.a one.o");
    let found = compared(&folder, ["one.a", "two.a"]);
    let first = &found.regions[0];
    assert_eq!(
        (first.region.as_str(), first.symbol.as_deref()),
        ("one.o: .text", Some("one"))
    );
    folder.write("one", "text").write("two", "text and more");
    let found = compared(&folder, ["one", "two"]);
    assert_eq!(
        (found.regions[0].bytes, found.regions[0].offsets),
        (9, [4, 4])
    );
    assert!(found.regions[0].counts && found.regions[0].excerpts[0].is_empty());
    // Different kinds of files have nothing in common.
    let found = compared(&folder, ["one", "one.a"]);
    assert!(found.regions.iter().all(|it| it.counts || it.sizes[0] == 0));
}
