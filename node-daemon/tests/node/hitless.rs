//! Servers that are replaced while they serve: nobody is refused, and no session breaks (C-S6).

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use placet_model::{ProcessKind, ProcessSpec};

use crate::software::{Software, compile_file};
use crate::supervise::{free_address, listens, node};

/// Connections a second, all together.
const RATE: u32 = 1_000;
const THREADS: u32 = 8;
/// Sessions that stay open all the time.
const SESSIONS: usize = 20;

fn updates() -> usize {
    if std::env::var_os("PLACET_FULL").is_some() {
        20
    } else {
        6
    }
}

/// What clients have seen.
#[derive(Default)]
struct Seen {
    answered: Vec<Instant>,
    failed: usize,
}

/// Clients that come and go, and clients that stay.
struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    comers: Vec<JoinHandle<Seen>>,
    stayers: Vec<JoinHandle<usize>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
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
    async fn go_on(&self, clients: usize) {
        let until = self.answered.load(Ordering::SeqCst) + clients;
        while self.answered.load(Ordering::SeqCst) < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Clients that came and went, and sessions that broke.
    fn end(self) -> (Seen, usize) {
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
    fn gap(&self) -> Duration {
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

/// The server in two versions.
fn server(program: &[u8], version: u32, change: impl FnOnce(&mut ProcessSpec)) -> Software {
    Software::new()
        .file("usr/lib/data", version.to_string().as_bytes())
        .process("usr/bin/tallyd", program, &["usr/lib/data"], |spec| {
            spec.kind = ProcessKind::SelfManaging;
            spec.notify = true;
            spec.stored_descriptors = 1_024;
            spec.state.saves = ["sessions/1".parse().unwrap()].into();
            spec.state.restores = spec.state.saves.clone();
            change(spec);
        })
}

/// Updates a server back and forth under load.
async fn update(address: SocketAddr, old: &Software, new: &Software) -> (Seen, usize) {
    let (controller, _daemon, mut session) = node(old).await;
    controller.serve(new);
    let load = Load::on(address);
    let mut now = session.running(&["tallyd"]).await["tallyd"];
    let (mut from, mut to) = (old, new);
    for _ in 0..updates() {
        let done = session.change(&from.manifest, &to.manifest).await;
        assert_eq!(done.error, "");
        let next = session.running(&["tallyd"]).await["tallyd"];
        assert_ne!(next, now, "it was replaced");
        now = next;
        (from, to) = (to, from);
        load.go_on(RATE as usize / 4).await;
    }
    load.end()
}

async fn is_hitless(name: &str, program: &[u8]) {
    let address = free_address();
    let version = |version| {
        server(program, version, |spec| {
            listens(&address.to_string())(spec);
            spec.sockets[0].name = "tally".parse().unwrap();
        })
    };
    let (seen, broken) = update(address, &version(1), &version(2)).await;
    eprintln!(
        "{name}: {} updates, {} connections answered, {} refused or reset, {broken} of {SESSIONS} sessions broken, longest gap {:?}",
        updates(),
        seen.answered.len(),
        seen.failed,
        seen.gap()
    );
    assert_eq!((seen.failed, broken), (0, 0));
    assert!(!seen.answered.is_empty());
}

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))
}

fn c_server() -> Vec<u8> {
    compile_file(&examples().join("processes/tallyd.c"))
}

fn rust_server() -> Vec<u8> {
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "-p",
            "placet-examples",
            "--example",
            "tallyd",
        ])
        .current_dir(examples())
        .status()
        .unwrap();
    assert!(status.success());
    let daemon = PathBuf::from(env!("CARGO_BIN_EXE_placetd"));
    std::fs::read(daemon.with_file_name("examples").join("tallyd")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_c_is_replaced_under_load_and_nobody_notices() {
    is_hitless("C", &c_server()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_rust_is_replaced_under_load_and_nobody_notices() {
    is_hitless("Rust", &rust_server()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_server_without_what_is_held_for_it_is_noticed() {
    let address = free_address();
    let version = |version| {
        server(&c_server(), version, |spec| {
            spec.arguments = vec![address.port().to_string()];
        })
    };
    let (seen, broken) = update(address, &version(1), &version(2)).await;
    eprintln!(
        "plain restart: {} updates, {} connections answered, {} refused or reset, sessions broken {broken} times, longest gap {:?}",
        updates(),
        seen.answered.len(),
        seen.failed,
        seen.gap()
    );
    assert!(broken >= SESSIONS, "{broken}");
}
