//! Objects in which everything refers to everything: what reading them costs grows with the file,
//! and not with its square.

use std::time::{Duration, Instant};

use placet_package::signature;

/// Reading takes a second in a debug build; it took minutes where it grew with the square.
const LONG: Duration = Duration::from_secs(40);

const SECTIONS: u16 = 16_000;
const SYMBOLS: usize = 40_000;
const NAMES: usize = 1 << 20;
/// Where the symbols and the names stand in the table of sections.
const SYMBOL_TABLE: u32 = 1;
const NAME_TABLE: u32 = 2;

/// An object for the linker whose sections are empty and called `name`, and whose symbols are the
/// beginnings of sections, each with the name at `symbol_name`. All names are one.
fn object(symbol_name: u32, name: u32, names: &[u8]) -> Vec<u8> {
    let table = 64 + 64 * usize::from(SECTIONS);
    let symbols_at = table + names.len();
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(&mut file, 16, &1_u16.to_le_bytes());
    put(&mut file, 18, &62_u16.to_le_bytes());
    put(&mut file, 20, &1_u32.to_le_bytes());
    put(&mut file, 40, &64_u64.to_le_bytes());
    put(&mut file, 52, &64_u16.to_le_bytes());
    put(&mut file, 58, &64_u16.to_le_bytes());
    put(&mut file, 60, &SECTIONS.to_le_bytes());
    put(
        &mut file,
        62,
        &u16::try_from(NAME_TABLE).unwrap().to_le_bytes(),
    );
    for index in 0..u32::from(SECTIONS) {
        let (kind, at, size, link) = match index {
            0 => (0, 0, 0, 0),
            SYMBOL_TABLE => (2, symbols_at, 24 * SYMBOLS, NAME_TABLE),
            NAME_TABLE => (3, table, names.len(), 0),
            _ => (1, symbols_at, 0, SYMBOL_TABLE),
        };
        file.extend(name.to_le_bytes());
        file.extend(u32::to_le_bytes(kind));
        file.extend([0; 16]);
        file.extend((at as u64).to_le_bytes());
        file.extend((size as u64).to_le_bytes());
        file.extend(link.to_le_bytes());
        file.extend([0; 20]);
    }
    file.extend(names);
    let mut symbol = [0; 24];
    symbol[..4].copy_from_slice(&symbol_name.to_le_bytes());
    // STT_SECTION, of a section that counts.
    symbol[4] = 3;
    symbol[6] = 3;
    file.extend(symbol.repeat(SYMBOLS));
    file
}

#[track_caller]
fn in_time(bytes: &[u8]) {
    let started = Instant::now();
    signature(bytes).unwrap();
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
}

#[test]
fn names_of_sections_may_be_one() {
    in_time(&object(0, 1, &vec![b'a'; NAMES]));
}

#[test]
fn names_of_symbols_may_be_one() {
    let mut names = vec![b'a'; NAMES];
    (names[0], names[NAMES - 1]) = (0, 0);
    in_time(&object(1, 0, &names));
}

#[test]
fn every_section_may_refer_to_the_symbols() {
    in_time(&object(0, 0, &[0]));
}
