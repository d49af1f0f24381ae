//! What comes into memory of an ELF program, worked out by the specification and the kernel's rules
//! and without the code under test.

#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets of files that are in memory"
)]

use std::collections::BTreeMap;

/// A program in memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// ELF identification, type, processor, flags, entry point.
    identity: (Vec<u8>, u64, u64, u64, u64),
    /// Type, flags, addresses, sizes and alignment of every program header.
    segments: Vec<[u64; 7]>,
    /// The file's bytes behind headers that load nothing: the interpreter, for one.
    beside: Vec<Vec<u8>>,
    /// Pages by address and segment.
    pages: BTreeMap<(usize, u64), Vec<u8>>,
}

/// Reads numbers in the byte order of a file.
struct Reader<'a> {
    bytes: &'a [u8],
    is_64: bool,
    is_big: bool,
}

impl Reader<'_> {
    fn number(&self, at: usize, size: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(size)?)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.is_big {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        })
    }

    fn word(&self, at: usize) -> Option<u64> {
        self.number(at, if self.is_64 { 8 } else { 4 })
    }
}

const PAGE: u64 = 4_096;
const PT_LOAD: u64 = 1;
const WRITABLE: u64 = 2;

impl Loaded {
    /// `None` where nothing can be loaded. `ignored` are bytes that read as zeros.
    pub(crate) fn new(file: &[u8], ignored: &[std::ops::Range<usize>]) -> Option<Self> {
        let mut bytes = file.to_vec();
        for range in ignored {
            bytes.get_mut(range.clone())?.fill(0);
        }
        let is_64 = *bytes.get(4)? == 2;
        let reader = Reader {
            bytes: &bytes,
            is_64,
            is_big: *bytes.get(5)? == 2,
        };
        let (entry, table, flags, entry_size, count) = if is_64 {
            (24, 32, 48, 54, 56)
        } else {
            (24, 28, 36, 42, 44)
        };
        let start = usize::try_from(reader.word(table)?).ok()?;
        let size = usize::try_from(reader.number(entry_size, 2)?).ok()?;
        let mut loaded = Self {
            identity: (
                bytes.get(..16)?.to_vec(),
                reader.number(16, 2)?,
                reader.number(18, 2)?,
                reader.number(flags, 4)?,
                reader.word(entry)?,
            ),
            segments: Vec::new(),
            beside: Vec::new(),
            pages: BTreeMap::new(),
        };
        for index in 0..usize::try_from(reader.number(count, 2)?).ok()? {
            loaded.add(&reader, start.checked_add(index * size)?)?;
        }
        Some(loaded)
    }

    fn add(&mut self, reader: &Reader<'_>, at: usize) -> Option<()> {
        // Type, flags, offset, virtual and physical address, size in file and memory, alignment.
        let (kind, flags) = (reader.number(at, 4)?, if reader.is_64 { 4 } else { 24 });
        let flags = reader.number(at + flags, 4)?;
        let places = if reader.is_64 {
            [8, 16, 24, 32, 40, 48]
        } else {
            [4, 8, 12, 16, 20, 28]
        };
        let [offset, address, physical, in_file, in_memory, align] =
            places.map(|place| reader.word(at + place));
        let (offset, address, in_file, in_memory) = (offset?, address?, in_file?, in_memory?);
        self.segments
            .push([kind, flags, address, physical?, in_file, in_memory, align?]);
        if kind != PT_LOAD {
            let end = (offset.saturating_add(in_file)).min(reader.bytes.len() as u64);
            let range = offset.min(end) as usize..end as usize;
            self.beside.push(reader.bytes[range].to_vec());
            return Some(());
        }
        let index = self.segments.len();
        let clears = in_memory > in_file && flags & WRITABLE != 0;
        let last = address.checked_add(in_file)?;
        let mut page = address / PAGE * PAGE;
        while page < last {
            let from = (offset + page).checked_sub(address)? as usize;
            let mut bytes: Vec<_> = reader
                .bytes
                .iter()
                .skip(from)
                .take(PAGE as usize)
                .copied()
                .collect();
            bytes.resize(PAGE as usize, 0);
            if clears && page + PAGE > last {
                bytes[(last - page) as usize..].fill(0);
            }
            self.pages.insert((index, page), bytes);
            page += PAGE;
        }
        Some(())
    }

    /// The pages of segments that are never written, by address.
    pub(crate) fn constant_pages(&self) -> BTreeMap<u64, &[u8]> {
        let pages = self.pages.iter();
        pages
            .filter(|((segment, _), _)| self.segments[segment - 1][1] & WRITABLE == 0)
            .map(|((_, page), bytes)| (*page, &bytes[..]))
            .collect()
    }
}
