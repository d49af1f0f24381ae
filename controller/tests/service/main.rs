//! A controller over real sockets, with a real repository and real packages, and nodes that follow
//! a script instead of running processes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod admin;
mod bench;
mod dry_run;
mod git;
mod killed;
mod metrics;
mod node;
mod nodes;
mod openmetrics;
mod rules;
mod sources;
mod story;
mod suites;
mod swift;
mod told;
mod traces;
