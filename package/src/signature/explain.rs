//! Why two files have different signatures, or equal ones though their bytes differ.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use placet_model::{Signature, visible};

use super::archive;
use super::parts::Coverage;
use super::ranges::inside;
use super::regions::{Region, regions};
use super::{sign, walk};
use crate::elf::{Headers, symbol_in};
use crate::source::{FileSource, ReadError, Source};

/// How two files differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Their signatures.
    pub signatures: [Signature; 2],
    /// The regions that differ, those that count first, and sections before headers; none if the
    /// bytes are equal.
    pub regions: Vec<Difference>,
}

/// A region that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The section; of an archive, the member and the section.
    pub region: String,
    /// True if what differs makes the signatures differ.
    pub counts: bool,
    /// How many bytes the region has in each file; 0 where it is missing.
    pub sizes: [u64; 2],
    /// How many bytes differ, those that one of them has more included.
    pub bytes: u64,
    /// The function or object to which the first of them belongs.
    pub symbol: Option<String>,
    /// Where the first of them stands in each file.
    pub offsets: [u64; 2],
    /// The bytes from there on, a few of them.
    pub excerpts: [Vec<u8>; 2],
}

/// Compares two files region by region.
///
/// # Errors
///
/// As [`file_signature`](super::file_signature), for either file.
pub fn compare(files: [&File; 2]) -> Result<Comparison, ReadError> {
    let [first, second] = files;
    let mut sources = [FileSource::new(first)?, FileSource::new(second)?];
    let [one, other] = &mut sources;
    let signatures = [sign(one)?, sign(other)?];
    let mut both = [Side::new(one)?, Side::new(other)?];
    let mut found = Vec::new();
    for (name, ranges) in pairs(&both) {
        found.extend(difference(name, &ranges, &mut both)?);
    }
    // Whole sections tell people more than the headers that follow from them.
    let is_header =
        |it: &Difference| it.region.ends_with("headers") || it.region.ends_with("ELF header");
    found.sort_by_key(|it| (!it.counts, is_header(it)));
    Ok(Comparison {
        signatures,
        regions: found,
    })
}

/// One of the two files.
struct Side<'source, 'file> {
    source: &'source mut FileSource<'file>,
    regions: Vec<Region>,
    /// What counts, ascending.
    counted: Vec<Range<u64>>,
}

impl<'source, 'file> Side<'source, 'file> {
    fn new(source: &'source mut FileSource<'file>) -> Result<Self, ReadError> {
        let mut coverage = Coverage::default();
        walk(source, &mut coverage)?;
        Ok(Self {
            regions: regions(source)?,
            counted: coverage.finish(),
            source,
        })
    }

    fn counts(&self, range: &Range<u64>) -> bool {
        inside(&self.counted, range).next().is_some()
    }
}

/// Regions of one name in their order in either file.
fn pairs(both: &[Side<'_, '_>; 2]) -> Vec<(String, [Range<u64>; 2])> {
    let mut places = BTreeMap::new();
    let mut pairs: Vec<(String, [Range<u64>; 2])> = Vec::new();
    for (which, regions) in both.iter().map(|side| &side.regions).enumerate() {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for region in regions {
            let count = seen.entry(&region.name).or_default();
            let key = (region.name.clone(), *count);
            *count += 1;
            let place = *places.entry(key).or_insert_with(|| {
                pairs.push((region.name.clone(), [0..0, 0..0]));
                pairs.len() - 1
            });
            pairs[place].1[which] = region.range.clone();
        }
    }
    pairs
}

/// Bytes that are compared at once.
const CHUNK: u64 = 64 << 10;
/// Bytes that are shown.
const EXCERPT: u64 = 8;

/// What was found of one region so far.
#[derive(Debug, Default)]
struct Tally {
    bytes: u64,
    /// The first byte that differs, and the first of those that count: from the region's start.
    first: Option<u64>,
    counted: Option<u64>,
}

