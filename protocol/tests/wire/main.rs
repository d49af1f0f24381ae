//! The wire over real loopback sockets: a small controller, honest nodes and hostile ones.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod admin;
mod certificates;
mod controller;
mod handshake;
mod hostile;
mod join;
