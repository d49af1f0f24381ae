//! Reading of an ELF file no more than what its headers and tables need.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use object::elf::{self, DynamicTag};

use super::dynamic::Dynamic;
use super::headers::absurd;
use super::image::Reach;
use super::relocations::Table;
use super::{Elf, ElfError, ElfFile, Headers, Image};
use crate::source::{FileSource, ReadError, Source};

/// An ELF file of which only that part was read from which facts are made: headers, notes, and the
/// tables of the dynamic section. The rest, code and data, stands as zeros that take no memory.
#[derive(Debug)]
pub struct ElfHeaders {
    headers: Headers,
    /// At least as many as the file has, and zero but for what was read.
    bytes: Vec<u8>,
    /// What was read.
    loaded: Vec<Range<usize>>,
    /// How much was read of each table.
    reach: Reach,
}

/// The tables of the dynamic section from which facts are made.
struct Tables {
    /// Where they are loaded.
    addresses: Vec<u64>,
    /// Where in the file the first relocations begin that name no symbols.
    stop: Option<u64>,
}

/// Tables are rarely larger, and then more is read.
const WINDOW: u64 = 4 << 20;

/// As [`read_elf`](crate::read_elf), of a file of which no more is read than facts are made from.
///
/// # Errors
///
/// As [`ElfHeaders::open`].
pub fn read_elf_file(file: &File) -> Result<Option<ElfFile>, ReadError> {
    let headers = ElfHeaders::read(file)?;
    let file = headers.map(|headers| headers.parse().map(Elf::file));
    Ok(file.transpose()?)
}

thread_local! {
    /// The bytes of a file that is done with, all zero again: memory that was never touched is dear
    /// where many files are read.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// More is not kept for the next file.
const SPARE_MAX: usize = 64 << 20;

/// Larger files are no modules.
const SIZE_MAX: u64 = 2 << 30;

/// The tables that are read beside relocations, by the tag that tells their address. Not every size
/// is told.
const TABLES: [DynamicTag; 7] = [
    elf::DT_STRTAB,
    elf::DT_SYMTAB,
    elf::DT_VERSYM,
    elf::DT_VERDEF,
    elf::DT_VERNEED,
    elf::DT_HASH,
    elf::DT_GNU_HASH,
];

impl ElfHeaders {
    /// Reads the headers of the file at `path`; `None` if it is no regular file or no ELF file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its headers make no sense.
    pub fn open(path: &Path) -> Result<Option<Self>, ReadError> {
        // Nobody waits for the other end of a pipe.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(path)?;
        Self::read(&file)
    }

    /// Reads the headers of `file`; `None` if it is no regular file or no ELF file.
    ///
    /// # Errors
    ///
    /// As [`ElfHeaders::open`].
    pub fn read(file: &File) -> Result<Option<Self>, ReadError> {
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let source = FileSource::new(file)?;
        let Some(headers) = Headers::read(&source)? else {
            return Ok(None);
        };
        let size = usize::try_from(headers.size).ok();
        let size = size.filter(|_| headers.size <= SIZE_MAX).ok_or_else(|| {
            let why = "no module has more than 2 GiB";
            absurd("the size of the file", headers.size, why)
        })?;
        let mut read = Self {
            headers,
            bytes: zeros(size),
            loaded: Vec::new(),
            reach: Reach::ALL,
        };
        read.load(&source, read.segments())?;
        read.load_tables(&source)?;
        Ok(Some(read))
    }

    /// Reads more and more of each table until that is enough. Not every table tells its size, and
    /// the segment that it is in may hold constants of any size too, and relocations without
    /// symbols, which are the most of it where a program has many of them.
    fn load_tables(&mut self, source: &FileSource<'_>) -> Result<(), ReadError> {
        let tables = self.tables()?;
        let whole = self.ranges(&tables);
        self.reach = Reach {
            window: WINDOW,
            stop: tables.stop,
        };
        loop {
            let ranges = self.ranges(&tables);
            let is_whole = ranges == whole;
            self.load(source, ranges)?;
            if is_whole || self.parse().is_ok() {
                return Ok(());
            }
            if self.reach.stop.take().is_none() {
                self.reach.window = self.reach.window.saturating_mul(2);
            }
        }
    }

    /// What the headers say.
    ///
    /// # Errors
    ///
    /// As [`read_elf`](crate::read_elf): the same as if the whole file had been read.
    pub fn parse(&self) -> Result<Elf<'_>, ElfError> {
        Elf::of_image(self.image())
    }

    fn image(&self) -> Image<'_> {
        self.image_within(self.reach)
    }

    fn image_within(&self, reach: Reach) -> Image<'_> {
        let size = usize::try_from(self.headers.size).expect("checked when it was read");
        Image::new(&self.bytes[..size], self.headers.clone(), reach)
    }

    fn load(&mut self, source: &FileSource<'_>, ranges: Vec<Range<u64>>) -> Result<(), ReadError> {
        let index = |offset| usize::try_from(offset).expect("headers are checked against the size");
        for range in ranges {
            let part = index(range.start)..index(range.end);
            self.loaded.push(part.clone());
            source.read_at(range.start, &mut self.bytes[part])?;
        }
        Ok(())
    }

    /// The segments that are read themselves; of an object for the linker, none.
    fn segments(&self) -> Vec<Range<u64>> {
        let wanted = [elf::PT_DYNAMIC, elf::PT_INTERP, elf::PT_NOTE];
        let segments = self.headers.segments.iter();
        segments
            .filter(|segment| self.headers.is_program() && wanted.contains(&segment.kind))
            .map(|segment| segment.file.clone())
            .collect()
    }

    /// What the dynamic section says of its tables.
    fn tables(&self) -> Result<Tables, ElfError> {
        let image = self.image_within(Reach::ALL);
        let dynamic = Dynamic::read(&image)?;
        let relocations: Vec<_> = Table::all(&dynamic, image.is_64).collect();
        let addresses = TABLES.iter().filter_map(|tag| dynamic.value(*tag));
        let with_symbols = relocations.iter().filter_map(Table::with_symbols);
        let without = relocations.iter().filter_map(Table::without_symbols);
        let starts = without.filter_map(|range| image.offset_of(range.start));
        Ok(Tables {
            addresses: addresses.chain(with_symbols).collect(),
            stop: starts.map(|range| range.start).min(),
        })
    }

    /// Where these tables are in the file, each up to the end of its segment or of what is read; those
    /// that touch are one.
    fn ranges(&self, tables: &Tables) -> Vec<Range<u64>> {
        let image = self.image();
        let addresses = tables.addresses.iter();
        let mut tables: Vec<_> = addresses
            .filter_map(|address| image.window_at(*address))
            .collect();
        tables.sort_by_key(|table| table.start);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for table in tables {
            match ranges.last_mut() {
                Some(last) if table.start <= last.end => last.end = last.end.max(table.end),
                _ => ranges.push(table),
            }
        }
        ranges
    }
}

impl Drop for ElfHeaders {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        for part in self.loaded.drain(..) {
            bytes[part].fill(0);
        }
        if bytes.len() <= SPARE_MAX {
            SPARE.set(bytes);
        }
    }
}

/// At least `size` bytes, all zero.
fn zeros(size: usize) -> Vec<u8> {
    let spare = SPARE.take();
    if spare.len() >= size {
        return spare;
    }
    // New ones come from the kernel untouched, which grown ones would not be.
    vec![0; size.next_power_of_two()]
}
