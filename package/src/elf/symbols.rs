//! Dynamic symbols: what a file offers to others and what it wants of them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::endian::U16;
use object::read::elf::{FileHeader, Sym};
use placet_model::{SymbolLists, SymbolRole};

use super::count::count;
use super::dynamic::Dynamic;
use super::headers::{absurd, slice};
use super::versions::Versions;
use super::{ElfError, Image, relocations};

/// A dynamic symbol through which files are bound to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicSymbol<'data> {
    /// Its name. Bytes that are not plain text are shown with escapes, so that names stay different.
    pub name: Cow<'data, str>,
    /// The version that it has, or that is wanted of it.
    pub version: Option<&'data str>,
    /// Offered to others or wanted of them.
    pub role: SymbolRole,
    /// What it stands for.
    pub kind: SymbolKind,
    /// True if its absence, or a second definition, is no error.
    pub is_weak: bool,
    /// True of an exported symbol whose version is the one that a link without version gets.
    pub is_default: bool,
    /// The number that the file gives to its version: 2 is the first one, up to 1 are none.
    pub version_index: u16,
    /// True if its value is a number and no address.
    pub is_absolute: bool,
    /// Its value: of an exported symbol, its address before the file is loaded.
    pub value: u64,
    /// Its size in bytes; 0 where the file does not say it.
    pub size: u64,
}

/// What a symbol stands for (`st_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SymbolKind {
    /// Code.
    Function,
    /// Code that chooses, once at run time, which code the name stands for.
    IndirectFunction,
    /// Data.
    Object,
    /// Data of which every thread has its own.
    ThreadLocal,
    /// The file does not say it, or it is of another type.
    Untyped,
}

/// The dynamic symbols of a file.
#[derive(Debug, Default)]
pub(super) struct Symbols<'data> {
    pub(super) all: Vec<DynamicSymbol<'data>>,
    pub(super) opens_libraries: bool,
}

/// Names of templates run to tens of kilobytes.
const NAME_MAX: usize = 65_536;
/// The largest libraries export tens of megabytes of names.
const NAMES_MAX: usize = 64 << 20;

pub(super) fn read<'data>(
    image: &Image<'data>,
    dynamic: &Dynamic<'data>,
    versions: &Versions<'data>,
) -> Result<Symbols<'data>, ElfError> {
    if image.is_64 {
        collect::<FileHeader64<Endianness>>(image, dynamic, versions)
    } else {
        collect::<FileHeader32<Endianness>>(image, dynamic, versions)
    }
}

fn collect<'data, Elf>(
    image: &Image<'data>,
    dynamic: &Dynamic<'data>,
    versions: &Versions<'data>,
) -> Result<Symbols<'data>, ElfError>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let mut symbols = Symbols::default();
    let Some(address) = dynamic.value(elf::DT_SYMTAB) else {
        return Ok(symbols);
    };
    let entry = size_of::<Elf::Sym>() as u64;
    if let Some(size) = dynamic.value(elf::DT_SYMENT).filter(|size| *size != entry) {
        let why = "it is not the size of one symbol";
        return Err(absurd("DT_SYMENT", size, why));
    }
    let count = count::<Elf>(image, dynamic)?;
    let what = "the dynamic symbols (DT_SYMTAB)";
    let bytes = image.at(address, count.saturating_mul(entry), what)?;
    let table: &[Elf::Sym] = slice(bytes, 0, count, what)?;
    let indexes = version_indexes(image, dynamic, count)?;
    let copied = relocations::copied::<Elf>(image, dynamic)?;
    symbols.all.reserve_exact(table.len());
    let mut length = 0;
    for (index, symbol) in table.iter().enumerate().skip(1) {
        let Some(role) = role(symbol, index, image.endian, &copied) else {
            continue;
        };
        let name = name_of(symbol, image.endian, dynamic)?;
        let index = indexes.get(index).map_or(1, |it| it.get(image.endian));
        let version = Version::new(index, versions);
        length += name.len() + version.name.map_or(0, str::len);
        if length > NAMES_MAX {
            let why = "symbol names of more than 64 MiB";
            return Err(absurd("DT_SYMTAB", count, why));
        }
        symbols.add((symbol, role), image.endian, name, &version);
    }
    Ok(symbols)
}

/// What `DT_VERSYM` says of one symbol.
#[derive(Debug)]
struct Version<'data> {
    name: Option<&'data str>,
    is_default: bool,
    index: u16,
}

impl<'data> Version<'data> {
    fn new(entry: u16, versions: &Versions<'data>) -> Self {
        let index = entry & elf::VERSYM_VERSION;
        // Index 0 is of symbols that stay inside, 1 of those without version.
        let named = (index > 1).then(|| versions.named(index)).flatten();
        let is_hidden = entry & elf::VERSYM_HIDDEN.0 != 0;
        Self {
            name: named.map(|version| version.name),
            is_default: !is_hidden && named.is_some_and(|version| version.is_defined),
            index,
        }
    }
}

