//! The dynamic section, as the loader reads it: from its address up to `DT_NULL`, the last entry
//! of a tag counting.

use std::collections::BTreeMap;

use object::elf::{self, Dyn32, Dyn64, DynamicTag};
use object::{Endianness, pod};

use super::headers::absurd;
use super::{ElfError, Image, text};

/// The entries of the dynamic section.
#[derive(Debug, Default)]
pub(super) struct Dynamic<'data> {
    /// By tag; `DT_NEEDED` aside.
    entries: BTreeMap<DynamicTag, u64>,
    needed: Vec<u64>,
    strings: &'data [u8],
    pub(super) soname: Option<u64>,
    pub(super) is_pie: bool,
}

/// More libraries than any program names.
const NEEDED_MAX: usize = 1_024;

impl<'data> Dynamic<'data> {
    pub(super) fn read(image: &Image<'data>) -> Result<Self, ElfError> {
        let mut dynamic = Self::default();
        let Some(segment) = image.only(elf::PT_DYNAMIC) else {
            return Ok(dynamic);
        };
        let what = "the dynamic section (PT_DYNAMIC)";
        let size = segment.file.end - segment.file.start;
        // Where no more is read than the headers need, the rest of the loaded segment is not there.
        let bytes = image.at(segment.address, size, what)?;
        let bytes = &bytes[..usize::try_from(size).unwrap_or(bytes.len())];
        let ended = if image.is_64 {
            dynamic.collect::<Dyn64<Endianness>>(bytes, image.endian)?
        } else {
            dynamic.collect::<Dyn32<Endianness>>(bytes, image.endian)?
        };
        if !ended {
            let why = "no DT_NULL ends the dynamic section";
            return Err(absurd("PT_DYNAMIC's p_filesz", size, why));
        }
        dynamic.strings = dynamic.string_table(image)?;
        dynamic.soname = dynamic.value(elf::DT_SONAME);
        let flags = dynamic.value(elf::DT_FLAGS_1).unwrap_or(0);
        dynamic.is_pie = flags & elf::DF_1_PIE.0 != 0;
        Ok(dynamic)
    }

    /// True if `DT_NULL` was met.
    fn collect<Entry>(&mut self, bytes: &[u8], endian: Endianness) -> Result<bool, ElfError>
    where
        Entry: object::read::elf::Dyn<Endian = Endianness>,
    {
        let (entries, _) = pod::slice_from_bytes::<Entry>(bytes, bytes.len() / size_of::<Entry>())
            .map_err(|()| absurd("PT_DYNAMIC's p_filesz", bytes.len() as u64, "unreadable"))?;
        for entry in entries {
            let value = entry.val(endian);
            match entry.tag(endian) {
                elf::DT_NULL => return Ok(true),
                elf::DT_NEEDED if self.needed.len() == NEEDED_MAX => {
                    let why = "more than 1024 needed libraries";
                    return Err(absurd("DT_NEEDED", value, why));
                }
                elf::DT_NEEDED => self.needed.push(value),
                tag => {
                    self.entries.insert(tag, value);
                }
            }
        }
        Ok(false)
    }

    fn string_table(&self, image: &Image<'data>) -> Result<&'data [u8], ElfError> {
        let Some(address) = self.value(elf::DT_STRTAB) else {
            return Ok(&[]);
        };
        let size = self.value(elf::DT_STRSZ).unwrap_or(0);
        let bytes = image.at(address, size, "the string table (DT_STRTAB, DT_STRSZ)")?;
        Ok(&bytes[..usize::try_from(size).unwrap_or(bytes.len())])
    }

    /// The value of the last entry with `tag`.
    pub(super) fn value(&self, tag: DynamicTag) -> Option<u64> {
        self.entries.get(&tag).copied()
    }

    /// The bytes of the string table from `offset` on.
    pub(super) fn strings_from(
        &self,
        offset: u64,
        what: &'static str,
    ) -> Result<&'data [u8], ElfError> {
        usize::try_from(offset)
            .ok()
            .and_then(|start| self.strings.get(start..))
            .ok_or_else(|| absurd(what, offset, "it lies outside the string table"))
    }

    /// The name at `offset` of the string table.
    pub(super) fn name(&self, offset: u64, what: &'static str) -> Result<&'data str, ElfError> {
        text(self.strings_from(offset, what)?, offset, what)
    }

    pub(super) fn soname(&self) -> Result<Option<String>, ElfError> {
        let soname = self.soname.map(|offset| self.name(offset, "DT_SONAME"));
        Ok(soname.transpose()?.map(ToOwned::to_owned))
    }

    pub(super) fn needed(&self) -> Result<Vec<String>, ElfError> {
        let names = self.needed.iter();
        names
            .map(|offset| self.name(*offset, "DT_NEEDED").map(ToOwned::to_owned))
            .collect()
    }

    /// `DT_RPATH` counts only where there is no `DT_RUNPATH`.
    pub(super) fn run_path(&self) -> Result<Vec<String>, ElfError> {
        let (offset, what) = match (self.value(elf::DT_RUNPATH), self.value(elf::DT_RPATH)) {
            (Some(offset), _) => (offset, "DT_RUNPATH"),
            (None, Some(offset)) => (offset, "DT_RPATH"),
            (None, None) => return Ok(Vec::new()),
        };
        let path = self.name(offset, what)?;
        let parts = path.split(':').filter(|part| !part.is_empty());
        Ok(parts.map(ToOwned::to_owned).collect())
    }

    /// True if the run path is one that the libraries needed, and those that they need, inherit.
    pub(super) fn inherits_run_path(&self) -> bool {
        self.value(elf::DT_RUNPATH).is_none() && self.value(elf::DT_RPATH).is_some()
    }

    /// True if the loader is not to look into its default folders.
    pub(super) fn ignores_default_folders(&self) -> bool {
        let flags = self.value(elf::DT_FLAGS_1).unwrap_or(0);
        flags & elf::DF_1_NODEFLIB.0 != 0
    }
}
