//! Decision logic that packages carry: WebAssembly that votes for a process (M3).
//!
//! A process of a package may name a WebAssembly core module ([`placet_model::VoteLogic`]). The one
//! of the version that runs now is given the change, the node and the files that it asked for, as one
//! JSON document, and says accept, veto or defer. The node daemon, `placet check` and the simulator
//! call the same code with the same bytes, so that they get the same answer.
//!
//! A module exports its memory as `memory` and a function `decide` without parameters and results.
//! It may import three functions from `placet`, and nothing else:
//!
//! * `read(path, path_length, to, room) -> size`: copies the value at a JSON pointer (RFC 6901; the
//!   empty one is the whole input) to memory, as much of it as there is room for; returns its whole
//!   size, or -1 if there is none. Texts come as they are, everything else as JSON.
//! * `count(path, path_length) -> number`: how many elements the list or object at a JSON pointer
//!   has; -1 if there is none.
//! * `answer(from, length)`: the answer, as JSON; once.
//!
//! **Invariant:** whatever the bytes, a decision takes bounded time and memory and ends nobody else:
//! what a module may use is counted in fuel and bytes, never in seconds, so that the same input gives
//! the same answer on a slow machine and on a fast one. The one thing in which processors may differ,
//! the bits of a floating-point NaN, is of no use to a vote. A module that breaks the rules has not
//! answered, and that counts by the policy of its process.

mod answer;
mod decider;
mod fault;
mod host;
mod module;
mod question;

pub use answer::Opinion;
pub use decider::{Decider, Lookup, Vote};
pub use fault::LogicError;
pub use module::{Logic, MODULE_MOST};
pub use question::{FILE_MOST, Question};

#[cfg(test)]
mod tests;
