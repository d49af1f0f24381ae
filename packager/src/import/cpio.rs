//! The `cpio` archive in which RPM packages carry their files: the portable format with checksums
//! or without.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::error::{Fault, Outcome};
use super::tree::{Content, Meta, Tree};

const TRAILER: &[u8] = b"TRAILER!!!";
const NAME_MAX: u64 = 4_097;
const TARGET_MAX: u64 = 4_096;

const KIND: u64 = 0o170_000;

struct Header {
    inode: u64,
    mode: u64,
    links: u64,
    size: u64,
    device: (u64, u64),
    name: Vec<u8>,
}

/// Reads every file of `archive`; `meta` says who owns what.
pub(super) fn read(
    archive: &mut dyn Read,
    meta: impl Fn(&str, u32) -> Meta,
    tree: &mut Tree,
) -> Outcome<()> {
    // Of files with several names, only the last one brings the bytes.
    let mut waiting = BTreeMap::<(u64, (u64, u64)), Vec<(Vec<u8>, u32)>>::new();
    let mut held = 0;
    while let Some(header) = next(archive)? {
        let shown = String::from_utf8_lossy(&header.name).into_owned();
        let mode = u32::try_from(header.mode & 0o7777).expect("twelve bits");
        let meta = meta(shown.trim_start_matches("./"), mode);
        let special = |what| Content::Special(what);
        match header.mode & KIND {
            0o100_000 if header.links > 1 && header.size == 0 => {
                let names = waiting.entry((header.inode, header.device)).or_default();
                names.push((header.name, mode));
                held += 1;
                if held > tree.limits().entries {
                    return Err(Fault::Entries(tree.limits().entries).into());
                }
            }
            0o100_000 => {
                tree.add_file(&header.name, header.size, archive, meta)?;
                let names = waiting.remove(&(header.inode, header.device));
                for (name, _) in names.into_iter().flatten() {
                    tree.add_hard_link(&name, &header.name)?;
                }
            }
            0o120_000 => {
                let target = bytes(archive, header.size, TARGET_MAX)?;
                let target = String::from_utf8(target);
                let fault = Fault::Name("has a target that is not UTF-8");
                let target = target.map_err(|_| fault.at(&shown))?;
                tree.add(&header.name, Content::Link(target), meta)?;
            }
            0o040_000 => tree.add(&header.name, Content::Folder, meta)?,
            0o020_000 | 0o060_000 => tree.add(&header.name, special("a device"), meta)?,
            0o010_000 => tree.add(&header.name, special("a pipe"), meta)?,
            0o140_000 => tree.add(&header.name, special("a socket"), meta)?,
            _ => return Err(Fault::Unsupported("an entry of unknown type").at(&shown)),
        }
        skip(archive, header.size)?;
    }
    // Several names of an empty file never bring bytes.
    for names in waiting.into_values() {
        for (name, mode) in names {
            let shown = String::from_utf8_lossy(&name).into_owned();
            let meta = meta(shown.trim_start_matches("./"), mode);
            tree.add_file(&name, 0, &mut io::empty(), meta)?;
        }
    }
    Ok(())
}

fn next(archive: &mut dyn Read) -> Result<Option<Header>, Fault> {
    let mut bytes = [0; 110];
    archive.read_exact(&mut bytes).map_err(truncated)?;
    match &bytes[..6] {
        b"070701" | b"070702" => {}
        b"07070X" => return Err(Fault::Unsupported("files of more than 4 GiB")),
        _ => {
            return Err(malformed(
                "where an entry of the cpio archive should begin there is something else",
            ));
        }
    }
    let field = |index: usize| {
        let text = bytes.get(6 + 8 * index..14 + 8 * index)?;
        u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
    };
    let fields: Option<Vec<u64>> = (0..13).map(field).collect();
    let fields = fields.ok_or_else(|| malformed("a number in the cpio archive cannot be read"))?;
    let length = fields[11];
    let mut name = self::bytes(archive, length, NAME_MAX)?;
    skip(archive, 110 + length)?;
    if name.pop() != Some(0) || name.contains(&0) {
        return Err(malformed(
            "a name in the cpio archive does not end where it should",
        ));
    }
    if name == TRAILER {
        return Ok(None);
    }
    Ok(Some(Header {
        inode: fields[0],
        mode: fields[1],
        links: fields[4],
        size: fields[6],
        device: (fields[7], fields[8]),
        name,
    }))
}

fn malformed(why: &str) -> Fault {
    Fault::Malformed(why.to_owned())
}

fn truncated(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::Truncated("a cpio archive"),
        _ => Fault::of_stream(error),
    }
}

fn bytes(archive: &mut dyn Read, size: u64, most: u64) -> Result<Vec<u8>, Fault> {
    if size > most {
        return Err(malformed(
            "a name in the cpio archive is longer than any name",
        ));
    }
    let mut bytes = vec![0; usize::try_from(size).expect("it was compared")];
    archive.read_exact(&mut bytes).map_err(truncated)?;
    Ok(bytes)
}

/// Everything begins at a multiple of four.
fn skip(archive: &mut dyn Read, size: u64) -> Result<(), Fault> {
    let mut padding = [0; 3];
    let count = usize::try_from(size.wrapping_neg() % 4).expect("below four");
    archive.read_exact(&mut padding[..count]).map_err(truncated)
}
