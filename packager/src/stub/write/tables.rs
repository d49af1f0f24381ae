//! The tables of a stub: hash table, symbols, versions, dynamic section.

use object::endian::{U16, U32};
use object::write::elf::Sym;
use object::{Endianness, elf, pod};
use placet_package::SymbolKind;

use super::super::layout::Area;
use super::super::{Place, Symbol};
use super::File;

impl File<'_> {
    pub(super) fn write_hash(&mut self) {
        let (stub, count) = (self.stub, self.symbol_count());
        let names: Vec<_> = self
            .order
            .iter()
            .map(|at| stub.symbols[*at].name.as_bytes())
            .collect();
        let name = |index: u32| names[index as usize];
        if stub.target.has_old_hash() {
            let hash = |index: u32| index.checked_sub(1).map(|index| elf::hash(name(index)));
            self.writer.write_hash(self.buckets, count + 1, hash);
        } else {
            let (bloom, buckets) = (self.bloom_count(), self.buckets);
            let hash = |index| elf::gnu_hash(name(index));
            self.writer
                .write_gnu_hash(1, BLOOM_SHIFT, bloom, buckets, count, hash);
        }
    }

    pub(super) fn write_symbols(&mut self) {
        self.writer.write_null_dynamic_symbol();
        for index in self.order.clone() {
            let symbol = &self.stub.symbols[index];
            let record = self.record(symbol, self.layout.offsets[index]);
            self.writer.write_dynamic_symbol(&record);
        }
    }

    fn record(&self, symbol: &Symbol, offset: u64) -> Sym {
        let area = Area::of(symbol);
        let start = match area {
            Some(Area::Code) => self.places.code,
            Some(Area::Data) => self.places.data,
            // Offsets into the block of a thread.
            Some(Area::ThreadLocal) | None => 0,
        };
        let value = match symbol.place {
            Place::Absolute(value) => value,
            Place::Own | Place::With(_) => start + offset,
        };
        let bind = if symbol.is_weak {
            elf::STB_WEAK
        } else {
            elf::STB_GLOBAL
        };
        let name = self.strings[symbol.name.as_str()];
        Sym {
            section: area.map(|area| self.sections[&area].0.0),
            st_name: self.writer.dynamic_string_offset(Some(name)),
            st_info: elf::SymbolInfo::new(bind, kind(symbol.kind)),
            st_other: elf::SymbolOther(elf::STV_DEFAULT.0),
            st_shndx: if area.is_some() {
                elf::SHN_UNDEF
            } else {
                elf::SHN_ABS
            },
            st_value: value,
            st_size: symbol.size,
        }
    }

    pub(super) fn write_symbol_versions(&mut self) {
        self.writer.write_null_gnu_versym();
        for index in &self.order {
            let symbol = &self.stub.symbols[*index];
            let version = symbol.version.map_or(elf::VER_NDX_GLOBAL.0, version_index);
            let hidden = if symbol.is_hidden {
                elf::VERSYM_HIDDEN.0
            } else {
                0
            };
            self.writer
                .write_gnu_versym(elf::VersymIndex(version | hidden));
        }
    }

    /// Written by hand: the writer's own method does not end the list of parents.
    pub(super) fn write_versions(&mut self) {
        self.writer.write_align_gnu_verdef();
        let stub = self.stub;
        let (index, flags) = (elf::VER_NDX_GLOBAL.0, elf::VER_FLG_BASE);
        self.write_version((index, flags), &stub.soname, &[], self.has_versions());
        for (place, version) in stub.versions.iter().enumerate() {
            let meaning = (version_index(place), elf::VersionFlags(0));
            let has_next = place + 1 < stub.versions.len();
            self.write_version(meaning, &version.name, &version.parents, has_next);
        }
    }

    /// A definition with its index and flags, followed by its name and those of its parents.
    fn write_version(
        &mut self,
        (index, flags): (u16, elf::VersionFlags),
        name: &str,
        parents: &[String],
        has_next: bool,
    ) {
        let endian = self.stub.target.endian;
        let (head, entry) = (
            size_of::<elf::Verdef<Endianness>>(),
            size_of::<elf::Verdaux<Endianness>>(),
        );
        let short = |number: usize| u16::try_from(number).expect("parents are versions");
        let count = short(1 + parents.len());
        let size = |bytes: usize| u32::from(short(bytes));
        let next = if has_next {
            size(head) + size(entry) * u32::from(count)
        } else {
            0
        };
        self.writer.write(pod::bytes_of(&elf::Verdef {
            vd_version: U16::new(endian, elf::VER_DEF_CURRENT),
            vd_flags: U16::new(endian, flags),
            vd_ndx: U16::new(endian, elf::VersionIndex(index)),
            vd_cnt: U16::new(endian, count),
            vd_hash: U32::new(endian, elf::hash(name.as_bytes())),
            vd_aux: U32::new(endian, size(head)),
            vd_next: U32::new(endian, next),
        }));
        let parents = parents.iter().map(String::as_str);
        for (place, name) in std::iter::once(name).chain(parents).enumerate() {
            let has_next = place + 1 < usize::from(count);
            let id = self.strings[name];
            self.writer.write(pod::bytes_of(&elf::Verdaux {
                vda_name: U32::new(endian, self.writer.dynamic_string_offset(Some(id))),
                vda_next: U32::new(endian, if has_next { size(entry) } else { 0 }),
            }));
        }
    }

    pub(super) fn write_dynamic(&mut self) {
        self.writer.write_align_dynamic();
        let soname = self.strings[self.stub.soname.as_str()];
        for (tag, value) in self.dynamic_entries() {
            let written = if tag == elf::DT_SONAME {
                self.writer.write_dynamic_string(tag, soname)
            } else {
                self.writer.write_dynamic(tag, value)
            };
            written.expect("addresses of a checked stub fit into a word");
        }
        let end = self.writer.write_dynamic(elf::DT_NULL, 0);
        end.expect("zero fits into a word");
    }
}

/// Which bits of a hash the second test of the filter takes.
const BLOOM_SHIFT: u32 = 26;

fn kind(kind: SymbolKind) -> elf::SymbolType {
    match kind {
        SymbolKind::Function => elf::STT_FUNC,
        SymbolKind::IndirectFunction => elf::STT_GNU_IFUNC,
        SymbolKind::Object => elf::STT_OBJECT,
        SymbolKind::ThreadLocal => elf::STT_TLS,
        SymbolKind::Untyped => elf::STT_NOTYPE,
    }
}

/// The index by which symbols name a version.
fn version_index(place: usize) -> u16 {
    u16::try_from(place + 2).expect("the number of versions was checked")
}
