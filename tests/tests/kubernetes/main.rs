//! Placet on Kubernetes: a real API server, controllers, nodes and processes.

mod common;
mod faults;
mod story;
