//! What the node itself starts from (D9): it is installed before anybody is told of the change, and
//! confirmed after the restart, before any process of the new generation starts.
//!
//! The commands of the class are asked what the node runs, never taken for granted: a boot loader
//! that has fallen back is found out here, and the change is given back.

use placet_planner::restarts;

use super::work::{Activation, Phase, Work};
use super::{Effect, Machine, Moment};

/// What is asked of the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) enum BootStep {
    /// Whether the node runs the image of a generation.
    Confirm,
    /// To start from it the next time.
    Install,
    /// That the node is started anew.
    Restart,
}

/// What the boot loader is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Booting {
    step: BootStep,
    /// When the node has to be down.
    until: Option<Moment>,
}

impl From<BootStep> for Booting {
    fn from(step: BootStep) -> Self {
        Self { step, until: None }
    }
}

impl Activation {
    /// True if the two ends start from different images, as far as where it goes names one.
    pub(super) fn changes_image(&self) -> bool {
        let (from, to) = (&self.from.manifest, &self.order.to.manifest);
        match self.failure {
            None => restarts(from, to),
            Some(_) => restarts(to, from),
        }
    }
}

impl Work {
    /// When the node has to be down.
    pub(super) fn is_down_by(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Booting(booting) => booting.until,
            _ => None,
        }
    }
}

impl Machine {
    /// True while nothing may be started, since the node is about to restart.
    pub(super) fn is_booting(&self) -> bool {
        let phase = self.work.as_ref().map(|work| &work.phase);
        matches!(phase, Some(Phase::Booting(_)))
    }

    /// Sees to it that the node runs the image that it should, then goes on.
    pub(super) fn bring_node(&mut self) {
        self.boot(BootStep::Confirm);
    }

    /// Has the node started anew.
    pub(super) fn restart_node(&mut self) {
        self.boot(BootStep::Restart);
    }

    fn boot(&mut self, step: BootStep) {
        let target = self.boots_to();
        if let Some(work) = &mut self.work {
            work.phase = Phase::Booting(step.into());
            self.effects.push(Effect::Boot {
                work: work.id,
                step,
                generation: target,
            });
        }
    }

    /// The generation whose image is meant.
    fn boots_to(&self) -> std::sync::Arc<crate::store::Generation> {
        let activation = self.work.as_ref().and_then(|work| work.activation.as_ref());
        let forward = activation.filter(|activation| activation.failure.is_none());
        forward.map_or(&self.current, |it| &it.order.to).clone()
    }

    /// The boot loader has done what it was asked, or not.
    pub(super) fn booted(&mut self, id: u64, step: BootStep, result: Result<(), String>) {
        let is_awaited = self.work.as_ref().is_some_and(|work| {
            work.id == id && matches!(&work.phase, Phase::Booting(it) if *it == step.into())
        });
        if !is_awaited {
            return;
        }
        match (step, result) {
            (BootStep::Confirm, Ok(())) => self.runs_the_image(),
            (BootStep::Confirm, Err(why)) => self.runs_another(&why),
            (BootStep::Install, Ok(())) => self.installed(),
            (BootStep::Restart, Ok(())) => self.goes_down(),
            (BootStep::Install | BootStep::Restart, Err(why)) => self.boot_failed(&why),
        }
    }

    fn runs_the_image(&mut self) {
        self.restarted_for = None;
        // An agent before may have noted a restart that did not come to be.
        self.effects.push(Effect::NoteBoot(None));
        let number = self.boots_to().number;
        self.say(format!(
            "the node runs the boot image of generation {number}"
        ));
        self.go_on_from_boot(false);
    }

    /// Before the swap, whoever is asked is prepared; after it, processes are brought in line.
    fn go_on_from_boot(&mut self, restarts: bool) {
        let target = self.boots_to().digest;
        let is_swapped = target == self.current.digest;
        match self.work.as_mut().and_then(|work| work.activation.as_mut()) {
            Some(activation) if !is_swapped => {
                activation.restarts = restarts;
                self.prepare_processes();
            }
            _ if restarts => self.restart_node(),
            _ => self.bring(),
        }
    }

    fn runs_another(&mut self, why: &str) {
        let target = self.boots_to();
        if self.restarted_for == Some(target.digest) {
            return self.boot_failed(&format!(
                "the node was restarted for its boot image, and does not run it: {why}"
            ));
        }
        let activation = self.work.as_ref().and_then(|work| work.activation.as_ref());
        let forward = activation.filter(|activation| activation.failure.is_none());
        if forward.is_some_and(|it| it.order.test.flatten().is_some()) {
            let why = "it brings another boot image, and a restart would end the test: take the node out of test mode for this change";
            return self.finish(Some(why.to_owned()));
        }
        self.say(format!(
            "installs the boot image of generation {}: {why}",
            target.number
        ));
        self.boot(BootStep::Install);
    }

    fn installed(&mut self) {
        let target = self.boots_to().digest;
        self.restarted_for = None;
        self.effects.push(Effect::NoteBoot(Some(target)));
        self.go_on_from_boot(true);
    }

    fn goes_down(&mut self) {
        let target = self.boots_to();
        let boot = target.manifest.boot.as_ref();
        let within = boot.map_or(0, |boot| boot.commands.restart_seconds);
        if let Some(work) = &mut self.work {
            work.phase = Phase::Booting(Booting {
                step: BootStep::Restart,
                until: Some(self.now + Moment::from_secs(within.into())),
            });
        }
        self.say("the node restarts");
        self.effects.push(Effect::Report);
    }

    /// Gives up on a restart that does not come.
    pub(super) fn end_boot(&mut self) {
        let until = self.work.as_ref().and_then(Work::is_down_by);
        if until.is_some_and(|until| until <= self.now) {
            self.boot_failed("the node was told to restart, and is not down in time");
        }
    }

    fn boot_failed(&mut self, why: &str) {
        self.restarted_for = None;
        self.effects.push(Effect::NoteBoot(None));
        let activation = self.work.as_mut().and_then(|work| work.activation.as_mut());
        match activation {
            Some(activation) if activation.failure.is_none() => {
                activation.failure = Some(why.to_owned());
                activation.restarts = false;
                self.give_back();
            }
            Some(activation) => {
                let failure = activation.failure.take().unwrap_or_default();
                activation.failure = Some(format!(
                    "{failure}; and the boot image of before is not back: {why}"
                ));
                self.bring();
            }
            None => {
                self.say(format!(
                    "the node stays with the boot image that it runs: {why}"
                ));
                self.bring();
            }
        }
    }
}
