//! The agent's end of the connection to the keeper.

use std::io;
use std::os::fd::AsFd as _;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, LinesCodec};

use super::core::Input;
use crate::link::{Command, Event, LINE_MAX, line};

/// The keeper's side was lost, or does not speak the language.
pub(super) type Lost = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct KeeperLink {
    stream: UnixStream,
}

impl KeeperLink {
    /// The keeper passes its socket as standard input.
    pub(super) fn from_stdin() -> io::Result<Self> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
        Self::new(std::os::unix::net::UnixStream::from(socket))
    }

    pub(super) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: UnixStream::from_std(stream)?,
        })
    }

    /// Asks the keeper what runs, then passes on what it says, and what is to be said to it.
    pub(super) async fn open(
        self,
        inputs: mpsc::UnboundedSender<Input>,
    ) -> Result<(Event, mpsc::UnboundedSender<Command>), Lost> {
        let (read, mut writer) = self.stream.into_split();
        let mut reader = FramedRead::new(read, LinesCodec::new_with_max_length(LINE_MAX));
        writer.write_all(&line(&Command::List)).await?;
        let first = reader.next().await.ok_or("the keeper hung up")??;
        let table = serde_json::from_str(&first)?;
        let (sender, mut commands) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(command) = commands.recv().await {
                if writer.write_all(&line(&command)).await.is_err() {
                    // The reader sees the end and says so.
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(Ok(text)) = reader.next().await {
                match serde_json::from_str(&text) {
                    Ok(event) => drop(inputs.send(Input::Keeper(event))),
                    Err(error) => tracing::error!("the keeper said something unknown: {error}"),
                }
            }
            let _ = inputs.send(Input::KeeperGone);
        });
        Ok((table, sender))
    }
}
