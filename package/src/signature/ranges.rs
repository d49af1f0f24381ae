//! Ranges of a file: joined, and what lies between them.

use std::ops::Range;

/// Sorted, with overlapping and adjacent ranges joined and empty ones left out.
pub(super) fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What `0..end` holds beside the merged ranges.
pub(super) fn gaps(merged: Vec<Range<u64>>, end: u64) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut start = 0;
    for range in merged {
        if start < range.start.min(end) {
            gaps.push(start..range.start.min(end));
        }
        start = range.end;
    }
    if start < end {
        gaps.push(start..end);
    }
    gaps
}

/// True if two of the ranges share a byte.
pub(super) fn overlap(mut ranges: Vec<Range<u64>>) -> bool {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.windows(2).any(|pair| pair[0].end > pair[1].start)
}

/// The parts of the merged `ranges` that lie in `within`.
pub(super) fn inside<'a>(
    ranges: &'a [Range<u64>],
    within: &'a Range<u64>,
) -> impl Iterator<Item = Range<u64>> + 'a {
    let first = ranges.partition_point(|range| range.end <= within.start);
    let touching = ranges[first..].iter();
    touching
        .take_while(|range| range.start < within.end)
        .map(|range| range.start.max(within.start)..range.end.min(within.end))
}
