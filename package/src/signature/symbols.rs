//! The symbols of an object for the linker: which count, and how others refer to them.

use object::elf::{self, FileHeader32, FileHeader64, SymbolSection};
use object::read::elf::{FileHeader, Sym};
use object::{Endianness, pod};

use super::parts::Parts;
use super::plan::Plan;
use crate::source::Source;

/// What each symbol of the file is to the signature, by its index.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    kinds: Vec<Kind>,
    counted: u32,
    /// True if something was met of which it is not known what it means.
    pub(super) is_doubtful: bool,
    /// True once it has been told which symbols are not known by their place.
    pub(super) numbering_is_told: bool,
}

/// How a symbol is known in the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// By its place among those that count.
    Counted(u32),
    /// As the beginning of a section, by the section's place among those that count.
    Section(u32),
    /// Not at all: what names a source file, or lies in a section that does not count.
    Skipped,
}

/// One symbol, whatever the word size.
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: SymbolSection,
    value: u64,
    size: u64,
}

/// Symbols that are read at once.
const CHUNK: u64 = 4_096;

/// Hands over the symbols of a file; those that nothing can refer to by name and that lie where
/// nothing counts are left out, so that debug data may come and go.
pub(super) fn walk<S: Source, P: Parts>(
    plan: &Plan<'_>,
    source: &S,
    parts: &mut P,
) -> Result<Symbols, S::Error> {
    let mut symbols = Symbols::default();
    let entry = plan.symbol_size();
    let mut names = Names {
        strings: source.bytes(plan.strings.clone())?,
        left: NAMES_MAX,
    };
    let mut encoded = Vec::new();
    let mut start = plan.symbols.start;
    while start < plan.symbols.end {
        let end = plan.symbols.end.min(start + CHUNK * entry);
        let bytes = source.bytes(start..end)?;
        let extended = plan.extended_sections(symbols.kinds.len() as u64, (end - start) / entry);
        let extended = source.bytes(extended)?;
        for (index, symbol) in decode(plan, &bytes).enumerate() {
            let at = start + entry * index as u64;
            let extended = plan.word(&extended, index);
            encoded.clear();
            let name = names.read(symbol.name);
            let kind = symbols.add(plan, &symbol, extended, name, &mut encoded);
            if let Kind::Counted(_) = kind {
                parts.derived(&encoded, at..at + entry);
                let begin = plan.strings.start + u64::from(symbol.name);
                let length = name.map_or(0, |name| name.len() as u64 + 1);
                parts.derived(&[], begin..begin + length);
            }
        }
        start = end;
    }
    parts.number(u64::from(symbols.counted));
    Ok(symbols)
}

fn decode<'a>(plan: &Plan<'_>, bytes: &'a [u8]) -> Box<dyn Iterator<Item = Symbol> + 'a> {
    let endian = plan.headers.endian;
    if plan.headers.is_64 {
        Box::new(decode_as::<FileHeader64<Endianness>>(bytes, endian))
    } else {
        Box::new(decode_as::<FileHeader32<Endianness>>(bytes, endian))
    }
}

fn decode_as<'a, Elf>(bytes: &'a [u8], endian: Endianness) -> impl Iterator<Item = Symbol> + 'a
where
    Elf: FileHeader<Endian = Endianness> + 'a,
{
    let count = bytes.len() / size_of::<Elf::Sym>();
    let table = pod::slice_from_bytes::<Elf::Sym>(bytes, count);
    let (table, _) = table.expect("as many as fit");
    table.iter().map(move |symbol| Symbol {
        name: symbol.st_name(endian),
        info: symbol.st_info().0,
        other: symbol.st_other().0,
        section: symbol.st_shndx(endian),
        value: symbol.st_value(endian).into(),
        size: symbol.st_size(endian).into(),
    })
}

