//! Every byte of real files is changed in turn, or many at random: wherever what is loaded differs,
//! the signature does.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use placet_model::{Digest, Signature};
use placet_package::signature;
use placet_tests::Sample;

use crate::debian::{debs, unpack};
use crate::loader::Loaded;

/// Sections that may change without the signature; what stands in the design of `elfsig1`.
const ALLOWED: [&str; 14] = [
    ".comment",
    ".debug_",
    ".gdb_index",
    ".gnu_debugaltlink",
    ".gnu_debugdata",
    ".gnu_debuglink",
    ".note.gnu.build-id",
    ".note.go.buildid",
    ".note.package",
    ".shstrtab",
    ".strtab",
    ".symtab",
    "ELF header",
    "section headers",
];
/// Of objects for the linker, the relocations of debug data too, and what names symbols and
/// sections nobody refers to.
const ALLOWED_OF_OBJECTS: [&str; 2] = [".rela.debug_", ".rel.debug_"];

/// A file that is changed.
struct Subject {
    name: String,
    bytes: Vec<u8>,
    signature: Signature,
    /// Name and place of each section that has bytes, as readelf tells them.
    sections: Vec<(String, Range<usize>)>,
}

impl Subject {
    fn new(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Self {
            signature: signature(&bytes).unwrap(),
            sections: sections(path),
            name,
            bytes,
        }
    }

    /// Which part of the file the byte belongs to.
    fn part(&self, offset: usize) -> &str {
        let found = self
            .sections
            .iter()
            .find(|(_, range)| range.contains(&offset));
        found.map_or("between sections", |(name, _)| name)
    }

    /// Places to change: all of a small file, in a full run, or as many as the sample has.
    fn offsets(&self, sample: &mut Sample) -> Vec<usize> {
        if sample.cases >= self.bytes.len() {
            return (0..self.bytes.len()).collect();
        }
        (0..sample.cases)
            .map(|_| sample.below(self.bytes.len()))
            .collect()
    }

    /// What `elfsig1` may leave out of what is loaded: the fields that describe section headers, and
    /// the build id.
    fn left_out(&self) -> Vec<Range<usize>> {
        let is_64 = self.bytes[4] == 2;
        let mut ranges = if is_64 {
            vec![40..48, 58..64]
        } else {
            vec![32..36, 46..52]
        };
        for (name, range) in &self.sections {
            if name == ".note.gnu.build-id" {
                // Behind the note's header and `GNU`.
                ranges.push(range.start + 16..range.end);
            }
        }
        ranges
    }
}

