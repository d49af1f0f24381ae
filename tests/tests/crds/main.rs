//! The definitions of our kinds on a real API server: it takes them, explains them, shows them, and
//! says yes and no to the same declarations as every command of ours.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

mod agreement;
mod explained;
mod shown;

use std::fs;
use std::sync::OnceLock;

use placet_tests::Cluster;

/// The API server of this test binary, with our kinds; none where nobody built one.
fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start).as_ref()
}

/// Runs kubectl on `text`, kept in a file called `name`; what it says on both outputs.
fn with_file(cluster: &Cluster, name: &str, text: &str, arguments: &[&str]) -> String {
    let path = cluster.path(name);
    fs::write(&path, text).expect("a file");
    let path = path.to_str().expect("a path");
    let all: Vec<&str> = arguments.iter().copied().chain(["-f", path]).collect();
    cluster.said(&all)
}

/// Runs kubectl, which must succeed.
#[track_caller]
fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    let result = cluster.run(arguments);
    result.unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
}