impl Symbols {
    /// What the symbol is; where it counts, its content is added to `encoded`.
    fn add(
        &mut self,
        plan: &Plan<'_>,
        symbol: &Symbol,
        extended: Option<u32>,
        name: Option<&[u8]>,
        encoded: &mut Vec<u8>,
    ) -> Kind {
        let kind = match section_of(symbol, extended) {
            Some(section) if symbol.names_section() => match plan.place(section) {
                Some(place) => Kind::Section(place),
                None => Kind::Skipped,
            },
            Some(section) if symbol.is_local() && plan.is_ignored(section) => Kind::Skipped,
            None if symbol.names_file() => Kind::Skipped,
            section => {
                self.is_doubtful |= name.is_none();
                symbol.encode(name.unwrap_or(&[]), encoded);
                self.is_doubtful |= section.is_some_and(|section| plan.is_ignored(section));
                let special = u64::from(symbol.section.0);
                let section = section.map_or((0, special), |section| plan.refer(section));
                encoded.extend(section.0.to_le_bytes());
                encoded.extend(section.1.to_le_bytes());
                self.counted += 1;
                Kind::Counted(self.counted - 1)
            }
        };
        self.kinds.push(kind);
        kind
    }

    /// How the signature knows the symbol `index`, as two numbers.
    pub(super) fn refer(&mut self, index: u32) -> (u64, u64) {
        match self.kinds.get(index as usize) {
            Some(Kind::Counted(place)) => (0, u64::from(*place)),
            Some(Kind::Section(place)) => (1, u64::from(*place)),
            None if index == 0 => (2, 0),
            Some(Kind::Skipped) | None => {
                self.is_doubtful = true;
                (3, u64::from(index))
            }
        }
    }

    /// The indexes of all that are not known by their place among those that count.
    pub(super) fn renumbered(&self) -> impl Iterator<Item = (u64, Kind)> + '_ {
        let kinds = (0_u64..).zip(self.kinds.iter().copied());
        kinds.filter(|(_, kind)| !matches!(kind, Kind::Counted(_)))
    }
}

impl Symbol {
    fn is_local(&self) -> bool {
        self.info >> 4 == elf::STB_LOCAL.0
    }

    /// True for a symbol that is nothing but the beginning of its section.
    fn names_section(&self) -> bool {
        let plain = self.name == 0 && self.value == 0 && self.size == 0 && self.other == 0;
        plain && self.is_local() && self.info & 0xf == elf::STT_SECTION.0
    }

    /// True for a symbol that tells the name of the source file.
    fn names_file(&self) -> bool {
        let plain = self.value == 0 && self.size == 0 && self.section == elf::SHN_ABS;
        plain && self.is_local() && self.info & 0xf == elf::STT_FILE.0
    }

    fn encode(&self, name: &[u8], encoded: &mut Vec<u8>) {
        encoded.extend((name.len() as u64).to_le_bytes());
        encoded.extend(name);
        encoded.extend([self.info, self.other]);
        encoded.extend(self.value.to_le_bytes());
        encoded.extend(self.size.to_le_bytes());
    }
}

/// The index of the section in which a symbol is defined; `None` if it is in none.
fn section_of(symbol: &Symbol, extended: Option<u32>) -> Option<u32> {
    if symbol.section == elf::SHN_XINDEX {
        return extended;
    }
    let index = symbol.section.0;
    (index != 0 && index < elf::SHN_LORESERVE).then(|| u32::from(index))
}

/// The names of symbols. They may overlap, so that few bytes could give many long ones.
struct Names {
    strings: Vec<u8>,
    /// How many bytes of names may still be read.
    left: usize,
}

/// The largest objects have tens of megabytes of names.
const NAMES_MAX: usize = 64 << 20;

impl Names {
    /// The name that begins at `start`; `None` if it has no end, or no more names are read.
    fn read(&mut self, start: u32) -> Option<&[u8]> {
        let from = self.strings.get(start as usize..)?;
        if from.is_empty() && start == 0 {
            return Some(&[]);
        }
        let bounded = &from[..from.len().min(self.left)];
        let length = bounded.iter().position(|byte| *byte == 0);
        self.left -= length.unwrap_or(bounded.len());
        length.map(|length| &from[..length])
    }
}
