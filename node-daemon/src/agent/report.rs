//! What the controller is told.

use placet_model::{Digest, Verdict, canonical_json};
use placet_protocol::wire::from_node::Message;
use placet_protocol::wire::{
    Activated, Drift, Failed, FailedHere, FromNode, Hello, Process, Report, Staged, Suite,
    TestFailure,
};

use super::core::Core;
use super::machine::{self, Tested};
use super::staging::Done;

/// More files are not told of at once.
const DRIFTS_MAX: usize = 100;

/// More suites, and more failures of one, are not told of.
const SUITES_MAX: usize = 32;
const FAILURES_MAX: usize = 5;

impl Core {
    /// What the node has, as the first message of a session (S2).
    pub(super) fn hello(&self) -> FromNode {
        let committed = self.machine.current();
        let manifest_json = if committed.number == 0 {
            Vec::new()
        } else {
            canonical_json(&committed.manifest)
        };
        message(Message::Hello(Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: self.boot_id.clone(),
            facts_json: canonical_json(&self.settings.facts),
            report: Some(Report {
                manifest_json,
                ..self.report()
            }),
            staged: self.staged_manifests(),
            failed: self.failed.iter().map(failed).collect(),
            memory: self.store.memory().is_ok(),
            protocol: Some(placet_protocol::SPOKEN.into()),
        }))
    }

    /// What runs.
    pub(super) fn report(&self) -> Report {
        let committed = self.machine.current();
        let process = |running: super::machine::Running| Process {
            name: running.process.to_string(),
            pid: running.pid,
            generation: running.generation,
            ready: running.ready,
        };
        Report {
            generation: committed.number,
            manifest_digest: committed.digest.to_string(),
            manifest_json: Vec::new(),
            processes: self.machine.running().map(process).collect(),
            drifts: self.drifts(),
            changing: self.machine.is_changing(),
            in_memory: self.in_memory(),
            failed_here: Some(FailedHere {
                manifests: self.failed.iter().map(failed).collect(),
            }),
            suites: self
                .machine
                .suites()
                .iter()
                .take(SUITES_MAX)
                .map(suite)
                .collect(),
        }
    }

    fn drifts(&self) -> Vec<Drift> {
        let drifts = self.drift.drifts.iter().take(DRIFTS_MAX);
        let drift = |drift: &crate::store::Drift| Drift {
            path: drift.path.display().to_string(),
            what: drift.what.to_string(),
            repaired: self.drift.is_repaired,
            running: false,
        };
        let running = self.stale.iter().map(super::stale::Stale::reported);
        let image = self.other_image.as_ref().map(|(path, why)| Drift {
            path: path.to_string(),
            what: format!("the node does not run this boot image: {why}"),
            repaired: false,
            running: true,
        });
        let files = drifts.map(drift);
        image
            .into_iter()
            .chain(files)
            .chain(running)
            .take(DRIFTS_MAX)
            .collect()
    }

    fn staged_manifests(&self) -> Vec<String> {
        let committed = self.machine.current().number;
        let numbers = self.store.numbers().unwrap_or_default().into_iter();
        let others = numbers.filter(|number| *number != committed);
        // One that cannot be read is as good as not there: it is staged again.
        others
            .filter_map(|number| self.store.load(number).ok())
            .map(|staged| staged.digest.to_string())
            .collect()
    }
}

fn suite(suite: &machine::Suite) -> Suite {
    let outcomes = || suite.tests.iter().map(|(_, outcome)| outcome);
    let count = |is: fn(&&Tested) -> bool| {
        let found = outcomes().filter(is).count();
        u32::try_from(found).unwrap_or(u32::MAX)
    };
    let failures = suite
        .tests
        .iter()
        .filter_map(|(test, outcome)| match outcome {
            Tested::Failed(why) => Some(TestFailure {
                test: test.to_string(),
                why: why.clone(),
            }),
            Tested::Waiting | Tested::Passed | Tested::Skipped => None,
        });
    Suite {
        package: suite.package.to_string(),
        version: suite.version.clone(),
        tests: count(|_| true),
        passed: count(|it| **it == Tested::Passed),
        skipped: count(|it| **it == Tested::Skipped),
        failed: count(|it| matches!(it, Tested::Failed(_))),
        failures: failures.take(FAILURES_MAX).collect(),
    }
}

fn failed((manifest, reason): (&Digest, &String)) -> Failed {
    Failed {
        manifest_digest: manifest.to_string(),
        reason: reason.clone(),
    }
}

fn message(message: Message) -> FromNode {
    FromNode {
        message: Some(message),
    }
}

pub(super) fn report(report: Report) -> FromNode {
    message(Message::Report(report))
}

pub(super) fn verdict(verdict: &Verdict) -> FromNode {
    message(Message::VerdictJson(canonical_json(verdict)))
}

pub(super) fn staged(
    rollout: String,
    change_digest: Digest,
    outcome: Result<Done, String>,
) -> FromNode {
    let (done, error) = match outcome {
        Ok(done) => (done, String::new()),
        Err(error) => (Done::default(), error),
    };
    message(Message::Staged(Staged {
        rollout,
        change_digest: change_digest.to_string(),
        modules: done.modules,
        bytes: done.bytes,
        error,
    }))
}

pub(super) fn activated(
    rollout: String,
    change_digest: Digest,
    generation: u64,
    error: String,
) -> FromNode {
    let change_digest = change_digest.to_string();
    message(Message::Activated(Activated {
        rollout,
        change_digest,
        generation,
        error,
    }))
}
