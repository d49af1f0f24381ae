//! Status and conditions, computed from what is known: pure functions of (old, news, now).
//!
//! **Invariant:** what has not changed gives the same status as before, so that nothing is written
//! for it.

use jiff::Timestamp;
use placet_crds::{Condition, Reason, State, conditions};

pub(crate) mod class;
pub(crate) mod dry_run;
pub(crate) mod node;
pub(crate) mod package_set;
pub(crate) mod rollout;
pub(crate) mod source;

/// A count as the status fields have it.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// `1 node`, `2 nodes`.
fn counted(number: u32, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}

/// The conditions of an object that does not fit together with the others.
pub(crate) fn misfit(
    old: &[Condition],
    fault: String,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let state = State::Stalled(Reason::ReferenceMissing, fault);
    conditions(old, &state, Some(generation), now)
}
