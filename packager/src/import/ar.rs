//! The members of an `ar` archive, as Debian packages are ones.

use std::io::{self, BufRead, Read, Take};

use super::error::Fault;

pub(super) const MAGIC: &[u8] = b"!<arch>\n";

const HEADER: usize = 60;

/// One member: its name and its size.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) size: u64,
}

/// Reads what comes before the first member.
pub(super) fn begin(reader: &mut impl Read) -> Result<(), Fault> {
    let mut magic = [0; 8];
    reader.read_exact(&mut magic).map_err(Fault::of_stream)?;
    Ok(())
}

/// The next member; its bytes come next.
pub(super) fn next(reader: &mut impl BufRead) -> Result<Option<Member>, Fault> {
    if reader.fill_buf().map_err(Fault::Read)?.is_empty() {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    reader
        .read_exact(&mut header)
        .map_err(|_| Fault::Truncated("the header of a member"))?;
    if &header[58..] != b"`\n" {
        let why = "where a member should begin there is something else";
        return Err(Fault::Malformed(why.to_owned()));
    }
    let text = |part: &[u8]| String::from_utf8_lossy(part).trim().to_owned();
    let size = text(&header[48..58]);
    let size = size
        .parse()
        .map_err(|_| Fault::Malformed("the size of a member is not a number".to_owned()))?;
    let name = text(&header[..16]).trim_end_matches('/').to_owned();
    Ok(Some(Member { name, size }))
}

/// Reads what is left of a member's bytes, and the byte that follows an odd number of them.
pub(super) fn finish(mut member: Take<&mut impl BufRead>, size: u64) -> Result<(), Fault> {
    io::copy(&mut member, &mut io::sink()).map_err(Fault::Read)?;
    if member.limit() > 0 {
        return Err(Fault::Truncated("a member"));
    }
    let reader = member.into_inner();
    if size % 2 == 1 && !reader.fill_buf().map_err(Fault::Read)?.is_empty() {
        reader.consume(1);
    }
    Ok(())
}
