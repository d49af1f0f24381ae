//! The system's own `ssh` program.

mod connection;
mod keys;

pub(super) use connection::Connection;
pub(in crate::git) use keys::Keys;
