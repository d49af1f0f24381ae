//! What nodes use: joining, sessions, modules, new certificates.

mod fetch;
mod join;
mod nodes;
mod read;
mod session;

pub(crate) use join::JoinService;
pub(crate) use nodes::NodesService;
