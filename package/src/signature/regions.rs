//! The regions of a file by the names that people know them by.

use std::ops::Range;

use ::object::elf;
use placet_model::visible;

use super::archive::{self, Member};
use super::ranges::{gaps, merge};
use crate::elf::Headers;
use crate::source::Source;

/// A region of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Region {
    /// The section; of an archive, the member and the section.
    pub(super) name: String,
    /// Where it stands in the file.
    pub(super) range: Range<u64>,
}

/// The regions of a file, each byte in one of them.
pub(super) fn regions<S: Source>(source: &mut S) -> Result<Vec<Region>, S::Error> {
    let whole = 0..source.size();
    if let Some(headers) = Headers::read(source)? {
        return Ok(of_elf(&headers, "", 0));
    }
    let mut regions = Vec::new();
    if let Some(members) = archive::members(source)? {
        for member in &members {
            let name = name_of(member);
            regions.push(Region {
                name: format!("{name} (header)"),
                range: member.start..member.content.start,
            });
            regions.extend(of_member(member, &name, source)?);
        }
    }
    Ok(complete(regions, whole, "bytes"))
}

fn name_of(member: &Member) -> String {
    let name = String::from_utf8_lossy(member.name());
    let name = match &*name {
        "/" | "/SYM64/" => "symbols of the archive",
        "//" => "names of members",
        name => name.strip_suffix('/').unwrap_or(name),
    };
    visible(name).to_string()
}

fn of_member<S: Source>(
    member: &Member,
    name: &str,
    source: &mut S,
) -> Result<Vec<Region>, S::Error> {
    let range = member.content.clone();
    let inner = archive::Inner {
        source,
        range: range.clone(),
    };
    match Headers::read(&inner) {
        Ok(Some(headers)) if headers.object_type == elf::ET_REL => {
            Ok(of_elf(&headers, name, range.start))
        }
        Err(error) if !S::is_about_content(&error) => Err(error),
        _ => Ok(vec![Region {
            name: name.to_owned(),
            range,
        }]),
    }
}

/// Headers, tables, sections and what lies between them.
fn of_elf(headers: &Headers, member: &str, start: u64) -> Vec<Region> {
    let named = |name: &str| match member {
        "" => name.to_owned(),
        member => format!("{member}: {name}"),
    };
    let shift = |range: Range<u64>| start + range.start..start + range.end;
    let header = 0..if headers.is_64 { 64 } else { 52 };
    let mut regions: Vec<_> = [
        ("ELF header", header),
        ("program headers", headers.segment_table.clone()),
        ("section headers", headers.section_table.clone()),
    ]
    .map(|(name, range)| Region {
        name: named(name),
        range: shift(range),
    })
    .into();
    for section in headers.sections.iter().skip(1) {
        let name = String::from_utf8_lossy(headers.name(section));
        regions.push(Region {
            name: named(&visible(&name).to_string()),
            range: shift(section.range.clone()),
        });
    }
    complete(
        regions,
        start..start + headers.size,
        &named("between sections"),
    )
}

/// Ascending and apart from each other; what is in no region is in those with the name `rest`.
fn complete(mut regions: Vec<Region>, whole: Range<u64>, rest: &str) -> Vec<Region> {
    regions.retain(|region| !region.range.is_empty());
    regions.sort_by_key(|region| region.range.start);
    let mut end = whole.start;
    for region in &mut regions {
        region.range.start = region.range.start.max(end);
        region.range.end = region.range.end.max(region.range.start);
        end = region.range.end;
    }
    let known = regions.iter().map(|region| region.range.clone()).collect();
    let between = gaps(merge(known), whole.end);
    regions.extend(
        between
            .into_iter()
            .filter(|gap| gap.start >= whole.start)
            .map(|range| Region {
                name: rest.to_owned(),
                range,
            }),
    );
    regions.retain(|region| !region.range.is_empty());
    regions.sort_by_key(|region| region.range.start);
    regions
}
