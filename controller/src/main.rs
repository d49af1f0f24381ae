//! `placet-controller`: the controller on Kubernetes.

use std::process::ExitCode;

use clap::Parser as _;
use placet_controller::arguments::{Arguments, main as run};

fn main() -> ExitCode {
    run(&Arguments::parse())
}
