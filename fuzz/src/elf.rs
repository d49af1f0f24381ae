//! Modules: what is read from memory and from a file has to be the same.

use std::fs::File;
use std::io::Write as _;

use placet_model::Digest;
use placet_package::{
    Elf, ElfHeaders, ReadError, compare, file_signature, fingerprint, ignored, read_elf,
    section_at, signature,
};
use placet_packager::{ApiFile, Stub, StubError, Target};

use super::told;

pub(crate) fn read(bytes: &[u8]) {
    let mut file = tempfile::tempfile().expect("the system's temporary folder can be written");
    file.write_all(bytes).expect("a small file can be written");
    compare_facts(bytes, &file);
    compare_signatures(bytes, &file);
    explain(&file);
    if let Ok(Some(elf)) = Elf::parse(bytes) {
        let foreign = Target::named("s390x").expect("stubs are made for it");
        for target in [None, Some(&foreign)] {
            stub(Stub::of_library(&elf, target));
        }
    }
    let size = bytes.len() as u64;
    for offset in [0, size / 2, size, u64::MAX] {
        section_at(bytes, offset);
    }
}

fn compare_facts(bytes: &[u8], file: &File) {
    let whole = Elf::parse(bytes).map(|elf| elf.as_ref().map(describe));
    let whole = whole.map_err(|error| told(&error));
    let parts = ElfHeaders::read(file).and_then(|headers| {
        let elf = headers.as_ref().map(ElfHeaders::parse).transpose()?;
        Ok(elf.as_ref().map(describe))
    });
    let parts = parts.map_err(|error: ReadError| told(&error));
    assert_eq!(whole, parts, "from memory and from a file");
    let package = read_elf(bytes).map_err(|error| told(&error));
    assert_eq!(
        package.map(|elf| elf.is_some()),
        whole.map(|elf| elf.is_some())
    );
}

/// Everything that can be asked about a module.
fn describe(elf: &Elf<'_>) -> String {
    let symbols = elf.symbols();
    let code = symbols
        .iter()
        .filter(|symbol| elf.is_code(symbol.value))
        .count();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {code} {:?}",
        elf.facts(),
        symbols,
        elf.symbol_lists(),
        elf.version_definitions(),
        elf.architecture(),
        elf.build_id(),
        elf.kind(),
        ApiFile::of_library(elf, "library.so"),
    )
}

/// What a stub says of itself is what was asked for.
pub(crate) fn stub(stub: Result<Stub, StubError>) {
    let Ok(stub) = stub.inspect_err(|error| drop(told(error))) else {
        return;
    };
    let bytes = match stub.to_bytes() {
        Ok(bytes) => bytes,
        Err(error) => return drop(told(&error)),
    };
    let elf = Elf::parse(&bytes).map_err(|error| told(&error));
    let elf = elf.expect("a stub can be read").expect("a stub is ELF");
    assert_eq!(elf.facts().soname.as_deref(), Some(stub.soname()));
    assert_eq!(elf.version_definitions().len(), stub.version_count());
}

/// A file does not differ from itself.
fn explain(file: &File) {
    match compare([file, file]) {
        Ok(comparison) => assert!(comparison.regions.is_empty()),
        Err(error) => drop(told(&error)),
    }
    if let Ok(regions) = ignored(file) {
        for (name, ignored, size) in regions {
            assert!(ignored <= size, "{name}");
        }
    }
}

fn compare_signatures(bytes: &[u8], file: &File) {
    let whole = signature(bytes).map_err(|error| told(&error));
    let parts = file_signature(file).map_err(|error| told(&error));
    assert_eq!(whole, parts, "from memory and from a file");
    let print = fingerprint(file).map_err(|error| told(&error));
    if let Ok(print) = &print {
        assert_eq!(print.digest, Digest::of(bytes));
        assert_eq!(print.size, bytes.len() as u64);
    }
    assert_eq!(print.map(|print| print.signature), whole);
}
