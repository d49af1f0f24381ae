//! What nodes use: joining, sessions, modules, new certificates.

mod fetch;
mod follower;
mod join;
mod nodes;
mod patch;
mod read;
mod session;

pub(crate) use follower::Follower;
pub(crate) use join::JoinService;
pub(crate) use nodes::NodesService;
pub(crate) use patch::Patches;
