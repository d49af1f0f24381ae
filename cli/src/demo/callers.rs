//! Callers who come one after the other while a server is replaced.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;

/// A caller who is not greeted within this time counts as refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two callers.
const PAUSE: Duration = Duration::from_millis(2);

/// They call until they are told to end.
pub(super) struct Callers {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<(usize, usize)>>,
}

impl Callers {
    /// Has them call at this socket.
    pub(super) fn on(socket: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let (mut answered, mut refused) = (0, 0);
            while !flag.load(Ordering::Relaxed) {
                match call(&socket) {
                    Ok(()) => answered += 1,
                    Err(_) => refused += 1,
                }
                std::thread::sleep(PAUSE);
            }
            (answered, refused)
        });
        Self {
            over,
            thread: Some(thread),
        }
    }

    /// How many were answered, and how many refused.
    pub(super) fn end(mut self) -> anyhow::Result<(usize, usize)> {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        let ended = thread.and_then(|thread| thread.join().ok());
        ended.ok_or_else(|| anyhow!("the callers were lost"))
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Comes, waits to be greeted, and goes.
fn call(socket: &PathBuf) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(&mut [0; 1])
}
