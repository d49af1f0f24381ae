//! `placetd` as it runs in the field: real processes, real sockets, mutual TLS, and a controller
//! that says exactly what each test wants it to say.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "the log of a daemon whose test fails")]

mod controller;
mod daemon;
mod disk;
mod faults;
mod fetching;
mod load;
mod logic;
mod machine;
mod software;

mod activation;
mod apt;
mod boot;
mod clock;
mod deputies;
mod figures;
mod following;
mod handover;
mod health;
mod hitless;
mod hostile;
mod impact;
mod joining;
mod kills;
mod lives;
mod mapped;
mod needrestart;
mod precision;
mod running;
mod session;
mod skew;
mod soak;
mod starting;
mod suites;
mod supervise;
mod test_mode;
mod voting;
