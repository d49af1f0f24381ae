//! What a change has to show after it is made: for a while, everything that it touched has to run
//! well, and nothing else may fall over again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use placet_model::{Digest, ProcessName};

use super::health::Health;
use super::work::{Phase, Work};
use super::{Effect, Machine, Moment};

/// A process that the change does not touch, and that was steady before, fails it by dying so often
/// within the soak time: it cannot live with what changed.
const LOOP: u32 = 3;

/// The time in which a change is watched.
#[derive(Debug)]
pub(super) struct Soak {
    until: Moment,
    /// How long it lasts in all.
    lasts: Duration,
    /// How often processes died that the change does not touch.
    deaths: BTreeMap<ProcessName, u32>,
    /// Those that had died before it began.
    unsteady: BTreeSet<ProcessName>,
    pub(super) health: Health,
}

impl Soak {
    /// When something is to be looked at, after `now`.
    fn next(&self, now: Moment) -> Option<Moment> {
        let end = Some(self.until).filter(|at| *at > now);
        end.into_iter().chain(self.health.due()).min()
    }

    fn within(&self) -> String {
        if self.lasts.is_zero() {
            String::new()
        } else {
            format!(" (within the soak time of {} s)", self.lasts.as_secs())
        }
    }

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
    /// When processes that are watched are to be looked at, after `now`.
    pub(super) fn looks_at(&self, now: Moment) -> Option<Moment> {
        match &self.phase {
            Phase::Soaking(soak) => soak.next(now),
            Phase::Booting(_)
            | Phase::Preparing(_)
            | Phase::Committing
            | Phase::Bringing { .. } => None,
        }
    }

    /// Why the change fails when this process has, if it does.
    pub(super) fn fails_by(&mut self, name: &ProcessName, why: &str) -> Option<String> {
        let touched = self.touched.contains(name);
        match &mut self.phase {
            Phase::Soaking(soak) => {
                if touched {
                    Some(format!("{why}{}", soak.within()))
                } else {
                    let seconds = soak.lasts.as_secs();
                    soak.is_a_loop(name).then(|| {
                        format!(
                            "{why} (within the soak time of {seconds} s, for the {LOOP}rd time; it was steady before)"
                        )
                    })
                }
            }
            Phase::Booting(_)
            | Phase::Preparing(_)
            | Phase::Committing
            | Phase::Bringing { .. } => touched.then(|| why.to_owned()),
        }
    }
}

impl Machine {
    /// Every process is where it should be: the change is watched, or is over.
    pub(super) fn brought(&mut self) {
        let work = self.work.as_ref();
        let forward = work
            .and_then(|work| Some((work.activation.as_ref()?, &work.touched)))
            .filter(|(activation, _)| activation.failure.is_none() && !activation.is_still());
        let Some((activation, brought)) = forward else {
            return self.finish(None);
        };
        let (lasts, manifest) = (activation.order.soak, activation.order.to.digest);
        let mut note = activation.note();
        // Those that an earlier agent brought are known by what they have handled.
        let of_change = self.processes.iter();
        let of_change = of_change.filter(|(_, process)| process.has_handled(manifest));
        let touched: BTreeSet<_> = of_change.map(|(name, _)| name).chain(brought).collect();
        let touched: Vec<_> = touched.into_iter().cloned().collect();
        let patients = touched.iter().filter(|name| self.is_patient(name));
        let health = Health::of(patients.cloned().collect(), self.now);
        if lasts.is_zero() && health.is_empty() {
            return self.finish(None);
        }
        let unsteady = self.processes.iter();
        let unsteady = unsteady.filter(|(_, process)| process.is_unsteady());
        let soak = Soak {
            until: self.now + lasts,
            lasts,
            deaths: BTreeMap::new(),
            unsteady: unsteady.map(|(name, _)| name.clone()).collect(),
            health,
        };
        if let Some(work) = &mut self.work {
            work.touched.extend(touched);
            work.phase = Phase::Soaking(soak);
        }
        note.soaks = true;
        self.effects.push(Effect::Note(Some(note)));
        let number = self.current.number;
        self.say(match lasts.as_secs() {
            0 => format!("generation {number} counts as made once its processes are well"),
            seconds => {
                format!("generation {number} is watched for {seconds} s before it counts as made")
            }
        });
        self.effects.push(Effect::Report);
        self.look();
    }

    /// Gives the change back, if it is this one and still watched: other nodes failed it.
    pub(super) fn let_down(&mut self, change_digest: Digest, why: &str) {
        let Some(work) = &mut self.work else { return };
        let (Phase::Soaking(soak), Some(activation)) = (&work.phase, &mut work.activation) else {
            return;
        };
        if activation.order.change_digest == change_digest {
            activation.failure = Some(format!("{why}{}", soak.within()));
            self.give_back();
        }
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
        // One that is not well has to get well, or to fail for good.
        if soak.until > self.now || !soak.health.is_good() {
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
