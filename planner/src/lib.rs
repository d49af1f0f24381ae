//! Placet's decisions, as pure functions over plain data.
//!
//! Three questions, asked in this order:
//!
//! 1. [`target`]: what should every node run? Declarations, catalog and node facts in; one manifest
//!    for each distinct configuration, problems and notes out (D2 to D8).
//! 2. [`change`]: what would it do to a node to go from one manifest to another? The change set with
//!    every affected process and every reason (V1, V2). Controller, node and simulator call the
//!    same function.
//! 3. [`plan`]: given the target and what is observed, what happens now, what waits, and for what?
//!
//! **Invariant:** no I/O, no clock, no randomness, no hash maps. Time is [`Observed::now`]. The same
//! input gives the same output, byte for byte. Nothing that differs from what is desired is skipped
//! silently: it is in [`Plan::steps`] or in [`Plan::held`].

mod audit;
mod beside;
mod catalog;
mod change;
mod display;
mod libraries;
mod missing_symbols;
mod observed;
mod plan;
mod problem;
mod refusal;
mod remote;
mod rollout;
mod rules;
mod tally;
mod target;

pub use audit::{Violation, audit};
pub use catalog::{Catalog, CatalogEntry, Unresolved};
pub use change::{
    Announcement, Announcements, Dependency, Needs, TiedProcess, Ties, change, change_in_place,
    change_with, is_changed, restarts, ties,
};
pub use libraries::library_directories;
pub use missing_symbols::{MissingSymbols, RunningLibrary, RunsWith};
pub use observed::{Observed, ObservedNode, Presence, RolloutState, Running};
pub use plan::{Action, NodePlan, Plan, Step, Target, TargetNode, WaitingOn};
pub use problem::{Note, Problem};
pub use refusal::{Refusal, check_decision};
pub use remote::Unmet;
pub use rollout::{noted, plan, surplus, tally, window_opens};
pub use rules::{ChangeView, NodeView, Objection, Rules};
pub use tally::{Tally, verdict_of};
pub use target::{Planner, target, target_with};

#[cfg(test)]
mod tests;
