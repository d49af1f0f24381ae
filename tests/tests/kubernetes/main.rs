//! Placet on Kubernetes: a real API server, controllers, nodes and processes.

mod admission;
mod cli;
mod common;
mod decisions;
mod dry_runs;
mod events;
mod faults;
mod figures;
mod health;
mod many;
mod networks;
mod pods;
mod reach;
mod registry;
mod signatures;
mod skew;
mod story;
mod webhooks;
