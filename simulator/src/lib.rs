//! What a change would do to a fleet, worked out without one (M2, M4).
//!
//! [`compare`] takes the declarations and packages of two revisions and says, node by node, what
//! would change, which processes that touches and why, which requirements would not hold, and which
//! rules would object. Nodes that share a change are told of together. [`text`], [`markdown`] and
//! [`json`] show the effect. [`diff`] does the same for two packages, without a fleet.
//!
//! **Invariant:** nothing is decided here. Manifests, change sets, problems and objections come from
//! `placet_planner`, as they do for a live fleet (M3), so that the two cannot differ. The same input
//! gives the same report, byte for byte.

mod compare;
pub mod diff;
mod effect;
mod facts;
mod report;
mod travel;

pub use compare::{Side, Unknowable, compare};
pub use effect::{
    Counts, Effect, GroupChange, Obstacle, Outcome, Processes, Travel, UnknownNode, Veto,
};
pub use report::json::{SCHEMA, json};
pub use report::markdown::{LENGTH_MAX, markdown};
pub use report::text::{Paint, text};

#[cfg(test)]
mod tests;
