//! A stretch of network between two programs, which can be interrupted.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What one packet of TCP carries on an ordinary network.
const SEGMENT: usize = 1_448;

/// Segments that are on their way at a time.
const ON_THE_WAY: usize = 256;

/// The least time after which Linux sends a segment again.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// What becomes of what passes. It is emulated on streams: a segment that is lost holds up what
/// follows until it would have been sent again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// What passes is as much later, in each direction.
    pub delay: Duration,
    /// One in so many segments is lost; none for 0.
    pub loses_one_in: u32,
}

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
    weather: Weather,
    /// Bytes that came through, back to those who connected.
    back: Arc<AtomicU64>,
}

impl Proxy {
    /// A way to `target`, at another address of this machine.
    pub fn start(target: SocketAddr) -> Self {
        Self::start_at([127, 0, 0, 1].into(), target, Weather::default())
    }

    /// A way to `target` that begins at this address of this machine.
    pub fn start_at(begin: IpAddr, target: SocketAddr, weather: Weather) -> Self {
        let listener = TcpListener::bind((begin, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let line = Arc::new(Mutex::new(Line {
            weather,
            ..Line::default()
        }));
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

    /// Bytes that came through so far, back to those who connected.
    pub fn came_back(&self) -> u64 {
        lock(&self.line).back.load(Ordering::Relaxed)
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
    let (weather, back) = (line.weather, Arc::clone(&line.back));
    for (mut from, mut to, count) in [
        (stream.try_clone()?, further.try_clone()?, Arc::default()),
        (further.try_clone()?, stream.try_clone()?, back),
    ] {
        thread::spawn(move || {
            // Either side may end it at any time; the other is told.
            let _ = if weather == Weather::default() {
                io::copy(&mut from, &mut to).map(|_| ())
            } else {
                carry(from, &to, weather, &count)
            };
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    line.streams.extend([stream, further]);
    Ok(())
}

/// Carries on what comes, as late as the weather has it.
fn carry(
    mut from: TcpStream,
    to: &TcpStream,
    weather: Weather,
    count: &AtomicU64,
) -> io::Result<()> {
    let (sender, segments) = sync_channel(ON_THE_WAY);
    thread::spawn(move || {
        let mut segment = vec![0; SEGMENT];
        while let Ok(length @ 1..) = from.read(&mut segment) {
            let due = Instant::now() + weather.delay;
            if sender.send((due, segment[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    deliver(&segments, to, weather, count)
}

fn deliver(
    segments: &Receiver<(Instant, Vec<u8>)>,
    mut to: &TcpStream,
    weather: Weather,
    count: &AtomicU64,
) -> io::Result<()> {
    for (due, segment) in segments {
        let is_lost = weather.loses_one_in > 0 && rand::random_ratio(1, weather.loses_one_in);
        let again = if is_lost {
            RETRANSMISSION + weather.delay
        } else {
            Duration::ZERO
        };
        thread::sleep(due.saturating_duration_since(Instant::now()) + again);
        to.write_all(&segment)?;
        count.fetch_add(segment.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}
