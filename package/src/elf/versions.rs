//! Symbol versions: those that a file defines and those that it needs of others.

use std::collections::BTreeSet;

use object::Endianness;
use object::elf::{self, Verdaux, Verdef, Vernaux, Verneed};
use object::pod::{self, Pod};
use placet_model::SymbolVersion;

use super::dynamic::Dynamic;
use super::headers::absurd;
use super::{ElfError, Image};

/// The symbol versions of a file.
#[derive(Debug, Default)]
pub(super) struct Versions<'data> {
    /// In the order of the file; the one that stands for the file itself aside.
    pub(super) definitions: Vec<VersionDefinition<'data>>,
    pub(super) needed: BTreeSet<SymbolVersion>,
    /// By the index that `DT_VERSYM` gives each symbol.
    named: Vec<Option<NamedVersion<'data>>>,
    /// Bytes of names taken so far.
    length: usize,
}

/// A symbol version, defined or needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct NamedVersion<'data> {
    pub(super) name: &'data str,
    pub(super) is_defined: bool,
}

/// A symbol version that a file defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionDefinition<'data> {
    /// Its name.
    pub name: &'data str,
    /// The versions that it continues.
    pub parents: Vec<&'data str>,
}

/// Version indexes have 15 bits, so that no file has use for more records.
const RECORDS_MAX: u64 = 32_768;
/// The C library, which has the most, comes to less than a kilobyte.
const NAMES_MAX: usize = 1 << 20;

pub(super) fn read<'data>(
    image: &Image<'data>,
    dynamic: &Dynamic<'data>,
) -> Result<Versions<'data>, ElfError> {
    let mut versions = Versions::default();
    if let Some(address) = dynamic.value(elf::DT_VERDEF) {
        let count = dynamic.value(elf::DT_VERDEFNUM).unwrap_or(0);
        let table = Records::new(image, address, count, "the version definitions (DT_VERDEF)")?;
        versions.read_definitions(table, dynamic)?;
    }
    if let Some(address) = dynamic.value(elf::DT_VERNEED) {
        let count = dynamic.value(elf::DT_VERNEEDNUM).unwrap_or(0);
        let table = Records::new(image, address, count, "the versions needed (DT_VERNEED)")?;
        versions.read_needs(table, dynamic)?;
    }
    Ok(versions)
}

