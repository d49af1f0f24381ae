//! The headers of a stub: ELF header, program headers, section headers.

use object::elf;
use object::write::elf::{FileHeader, ProgramHeader, SectionHeader};
use placet_package::SymbolKind;

use super::super::layout::Area;
use super::{File, PAGE, Places};

impl File<'_> {
    pub(super) fn write_headers(&mut self) {
        let stub = self.stub;
        let indirect = stub.count(&[SymbolKind::IndirectFunction]) > 0;
        let header = self.writer.write_file_header(&FileHeader {
            os_abi: if indirect {
                elf::ELFOSABI_GNU
            } else {
                elf::ELFOSABI_NONE
            },
            abi_version: 0,
            e_type: elf::ET_DYN,
            e_machine: stub.target.machine,
            e_entry: 0,
            e_flags: stub.target.flags,
        });
        header.expect("a stub is smaller than any limit");
        self.writer.write_align_program_headers();
        for segment in self.segments() {
            self.writer.write_program_header(&segment);
        }
    }

    fn segments(&self) -> Vec<ProgramHeader> {
        let places = &self.places;
        let segment = |kind, flags, at: (u64, u64), sizes: (u64, u64), align| ProgramHeader {
            p_type: kind,
            p_flags: flags,
            p_offset: at.0,
            p_vaddr: at.1,
            p_paddr: at.1,
            p_filesz: sizes.0,
            p_memsz: sizes.1,
            p_align: align,
        };
        let (read, written) = (elf::PF_R, elf::PF_R | elf::PF_W);
        let dynamic = (places.dynamic, places.dynamic_address);
        let size = self.dynamic_size();
        let data = self.layout.area(Area::Data).map_or(0, |data| data.size);
        let data_end = if data > 0 {
            places.data + data
        } else {
            dynamic.1 + size
        };
        let word = if self.stub.target.is_64 { 8 } else { 4 };
        let whole = (places.dynamic, places.dynamic);
        let mut segments = vec![segment(elf::PT_LOAD, read, (0, 0), whole, PAGE)];
        if let Some(code) = self.layout.area(Area::Code) {
            let (at, sizes) = ((0, places.code), (0, code.size));
            segments.push(segment(elf::PT_LOAD, read | elf::PF_X, at, sizes, PAGE));
        }
        let sizes = (size, data_end - dynamic.1);
        segments.push(segment(elf::PT_LOAD, written, dynamic, sizes, PAGE));
        segments.push(segment(
            elf::PT_DYNAMIC,
            written,
            dynamic,
            (size, size),
            word,
        ));
        if let Some(tls) = self.layout.area(Area::ThreadLocal) {
            let at = (
                places.dynamic + (places.thread_local - dynamic.1),
                places.thread_local,
            );
            segments.push(segment(elf::PT_TLS, read, at, (0, tls.size), tls.align));
        }
        segments.push(segment(elf::PT_GNU_STACK, written, (0, 0), (0, 0), 16));
        segments
    }

    pub(super) fn dynamic_size(&self) -> u64 {
        let entry = if self.stub.target.is_64 { 16 } else { 8 };
        entry * (self.dynamic_entries().len() as u64 + 1)
    }

    pub(super) fn write_sections(&mut self) {
        self.writer.write_null_section_header();
        let Places {
            hash,
            symbols,
            strings,
            symbol_versions,
            versions,
            dynamic_address,
            ..
        } = self.places;
        if self.stub.target.has_old_hash() {
            self.writer.write_hash_section_header(hash);
        } else {
            self.writer.write_gnu_hash_section_header(hash);
        }
        self.writer.write_dynsym_section_header(symbols, 1);
        self.writer.write_dynstr_section_header(strings);
        if self.has_versions() {
            self.writer.write_gnu_versym_section_header(symbol_versions);
            self.writer.write_gnu_verdef_section_header(versions);
        }
        self.write_area(Area::Code);
        self.writer.write_dynamic_section_header(dynamic_address);
        self.write_area(Area::ThreadLocal);
        self.write_area(Area::Data);
        self.writer.write_shstrtab_section_header();
    }

    fn write_area(&mut self, area: Area) {
        let Some(extent) = self.layout.area(area) else {
            return;
        };
        let (address, flags) = match area {
            Area::Code if self.stub.target.has_descriptors() => (self.places.code, elf::SHF_WRITE),
            Area::Code => (self.places.code, elf::SHF_EXECINSTR),
            Area::Data => (self.places.data, elf::SHF_WRITE),
            Area::ThreadLocal => (self.places.thread_local, elf::SHF_WRITE | elf::SHF_TLS),
        };
        let (_, name) = self.sections[&area];
        let name = self.writer.section_name_offset(Some(name));
        self.writer.write_section_header(&SectionHeader {
            sh_name: name,
            sh_type: elf::SHT_NOBITS,
            sh_flags: elf::SHF_ALLOC | flags,
            sh_addr: address,
            sh_offset: self.places.dynamic,
            sh_size: extent.size,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: extent.align,
            sh_entsize: 0,
        });
    }
}
