//! Varlink's framing: JSON objects that end in a NUL byte, bounded in size in both directions and
//! in time when written.

use std::io::{self, IoSlice, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncReadExt as _, Interest};
use tokio::net::UnixStream;

/// The longest message, without its NUL byte. A change set that is longer travels as a file.
pub(super) const MOST: usize = 65_536;

/// How long a peer may leave a reply unread before its connection is closed.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// Bytes asked of the socket at once; most calls fit.
const CHUNK: usize = 4_096;

/// A connection that cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The peer sends more than a message may hold.
    #[error("it sent a message of more than {MOST} bytes")]
    TooLong,
    /// The peer does not read.
    #[error("it left a message unread for {} s", WRITE_WITHIN.as_secs())]
    Unread,
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Socket(#[from] io::Error),
}

/// Splits what arrives into messages. It never holds more than [`MOST`] and [`CHUNK`] bytes.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// Bytes of the buffer that were searched for a NUL byte in vain.
    searched: usize,
}

impl Frames {
    /// The next message, without its NUL byte; `None` at the end of the stream. What a peer wrote
    /// of a message before it hung up is dropped.
    ///
    /// Cancel safe: what was read stays in the buffer.
    pub(super) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Vec<u8>>, FrameError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            self.buffer.reserve(CHUNK);
            let mut chunk = (&mut *stream).take(CHUNK as u64);
            if chunk.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The first whole message of the buffer.
    fn take(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let end = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == 0);
        let Some(end) = end.map(|offset| self.searched + offset) else {
            self.searched = self.buffer.len();
            return if self.searched > MOST {
                Err(FrameError::TooLong)
            } else {
                Ok(None)
            };
        };
        if end > MOST {
            return Err(FrameError::TooLong);
        }
        let rest = self.buffer.split_off(end + 1);
        let mut message = std::mem::replace(&mut self.buffer, rest);
        message.pop();
        self.searched = 0;
        Ok(Some(message))
    }
}

/// Writes one message, which the caller knows to be short enough, and with its first byte a file
/// descriptor where there is one.
///
/// # Errors
///
/// If the peer does not take it in time. Part of it may be written: the connection is of no more
/// use.
pub(super) async fn write(
    stream: &UnixStream,
    mut message: Vec<u8>,
    file: Option<&OwnedFd>,
) -> Result<(), FrameError> {
    debug_assert!(message.len() <= MOST, "callers bound their messages");
    message.push(0);
    match tokio::time::timeout(WRITE_WITHIN, write_all(stream, &message, file)).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(FrameError::Unread),
    }
}

async fn write_all(stream: &UnixStream, bytes: &[u8], file: Option<&OwnedFd>) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        let files = [file.map_or(-1, std::os::fd::AsRawFd::as_raw_fd)];
        let with_file = [ControlMessage::ScmRights(&files)];
        let control: &[_] = if file.is_some() && written == 0 {
            &with_file
        } else {
            &[]
        };
        written += stream
            .async_io(Interest::WRITABLE, || {
                let slice = [IoSlice::new(&bytes[written..])];
                sendmsg::<()>(
                    stream.as_raw_fd(),
                    &slice,
                    control,
                    MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
                    None,
                )
                .map_err(io::Error::from)
            })
            .await?;
    }
    Ok(())
}

/// A file in memory that holds `content` and can never change.
pub(super) fn sealed_file(content: &[u8]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = std::fs::File::from(memfd_create(c"placet-change-set", flags)?);
    file.write_all(content)?;
    file.rewind()?;
    let seals = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FrameError, Frames, MOST};

    fn split(mut input: &[u8]) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut frames = Frames::default();
        let mut messages = Vec::new();
        loop {
            match runtime.block_on(frames.next(&mut input)) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, Ok(())),
                Err(error) => return (messages, Err(error)),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn whatever_arrives_is_split_at_its_nul_bytes(
            bytes in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(0)], 0..12_000)
        ) {
            let (messages, result) = split(&bytes);
            prop_assert!(result.is_ok());
            let mut expected: Vec<_> = bytes.split(|byte| *byte == 0).collect();
            expected.pop();
            prop_assert_eq!(messages, expected);
        }
    }

    #[test]
    fn the_longest_message_passes_and_one_byte_more_does_not() {
        let mut bytes = vec![b'x'; MOST];
        bytes.push(0);
        let (messages, result) = split(&bytes);
        assert!(result.is_ok() && messages[0].len() == MOST);
        bytes.insert(0, b'x');
        assert!(
            matches!(split(&bytes), (messages, Err(FrameError::TooLong)) if messages.is_empty())
        );
        bytes.pop();
        assert!(matches!(split(&bytes).1, Err(FrameError::TooLong)));
    }
}
