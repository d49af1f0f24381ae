//! Looks at what really runs: process ids and mapped files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::Pid;

use crate::Fleet;

/// Process ids by process name, as the node's status says; each must be alive.
pub fn pids(fleet: &Fleet, node: &str) -> BTreeMap<String, u64> {
    let object = fleet.resource("fleetnode", node);
    let processes = object["status"]["processes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    processes
        .iter()
        .map(|process| {
            let pid = process["pid"].as_u64().expect("a process has an id");
            assert!(
                Path::new(&format!("/proc/{pid}")).exists(),
                "{node}: {process} is alive"
            );
            (process["name"].as_str().expect("a name").to_owned(), pid)
        })
        .collect()
}

/// The same of every node, in their order.
pub fn pids_of_all(fleet: &Fleet) -> Vec<BTreeMap<String, u64>> {
    let nodes = fleet.node_names();
    nodes.iter().map(|node| pids(fleet, node)).collect()
}

/// Process ids by process name, as the node's status says, if all of them are alive.
pub fn alive(fleet: &Fleet, node: &str) -> Option<BTreeMap<String, u64>> {
    let status = fleet.resource("fleetnode", node)["status"].clone();
    // A node that runs nothing has no such field.
    let processes = status["processes"].as_array().into_iter().flatten();
    let alive = processes.map(|process| {
        let pid = process["pid"].as_u64()?;
        let is_alive = Path::new(&format!("/proc/{pid}")).exists();
        is_alive.then_some((process["name"].as_str()?.to_owned(), pid))
    });
    alive.collect()
}

/// Asserts that every file that a process of the node maps from a generation is the very file that
/// the committed generation has at the same path.
pub fn assert_never_a_mixture(fleet: &Fleet, node: &str) {
    let generations = fleet.node(node).state.join("generations");
    let committed =
        fs::canonicalize(fleet.node(node).state.join("committed")).expect("a committed generation");
    let mut seen = 0;
    for (process, pid) in pids(fleet, node) {
        let maps =
            fs::read_to_string(format!("/proc/{pid}/maps")).expect("a live process has maps");
        for line in maps.lines() {
            let mut fields = line.split_whitespace();
            let (Some(inode), Some(path)) = (fields.nth(4), fields.next()) else {
                continue;
            };
            let Ok(inside) = Path::new(path).strip_prefix(&generations) else {
                continue;
            };
            // <number>/tree/<module path>
            let module: std::path::PathBuf = inside.components().skip(2).collect();
            let wanted = fs::metadata(committed.join("tree").join(&module));
            let wanted =
                wanted.unwrap_or_else(|error| panic!("{node}: {process} maps {path}, {error}"));
            assert_eq!(
                inode,
                wanted.ino().to_string(),
                "{node}: {process} maps {path}, of another generation"
            );
            seen += 1;
        }
    }
    assert!(seen > 0, "{node}: no process maps anything of a generation");
}

/// CPU seconds and the largest resident memory, in MiB, of a process so far.
pub fn usage(process: Pid) -> (f64, f64) {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process is there");
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a status");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    let peak: f64 = peak
        .split_whitespace()
        .next()
        .and_then(|it| it.parse().ok())
        .expect("kB");
    ((ticks(11) + ticks(12)) / 100.0, peak / 1024.0)
}