impl<'data> Versions<'data> {
    /// The version with this index.
    pub(super) fn named(&self, index: u16) -> Option<NamedVersion<'data>> {
        self.named.get(usize::from(index)).copied().flatten()
    }

    fn insert(&mut self, index: u16, name: &'data str, is_defined: bool) {
        let index = usize::from(index);
        if self.named.len() <= index {
            self.named.resize(index + 1, None);
        }
        self.named[index] = Some(NamedVersion { name, is_defined });
    }

    /// Names may overlap in the string table, so that few bytes could give many names.
    fn name(
        &mut self,
        dynamic: &Dynamic<'data>,
        offset: u32,
        what: &'static str,
    ) -> Result<&'data str, ElfError> {
        let name = dynamic.name(offset.into(), what)?;
        self.length += name.len();
        if self.length > NAMES_MAX {
            let why = "symbol versions of more than 1 MiB";
            return Err(absurd(what, offset.into(), why));
        }
        Ok(name)
    }

    fn read_definitions(
        &mut self,
        mut table: Records<'data>,
        dynamic: &Dynamic<'data>,
    ) -> Result<(), ElfError> {
        let (endian, mut offset) = (table.endian, 0);
        for _ in 0..table.count {
            let record: &Verdef<Endianness> = table.get(offset)?;
            let names_at = offset.saturating_add(u64::from(record.vd_aux.get(endian)));
            let count = record.vd_cnt.get(endian);
            let mut names = self.read_names(&mut table, names_at, count, dynamic)?;
            if !names.is_empty() {
                let name = names.remove(0);
                self.insert(record.vd_ndx.get(endian).0, name, true);
                if !record.vd_flags.get(endian).contains(elf::VER_FLG_BASE) {
                    let parents = names;
                    self.definitions.push(VersionDefinition { name, parents });
                }
            }
            match record.vd_next.get(endian) {
                0 => break,
                distance => offset = offset.saturating_add(u64::from(distance)),
            }
        }
        Ok(())
    }

    /// The name of a version, and those of the versions that it continues.
    fn read_names(
        &mut self,
        table: &mut Records<'data>,
        mut offset: u64,
        count: u16,
        dynamic: &Dynamic<'data>,
    ) -> Result<Vec<&'data str>, ElfError> {
        let mut names = Vec::new();
        for _ in 0..count {
            let auxiliary: &Verdaux<Endianness> = table.get(offset)?;
            let name_at = auxiliary.vda_name.get(table.endian);
            names.push(self.name(dynamic, name_at, "vda_name")?);
            match auxiliary.vda_next.get(table.endian) {
                0 => break,
                distance => offset = offset.saturating_add(u64::from(distance)),
            }
        }
        Ok(names)
    }

    fn read_needs(
        &mut self,
        mut table: Records<'data>,
        dynamic: &Dynamic<'data>,
    ) -> Result<(), ElfError> {
        let (endian, mut offset) = (table.endian, 0);
        for _ in 0..table.count {
            let record: &Verneed<Endianness> = table.get(offset)?;
            let soname = self.name(dynamic, record.vn_file.get(endian), "vn_file")?;
            let mut inner = offset.saturating_add(u64::from(record.vn_aux.get(endian)));
            for _ in 0..record.vn_cnt.get(endian) {
                let auxiliary: &Vernaux<Endianness> = table.get(inner)?;
                let version = self.name(dynamic, auxiliary.vna_name.get(endian), "vna_name")?;
                self.length += soname.len();
                self.insert(auxiliary.vna_other.get(endian).0, version, false);
                if !auxiliary.vna_flags.get(endian).contains(elf::VER_FLG_WEAK) {
                    self.needed.insert(SymbolVersion {
                        soname: soname.to_owned(),
                        version: version.to_owned(),
                    });
                }
                match auxiliary.vna_next.get(endian) {
                    0 => break,
                    distance => inner = inner.saturating_add(u64::from(distance)),
                }
            }
            match record.vn_next.get(endian) {
                0 => break,
                distance => offset = offset.saturating_add(u64::from(distance)),
            }
        }
        Ok(())
    }
}

/// A chain of records, each of which says how far away the next is; 0 ends it, whatever the count
/// says, as the loader has it.
#[derive(Debug)]
struct Records<'data> {
    bytes: &'data [u8],
    endian: Endianness,
    address: u64,
    count: u64,
    what: &'static str,
    /// Records read so far: a chain that does not advance must end somewhere.
    seen: u64,
}

impl<'data> Records<'data> {
    fn new(
        image: &Image<'data>,
        address: u64,
        count: u64,
        what: &'static str,
    ) -> Result<Self, ElfError> {
        if count > RECORDS_MAX {
            return Err(absurd(what, count, "there are at most 32768 versions"));
        }
        let bytes = image.at(address, u64::from(count > 0), what)?;
        Ok(Self {
            bytes,
            endian: image.endian,
            address,
            count,
            what,
            seen: 0,
        })
    }

    fn get<T: Pod>(&mut self, offset: u64) -> Result<&'data T, ElfError> {
        self.seen += 1;
        if self.seen > 2 * RECORDS_MAX {
            return Err(absurd(
                self.what,
                self.seen,
                "there are at most 32768 versions",
            ));
        }
        usize::try_from(offset)
            .ok()
            .and_then(|offset| self.bytes.get(offset..))
            .and_then(|bytes| pod::from_bytes(bytes).ok())
            .map(|(record, _)| record)
            .ok_or_else(|| ElfError::Unmapped {
                what: self.what,
                address: self.address.saturating_add(offset),
                size: size_of::<T>() as u64,
            })
    }
}