/// Name and place of each section that has bytes, of the headers too.
fn sections(path: &Path) -> Vec<(String, Range<usize>)> {
    let output = Command::new("readelf")
        .args(["-hSW"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let mut sections = Vec::new();
    for line in text
        .lines()
        .filter(|line| line.trim_start().starts_with('[') && !line.contains("[Nr]"))
    {
        let words: Vec<_> = line.split(']').nth(1).unwrap().split_whitespace().collect();
        if words.len() > 5 && words[1] != "NOBITS" && words[1] != "NULL" && words[0] != "NULL" {
            let start = number(words[3]);
            sections.push((words[0].to_owned(), start..start + number(words[4])));
        }
    }
    let value = |what: &str| -> usize {
        let line = text.lines().find(|line| line.contains(what)).unwrap();
        let value = line.split(':').nth(1).unwrap().trim();
        value.split_whitespace().next().unwrap().parse().unwrap()
    };
    let table = value("Start of section headers");
    let size = value("Number of section headers") * value("Size of section headers");
    sections.push(("ELF header".to_owned(), 0..value("Size of this header")));
    sections.push(("section headers".to_owned(), table..table + size));
    sections
}

/// What was found of bytes that do not count, by section: how many were changed.
type Ignored = BTreeMap<String, usize>;

fn check_ignored(name: &str, ignored: &Ignored, allowed: &[&str]) {
    eprintln!("{name}: changes that do not count, by section: {ignored:?}");
    for part in ignored.keys() {
        assert!(
            allowed.iter().any(|allowed| part.starts_with(allowed)),
            "{name}: bytes of {part} do not count"
        );
    }
}

/// Changes bytes of a program or a library, and compares what the loader would make of it.
fn flip_program(path: &Path, sample: &mut Sample) -> usize {
    let subject = Subject::new(path);
    let left_out = subject.left_out();
    let wanted = Loaded::new(&subject.bytes, &left_out).unwrap();
    let mut changed = subject.bytes.clone();
    let mut ignored = Ignored::new();
    let offsets = subject.offsets(sample);
    for offset in &offsets {
        let old = changed[*offset];
        changed[*offset] ^= u8::try_from(1 + sample.below(255)).unwrap();
        if signature(&changed) == Ok(subject.signature) {
            let found = Loaded::new(&changed, &left_out);
            assert!(
                found.as_ref() == Some(&wanted),
                "{}: the byte at {offset:#x} is loaded and does not count",
                subject.name
            );
            *ignored.entry(subject.part(*offset).to_owned()).or_default() += 1;
        }
        changed[*offset] = old;
    }
    check_ignored(&subject.name, &ignored, &ALLOWED);
    offsets.len()
}

/// Real programs and libraries for both word sizes and byte orders.
#[test]
fn wherever_the_loaded_program_differs_the_signature_differs() {
    const FILES: [(&str, &[&str]); 6] = [
        (
            "libc6-s390x-cross",
            &[
                "usr/s390x-linux-gnu/lib/libutil.so.1",
                "usr/s390x-linux-gnu/lib/libm.so.6",
            ],
        ),
        (
            "libc6-mips-cross",
            &[
                "usr/mips-linux-gnu/lib/libdl.so.2",
                "usr/mips-linux-gnu/lib/libresolv.so.2",
            ],
        ),
        (
            "libc6-armhf-cross",
            &[
                "usr/arm-linux-gnueabihf/lib/libnss_files.so.2",
                "usr/arm-linux-gnueabihf/lib/ld-linux-armhf.so.3",
            ],
        ),
        (
            "libc6-powerpc-cross",
            &["usr/powerpc-linux-gnu/lib/libanl.so.1"],
        ),
        (
            "libc6-arm64-cross",
            &["usr/aarch64-linux-gnu/lib/libthread_db.so.1"],
        ),
        ("libssl3", &["usr/lib/x86_64-linux-gnu/libssl.so.3"]),
    ];
    let names = FILES.map(|(package, _)| package);
    let Some(packages) = debs(&names) else {
        return;
    };
    let mut sample = Sample::new("flipped bytes of programs", 20_000, 150);
    let folder = tempfile::tempdir().unwrap();
    let mut flipped = 0;
    for (package, (_, files)) in packages.iter().zip(FILES) {
        unpack(package, folder.path());
        for file in files {
            flipped += flip_program(&folder.path().join(file), &mut sample);
        }
    }
    for file in ["/bin/true", "/usr/bin/env"] {
        flipped += flip_program(Path::new(file), &mut sample);
    }
    compile(folder.path(), "-g -o debug");
    flipped += flip_program(&folder.path().join("debug"), &mut sample);
    eprintln!("{flipped} bytes changed in turn");
}

const SOURCE: &str = "\
static const char *names[] = {\"one\", \"two\"};
int counter;
int external(const char *);
int count(int index) { counter += index; return external(names[index & 1]); }
int main(void) { return count(1) + count(2); }
int external(const char *text) { return text[0]; }
";

fn compile(folder: &Path, options: &str) {
    fs::write(folder.join("source.c"), SOURCE).unwrap();
    let line = format!("gcc -O1 {options} source.c");
    run(folder, &line);
}

fn run(folder: &Path, line: &str) -> bool {
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .output();
    output.unwrap().status.success()
}

/// What a real linker makes of an object or archive, without debug data; `None` if it refuses it.
fn linked(folder: &Path, name: &str, bytes: &[u8]) -> Option<Digest> {
    fs::write(folder.join(name), bytes).unwrap();
    let line = format!(
        "ld -S --build-id=none -e main --whole-archive -o linked {name} && strip -o stripped linked"
    );
    run(folder, &line).then(|| {
        let stripped = fs::read(folder.join("stripped")).unwrap();
        Digest::of(&format!("{:?}", Loaded::new(&stripped, &[40..48, 58..64])).into_bytes())
    })
}

/// Changes bytes of what is linked again. What is made of it, where anything is, is the same
/// wherever the signature is.
fn flip_object(folder: &Path, name: &str, sample: &mut Sample, links: usize) {
    let path = folder.join(name);
    let bytes = fs::read(&path).unwrap();
    let wanted_signature = signature(&bytes).unwrap();
    let wanted = linked(folder, "linked.o", &bytes).expect("it links");
    let offsets = if sample.cases >= bytes.len() {
        (0..bytes.len()).collect()
    } else {
        (0..sample.cases)
            .map(|_| sample.below(bytes.len()))
            .collect::<Vec<_>>()
    };
    let mut changed = bytes.clone();
    let (mut same, mut refused) = (Vec::new(), 0);
    for offset in offsets {
        changed[offset] ^= u8::try_from(1 + sample.below(255)).unwrap();
        if signature(&changed) == Ok(wanted_signature) {
            same.push((offset, changed[offset]));
        }
        changed[offset] = bytes[offset];
    }
    assert!(!same.is_empty(), "{name}: debug data do not count");
    let step = same.len().div_ceil(links);
    let tried = same.iter().step_by(step);
    for (offset, value) in tried {
        changed[*offset] = *value;
        match linked(folder, "linked.o", &changed) {
            Some(found) => assert_eq!(found, wanted, "{name}: the byte at {offset:#x}"),
            None => refused += 1,
        }
        changed[*offset] = bytes[*offset];
    }
    eprintln!(
        "{name}: {} changes do not count; linked {}, of which {refused} not any more",
        same.len(),
        same.len().div_ceil(step)
    );
    if wanted_signature.kind() == placet_model::SignatureKind::Object1 {
        let subject = Subject::new(&path);
        let mut ignored = Ignored::new();
        for (offset, _) in &same {
            *ignored.entry(subject.part(*offset).to_owned()).or_default() += 1;
        }
        let allowed = [&ALLOWED[..], &ALLOWED_OF_OBJECTS].concat();
        check_ignored(name, &ignored, &allowed);
    }
}

#[test]
fn what_is_linked_of_an_object_or_archive_is_the_same_where_the_signature_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    compile(folder, "-g -c -o one.o -ffunction-sections -fdata-sections");
    fs::write(folder.join("other.c"), "int other(void) { return 7; }\n").unwrap();
    assert!(run(
        folder,
        "gcc -O1 -g -c other.c && ar rcsU lib.a one.o other.o"
    ));
    flagged_debug_data_counts(&folder.join("one.o"));
    let mut sample = Sample::new("flipped bytes of objects", 20_000, 1_500);
    let links = if placet_tests::is_full() { 2_000 } else { 40 };
    flip_object(folder, "one.o", &mut sample, links);
    flip_object(folder, "lib.a", &mut sample, links);
}

/// With `SHF_GNU_MBIND` GNU ld gives a section a place of its own, whatever its name.
fn flagged_debug_data_counts(object: &Path) {
    let bytes = fs::read(object).unwrap();
    let word = |at: usize| usize::try_from(u64_at(&bytes, at)).unwrap();
    let table = word(0x28);
    let headers = (table..bytes.len()).step_by(64).skip(1);
    // Contents without flags: debug data.
    let debug = headers.filter(|at| bytes[at + 4] == 1 && word(at + 8) == 0 && word(at + 32) > 0);
    let mut count = 0;
    for at in debug {
        let mut changed = bytes.clone();
        changed[at + 11] = 1;
        assert_ne!(signature(&changed), signature(&bytes), "{at:#x}");
        count += 1;
    }
    assert!(count >= 5, "{count} sections of debug data");
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Objects for other processors: all that does not count is debug data, comments and layout.
#[test]
fn what_does_not_count_of_foreign_objects_is_for_people() {
    const FILES: [(&str, &[&str]); 2] = [
        (
            "libc6-dev-s390x-cross",
            &[
                "usr/s390x-linux-gnu/lib/crt1.o",
                "usr/s390x-linux-gnu/lib/Scrt1.o",
            ],
        ),
        (
            "libc6-dev-armhf-cross",
            &[
                "usr/arm-linux-gnueabihf/lib/crt1.o",
                "usr/arm-linux-gnueabihf/lib/gcrt1.o",
            ],
        ),
    ];
    let Some(packages) = debs(&FILES.map(|(package, _)| package)) else {
        return;
    };
    let mut sample = Sample::new("flipped bytes of foreign objects", 20_000, 500);
    let folder = tempfile::tempdir().unwrap();
    for (package, (_, files)) in packages.iter().zip(FILES) {
        unpack(package, folder.path());
        for file in files {
            let subject = Subject::new(&folder.path().join(file));
            let mut ignored = Ignored::new();
            let mut changed = subject.bytes.clone();
            for offset in subject.offsets(&mut sample) {
                changed[offset] ^= 1 << sample.below(8);
                if signature(&changed) == Ok(subject.signature) {
                    *ignored.entry(subject.part(offset).to_owned()).or_default() += 1;
                }
                changed[offset] = subject.bytes[offset];
            }
            let allowed = [&ALLOWED[..], &ALLOWED_OF_OBJECTS].concat();
            check_ignored(&subject.name, &ignored, &allowed);
        }
    }
}

/// Prints the pages of a library that are mapped and cannot be written, before the first that can:
/// their addresses from its beginning, and what they hold.
const MAPPED_C: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
int main(int count, char **arguments) {
    char line[4096], name[4096], rights[8];
    unsigned long from, to, base = 0;
    if (!dlopen(arguments[1], RTLD_LAZY)) return 1;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %4095s", &from, &to, rights, name) != 4) continue;
        if (strcmp(name, arguments[1])) continue;
        if (!base) base = from;
        for (unsigned char *page = (unsigned char *)from; page < (unsigned char *)to; page += 4096) {
            printf("%lx ", (unsigned long)page - base);
            for (int i = 0; i < 4096; i++) printf("%02x", page[i]);
            printf("\n");
        }
        if (rights[2] == 'x') break;
    }
    return 0;
}
"#;

/// The rules by which this test says what is loaded are those of the kernel and the loader.
#[test]
fn what_is_loaded_is_what_the_loader_loads() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mapped.c"), MAPPED_C).unwrap();
    assert!(run(folder.path(), "gcc -O1 -o mapped mapped.c"));
    for library in ["libm.so.6", "libz.so.1", "libstdc++.so.6"] {
        let path = fs::canonicalize(Path::new("/usr/lib/x86_64-linux-gnu").join(library));
        let Ok(path) = path else { continue };
        let output = Command::new(folder.path().join("mapped"))
            .arg(&path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{library}");
        let text = String::from_utf8(output.stdout).unwrap();
        let loaded = Loaded::new(&fs::read(&path).unwrap(), &[]).unwrap();
        let wanted = loaded.constant_pages();
        let mut compared = 0;
        for line in text.lines() {
            let (address, found) = line.split_once(' ').unwrap();
            let address = u64::from_str_radix(address, 16).unwrap();
            let page = wanted[&address].iter().map(|byte| format!("{byte:02x}"));
            assert!(
                page.collect::<String>() == found,
                "{library}: page {address:#x}"
            );
            compared += 1;
        }
        assert!(compared > 5, "{library}: {compared} pages");
    }
}
