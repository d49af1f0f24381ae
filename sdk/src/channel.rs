//! One connection: messages that end in a NUL byte, some with a file descriptor.

use std::fs::File;
use std::io::{self, IoSliceMut, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

use crate::{ANSWER_WITHIN, Error};

/// The longest message, without its NUL byte.
const MOST: usize = 65_536;

/// The longest change set that is taken.
const MOST_FILE: u64 = 256 << 20;

/// The shortest time-out that the kernel takes for one; zero means none to it.
const AT_ONCE: Duration = Duration::from_micros(1);

#[derive(Debug)]
pub(crate) struct Channel {
    socket: UnixStream,
    frames: Frames,
    file: Option<File>,
}

/// What arrived at once.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) text: Vec<u8>,
    /// The descriptor that came with it.
    pub(crate) file: Option<File>,
}

/// Bytes that have arrived and were not taken yet.
#[derive(Debug, Default)]
struct Frames(Vec<u8>);

impl Channel {
    pub(crate) fn connect(path: &Path) -> Result<Self, Error> {
        let connected = UnixStream::connect(path).and_then(|socket| {
            socket.set_write_timeout(Some(ANSWER_WITHIN))?;
            Ok(socket)
        });
        let socket = connected.map_err(|source| Error::Connect {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            socket,
            frames: Frames::default(),
            file: None,
        })
    }

    pub(crate) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    pub(crate) fn send(&mut self, message: &Value) -> Result<(), Error> {
        let mut text = serde_json::to_vec(message).map_err(Error::Unexpected)?;
        if text.len() > MOST {
            return Err(Error::TooLong);
        }
        text.push(0);
        // The node daemon may have hung up after its last word: reading finds that out, and what
        // the word was.
        match self.socket.write_all(&text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(Error::Socket),
        }
    }

    /// The next message; `None` if none is complete within `timeout`. What arrived of it is kept.
    pub(crate) fn receive(&mut self, timeout: Option<Duration>) -> Result<Option<Message>, Error> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(text) = self.frames.take()? {
                let file = self.file.take();
                return Ok(Some(Message { text, file }));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match self.read(left) {
                Ok(0) => return Err(Error::Disconnected),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::ConnectionReset => return Err(Error::Disconnected),
                    _ => return Err(Error::Socket(error)),
                },
            }
        }
    }

    /// Reads what is there, with a descriptor where one comes along.
    fn read(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|timeout| timeout.max(AT_ONCE));
        self.socket.set_read_timeout(timeout)?;
        let mut chunk = [0; 4_096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut chunk)];
        let read = recvmsg(
            &self.socket,
            &mut slices,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.file = files.last().map(File::from);
            }
        }
        self.frames.0.extend_from_slice(&chunk[..read.bytes]);
        Ok(read.bytes)
    }
}

impl Frames {
    fn take(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.0.iter().position(|byte| *byte == 0) {
            Some(end) if end <= MOST => {
                let rest = self.0.split_off(end + 1);
                let mut message = std::mem::replace(&mut self.0, rest);
                message.pop();
                Ok(Some(message))
            }
            None if self.0.len() <= MOST => Ok(None),
            _ => Err(Error::TooLong),
        }
    }
}

/// Reads a file that was passed, which says to have `size` bytes.
pub(crate) fn read_exactly(mut file: File, size: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(size.min(MOST_FILE)).read_to_end(&mut text)?;
    if u64::try_from(text.len()) == Ok(size) {
        Ok(text)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Frames, MOST};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn messages_do_not_depend_on_how_they_arrive(
            bytes in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(0)], 0..5_000),
            chunk in 1_usize..1_000,
        ) {
            let mut frames = Frames::default();
            let mut messages = Vec::new();
            for chunk in bytes.chunks(chunk) {
                frames.0.extend_from_slice(chunk);
                while let Some(message) = frames.take().unwrap() {
                    messages.push(message);
                }
            }
            let mut expected: Vec<_> = bytes.split(|byte| *byte == 0).collect();
            expected.pop();
            prop_assert_eq!(messages, expected);
        }

        #[test]
        fn no_message_makes_the_reader_fail_otherwise_than_by_an_error(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = crate::decode::<crate::Wire>(&text).map(crate::Wire::event);
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused() {
        assert!(Frames(vec![b'x'; MOST]).take().unwrap().is_none());
        assert!(Frames(vec![b'x'; MOST + 1]).take().is_err());
    }
}
