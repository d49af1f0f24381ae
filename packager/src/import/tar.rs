//! Tar archives of every common dialect: old, ustar, GNU and pax.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::error::{Fault, Outcome};
use super::tree::{Content, Meta, Tree};

const BLOCK: usize = 512;
/// What says a name or other things of the next entry is short.
const EXTENSION_MAX: u64 = 64 << 10;

/// What an extension says of the entry after it.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    user: Option<String>,
    group: Option<String>,
}

/// One entry as its header and extensions have it.
pub(super) struct TarEntry {
    pub(super) name: Vec<u8>,
    link: Vec<u8>,
    pub(super) size: u64,
    pub(super) kind: EntryType,
    meta: Meta,
}

/// Reads every entry of `archive`, and hands it with its bytes to `take`.
pub(super) fn each(
    archive: &mut dyn Read,
    mut take: impl FnMut(&TarEntry, &mut dyn Read) -> Outcome<()>,
) -> Outcome<()> {
    let mut extended = Extended::default();
    while let Some(header) = next_header(archive)? {
        let size = header.entry_size();
        let size = size.map_err(|_| malformed("the size of an entry is not a number"))?;
        match header.entry_type() {
            EntryType::GNULongName => extended.name = Some(text(archive, size)?),
            EntryType::GNULongLink => extended.link = Some(text(archive, size)?),
            EntryType::XHeader => pax(&extension(archive, size)?, &mut extended)?,
            EntryType::XGlobalHeader => drop(extension(archive, size)?),
            _ => {
                let entry = entry(&header, size, std::mem::take(&mut extended))?;
                let shown = String::from_utf8_lossy(&entry.name).into_owned();
                let mut bytes = (&mut *archive).take(entry.size);
                take(&entry, &mut bytes)?;
                io::copy(&mut bytes, &mut io::sink())
                    .map_err(|error| Fault::of_stream(error).at(&shown))?;
                if bytes.limit() > 0 {
                    return Err(Fault::Truncated("its data").at(&shown));
                }
                skip_padding(archive, entry.size)?;
            }
        }
    }
    Ok(())
}

/// Puts one entry into the tree.
pub(super) fn add(entry: &TarEntry, bytes: &mut dyn Read, tree: &mut Tree) -> Outcome<()> {
    let meta = entry.meta.clone();
    let name = &entry.name;
    let special = |what| Content::Special(what);
    let content = match entry.kind {
        EntryType::Link => return tree.add_hard_link(name, &entry.link),
        EntryType::Symlink => Content::Link(target(entry)?),
        EntryType::Directory => Content::Folder,
        EntryType::Char | EntryType::Block => special("a device"),
        EntryType::Fifo => special("a pipe"),
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Content::Folder,
        EntryType::Regular | EntryType::Continuous => {
            return tree.add_file(name, entry.size, bytes, meta);
        }
        EntryType::GNUSparse => return Err(refused(entry, Fault::Unsupported("a sparse file"))),
        _ => {
            let fault = Fault::Unsupported("an entry of unknown type");
            return Err(refused(entry, fault));
        }
    };
    tree.add(name, content, meta)
}

fn refused(entry: &TarEntry, fault: Fault) -> super::error::Refused {
    fault.at(&String::from_utf8_lossy(&entry.name))
}

fn target(entry: &TarEntry) -> Outcome<String> {
    let target = String::from_utf8(entry.link.clone());
    target.map_err(|_| refused(entry, Fault::Name("has a target that is not UTF-8")))
}

fn malformed(why: &str) -> Fault {
    Fault::Malformed(why.to_owned())
}

