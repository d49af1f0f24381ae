//! Tables of ELF files that are made to harm: refused with the field, or read within bounds.

use std::time::{Duration, Instant};

use object::elf;
use placet_package::{Elf, read_elf};

use crate::tools::{Folder, small_library};

/// Much longer than any of it takes on a busy machine; what is refused late would take hours.
const LONG: Duration = Duration::from_secs(40);

/// A library of which single fields are changed.
struct Library {
    bytes: Vec<u8>,
}

impl Library {
    fn new() -> Self {
        Self {
            bytes: small_library(),
        }
    }

    fn number(&self, at: usize, width: usize) -> usize {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&self.bytes[at..at + width]);
        usize::try_from(u64::from_le_bytes(bytes)).unwrap()
    }

    fn set(&mut self, at: usize, value: u64, width: usize) -> &mut Self {
        self.bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        self
    }

    /// Where the program headers of this type stand.
    fn segments(&self, kind: u32) -> Vec<usize> {
        let headers = (0..self.number(56, 2)).map(|index| 64 + 56 * index);
        headers
            .filter(|at| self.number(*at, 4) == kind as usize)
            .collect()
    }

    /// Where the value of a dynamic entry stands.
    fn entry(&self, tag: i64) -> usize {
        let segment = self.segments(elf::PT_DYNAMIC.0)[0];
        let (start, size) = (self.number(segment + 8, 8), self.number(segment + 32, 8));
        let mut entries = (start..start + size).step_by(16);
        let tag = usize::try_from(tag).unwrap();
        entries.find(|at| self.number(*at, 8) == tag).unwrap() + 8
    }

    #[track_caller]
    fn refused(&self, expected: &str) {
        let start = Instant::now();
        let error = read_elf(&self.bytes).expect_err(expected).to_string();
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
        assert!(start.elapsed() < LONG);
    }
}

#[test]
fn segments_that_overlap_are_refused() {
    let mut library = Library::new();
    let loads = library.segments(elf::PT_LOAD.0);
    let first = library.number(loads[0] + 16, 8) as u64;
    library.set(loads[1] + 16, first, 8);
    library.refused("p_vaddr is 0x0: loaded segments overlap or do not ascend");
}

#[test]
fn string_tables_out_of_range_are_refused() {
    let mut library = Library::new();
    library.set(library.entry(elf::DT_STRSZ.0), 1 << 40, 8);
    library.refused("the string table (DT_STRTAB, DT_STRSZ)");
    let mut library = Library::new();
    library.set(library.entry(elf::DT_STRTAB.0), 1 << 40, 8);
    library.refused("no loaded segment holds them");
    let mut library = Library::new();
    library.set(library.entry(elf::DT_SONAME.0), 1 << 30, 8);
    library.refused("DT_SONAME is 0x40000000: it lies outside the string table");
    let mut library = Library::new();
    library.set(library.entry(elf::DT_STRSZ.0), 3, 8);
    library.refused("it lies outside the string table");
}

#[test]
fn version_tables_that_go_on_for_ever_are_refused() {
    // Each record says that the next one is where it stands itself, or before.
    let mut library = Library::new();
    let table = library.number(library.entry(elf::DT_VERDEF.0), 8);
    library.set(library.entry(elf::DT_VERDEFNUM.0), u64::from(u32::MAX), 8);
    library.refused("there are at most 32768 versions");
    library.set(library.entry(elf::DT_VERDEFNUM.0), 32_768, 8);
    library.set(table + 16, u64::from(u32::MAX), 4);
    library.refused("the version definitions (DT_VERDEF)");
    // One auxiliary record again and again, for each of 32,768 definitions.
    let mut library = Library::new();
    library.set(library.entry(elf::DT_VERDEFNUM.0), 32_768, 8);
    library.set(table + 6, 65_535, 2);
    library.set(table + 16, 1, 4);
    let start = Instant::now();
    let _ = read_elf(&library.bytes);
    assert!(start.elapsed() < LONG);
}

#[test]
fn four_thousand_million_symbols_are_refused() {
    let mut library = Library::new();
    let hash = library.number(library.entry(elf::DT_GNU_HASH.0), 8);
    // The number of buckets.
    library.set(hash, u64::from(u32::MAX), 4);
    library.refused("the hash table (DT_GNU_HASH)");
    // A relocation to the last symbol that there could be.
    let mut library = Library::new();
    let (table, symbol) = (
        library.number(library.entry(elf::DT_JMPREL.0), 8),
        u64::from(u32::MAX),
    );
    library.set(table + 12, symbol, 4);
    library.refused("the dynamic symbols (DT_SYMTAB)");
}

#[test]
fn thousands_of_needed_entries_are_refused() {
    let mut library = Library::new();
    let segment = library.segments(elf::PT_DYNAMIC.0)[0];
    let address = library.number(segment + 16, 8) as u64;
    // The dynamic section moves to the end of the file, where it names one library again and again.
    let start = library.bytes.len().next_multiple_of(4_096) as u64;
    let start = start + address % 4_096;
    library.bytes.resize(usize::try_from(start).unwrap(), 0);
    for _ in 0..5_000 {
        library.bytes.extend(1_u64.to_le_bytes());
        library.bytes.extend(1_u64.to_le_bytes());
    }
    library.bytes.extend([0; 16]);
    let size = library.bytes.len() as u64 - start;
    let load = *library.segments(elf::PT_LOAD.0).last().unwrap();
    for header in [segment, load] {
        library
            .set(header + 8, start, 8)
            .set(header + 16, address, 8);
        library.set(header + 32, size, 8).set(header + 40, size, 8);
    }
    library.refused("DT_NEEDED is 0x1: more than 1024 needed libraries");
}

#[test]
fn names_that_overlap_do_not_grow() {
    // Every symbol has the longest name that there is.
    let functions = (0..2_000).map(|index| format!("int f{index}(void) {{ return 0; }}\n"));
    let long = format!("int {}(void) {{ return 0; }}", "x".repeat(60_000));
    let source = functions.collect::<String>() + &long;
    let bytes = Folder::new().compile(&source, "-fPIC -shared -nostdlib");
    let mut library = Library { bytes };
    let strings = library.number(library.entry(elf::DT_STRTAB.0), 8);
    let name = "x".repeat(60_000);
    let at = library
        .bytes
        .windows(name.len())
        .position(|window| window == name.as_bytes())
        .unwrap();
    let symbols = library.number(library.entry(elf::DT_SYMTAB.0), 8);
    for index in 1..2_000 {
        library.set(symbols + 24 * index, (at - strings) as u64, 4);
    }
    library.refused("DT_SYMTAB is 0x7d2: symbol names of more than 64 MiB");
    assert!(Elf::parse(&library.bytes).is_err());
}