impl<'data> Symbols<'data> {
    fn add<S>(
        &mut self,
        (symbol, role): (&S, SymbolRole),
        endian: Endianness,
        name: Cow<'data, str>,
        version: &Version<'data>,
    ) where
        S: Sym<Endian = Endianness>,
    {
        let is_wanted = role == SymbolRole::Imported;
        self.opens_libraries |= is_wanted && matches!(&*name, "dlopen" | "dlmopen");
        if name.is_empty() {
            return;
        }
        self.all.push(DynamicSymbol {
            name,
            version: version.name,
            role,
            kind: kind(symbol),
            is_weak: symbol.is_weak(),
            is_default: !is_wanted && version.is_default,
            version_index: version.index,
            is_absolute: symbol.is_absolute(endian),
            value: symbol.st_value(endian).into(),
            size: symbol.st_size(endian).into(),
        });
    }

    /// The names alone; imported ones that are weak are left out.
    pub(super) fn lists(&self) -> SymbolLists {
        let names = |is: fn(&DynamicSymbol<'data>) -> bool| {
            let symbols = self.all.iter().filter(move |symbol| is(symbol));
            symbols.map(ToString::to_string).collect()
        };
        SymbolLists {
            exported: names(DynamicSymbol::is_exported),
            imported: names(DynamicSymbol::is_missed),
        }
    }
}

impl DynamicSymbol<'_> {
    /// True if others may be bound to it.
    pub fn is_exported(&self) -> bool {
        self.role != SymbolRole::Imported
    }

    /// True if the loader fails where no other file defines it.
    pub fn is_missed(&self) -> bool {
        self.role != SymbolRole::Exported && !self.is_weak
    }

    /// True of an exported symbol that the loader takes for one that wants no version.
    pub fn serves_any(&self) -> bool {
        self.is_default || self.version_index <= 2
    }
}

/// As all tools write it: `name`, `name@version`, or `name@@version` of an exported symbol that
/// those get who want no version.
impl std::fmt::Display for DynamicSymbol<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        let Some(version) = self.version else {
            return Ok(());
        };
        f.write_str(if self.is_default { "@@" } else { "@" })?;
        f.write_str(version)
    }
}

/// `None` of symbols that stay inside.
fn role<S>(
    symbol: &S,
    index: usize,
    endian: Endianness,
    copied: &BTreeSet<u32>,
) -> Option<SymbolRole>
where
    S: Sym<Endian = Endianness>,
{
    let visibility = symbol.st_visibility();
    let is_visible = matches!(visibility, elf::STV_DEFAULT | elf::STV_PROTECTED);
    if symbol.is_local() {
        None
    } else if symbol.is_undefined(endian) {
        Some(SymbolRole::Imported)
    } else if u32::try_from(index).is_ok_and(|index| copied.contains(&index)) {
        Some(SymbolRole::Copied)
    } else {
        is_visible.then_some(SymbolRole::Exported)
    }
}

fn kind<S: Sym<Endian = Endianness>>(symbol: &S) -> SymbolKind {
    match symbol.st_type() {
        elf::STT_FUNC => SymbolKind::Function,
        elf::STT_GNU_IFUNC => SymbolKind::IndirectFunction,
        elf::STT_OBJECT | elf::STT_COMMON => SymbolKind::Object,
        elf::STT_TLS => SymbolKind::ThreadLocal,
        _ => SymbolKind::Untyped,
    }
}

/// Names that are not plain text are shown with escapes, so that they stay different.
fn name_of<'data, S>(
    symbol: &S,
    endian: Endianness,
    dynamic: &Dynamic<'data>,
) -> Result<Cow<'data, str>, ElfError>
where
    S: Sym<Endian = Endianness>,
{
    let offset = u64::from(symbol.st_name(endian));
    let bytes = dynamic.strings_from(offset, "st_name")?;
    let bounded = &bytes[..bytes.len().min(NAME_MAX)];
    let end = memchr::memchr(0, bounded).ok_or(ElfError::Text {
        what: "the name of a symbol (st_name)",
        offset,
        why: "it does not end within 64 KiB or its table",
    })?;
    let name = &bounded[..end];
    let plain = str::from_utf8(name).ok().filter(|text| is_plain(text));
    Ok(plain.map_or_else(
        || Cow::Owned(name.escape_ascii().to_string()),
        Cow::Borrowed,
    ))
}

/// True of text without control characters; nearly all names are of the first kind.
fn is_plain(text: &str) -> bool {
    let is_printable = |byte: &u8| (b' '..=b'~').contains(byte);
    text.as_bytes().iter().all(is_printable) || !text.chars().any(char::is_control)
}

fn version_indexes<'data>(
    image: &Image<'data>,
    dynamic: &Dynamic<'_>,
    count: u64,
) -> Result<&'data [U16<Endianness>], ElfError> {
    let Some(address) = dynamic.value(elf::DT_VERSYM) else {
        return Ok(&[]);
    };
    let what = "the versions of the dynamic symbols (DT_VERSYM)";
    let bytes = image.at(address, count * 2, what)?;
    slice(bytes, 0, count, what)
}
