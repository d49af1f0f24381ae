//! Archives in the POSIX format, as plain as they can be: the same files give the same bytes.

use std::io::Write as _;

use anyhow::bail;
use flate2::{Compression, GzBuilder};

/// An archive that is being written.
pub(super) struct Archive {
    bytes: Vec<u8>,
    time: i64,
}

const BLOCK: usize = 512;
const FILE: u8 = b'0';
const FOLDER: u8 = b'5';

impl Archive {
    /// Everything in it will have this time.
    pub(super) fn new(time: i64) -> Self {
        Self {
            bytes: Vec::new(),
            time,
        }
    }

    pub(super) fn folder(&mut self, path: &str, mode: u32, owner: u32) -> anyhow::Result<()> {
        self.header(&format!("{path}/"), mode, owner, 0, FOLDER)
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        self.header(path, mode, 0, content.len(), FILE)?;
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn header(
        &mut self,
        path: &str,
        mode: u32,
        owner: u32,
        size: usize,
        kind: u8,
    ) -> anyhow::Result<()> {
        if path.len() > 100 {
            bail!("`{path}` is longer than the archive's format allows");
        }
        let mut header = [0_u8; BLOCK];
        header[..path.len()].copy_from_slice(path.as_bytes());
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(100, &format!("{mode:07o}"));
        put(108, &format!("{owner:07o}"));
        put(116, &format!("{owner:07o}"));
        put(124, &format!("{size:011o}"));
        put(136, &format!("{:011o}", self.time.max(0)));
        // The sum is taken with spaces in its own place.
        put(148, "        ");
        put(257, "ustar\x0000");
        header[156] = kind;
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        Ok(())
    }

    fn pad(&mut self) {
        let whole = self.bytes.len().next_multiple_of(BLOCK);
        self.bytes.resize(whole, 0);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let end = self.bytes.len() + 2 * BLOCK;
        self.bytes.resize(end, 0);
        self.bytes
    }
}

/// With gzip, and nothing in its header that differs between two runs.
pub(super) fn compress(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut writer = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::new(6));
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}
