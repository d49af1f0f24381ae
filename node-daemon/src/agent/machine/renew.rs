//! Processes that are started anew though no change asks for it.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::ProcessName;

use super::converge::restarts;
use super::work::Phase;
use super::{Machine, find};

impl Machine {
    /// Restarts those of these processes that still run as they did, in the order of a change.
    /// Nothing is done while something else is: what was found is found again.
    pub(super) fn renew(&mut self, processes: &BTreeMap<ProcessName, u32>) {
        if self.work.is_some() || self.waits {
            return;
        }
        let is_same = |name: &ProcessName, pid: u32| {
            let process = self.processes.get(name).filter(|process| process.is_up());
            let running = process.and_then(|process| process.running(name));
            running.is_some_and(|running| running.pid == pid)
                && find(&self.current.manifest, name).is_some()
        };
        let meant = processes.iter().filter(|(name, pid)| is_same(name, **pid));
        let meant: BTreeSet<_> = meant.map(|(name, _)| name.clone()).collect();
        if meant.is_empty() {
            return;
        }
        let names: Vec<_> = meant.iter().map(ProcessName::as_str).collect();
        self.say(format!(
            "restarts {} from generation {}",
            names.join(", "),
            self.current.number
        ));
        let steps = restarts(&self.current, &self.processes, &meant).into();
        let waiting = BTreeSet::new();
        self.begin(Phase::Bringing { steps, waiting }, None);
        self.go_on();
    }
}
