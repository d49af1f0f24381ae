//! Real parts for the tests of the whole: a git repository, packages, the controller and node
//! daemons as processes of their own. Each is owned by a value that ends it when dropped.

#![expect(
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say what they tried"
)]

mod boot_loader;
mod cluster;
pub mod command;
mod debian;
mod feed;
mod fleet;
mod groups;
mod inspect;
mod kube_fleet;
mod network;
mod packages;
mod ports;
mod proxy;
mod registry;
mod sample;
mod schemas;
mod servers;
mod token_service;
mod wire;

pub use boot_loader::BootLoader;
pub use cluster::Cluster;
pub use debian::debs;
pub use feed::{Event, Feed};
pub use fleet::{Away, Fleet, FleetOptions, Node, Programs, poll};
pub use groups::{groups_of, remove_groups};
pub use inspect::{alive, assert_never_a_mixture, pids, pids_of_all, usage};
pub use kube_fleet::{KubeFleet, KubeUser, NAMESPACE};
pub use network::Network;
pub use packages::{build_kind, controller_program, edit, packages, placet};
pub use ports::{free_address, free_port};
pub use proxy::Proxy;
pub use registry::{REGISTRY_NAME, REGISTRY_PASSWORD, REGISTRY_USER, RegistryServer};
pub use sample::{Sample, evidence, is_full, median, thousandths};
pub use schemas::{assert_cyclonedx, sarif_schema};
pub use servers::{program, servers, skipped};
pub use token_service::{REGISTRY_GUEST, REGISTRY_IDENTITY};
pub use wire::Weather;