/// The next header; none at the blocks of zeros that end an archive.
fn next_header(archive: &mut dyn Read) -> Result<Option<Header>, Fault> {
    let mut header = Header::new_old();
    archive
        .read_exact(header.as_mut_bytes())
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Truncated("a tar archive"),
            _ => Fault::of_stream(error),
        })?;
    if header.as_bytes().iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let bytes = header.as_bytes();
    let outside = |at: &usize| !(148..156).contains(at);
    let sum = (0..BLOCK)
        .filter(outside)
        .map(|at| u32::from(bytes[at]))
        .sum::<u32>();
    // The field itself counts as eight spaces.
    if header.cksum().ok() != Some(sum + 8 * u32::from(b' ')) {
        return Err(malformed("the checksum of a tar header is wrong"));
    }
    Ok(Some(header))
}

fn entry(header: &Header, size: u64, extended: Extended) -> Result<TarEntry, Fault> {
    let link = header.link_name_bytes().unwrap_or_default().into_owned();
    let name = header.path_bytes().into_owned();
    let mode = header.mode();
    let owner = |name: Option<&[u8]>, number: io::Result<u64>| {
        let name = name.map(|name| String::from_utf8_lossy(name).into_owned());
        name.filter(|name| !name.is_empty()).or_else(|| {
            let number = number.ok().filter(|number| *number != 0)?;
            Some(number.to_string())
        })
    };
    let user = owner(header.username_bytes(), header.uid());
    let group = owner(header.groupname_bytes(), header.gid());
    let kind = header.entry_type();
    let has_data = !matches!(
        kind,
        EntryType::Link | EntryType::Symlink | EntryType::Directory
    );
    let size = extended.size.unwrap_or(size);
    Ok(TarEntry {
        name: extended.name.unwrap_or(name),
        link: extended.link.unwrap_or(link),
        size: if has_data { size } else { 0 },
        kind,
        meta: Meta {
            mode: mode.map_err(|_| malformed("the mode of an entry is not a number"))?,
            user: extended.user.or(user),
            group: extended.group.or(group),
        },
    })
}

/// The bytes of an extension.
fn extension(archive: &mut dyn Read, size: u64) -> Result<Vec<u8>, Fault> {
    if size > EXTENSION_MAX {
        let why =
            format!("what a header says of the next entry has {size} bytes, which no name has");
        return Err(Fault::Malformed(why));
    }
    let mut bytes = vec![0; usize::try_from(size).expect("it was compared")];
    archive.read_exact(&mut bytes).map_err(Fault::of_stream)?;
    skip_padding(archive, size)?;
    Ok(bytes)
}

fn text(archive: &mut dyn Read, size: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = extension(archive, size)?;
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.truncate(end.unwrap_or(bytes.len()));
    Ok(bytes)
}

fn pax(bytes: &[u8], extended: &mut Extended) -> Result<(), Fault> {
    for record in PaxExtensions::new(bytes) {
        let record = record.map_err(|_| malformed("a pax header cannot be read"))?;
        let value = record.value_bytes();
        let owner = || Some(String::from_utf8_lossy(value).into_owned());
        match record.key_bytes() {
            b"path" => extended.name = Some(value.to_owned()),
            b"linkpath" => extended.link = Some(value.to_owned()),
            b"uname" => extended.user = owner(),
            b"gname" => extended.group = owner(),
            b"size" => {
                let size = std::str::from_utf8(value)
                    .ok()
                    .and_then(|it| it.parse().ok());
                let wrong = || malformed("the size in a pax header is not a number");
                extended.size = Some(size.ok_or_else(wrong)?);
            }
            key if key.starts_with(b"GNU.sparse") => {
                return Err(Fault::Unsupported("a sparse file"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn skip_padding(archive: &mut dyn Read, size: u64) -> Result<(), Fault> {
    let rest = size % BLOCK as u64;
    let padding = if rest == 0 { 0 } else { BLOCK as u64 - rest };
    let copied = io::copy(&mut archive.take(padding), &mut io::sink());
    match copied.map_err(Fault::of_stream)? {
        count if count == padding => Ok(()),
        _ => Err(Fault::Truncated("a tar archive")),
    }
}
