//! What a server tells first: its branches, tags and where they stand.

use std::collections::BTreeMap;

use git2::Oid;
use placet_model::visible;

use super::{FetchError, Incoming};

/// About 200,000 branches and tags.
const BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Advertisement {
    /// Where each name stands.
    pub(super) names: BTreeMap<String, Oid>,
    /// The bytes, for libgit2 to read once more.
    pub(super) bytes: Vec<u8>,
}

/// Reads and checks it; libgit2 is not made for names that are not text.
pub(super) fn read(incoming: &mut impl Incoming) -> Result<Advertisement, FetchError> {
    let mut read = Advertisement::default();
    read_list(incoming, &mut read)?;
    Ok(read)
}

/// As [`read`], behind a list that says which service it is of.
pub(super) fn read_announced(incoming: &mut impl Incoming) -> Result<Advertisement, FetchError> {
    let mut read = Advertisement::default();
    let first = read_line(incoming, &mut read.bytes)?;
    let announced = first.is_some_and(|line| line.trim_ascii_end() == b"# service=git-upload-pack");
    if !announced || read_line(incoming, &mut read.bytes)?.is_some() {
        return Err(incoming.refuse("it does not begin as a git server's does".to_owned()));
    }
    read_list(incoming, &mut read)?;
    Ok(read)
}

fn read_list(incoming: &mut impl Incoming, read: &mut Advertisement) -> Result<(), FetchError> {
    while let Some(line) = read_line(incoming, &mut read.bytes)? {
        if read.bytes.len() > BYTES_MAX {
            return Err(incoming.refuse("it has too many branches and tags".to_owned()));
        }
        if let Some((name, commit)) = parse(&line).map_err(|why| incoming.refuse(why))? {
            read.names.insert(name, commit);
        }
    }
    Ok(())
}

/// One line with its length before it; nothing at the end of a list. `bytes` gets all of it.
fn read_line(
    incoming: &mut impl Incoming,
    bytes: &mut Vec<u8>,
) -> Result<Option<Vec<u8>>, FetchError> {
    let mut length = [0; 4];
    incoming.read_exact(&mut length)?;
    let size = std::str::from_utf8(&length)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .filter(|size| *size == 0 || *size > 4)
        .ok_or_else(|| {
            let shown = String::from_utf8_lossy(&length).into_owned();
            incoming.refuse(format!(
                "it begins with `{}`, as no git server's does; is the shell there silent?",
                visible(&shown)
            ))
        })?;
    bytes.extend_from_slice(&length);
    if size == 0 {
        return Ok(None);
    }
    let mut line = vec![0; size - 4];
    incoming.read_exact(&mut line)?;
    bytes.extend_from_slice(&line);
    Ok(Some(line))
}

/// A line `<id> <name>`, after whose first a NUL and the server's abilities follow.
fn parse(line: &[u8]) -> Result<Option<(String, Oid)>, String> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(line)
        .map_err(|_| "the name of a branch or tag is not UTF-8".to_owned())?;
    if let Some(error) = text.strip_prefix("ERR ") {
        return Err(format!("the server says: {}", visible(error)));
    }
    if text.starts_with("shallow ") || text.starts_with("version ") {
        return Ok(None);
    }
    let garbled = || format!("a line of it is `{}`", visible(text));
    let (id, name) = text.split_once(' ').ok_or_else(garbled)?;
    if id.len() == 64 {
        return Err(
            "the repository uses SHA-256, which this version does not carry out".to_owned(),
        );
    }
    if id.len() != 40 || name.is_empty() || visible(name).to_string() != name {
        return Err(garbled());
    }
    let id = Oid::from_str(id).map_err(|_| garbled())?;
    Ok((name != "capabilities^{}").then(|| (name.to_owned(), id)))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn hostile_lines_are_refused_in_plain_text() {
        let id = "0123456789012345678901234567890123456789";
        let line = |rest: &str| format!("{id} {rest}").into_bytes();
        let (name, _) = parse(&line("refs/heads/main\0side-band-64k\n"))
            .unwrap()
            .unwrap();
        assert_eq!(name, "refs/heads/main");
        assert!(parse(&line("capabilities^{}\0x")).unwrap().is_none());
        for bad in [
            line("refs/heads/\u{1b}[31m"),
            line(""),
            [&line("refs/heads/")[..], b"\xff"].concat(),
            b"ERR \x1b]0;x\x07no\n".to_vec(),
            b"Welcome".to_vec(),
            b"".to_vec(),
            format!("{} refs/heads/main", "ab".repeat(32)).into_bytes(),
            format!("{} refs/heads/main", "zz".repeat(20)).into_bytes(),
        ] {
            let why = parse(&bad).unwrap_err();
            assert!(!why.contains(|it: char| it.is_control()), "{why:?}");
        }
    }
}
