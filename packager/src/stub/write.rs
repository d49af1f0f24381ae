//! From what a stub consists of to a shared library.
//!
//! In the file: headers, hash table, symbols, their names and versions, the dynamic section.
//! In memory after it: room for code and data, of which the file holds nothing.

mod headers;
mod tables;

use std::collections::BTreeMap;

use object::elf;
use object::write::StringId;
use object::write::elf::{SectionIndex, Writer};

use super::Stub;
use super::layout::{Area, Layout};

/// The largest page of any processor.
const PAGE: u64 = 0x1_0000;

pub(super) fn write(stub: &Stub, layout: &Layout) -> Vec<u8> {
    let mut bytes = Vec::new();
    let writer = Writer::new(stub.target.endian, stub.target.is_64, &mut bytes);
    let mut file = File {
        stub,
        layout,
        order: order(stub),
        buckets: bucket_count(stub),
        writer,
        strings: BTreeMap::new(),
        sections: BTreeMap::new(),
        places: Places::default(),
    };
    file.reserve();
    file.write();
    bytes
}

/// The symbols as they stand in the file: those of one bucket of the hash table together.
fn order(stub: &Stub) -> Vec<usize> {
    let buckets = bucket_count(stub);
    let mut order: Vec<_> = (0..stub.symbols.len()).collect();
    let hash = |index: &usize| elf::gnu_hash(stub.symbols[*index].name.as_bytes());
    order.sort_by_cached_key(|index| (hash(index) % buckets, *index));
    order
}

fn bucket_count(stub: &Stub) -> u32 {
    u32::try_from(stub.symbols.len() / 4).map_or(u32::MAX, |count| count.max(1))
}

/// A shared library that is being written.
struct File<'a> {
    stub: &'a Stub,
    layout: &'a Layout,
    order: Vec<usize>,
    buckets: u32,
    writer: Writer<'a>,
    /// Names of symbols and versions.
    strings: BTreeMap<&'a str, StringId>,
    /// The sections of code and data, with the names of their own.
    sections: BTreeMap<Area, (SectionIndex, StringId)>,
    places: Places,
}

/// Where things stand in the file or lie in memory.
#[derive(Debug, Default)]
struct Places {
    hash: u64,
    symbols: u64,
    strings: u64,
    symbol_versions: u64,
    versions: u64,
    dynamic: u64,
    /// Addresses; of the dynamic section too.
    code: u64,
    dynamic_address: u64,
    data: u64,
    thread_local: u64,
}

