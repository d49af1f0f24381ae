//! The backup, as a stream.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use placet_protocol::wire::Chunk;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::status_of;
use crate::home::HomeError;
use crate::home::embedded::back_up;

/// Bytes that are sent at once.
const CHUNK: usize = 256 << 10;

/// Chunks that are read ahead of a client that is slow.
const AHEAD: usize = 4;

/// Backups of one state folder, one at a time.
#[derive(Debug, Clone)]
pub(crate) struct Backups {
    state: Arc<Path>,
    /// Held while the file is made, which has no name afterwards.
    making: Arc<Mutex<()>>,
}

impl Backups {
    pub(crate) fn of(state: &Path) -> Self {
        Self {
            state: state.into(),
            making: Arc::default(),
        }
    }

    /// The bytes of a backup of this moment.
    pub(super) fn open(&self) -> impl Stream<Item = Result<Chunk, Status>> + use<> {
        let (sender, chunks) = mpsc::channel(AHEAD);
        let this = self.clone();
        spawn_blocking(move || {
            let sent = this.make().and_then(|file| send(file, &sender));
            if let Err(error) = sent {
                // Whoever asked may have gone.
                let _ = sender.blocking_send(Err(status_of(&error)));
            }
        });
        ReceiverStream::new(chunks)
    }

    fn make(&self) -> Result<File, HomeError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.state.join("home/backup.db");
        back_up(&self.state, &path)?;
        let file = File::open(&path).map_err(HomeError::files("read", &path))?;
        fs::remove_file(&path).map_err(HomeError::files("remove", &path))?;
        Ok(file)
    }
}

fn send(mut file: File, to: &mpsc::Sender<Result<Chunk, Status>>) -> Result<(), HomeError> {
    loop {
        let mut data = vec![0; CHUNK];
        let read = file.read(&mut data);
        let read = read.map_err(HomeError::files("read", "the backup"))?;
        data.truncate(read);
        let chunk = Chunk { data, patch: false };
        if read == 0 || to.blocking_send(Ok(chunk)).is_err() {
            return Ok(());
        }
    }
}
