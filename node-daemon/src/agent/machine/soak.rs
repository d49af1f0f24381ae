//! What a change has to show after it is made: for a while, everything that it touched has to run
//! well, and nothing else may fall over again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use placet_model::ProcessName;

use super::work::{Phase, Work};
use super::{Effect, Machine, Moment};

/// A process that the change does not touch, and that was steady before, fails it by dying so often
/// within the soak time: it cannot live with what changed.
const LOOP: u32 = 3;

/// The time in which a change is watched.
#[derive(Debug)]
pub(super) struct Soak {
    pub(super) until: Moment,
    /// How long it lasts in all.
    lasts: Duration,
    /// How often processes died that the change does not touch.
    deaths: BTreeMap<ProcessName, u32>,
    /// Those that had died before it began.
    unsteady: BTreeSet<ProcessName>,
}

impl Soak {
    fn is_a_loop(&mut self, name: &ProcessName) -> bool {
        if self.unsteady.contains(name) {
            return false;
        }
        let deaths = self.deaths.entry(name.clone()).or_default();
        *deaths += 1;
        *deaths >= LOOP
    }
}

impl Work {
    /// When it is over that processes are watched.
    pub(super) fn soaks_until(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Soaking(soak) => Some(soak.until),
            Phase::Preparing(_) | Phase::Committing | Phase::Bringing { .. } => None,
        }
    }

    /// Why the change fails when this process has, if it does.
    pub(super) fn fails_by(&mut self, name: &ProcessName, why: &str) -> Option<String> {
        let touched = self.touched.contains(name);
        match &mut self.phase {
            Phase::Soaking(soak) => {
                let within = format!("within the soak time of {} s", soak.lasts.as_secs());
                if touched {
                    Some(format!("{why} ({within})"))
                } else {
                    soak.is_a_loop(name).then(|| {
                        format!("{why} ({within}, for the {LOOP}rd time; it was steady before)")
                    })
                }
            }
            Phase::Preparing(_) | Phase::Committing | Phase::Bringing { .. } => {
                touched.then(|| why.to_owned())
            }
        }
    }
}

impl Machine {
    /// Every process is where it should be: the change is watched, or is over.
    pub(super) fn brought(&mut self) {
        let activation = self.work.as_ref().and_then(|work| work.activation.as_ref());
        let soaks = activation
            .filter(|it| it.failure.is_none() && !it.order.soak.is_zero())
            .map(|it| (it.order.soak, it.order.to.digest, it.note()));
        let Some((lasts, manifest, mut note)) = soaks else {
            return self.finish(None);
        };
        // Those that an earlier agent brought are known by what they have handled.
        let of_change = self.processes.iter();
        let of_change = of_change.filter(|(_, process)| process.has_handled(manifest));
        let touched: Vec<_> = of_change.map(|(name, _)| name.clone()).collect();
        let unsteady = self.processes.iter();
        let unsteady = unsteady.filter(|(_, process)| process.is_unsteady());
        let soak = Soak {
            until: self.now + lasts,
            lasts,
            deaths: BTreeMap::new(),
            unsteady: unsteady.map(|(name, _)| name.clone()).collect(),
        };
        if let Some(work) = &mut self.work {
            work.touched.extend(touched);
            work.phase = Phase::Soaking(soak);
        }
        note.soaks = true;
        self.effects.push(Effect::Note(Some(note)));
        self.say(format!(
            "generation {} is watched for {} s before it counts as made",
            self.committed.number,
            lasts.as_secs()
        ));
        self.effects.push(Effect::Report);
    }

    /// Keeps the change if its time is over; one of whose processes it is still open whether they
    /// are ready waits for them.
    pub(super) fn end_soak(&mut self) {
        let Some(work) = &mut self.work else {
            return;
        };
        let Phase::Soaking(soak) = &mut work.phase else {
            return;
        };
        if soak.until > self.now {
            return;
        }
        let touched = work.touched.iter();
        let open = touched
            .filter_map(|name| self.processes.get(name))
            .filter(|process| process.is_starting())
            .filter_map(super::process::Process::deadline)
            .max();
        match open {
            Some(until) => soak.until = until.max(self.now + Duration::from_millis(1)),
            None => self.finish(None),
        }
    }
}
