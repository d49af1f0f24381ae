//! What is read from outside, tried with any bytes: one function for each kind of file.
//!
//! Each goes the whole way of a reader and asks on the way what must hold of any input: no panic,
//! memory in proportion, the same answer by every way to it, and no control character in what
//! people are told. `cargo fuzz` calls them with bytes that it makes up, and a test of the packager
//! with those in `corpus`.

mod archive;
mod elf;
mod manifest;
mod memory;
mod package_file;

use std::error::Error;

/// Tries bytes, and panics where something does not hold.
pub type Reader = fn(&[u8]);

/// The readers by the name of their target, which is the name of their corpus too.
pub const READERS: [(&str, Reader); 4] = [
    ("archive", archive),
    ("elf", elf),
    ("manifest", manifest),
    ("package_file", package_file),
];

/// Tries packages of other formats and layers of images.
pub fn archive(bytes: &[u8]) {
    memory::bounded(|| archive::read(bytes));
}

/// Tries the facts, symbols and signatures of a module.
pub fn elf(bytes: &[u8]) {
    memory::bounded(|| elf::read(bytes));
}

/// Tries the documents of a package, and what refers to it.
pub fn manifest(bytes: &[u8]) {
    memory::bounded(|| manifest::read(bytes));
}

/// Tries the files that people write to build packages.
pub fn package_file(bytes: &[u8]) {
    memory::bounded(|| package_file::read(bytes));
}

/// What people are told of an error; nothing in it may drive a terminal.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let drives = |character: char| character.is_control() && character != '\n';
    assert!(!text.contains(drives), "{text:?}");
    text
}
