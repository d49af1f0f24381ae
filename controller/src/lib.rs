//! Placet's controller: from a commit to running processes.
//!
//! * [`home`] keeps everything that matters, durably, before it is acted on;
//! * [`git`] brings declarations from repositories, [`catalog`] the packages that they name, and
//!   `observe` looks at both beside the loop;
//! * `fleet` is the loop: it owns what is known, and turns news into plans, orders and answers;
//! * `sessions` serves nodes, `admin` the command line, `admission` API servers;
//! * `dry_run` plans a change that nobody has made, and asks the live nodes about it;
//! * `status` says in words and conditions where everything stands, `telemetry` in numbers.
//!
//! [`run`] puts them together. What is to be done is decided by `placet_planner` alone; here it is
//! written down first, and done then.

mod admin;
mod admission;
pub mod arguments;
pub mod catalog;
mod counters;
mod dry_run;
mod events;
mod fleet;
pub mod git;
pub mod home;
mod host;
mod http;
pub mod kubernetes;
pub mod leader;
mod memory;
mod observe;
mod options;
mod receiver;
mod run;
pub mod secrets;
mod sessions;
mod shared;
mod status;
mod telemetry;

pub use counters::Counters;
pub use options::{InitialSource, Options, ROLLOUTS_KEPT};
pub use run::{Controller, Error, run};
