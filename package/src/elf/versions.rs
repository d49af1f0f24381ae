//! Symbol versions: those that a file defines and those that it needs of others.

use std::collections::{BTreeMap, BTreeSet};

use object::Endianness;
use object::elf::{self, Verdaux, Verdef, Vernaux, Verneed};
use object::pod::{self, Pod};
use placet_model::SymbolVersion;

use super::dynamic::Dynamic;
use super::image::absurd;
use super::{ElfError, Image};

/// The symbol versions of a file.
#[derive(Debug, Default)]
pub(super) struct Versions {
    pub(super) provided: BTreeSet<String>,
    pub(super) needed: BTreeSet<SymbolVersion>,
    /// Names by the index that `DT_VERSYM` gives each symbol.
    pub(super) names: BTreeMap<u16, String>,
    /// Bytes of names taken so far.
    length: usize,
}

/// Version indexes have 15 bits, so that no file has use for more records.
const RECORDS_MAX: u64 = 32_768;
/// The C library, which has the most, comes to less than a kilobyte.
const NAMES_MAX: usize = 1 << 20;

pub(super) fn read(image: &Image<'_>, dynamic: &Dynamic<'_>) -> Result<Versions, ElfError> {
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

impl Versions {
    /// Names may overlap in the string table, so that few bytes could give many names.
    fn name(
        &mut self,
        dynamic: &Dynamic<'_>,
        offset: u32,
        what: &'static str,
    ) -> Result<String, ElfError> {
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
        mut table: Records<'_>,
        dynamic: &Dynamic<'_>,
    ) -> Result<(), ElfError> {
        let (endian, mut offset) = (table.endian, 0);
        for _ in 0..table.count {
            let record: &Verdef<Endianness> = table.get(offset)?;
            let name_at = offset.saturating_add(u64::from(record.vd_aux.get(endian)));
            if record.vd_cnt.get(endian) > 0 {
                let auxiliary: &Verdaux<Endianness> = table.get(name_at)?;
                let name = self.name(dynamic, auxiliary.vda_name.get(endian), "vda_name")?;
                self.names.insert(record.vd_ndx.get(endian).0, name.clone());
                if !record.vd_flags.get(endian).contains(elf::VER_FLG_BASE) {
                    self.provided.insert(name);
                }
            }
            match record.vd_next.get(endian) {
                0 => break,
                distance => offset = offset.saturating_add(u64::from(distance)),
            }
        }
        Ok(())
    }

    fn read_needs(
        &mut self,
        mut table: Records<'_>,
        dynamic: &Dynamic<'_>,
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
                self.names
                    .insert(auxiliary.vna_other.get(endian).0, version.clone());
                if !auxiliary.vna_flags.get(endian).contains(elf::VER_FLG_WEAK) {
                    let soname = soname.clone();
                    self.needed.insert(SymbolVersion { soname, version });
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
