//! One reader for what gzip, xz or zstd compressed, and for what nobody did.

use std::io::{self, BufRead, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::{Action, Status, XzStream};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::error::Fault;
use super::limits::{Bounded, ImportLimits};

/// What a decoder may remember: more than the largest dictionary of `xz -9`, and of `zstd -19`.
const MEMORY_KIB_MAX: u32 = 160 << 10;
/// 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// So many bytes tell by what something is compressed.
const START: u64 = 6;

/// The bytes that `reader`, which holds `size` compressed bytes, stands for.
pub(super) fn open<'r>(
    mut reader: impl BufRead + 'r,
    size: u64,
    limits: ImportLimits,
) -> Result<Box<dyn Read + 'r>, Fault> {
    // What is in a buffer may end anywhere, so that the first bytes are read on their own.
    let mut start = Vec::new();
    let read = reader.by_ref().take(START).read_to_end(&mut start);
    read.map_err(Fault::of_stream)?;
    let reader = Cursor::new(start.clone()).chain(reader);
    Ok(match start.as_slice() {
        [0x1f, 0x8b, ..] => {
            let decoder = MultiGzDecoder::new(reader);
            Box::new(Bounded::new(decoder, size, limits))
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            let decoder = Xz::new(reader);
            Box::new(Bounded::new(decoder, size, limits))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = ZstdDecoder::with_buffer(reader).map_err(Fault::of_stream)?;
            let bounded = decoder.window_log_max(ZSTD_WINDOW_LOG_MAX);
            bounded.map_err(Fault::of_stream)?;
            Box::new(Bounded::new(decoder, size, limits))
        }
        [b'B', b'Z', b'h', ..] => return Err(Fault::Compression("bzip2")),
        [0x5d, 0, 0, ..] => return Err(Fault::Compression("lzma")),
        _ => Box::new(Bounded::new(reader, size, limits)),
    })
}

/// Reads what is left, so that what the compressor says of the whole is compared with it.
pub(super) fn finish(reader: &mut dyn Read) -> Result<(), Fault> {
    io::copy(reader, &mut io::sink())
        .map(drop)
        .map_err(Fault::of_stream)
}

/// Decodes xz within bounded memory.
struct Xz<R> {
    inner: R,
    stream: XzStream,
    ended: bool,
}

impl<R: BufRead> Xz<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            stream: XzStream::new_mem_limit(true, MEMORY_KIB_MAX),
            ended: false,
        }
    }
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !buffer.is_empty() {
            let input = self.inner.fill_buf()?;
            let at_end = input.is_empty();
            let action = if at_end { Action::Finish } else { Action::Run };
            let done = self.stream.process(input, buffer, action)?;
            self.inner.consume(done.bytes_consumed);
            self.ended = done.status == Status::StreamEnd;
            if done.bytes_produced > 0 {
                return Ok(done.bytes_produced);
            }
            if at_end && !self.ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}
