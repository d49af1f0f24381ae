//! A file that is read piece by piece has the signature of the same bytes in memory.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use placet_model::Digest;
use placet_package::{file_signature, fingerprint, signature};
use proptest::prelude::*;

use crate::tools::Folder;

#[track_caller]
fn check(bytes: &[u8]) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    check_file(&file, bytes);
}

#[track_caller]
fn check_file(file: &File, bytes: &[u8]) {
    match (signature(bytes), fingerprint(file)) {
        (Ok(wanted), Ok(found)) => {
            assert_eq!(found.signature, wanted);
            assert_eq!(found.digest, Digest::of(bytes));
            assert_eq!(found.size, bytes.len() as u64);
            assert_eq!(file_signature(file).unwrap(), wanted);
        }
        (Err(wanted), Err(found)) => assert_eq!(found.to_string(), wanted.to_string()),
        (wanted, found) => panic!("{wanted:?} in memory, {found:?} in pieces"),
    }
}

/// Programs, libraries, objects and archives of this machine, of up to 8 MB.
fn files() -> Vec<PathBuf> {
    let folders = [
        "/usr/bin",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/gcc/x86_64-linux-gnu/12",
    ];
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let mut paths: Vec<_> = entries.flatten().flatten().map(|it| it.path()).collect();
    paths.retain(|path| fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() < 8 << 20));
    paths.sort();
    paths
}

#[test]
fn files_of_this_machine_have_one_signature() {
    let step = if std::env::var_os("PLACET_FULL").is_some_and(|it| it == "1") {
        1
    } else {
        40
    };
    let paths: Vec<_> = files().into_iter().step_by(step).collect();
    assert!(!paths.is_empty());
    for path in paths {
        let bytes = fs::read(&path).unwrap();
        check_file(&File::open(&path).unwrap(), &bytes);
    }
}

#[test]
fn files_around_the_size_of_a_piece_have_one_signature() {
    let piece = 128 << 10;
    for size in [
        0,
        1,
        3,
        4,
        15,
        63,
        64,
        piece - 1,
        piece,
        piece + 1,
        3 * piece + 7,
    ] {
        check(&vec![0x7f; size]);
        check(&[b"\x7fELF".as_slice(), &vec![1; size]].concat());
        check(&[b"!<arch>\n".as_slice(), &vec![b' '; size]].concat());
    }
}

fn samples() -> Vec<Vec<u8>> {
    let folder = Folder::new();
    let source =
        "int number = 7; int get(void) { return number; } int main(void) { return get(); }";
    let mut samples = vec![
        folder.compile(source, "-g"),
        folder.greet("-g"),
        folder.compile(source, "-g -c"),
    ];
    folder.run("cp out one.o; ar rcs out.a one.o");
    samples.push(folder.read("out.a"));
    samples
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Damaged files are refused in both ways for the same reason, or have one signature.
    #[test]
    fn damaged_files_have_one_signature(
        sample in 0_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        in_headers in any::<bool>(),
        length in prop::option::of(any::<prop::sample::Index>()),
    ) {
        static SAMPLES: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(samples);
        let mut bytes = SAMPLES[sample].clone();
        for (place, value) in changes {
            let size = if in_headers { bytes.len().min(512) } else { bytes.len() };
            bytes[place.index(size)] = value;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        check(&bytes);
    }
}
