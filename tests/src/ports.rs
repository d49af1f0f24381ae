//! Ports for servers that are told where to listen.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what the system picks from for connections, which could take a port before its server does.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that nobody listens on; another one each time, and in each process.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(37);
    loop {
        let next = u32::from(GIVEN.fetch_add(1, Ordering::Relaxed));
        let offset = start.wrapping_add(next) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("less than COUNT");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}
