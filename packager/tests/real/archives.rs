//! Archives made by hand, byte by byte, so that they can be wrong in one place.

use std::fs;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

/// A tar archive under construction.
#[derive(Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.entry(name.as_bytes(), EntryType::Regular, 0o644, b"", bytes)
    }

    pub(crate) fn with_mode(self, name: &str, mode: u32) -> Self {
        self.entry(name.as_bytes(), EntryType::Regular, mode, b"", b"x")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.entry(
            name.as_bytes(),
            EntryType::Symlink,
            0o777,
            target.as_bytes(),
            b"",
        )
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(
            name.as_bytes(),
            EntryType::Link,
            0o644,
            target.as_bytes(),
            b"",
        )
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.entry(name.as_bytes(), EntryType::Directory, 0o755, b"", b"")
    }

    pub(crate) fn entry(
        self,
        name: &[u8],
        kind: EntryType,
        mode: u32,
        target: &[u8],
        bytes: &[u8],
    ) -> Self {
        self.raw(name, kind, mode, target, bytes.len() as u64, bytes)
    }

    /// An entry whose header may claim another size than `bytes` have.
    #[expect(clippy::too_many_arguments, reason = "each is a field of the header")]
    pub(crate) fn raw(
        mut self,
        name: &[u8],
        kind: EntryType,
        mode: u32,
        target: &[u8],
        size: u64,
        bytes: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The archive, with the blocks that end it.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1_024, 0);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut member = format!(
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
        0,
        0,
        0,
        "100644",
        bytes.len()
    )
    .into_bytes();
    member.extend_from_slice(bytes);
    member.resize(member.len().next_multiple_of(2), b'\n');
    member
}

pub(crate) const CONTROL: &str = "Package: odd\nVersion: 1:2.0-3\nArchitecture: amd64\n";

/// A Debian package with these files of its control part, and this data part.
pub(crate) fn deb_of(control: &[(&str, &str)], name: &str, data: &[u8]) -> Vec<u8> {
    let files = control.iter().fold(Tar::default(), |tar, (name, text)| {
        tar.file(name, text.as_bytes())
    });
    let mut deb = b"!<arch>\n".to_vec();
    deb.extend(member("debian-binary", b"2.0\n"));
    deb.extend(member("control.tar.gz", &gzip(&files.end())));
    deb.extend(member(name, data));
    deb
}

pub(crate) fn deb(data: Tar) -> Vec<u8> {
    deb_of(&[("./control", CONTROL)], "data.tar.gz", &gzip(&data.end()))
}

pub(crate) fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}
