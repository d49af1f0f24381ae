//! What the signature sees and what it does not.

use std::ops::Range;

use placet_model::{Signature, SignatureKind};
use placet_package::signature;

use crate::tools::{Folder, small_library};

fn sign(bytes: &[u8]) -> Signature {
    signature(bytes).unwrap()
}

#[test]
fn the_same_source_in_two_folders_with_debug_data_is_unchanged() {
    let (one, two) = (Folder::new(), Folder::new());
    let (first, second) = (one.greet("-g"), two.greet("-g"));
    assert_ne!(first, second, "the folders are in the debug data");
    assert_eq!(sign(&first), sign(&second));
    assert_eq!(sign(&first).kind(), SignatureKind::Elf1);
}

#[test]
fn build_ids_symbols_comments_and_debug_data_do_not_count() {
    let folder = Folder::new();
    let plain = folder.greet("-g -Wl,--build-id=0x11111111111111111111");
    let wanted = sign(&plain);
    assert_eq!(
        sign(&folder.greet("-g -Wl,--build-id=0x22222222222222222222")),
        wanted
    );
    assert_eq!(
        sign(&folder.greet("-Wl,--build-id=0x11111111111111111111")),
        wanted
    );
    folder.write("plain", &plain);
    for line in [
        "strip -o out plain",
        "strip -g -o out plain",
        "objcopy -R .comment plain out",
        "objcopy --only-keep-debug plain plain.debug && objcopy -g --add-gnu-debuglink=plain.debug plain out",
        "objcopy --compress-debug-sections plain out",
    ] {
        folder.run(line);
        assert_eq!(sign(&folder.read("out")), wanted, "{line}");
    }
}

#[test]
fn whatever_else_is_different_counts() {
    let folder = Folder::new();
    let plain = folder.greet("-Wl,--build-id=none");
    let wanted = sign(&plain);
    folder.write("plain", &plain).write("note", "text");
    for line in [
        "objcopy --add-section .extra=note plain out",
        "cp plain out && echo appended >> out",
        "cp plain out && printf '\\0' >> out",
        "sed 's/Hello/Howdy/' libgreet.c > other.c && gcc -O2 -fPIC -shared -Wl,-soname,libgreet.so.1 \
         -Wl,--version-script=libgreet.map -Wl,--build-id=none -o out other.c",
        "gcc -O2 -fPIC -shared -Wl,-soname,libgreet.so.2 -Wl,--version-script=libgreet.map \
         -Wl,--build-id=none -o out libgreet.c",
        "gcc -O1 -fPIC -shared -Wl,-soname,libgreet.so.1 -Wl,--version-script=libgreet.map \
         -Wl,--build-id=none -Wl,-z,execstack -o out libgreet.c",
    ] {
        folder.run(line);
        assert_ne!(sign(&folder.read("out")), wanted, "{line}");
    }
}

#[test]
fn other_files_are_signed_by_their_bytes() {
    assert_eq!(
        sign(b"placet").to_string(),
        "md5:23063593f41d8743965699ce15d9ad10".to_owned()
    );
    assert_ne!(sign(b"placet"), sign(b"placet "));
}

/// The file ranges of a table of `readelf`: the line has to contain `what`.
fn ranges(folder: &Folder, option: &str, what: &str, columns: [usize; 2]) -> Vec<Range<usize>> {
    let text = folder.run(&format!("readelf -W{option} small"));
    let number = |text: &str| usize::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let lines = text.lines().filter(|line| line.contains(what));
    let ranges = lines.map(|line| {
        let line = line.split(']').next_back().unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let start = number(words[columns[0]]);
        start..start + number(words[columns[1]])
    });
    ranges.collect()
}

/// Changes every byte of the file in turn. Those that are loaded count, all of them, but for the
/// two things that the format leaves out.
#[test]
fn every_byte_that_is_loaded_counts() {
    let folder = Folder::new();
    let bytes = small_library();
    folder.write("small", &bytes);
    let loads = ranges(&folder, "l", "  LOAD ", [1, 4]);
    let build_id = ranges(&folder, "S", ".note.gnu.build-id", [3, 4]).remove(0);
    assert!(loads.len() >= 2 && build_id.len() == 36);
    let ignored = [0x28..0x30, 0x3a..0x40, build_id.start + 16..build_id.end];
    let wanted = sign(&bytes);
    let mut counted = 0;
    for index in loads.into_iter().flatten() {
        let mut changed = bytes.clone();
        changed[index] ^= 0x01;
        if ignored.iter().any(|range| range.contains(&index)) {
            continue;
        }
        counted += 1;
        assert_ne!(signature(&changed), Ok(wanted), "the byte at {index:#x}");
    }
    assert!(counted > 1_000);
    for index in build_id.start + 16..build_id.end {
        let mut changed = bytes.clone();
        changed[index] ^= 0xff;
        assert_eq!(sign(&changed), wanted, "the build id at {index:#x}");
    }
}

const PROGRAM_HEADER: usize = 56;

/// Where the first program header of a type stands.
fn header_of(bytes: &[u8], kind: u32) -> usize {
    let count = usize::from(bytes[0x38]);
    let mut headers = (0..count).map(|index| 64 + index * PROGRAM_HEADER);
    headers
        .find(|at| bytes[*at..*at + 4] == kind.to_le_bytes())
        .unwrap()
}

#[test]
fn an_interpreter_that_is_only_pointed_at_counts() {
    let folder = Folder::new();
    let program = folder.compile(
        "const char other[] = \"/lib64/ld-linux-x86-64.so.9\"; int main(void) { return other[0]; }",
        "-Wl,--build-id=none",
    );
    let needle = b"/lib64/ld-linux-x86-64.so.9\0";
    let at = program
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    let interpreter = header_of(&program, 3);
    let mut changed = program.clone();
    changed[interpreter + 8..interpreter + 16].copy_from_slice(&(at as u64).to_le_bytes());
    assert_ne!(sign(&changed), sign(&program));
}

/// A note segment that claims machine code as a build id must not hide changes of it.
#[test]
fn code_that_poses_as_a_build_id_counts() {
    let folder = Folder::new();
    let mut bytes = folder.compile(
        "__asm__(\".text\\n.balign 4\\n.long 4, 16, 3\\n.ascii \\\"GNU\\\\0\\\"\\n.long 1, 2, 3, 4\\n\");\n\
         int f(void) { return 1; }",
        "-fPIC -shared -nostdlib -Wl,--build-id=none",
    );
    let head = [4_u32, 16, 3].map(u32::to_le_bytes).concat();
    let head = [head.as_slice(), b"GNU\0", &1_u32.to_le_bytes()].concat();
    let at = bytes
        .windows(head.len())
        .position(|window| window == head)
        .unwrap();
    // PT_GNU_STACK is of no use here and becomes PT_NOTE.
    let note = header_of(&bytes, 0x6474_e551);
    bytes[note..note + 4].copy_from_slice(&4_u32.to_le_bytes());
    for field in [8, 16, 24] {
        bytes[note + field..note + field + 8].copy_from_slice(&(at as u64).to_le_bytes());
    }
    for field in [32, 40] {
        bytes[note + field..note + field + 8].copy_from_slice(&32_u64.to_le_bytes());
    }
    let read = placet_package::read_elf(&bytes).unwrap().unwrap();
    assert!(
        read.build_id.unwrap().starts_with("01000000"),
        "it poses well"
    );
    let mut changed = bytes.clone();
    changed[at + 16] = 7;
    assert_ne!(sign(&bytes), sign(&changed));
}
