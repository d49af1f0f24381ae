//! A fleet in memory, played by a script: commits, votes, decisions, losses and time (M2, M3).
//!
//! [`Script::parse`] reads what is to happen, [`play`] lets it happen and writes down what comes of it.
//!
//! **Invariant:** who is asked, what waits for what and what a decision does is said by
//! `placet_planner`, as for a live fleet; rules and logic vote as they would there. Here stand the
//! nodes alone: that they take a while, answer, fetch, change, fail and get lost. The same script
//! gives the same transcript, byte for byte.

mod nodes;
mod script;
mod steps;
mod teller;
mod transcript;
mod votes;
mod world;

#[cfg(feature = "schema")]
pub use script::schema;
pub use script::{Script, ScriptError, Source};
pub use steps::play;
pub use transcript::{Line, Transcript};

#[cfg(test)]
mod tests;
