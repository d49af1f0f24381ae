//! What a change would do to a fleet, worked out without one (M2, M4).
//!
//! [`compare`] takes the declarations and packages of two revisions and says, node by node, what
//! would change, which processes that touches and why, which requirements would not hold, and which
//! rules would object. Nodes that share a change are told of together. [`text`], [`markdown`],
//! [`json`], [`junit`] and [`sarif`] show the effect. [`diff`] does the same for two packages, without a fleet.
//! [`mod@entangled`] says which modules can only change together.
//!
//! **Invariant:** nothing is decided here. Manifests, change sets, problems and objections come from
//! `placet_planner`, as they do for a live fleet (M3), so that the two cannot differ. The same input
//! gives the same report, byte for byte.

mod alone;
mod changes;
mod compare;
mod counsel;
pub mod diff;
mod effect;
pub mod entangled;
mod explain;
mod facts;
mod live;
mod one_type;
mod place;
pub mod play;
mod report;
mod snapshot;
mod travel;
mod undefined;

pub use compare::{Missing, Side, Unknowable, compare};
pub use counsel::{Files, no_files};
pub use effect::{
    Counts, Effect, GroupChange, Obstacle, ObstacleKind, Outcome, Processes, Travel, UnknownNode,
    Veto,
};
pub use explain::{Chain, ExplainError, Explanation, Link, LinkKind, explain};
pub use live::{Live, LiveNode};
pub use one_type::{NamedPackage, Trial, TrialError, one_type};
pub use place::Place;
pub use placet_planner::CatalogEntry;
pub use report::explained::explained;
pub use report::json::{SCHEMA, json};
pub use report::junit::junit;
pub use report::markdown::{LENGTH_MAX, markdown};
pub use report::sarif::sarif;
pub use report::text::{Paint, text};
pub use snapshot::{SNAPSHOT_SCHEMA, Snapshot, SnapshotError, SnapshotNode};
pub use undefined::{Definer, Undefined};

/// The generated files: their places from the root of the repository, and their texts.
#[cfg(feature = "schema")]
pub fn generated() -> [(&'static str, String); 2] {
    [
        ("docs/check.schema.json", report::json::schema()),
        ("docs/snapshot.schema.json", snapshot::schema()),
    ]
}

#[cfg(test)]
mod tests;
