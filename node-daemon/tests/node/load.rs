//! Clients of the server `tallyd`, which see whether it is replaced.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections a second, all together.
pub(crate) const RATE: u32 = 1_000;
const THREADS: u32 = 8;
/// Sessions that stay open all the time.
pub(crate) const SESSIONS: usize = 20;

/// What clients have seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) answered: Vec<Instant>,
    pub(crate) failed: usize,
}

/// Clients that come and go, and clients that stay.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    comers: Vec<JoinHandle<Seen>>,
    stayers: Vec<JoinHandle<usize>>,
}

impl Load {
    pub(crate) fn on(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let flag = || Arc::clone(&over);
        let answered = Arc::new(AtomicUsize::new(0));
        let comers = (0..THREADS).map(|_| (flag(), Arc::clone(&answered)));
        let comers: Vec<_> = comers
            .map(|(over, count)| std::thread::spawn(move || come_and_go(address, &over, &count)))
            .collect();
        let stayers = (0..SESSIONS).map(|_| flag());
        let stayers: Vec<_> = stayers
            .map(|over| std::thread::spawn(move || stay(address, &over)))
            .collect();
        Self {
            over,
            answered,
            comers,
            stayers,
        }
    }

    /// Waits until so many more clients have come and gone.
    pub(crate) async fn go_on(&self, clients: usize) {
        let until = self.answered.load(Ordering::SeqCst) + clients;
        while self.answered.load(Ordering::SeqCst) < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Clients that came and went, and sessions that broke.
    pub(crate) fn end(self) -> (Seen, usize) {
        self.over.store(true, Ordering::SeqCst);
        let mut all = Seen::default();
        for comer in self.comers {
            let seen = comer.join().unwrap();
            all.answered.extend(seen.answered);
            all.failed += seen.failed;
        }
        all.answered.sort_unstable();
        let broken = self.stayers.into_iter().map(|it| it.join().unwrap()).sum();
        (all, broken)
    }
}

impl Seen {
    /// The longest time without an answer.
    pub(crate) fn gap(&self) -> Duration {
        let pairs = self.answered.windows(2);
        pairs.map(|pair| pair[1] - pair[0]).max().unwrap()
    }
}

fn come_and_go(address: SocketAddr, over: &AtomicBool, count: &AtomicUsize) -> Seen {
    let pause = Duration::from_secs(1) * THREADS / RATE;
    let mut seen = Seen::default();
    let mut next = Instant::now();
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += pause;
        match TcpStream::connect(address).and_then(|stream| add(&mut BufReader::new(stream))) {
            Ok(1) => {
                seen.answered.push(Instant::now());
                count.fetch_add(1, Ordering::SeqCst);
            }
            _ => seen.failed += 1,
        }
    }
    seen
}

/// A session whose sum has to grow by one with each answer; returns how often it broke.
fn stay(address: SocketAddr, over: &AtomicBool) -> usize {
    let mut broken = 0;
    let (mut session, mut sum) = (None, 0);
    while !over.load(Ordering::SeqCst) {
        let stream = session.take().or_else(|| {
            sum = 0;
            TcpStream::connect(address).ok().map(BufReader::new)
        });
        let Some(mut stream) = stream else {
            continue;
        };
        match add(&mut stream) {
            Ok(answer) if answer == sum + 1 => (session, sum) = (Some(stream), answer),
            _ => broken += 1,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    broken
}

fn add(stream: &mut BufReader<TcpStream>) -> std::io::Result<i64> {
    stream.get_mut().write_all(b"1\n")?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    line.trim().parse().map_err(std::io::Error::other)
}
