//! A stretch of network between two programs, which can be interrupted.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Passes connections on to another address. Ends with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Mutex<Line>>,
}

#[derive(Debug, Default)]
struct Line {
    is_cut: bool,
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// A way to `target`, at another address of this machine.
    pub fn start(target: SocketAddr) -> Self {
        Self::start_at([127, 0, 0, 1].into(), target)
    }

    /// A way to `target` that begins at this address of this machine.
    pub fn start_at(begin: IpAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind((begin, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let line = Arc::<Mutex<Line>>::default();
        let shared = Arc::clone(&line);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = pass(stream, target, &shared) {
                    eprintln!("no way to {target}: {error}");
                }
            }
        });
        Self { address, line }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection and takes no other.
    pub fn cut(&self) {
        let mut line = lock(&self.line);
        line.is_cut = true;
        for stream in line.streams.drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again.
    pub fn mend(&self) {
        lock(&self.line).is_cut = false;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn pass(stream: TcpStream, target: SocketAddr, line: &Mutex<Line>) -> io::Result<()> {
    let mut line = lock(line);
    if line.is_cut {
        return Ok(());
    }
    let further = TcpStream::connect(target)?;
    for (mut from, mut to) in [
        (stream.try_clone()?, further.try_clone()?),
        (further.try_clone()?, stream.try_clone()?),
    ] {
        thread::spawn(move || {
            // Either side may end it at any time; the other is told.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    line.streams.extend([stream, further]);
    Ok(())
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
