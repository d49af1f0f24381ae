//! One connection to a varlink service: calls and replies, some with a file.

use std::fs::File;
use std::io::{self, IoSliceMut, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

/// The longest message, without its NUL byte.
const MESSAGE_MAX: usize = 65_536;

/// The longest file that is taken with a reply.
const FILE_MAX: u64 = 256 << 20;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Text that arrives in pieces, and that a byte divides.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<u8>);

/// What a call was answered with.
#[derive(Debug)]
pub(super) struct Reply {
    /// The name of the error, if it is one.
    pub(super) error: Option<String>,
    pub(super) parameters: Value,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    pieces: Pieces,
    file: Option<File>,
}

impl Pieces {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole one, without the byte that ends it.
    pub(super) fn take(&mut self, end: u8) -> anyhow::Result<Option<Vec<u8>>> {
        match self.0.iter().position(|byte| *byte == end) {
            Some(at) if at <= MESSAGE_MAX => {
                let rest = self.0.split_off(at + 1);
                let mut piece = std::mem::replace(&mut self.0, rest);
                piece.pop();
                Ok(Some(piece))
            }
            None if self.0.len() <= MESSAGE_MAX => Ok(None),
            _ => bail!("a message of more than {MESSAGE_MAX} bytes arrived"),
        }
    }
}

impl Channel {
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self {
            stream,
            pieces: Pieces::default(),
            file: None,
        })
    }

    /// Makes a call and waits for its reply; none if the service hung up.
    pub(super) fn call(
        &mut self,
        method: &str,
        parameters: &Value,
    ) -> anyhow::Result<Option<Reply>> {
        self.send(&json!({"method": method, "parameters": parameters}))?;
        self.receive()
    }

    pub(super) fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(message)?;
        if text.len() > MESSAGE_MAX {
            bail!("the call has more than {MESSAGE_MAX} bytes");
        }
        text.push(0);
        match self.stream.write_all(&text) {
            // Reading finds out what the last word was.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.context("failed to send the call"),
        }
    }

    /// Waits for the next message; none at the end of the stream.
    pub(super) fn receive(&mut self) -> anyhow::Result<Option<Reply>> {
        loop {
            if let Some(reply) = self.next()? {
                return Ok(Some(reply));
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// A message that has arrived.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Reply>> {
        let Some(text) = self.pieces.take(0)? else {
            return Ok(None);
        };
        let mut message: Value =
            serde_json::from_slice(&text).context("the answer is no varlink message")?;
        let mut parameters = message["parameters"].take();
        if let Some(file) = self.file.take()
            && parameters.get("changeSetFileDescriptor").is_some()
        {
            let text = read_whole(file).context("failed to read the change set")?;
            parameters =
                json!({"size": text.len(), "changeSet": serde_json::from_slice::<Value>(&text)?});
        }
        Ok(Some(Reply {
            error: message["error"].as_str().map(str::to_owned),
            parameters,
        }))
    }

    /// Reads what is there; false at the end.
    pub(super) fn read(&mut self) -> anyhow::Result<bool> {
        let mut chunk = [0; 4_096];
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let mut slices = [IoSliceMut::new(&mut chunk)];
        let received = recvmsg::<()>(
            self.stream.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        );
        let message = match received {
            Ok(message) => message,
            Err(nix::Error::ECONNRESET) => return Ok(false),
            Err(nix::Error::EAGAIN) => bail!("no answer came within {} s", ANSWER_WITHIN.as_secs()),
            Err(error) => return Err(error).context("failed to read the answer"),
        };
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = control {
                for descriptor in descriptors {
                    #[expect(unsafe_code, reason = "the kernel hands descriptors over as numbers")]
                    // SAFETY: the kernel opened it for this process a moment ago, and nobody else
                    // knows of it.
                    let file = unsafe { File::from_raw_fd(descriptor) };
                    self.file = Some(file);
                }
            }
        }
        let read = message.bytes;
        self.pieces.add(&chunk[..read]);
        Ok(read > 0)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn read_whole(mut file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(FILE_MAX).read_to_end(&mut text)?;
    Ok(text)
}