fn difference(
    region: String,
    ranges: &[Range<u64>; 2],
    both: &mut [Side<'_, '_>; 2],
) -> Result<Option<Difference>, ReadError> {
    let sizes = [0, 1].map(|which: usize| ranges[which].end - ranges[which].start);
    let common = sizes[0].min(sizes[1]);
    let mut tally = Tally::default();
    let mut start = 0;
    while start < common {
        let end = common.min(start + CHUNK);
        let bytes = |which: usize| {
            let from = ranges[which].start;
            both[which].source.bytes(from + start..from + end)
        };
        let (one, other) = (bytes(0)?, bytes(1)?);
        if one != other {
            tally.add(start, [&one, &other], ranges, both);
        }
        start = end;
    }
    tally.add_rest(common, sizes, ranges, both);
    let Some(first) = tally.counted.or(tally.first) else {
        return Ok(None);
    };
    let offsets = [0, 1].map(|which: usize| ranges[which].end.min(ranges[which].start + first));
    let excerpt = |which: usize| {
        let end = ranges[which].end.min(offsets[which] + EXCERPT);
        both[which].source.bytes(offsets[which]..end)
    };
    Ok(Some(Difference {
        counts: tally.counted.is_some(),
        sizes,
        bytes: tally.bytes,
        excerpts: [excerpt(0)?, excerpt(1)?],
        symbol: symbol(both, ranges, offsets)?,
        offsets,
        region,
    }))
}

impl Tally {
    /// Notes which of the bytes at `start` of the region differ.
    fn add(
        &mut self,
        start: u64,
        bytes: [&[u8]; 2],
        ranges: &[Range<u64>; 2],
        both: &[Side<'_, '_>; 2],
    ) {
        let pairs = bytes[0].iter().zip(bytes[1]).enumerate();
        for (index, _) in pairs.filter(|(_, (one, other))| one != other) {
            let place = start + index as u64;
            self.bytes += 1;
            self.first.get_or_insert(place);
            if self.counted.is_none() {
                let counts = [0, 1].map(|which: usize| {
                    let at = ranges[which].start + place;
                    both[which].counts(&(at..at + 1))
                });
                self.counted = counts.contains(&true).then_some(place);
            }
        }
    }

    /// Notes what one region has more than the other.
    fn add_rest(
        &mut self,
        common: u64,
        sizes: [u64; 2],
        ranges: &[Range<u64>; 2],
        both: &[Side<'_, '_>; 2],
    ) {
        for which in [0, 1] {
            if sizes[which] > common {
                self.bytes += sizes[which] - common;
                self.first.get_or_insert(common);
                let rest = ranges[which].start + common..ranges[which].end;
                if both[which].counts(&rest) {
                    self.counted.get_or_insert(common);
                }
            }
        }
    }
}

/// The symbol at the place of the first file, or of the second where the first ends before it.
fn symbol(
    both: &mut [Side<'_, '_>; 2],
    ranges: &[Range<u64>; 2],
    offsets: [u64; 2],
) -> Result<Option<String>, ReadError> {
    let which = usize::from(offsets[0] >= ranges[0].end);
    let (source, offset) = (&mut *both[which].source, offsets[which]);
    let mut range = 0..source.size();
    if let Some(members) = archive::members(source)? {
        let member = members.iter().find(|it| it.content.contains(&offset));
        let Some(member) = member else {
            return Ok(None);
        };
        range = member.content.clone();
    }
    let start = range.start;
    let inner = archive::Inner { source, range };
    let Ok(Some(headers)) = Headers::read(&inner) else {
        return Ok(None);
    };
    let symbol = symbol_in(&headers, &inner, offset - start)?;
    Ok(symbol.map(|symbol| visible(&symbol).to_string()))
}

/// The bytes of a file that do not count, by region: how many of how many.
///
/// # Errors
///
/// As [`file_signature`](super::file_signature).
pub fn ignored(file: &File) -> Result<Vec<(String, u64, u64)>, ReadError> {
    let mut source = FileSource::new(file)?;
    let file = Side::new(&mut source)?;
    let counted = |range: &Range<u64>| -> u64 {
        inside(&file.counted, range)
            .map(|it| it.end - it.start)
            .sum()
    };
    let regions = file.regions.iter().map(|region| {
        let size = region.range.end - region.range.start;
        (region.name.clone(), size - counted(&region.range), size)
    });
    Ok(regions.filter(|(_, ignored, _)| *ignored > 0).collect())
}
