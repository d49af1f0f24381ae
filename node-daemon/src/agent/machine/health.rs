//! Whether the processes that a change touched do their work, as their health commands see it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use placet_model::{HealthCommand, ProcessName};

use super::work::Phase;
use super::{Effect, Machine, Moment, find};

/// What is known of the processes that have a health command, and that the change touched.
#[derive(Debug, Default)]
pub(super) struct Health(BTreeMap<ProcessName, Patient>);

/// A process that is looked at again and again.
#[derive(Debug)]
struct Patient {
    /// When its command is run next; none while it runs.
    due: Option<Moment>,
    /// How often in a row it has failed; none before its first answer.
    failures: Option<u32>,
}

impl Health {
    /// Looks at these from now on.
    pub(super) fn of(names: Vec<ProcessName>, now: Moment) -> Self {
        let patient = || Patient {
            due: Some(now),
            failures: None,
        };
        Self(names.into_iter().map(|name| (name, patient())).collect())
    }

    /// When the next command is to be run.
    pub(super) fn due(&self) -> Option<Moment> {
        self.0.values().filter_map(|patient| patient.due).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if every process was well when it was last looked at, and none is looked at just now.
    pub(super) fn is_good(&self) -> bool {
        let is_well = |patient: &Patient| patient.due.is_some() && patient.failures == Some(0);
        self.0.values().all(is_well)
    }

    fn take_due(&mut self, now: Moment) -> Vec<ProcessName> {
        let is_due = |patient: &mut Patient| patient.due.take_if(|at| *at <= now).is_some();
        let patients = self.0.iter_mut();
        let due = patients.filter_map(|(name, patient)| is_due(patient).then(|| name.clone()));
        due.collect()
    }

    fn look_again(&mut self, name: &ProcessName, at: Moment) {
        if let Some(patient) = self.0.get_mut(name) {
            patient.due = Some(at);
        }
    }

    /// Takes note of an answer; says how often in a row it has been bad.
    fn note(&mut self, name: &ProcessName, is_well: bool) -> u32 {
        let Some(patient) = self.0.get_mut(name) else {
            return 0;
        };
        let bad = patient.failures.unwrap_or(0).saturating_add(1);
        let failures = if is_well { 0 } else { bad };
        patient.failures = Some(failures);
        failures
    }
}

impl Machine {
    /// How the health of a process is seen, if it says so.
    fn health_command(&self, name: &ProcessName) -> Option<&HealthCommand> {
        let (_, spec) = find(&self.current.manifest, name)?;
        spec.health.as_ref()
    }

    /// True if the process runs and has a health command.
    pub(super) fn is_patient(&self, name: &ProcessName) -> bool {
        let process = self.processes.get(name);
        let lives = process.is_some_and(super::process::Process::is_alive);
        lives && self.health_command(name).is_some()
    }

    fn health(&mut self) -> Option<&mut Health> {
        match &mut self.work.as_mut()?.phase {
            Phase::Soaking(soak) => Some(&mut soak.health),
            Phase::Booting(_)
            | Phase::Preparing(_)
            | Phase::Committing
            | Phase::Bringing { .. } => None,
        }
    }

    /// Runs the health commands whose time has come. That of a process which is not up has to wait:
    /// whether it comes up is watched already.
    pub(super) fn look(&mut self) {
        let now = self.now;
        let due = self.health().map(|health| health.take_due(now));
        for name in due.unwrap_or_default() {
            let process = self.processes.get(&name).filter(|process| process.is_up());
            match process.and_then(|process| process.pid) {
                Some(pid) => self.effects.push(Effect::Look {
                    process: name,
                    pid,
                    generation: Arc::clone(&self.current),
                }),
                None => self.look_again(&name),
            }
        }
    }

    fn look_again(&mut self, name: &ProcessName) {
        let every = self.health_command(name).map(|it| it.every_seconds);
        let at = self.now + Duration::from_secs(every.unwrap_or(1).into());
        if let Some(health) = self.health() {
            health.look_again(name, at);
        }
    }

    /// A health command has answered.
    pub(super) fn looked(&mut self, name: &ProcessName, pid: u32, answer: &Result<(), String>) {
        let process = self.processes.get(name);
        if process.is_none_or(|process| process.pid != Some(pid)) {
            return self.look_again(name);
        }
        let allowed = self.health_command(name).map_or(0, |it| it.failures);
        let Some(health) = self.health() else {
            // The change has ended while the command ran.
            return;
        };
        let failures = health.note(name, answer.is_ok());
        self.look_again(name);
        match answer {
            Err(why) if failures >= allowed => {
                let times = if failures == 1 {
                    "once"
                } else {
                    &format!("{failures} times in a row")
                };
                let text = format!("{name} is not well: {why} ({times})");
                self.say(text.clone());
                self.failed(name, &text);
            }
            Err(why) => self.say(format!("{name} may not be well: {why}")),
            Ok(()) => self.end_soak(),
        }
    }
}
