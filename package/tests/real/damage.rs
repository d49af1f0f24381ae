//! Files that are cut off, changed at random, or made to harm: an error or an answer, never more.

use std::io::Write as _;
use std::time::{Duration, Instant};

use placet_package::{Elf, ElfError, ElfHeaders, ReadError, read_elf, section_at, signature};
use proptest::prelude::*;

use crate::tools::{Folder, small_library};

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let bytes = small_library();
    for length in 4..bytes.len() {
        let cut = &bytes[..length];
        let error = read_elf(cut).expect_err(&format!("cut at {length:#x}"));
        assert!(signature(cut).is_err(), "cut at {length:#x}");
        assert!(
            error.to_string().contains("truncated"),
            "cut at {length:#x}: {error}"
        );
    }
    for length in 0..4 {
        assert_eq!(read_elf(&bytes[..length]), Ok(None));
    }
}

/// Every field of the headers and of the dynamic section takes values that make no sense.
#[test]
fn absurd_values_are_survived_in_every_field() {
    let bytes = small_library();
    let dynamic = {
        let headers = (0..usize::from(bytes[0x38])).map(|index| 64 + index * 56);
        let mut headers = headers.filter(|at| bytes[*at] == 2);
        let at = headers.next().unwrap();
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let start = usize::try_from(word(at + 8)).unwrap();
        start..start + usize::try_from(word(at + 32)).unwrap()
    };
    let start = Instant::now();
    let fields = (4..64 + 56 * 8).chain(dynamic.step_by(4));
    for at in fields {
        for value in [
            0,
            1,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            u64::MAX,
            1 << 63,
            bytes.len() as u64,
        ] {
            for width in [1, 2, 4, 8] {
                let mut changed = bytes.clone();
                changed[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
                let _ = read_elf(&changed);
                let _ = signature(&changed);
            }
        }
    }
    assert!(start.elapsed() < Duration::from_mins(1));
}

#[test]
fn absurd_values_are_named() {
    let bytes = small_library();
    let with = |at: usize, value: &[u8]| {
        let mut changed = bytes.clone();
        changed[at..at + value.len()].copy_from_slice(value);
        read_elf(&changed).unwrap_err().to_string()
    };
    for (at, value, expected) in [
        (4, [9].as_slice(), "the ELF class is 0x9"),
        (5, &[3], "the byte order is 0x3"),
        (6, &[0], "the ELF version is 0x0"),
        (0x20, &[0xff; 8], "program headers"),
        (0x28, &[0xff; 8], "section headers"),
        (0x36, &[1, 0], "e_phentsize is 0x1"),
        (0x38, &[0xff, 0xff], "e_phnum is 0xffff"),
        (0x3a, &[1, 0], "e_shentsize is 0x1"),
        (64 + 32, &[0xff; 8], "needs 0xffffffffffffffff bytes"),
        (64 + 40, &[0; 8], "larger in the file than in memory"),
        (64 + 48, &[3, 0], "p_align is 0x"),
    ] {
        let error = with(at, value);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn reading_does_not_depend_on_where_the_bytes_lie_in_memory() {
    let bytes = small_library();
    for shift in 1..8 {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(&bytes);
        assert_eq!(read_elf(&shifted[shift..]), read_elf(&bytes));
    }
}

#[test]
fn sections_are_found_by_offset() {
    let bytes = small_library();
    let at = bytes
        .windows(8)
        .position(|window| window == b"libsmall")
        .unwrap();
    assert_eq!(section_at(&bytes, at as u64).as_deref(), Some(".dynstr"));
    assert_eq!(section_at(&bytes, 1 << 40), None);
}

/// What the headers say if no more is read of the file than they need.
fn read_headers(bytes: &[u8]) -> Result<Option<String>, ElfError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let headers = ElfHeaders::read(&file).map_err(|error| match error {
        ReadError::Elf(error) => error,
        error => panic!("{error}"),
    })?;
    let parsed = headers.as_ref().map(ElfHeaders::parse).transpose()?;
    Ok(parsed.map(|elf| everything(&elf)))
}

fn everything(elf: &Elf<'_>) -> String {
    let (facts, symbols, versions) = (elf.facts(), elf.symbols(), elf.version_definitions());
    let (machine, id, kind) = (elf.architecture(), elf.build_id(), elf.kind());
    format!("{facts:?} {symbols:?} {versions:?} {machine:?} {id:?} {kind:?}")
}

#[track_caller]
fn assert_headers_are_enough(bytes: &[u8]) {
    let whole = Elf::parse(bytes).map(|elf| elf.as_ref().map(everything));
    assert_eq!(read_headers(bytes), whole);
}

/// A library larger than what is read at once, with code between its tables and its end.
fn large_library(options: &str) -> Vec<u8> {
    let functions =
        (0..3_000).map(|index| format!("int f{index}(int i) {{ return i * {index}; }}\n"));
    let source = functions.collect::<String>() + "char data[500000] = {1};";
    Folder::new().compile(&source, &format!("-fPIC -shared {options}"))
}

#[test]
fn what_the_headers_need_of_a_large_file_is_all_that_counts() {
    for options in ["", "-Wl,-z,noseparate-code", "-Wl,--hash-style=sysv", "-s"] {
        let bytes = large_library(options);
        assert!(bytes.len() > 600_000);
        assert_headers_are_enough(&bytes);
    }
    assert_headers_are_enough(&small_library());
    assert_headers_are_enough(b"#!/bin/sh");
    assert_headers_are_enough(b"\x7fEL");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn headers_alone_are_refused_as_the_whole_file_is(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        thread_local!(static BYTES: Vec<u8> = large_library(""));
        let mut bytes = BYTES.with(Clone::clone);
        // Where headers and tables are; the end has the section headers.
        let (head, tail) = (40_000, bytes.len() - 3_000);
        for (index, value) in changes {
            let at = index.index(head + 3_000);
            let at = if at < head { at } else { tail + at - head };
            bytes[at] = value;
        }
        assert_headers_are_enough(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_are_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16)) {
        thread_local!(static BYTES: Vec<u8> = small_library());
        let mut bytes = BYTES.with(Clone::clone);
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let _ = read_elf(&bytes);
        let _ = signature(&bytes);
        let _ = section_at(&bytes, 0x200);
    }

    #[test]
    fn random_headers_are_survived(class in 1_u8..3, order in 1_u8..3, rest in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, order, 1];
        bytes.extend(rest);
        let _ = read_elf(&bytes);
        let _ = signature(&bytes);
    }
}