impl File<'_> {
    fn reserve(&mut self) {
        self.writer.reserve_file_header();
        let segments = 4 + self.has(Area::Code) + self.has(Area::ThreadLocal);
        self.writer.reserve_program_headers(segments);
        self.reserve_symbols();
        self.reserve_tables();
        self.place_areas();
        self.reserve_sections();
    }

    fn has(&self, area: Area) -> u32 {
        u32::from(self.layout.area(area).is_some())
    }

    fn reserve_symbols(&mut self) {
        let stub = self.stub;
        let versions = stub.versions.iter();
        let versions = versions.flat_map(|it| std::iter::once(&it.name).chain(&it.parents));
        let names = stub.symbols.iter().map(|symbol| &symbol.name);
        for name in std::iter::once(&stub.soname).chain(versions).chain(names) {
            let id = self.writer.add_dynamic_string(name.as_bytes());
            self.strings.insert(name, id);
        }
        self.writer.reserve_null_dynamic_symbol_index();
        for _ in &stub.symbols {
            self.writer.reserve_dynamic_symbol_index();
        }
    }

    fn reserve_tables(&mut self) {
        let count = self.symbol_count();
        self.places.hash = if self.stub.target.has_old_hash() {
            self.writer.reserve_hash(self.buckets, count + 1)
        } else {
            self.writer
                .reserve_gnu_hash(self.bloom_count(), self.buckets, count)
        };
        self.places.symbols = self.writer.reserve_dynsym();
        let reserved = self.writer.reserve_dynstr();
        self.places.strings = reserved.expect("names of a checked stub fit into a table");
        if self.has_versions() {
            let names: usize = self
                .stub
                .versions
                .iter()
                .map(|it| 1 + it.parents.len())
                .sum();
            self.places.symbol_versions = self.writer.reserve_gnu_versym();
            let definitions = self.version_definitions();
            self.places.versions = self.writer.reserve_gnu_verdef(definitions, 1 + names);
        }
        let entries = self.dynamic_entries().len() + 1;
        self.places.dynamic = self.writer.reserve_dynamic(entries);
    }

    /// Code follows what is only read, then the dynamic section and data, each on pages of its own.
    fn place_areas(&mut self) {
        let places = &mut self.places;
        places.code = places.dynamic.next_multiple_of(PAGE);
        let code = self.layout.area(Area::Code).map_or(0, |code| code.size);
        let written = (places.code + code).next_multiple_of(PAGE);
        places.dynamic_address = written + places.dynamic % PAGE;
        let size = self.writer.reserved_len() - places.dynamic;
        let align = |area| self.layout.area(area).map_or(1, |it| it.align);
        let end = places.dynamic_address + size;
        places.thread_local = end.next_multiple_of(align(Area::ThreadLocal));
        places.data = places.thread_local.next_multiple_of(align(Area::Data));
    }

    fn reserve_sections(&mut self) {
        self.writer.reserve_null_section_index();
        if self.stub.target.has_old_hash() {
            self.writer.reserve_hash_section_index();
        } else {
            self.writer.reserve_gnu_hash_section_index();
        }
        self.writer.reserve_dynsym_section_index();
        self.writer.reserve_dynstr_section_index();
        if self.has_versions() {
            self.writer.reserve_gnu_versym_section_index();
            self.writer.reserve_gnu_verdef_section_index();
        }
        self.reserve_area(Area::Code);
        self.writer.reserve_dynamic_section_index();
        self.reserve_area(Area::ThreadLocal);
        self.reserve_area(Area::Data);
        self.writer.reserve_shstrtab_section_index();
        let names = self.writer.reserve_shstrtab();
        names.expect("names of a dozen sections fit into a table");
        self.writer.reserve_section_headers();
    }

    fn reserve_area(&mut self, area: Area) {
        if self.layout.area(area).is_some() {
            let name: &[u8] = match area {
                Area::Code if self.stub.target.has_descriptors() => b".opd",
                Area::Code => b".text",
                Area::Data => b".bss",
                Area::ThreadLocal => b".tbss",
            };
            let name = self.writer.add_section_name(name);
            let index = self.writer.reserve_section_index();
            self.sections.insert(area, (index, name));
        }
    }

    fn symbol_count(&self) -> u32 {
        u32::try_from(self.order.len()).expect("the number of symbols was checked")
    }

    fn bloom_count(&self) -> u32 {
        (self.symbol_count() / 8).next_power_of_two()
    }

    fn has_versions(&self) -> bool {
        !self.stub.versions.is_empty()
    }

    /// The library's own name is the first definition.
    fn version_definitions(&self) -> u16 {
        let count = u16::try_from(self.stub.versions.len());
        1 + count.expect("the number of versions was checked")
    }

    /// Tags and values, without the end.
    fn dynamic_entries(&self) -> Vec<(elf::DynamicTag, u64)> {
        let (target, places) = (&self.stub.target, &self.places);
        let symbol = if target.is_64 { 24 } else { 16 };
        let hash = if target.has_old_hash() {
            elf::DT_HASH
        } else {
            elf::DT_GNU_HASH
        };
        let mut entries = vec![
            (hash, places.hash),
            (elf::DT_STRTAB, places.strings),
            (elf::DT_SYMTAB, places.symbols),
            (elf::DT_STRSZ, self.writer.dynstr_len().into()),
            (elf::DT_SYMENT, symbol),
        ];
        if self.has_versions() {
            entries.extend([
                (elf::DT_VERSYM, places.symbol_versions),
                (elf::DT_VERDEF, places.versions),
                (elf::DT_VERDEFNUM, self.version_definitions().into()),
            ]);
        }
        if target.machine == elf::EM_MIPS {
            let symbols = u64::from(self.symbol_count()) + 1;
            entries.extend([
                (elf::DT_MIPS_RLD_VERSION, 1),
                (elf::DT_MIPS_SYMTABNO, symbols),
                (elf::DT_MIPS_GOTSYM, symbols),
            ]);
        }
        entries.push((elf::DT_SONAME, 0));
        entries
    }

    fn write(&mut self) {
        self.write_headers();
        self.write_hash();
        self.write_symbols();
        self.writer.write_dynstr();
        if self.has_versions() {
            self.write_symbol_versions();
            self.write_versions();
        }
        self.write_dynamic();
        self.writer.write_shstrtab();
        self.write_sections();
    }
}
