//! From what runs to what is to run: which processes are stopped, told and started, and in
//! which order. The one place for activation, giving back, and starting after a crash.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use placet_model::{Digest, ProcessAction, ProcessName};
use placet_planner::change_in_place;

use super::process::Process;
use super::{Announcements, find_service};
use crate::store::Generation;

/// What is done at once; the next step begins when this one is through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Stop these and wait until they are gone.
    Stop(BTreeSet<ProcessName>),
    /// Start these, or tell them of the change, and wait until they are ready.
    Bring(BTreeMap<ProcessName, Way>),
}

/// How a process is brought in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is started.
    Start,
    /// It is told, and acts by itself.
    Tell,
    /// It gets the signal to read its files again.
    Reload,
    /// It is told, if it listens.
    Notify,
}

/// What becomes of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stop,
    Restart,
    Bring(Way),
}

/// The steps to `current`: obsolete and restarted processes are stopped in descending start
/// order, then processes are brought up in ascending order. Processes that a change does not touch
/// are in no step.
///
/// `overridden` processes are restarted where they would be told.
pub(super) fn steps(
    current: &Generation,
    processes: &BTreeMap<ProcessName, Process>,
    announced: &Announcements,
    overridden: Overridden<'_>,
) -> Vec<Step> {
    let mut changes = Changes {
        current,
        announced,
        known: BTreeMap::new(),
    };
    let mut stop: BTreeMap<Reverse<i32>, BTreeSet<ProcessName>> = BTreeMap::new();
    let mut bring: BTreeMap<i32, BTreeMap<ProcessName, Way>> = BTreeMap::new();
    let wanted = current.manifest.services();
    let names: BTreeSet<_> = processes
        .keys()
        .chain(wanted.map(|(_, spec)| &spec.name))
        .collect();
    for name in names {
        let process = processes.get(name);
        let Some(fate) = changes.fate(name, process, overridden) else {
            continue;
        };
        if let (Fate::Stop | Fate::Restart, Some(process)) = (fate, process) {
            stop.entry(Reverse(process.spec.start_order))
                .or_default()
                .insert(name.clone());
        }
        let way = match fate {
            Fate::Stop => continue,
            Fate::Restart => Way::Start,
            Fate::Bring(way) => way,
        };
        if let Some(spec) = find_service(&current.manifest, name) {
            let together = bring.entry(spec.start_order).or_default();
            together.insert(name.clone(), way);
        }
    }
    let stop = stop.into_values().map(Step::Stop);
    stop.chain(bring.into_values().map(Step::Bring)).collect()
}

/// The steps by which these processes are restarted, though nothing has changed.
pub(super) fn restarts(
    current: &Generation,
    processes: &BTreeMap<ProcessName, Process>,
    names: &BTreeSet<ProcessName>,
) -> Vec<Step> {
    let mut stop: BTreeMap<Reverse<i32>, BTreeSet<ProcessName>> = BTreeMap::new();
    let mut bring: BTreeMap<i32, BTreeMap<ProcessName, Way>> = BTreeMap::new();
    for name in names {
        if let (Some(process), Some(spec)) =
            (processes.get(name), find_service(&current.manifest, name))
        {
            let together = stop.entry(Reverse(process.spec.start_order)).or_default();
            together.insert(name.clone());
            let together = bring.entry(spec.start_order).or_default();
            together.insert(name.clone(), Way::Start);
        }
    }
    let stop = stop.into_values().map(Step::Stop);
    stop.chain(bring.into_values().map(Step::Bring)).collect()
}

/// Which self-managing processes are restarted instead of told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Overridden<'a> {
    /// There is no change that they could be told of.
    All,
    These(&'a BTreeSet<ProcessName>),
}

/// Changes from the generations that processes have handled to the current one, each computed
/// once.
struct Changes<'a> {
    current: &'a Generation,
    announced: &'a Announcements,
    known: BTreeMap<Digest, BTreeMap<ProcessName, ProcessAction>>,
}

impl Changes<'_> {
    /// `None` if the process is left alone.
    fn fate(
        &mut self,
        name: &ProcessName,
        process: Option<&Process>,
        overridden: Overridden<'_>,
    ) -> Option<Fate> {
        let wanted = find_service(&self.current.manifest, name).is_some();
        let Some(process) = process.filter(|process| process.is_alive()) else {
            return wanted.then_some(Fate::Bring(Way::Start));
        };
        if !wanted {
            return Some(Fate::Stop);
        }
        if process.is_stopping() {
            return Some(Fate::Restart);
        }
        if process.has_handled(self.current.digest) {
            // An earlier agent started it; whether it becomes ready is still open.
            return process.is_starting().then_some(Fate::Bring(Way::Start));
        }
        match self.action(&process.handled, name)? {
            ProcessAction::Ask if !overridden.has(name) => Some(Fate::Bring(Way::Tell)),
            ProcessAction::Reload => Some(Fate::Bring(Way::Reload)),
            ProcessAction::Notify => Some(Fate::Bring(Way::Notify)),
            _ => Some(Fate::Restart),
        }
    }

    fn action(&mut self, handled: &Generation, name: &ProcessName) -> Option<ProcessAction> {
        let (current, announced) = (self.current, self.announced);
        let actions = self.known.entry(handled.digest).or_insert_with(|| {
            // Whatever runs, runs on the image that it should by now.
            let change = change_in_place(&handled.manifest, &current.manifest, announced);
            let processes = change.processes.into_iter();
            processes
                .map(|process| (process.name, process.action))
                .collect()
        });
        actions.get(name).copied()
    }
}

impl Overridden<'_> {
    fn has(self, name: &ProcessName) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }
}
