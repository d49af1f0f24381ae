//! Proposals: what the change would do here, and what the processes say to it (V2 to V4).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use placet_model::{
    Because, ChangeSet, Digest, ModulePath, NodeManifest, NodeName, ProcessAction, ProcessChange,
    ProcessName, Proposal, Verdict, VerdictKind, VoteRecord,
};
use placet_planner::{Announcements, change, change_with, verdict_of};

use super::command::Spoken;
use super::core::{Core, Input};
use super::deputy::Deputy;
use super::machine::{Running, find};
use super::{launch, report};
use crate::store::Store;
use crate::vote::Voter;

impl Core {
    /// Answers a proposal, after asking whom it touches. A newer one ends the question that is
    /// open.
    pub(super) fn propose(&mut self, proposal: &Proposal) {
        self.withdraw_open("a newer proposal took its place");
        let digest = proposal.change_digest;
        let change_set = match self.examined(proposal) {
            Ok(change_set) => change_set,
            Err(why) => {
                let verdict = self.verdict_on(proposal, Vec::new(), Some(why));
                return self.asked(Box::new(verdict));
            }
        };
        tracing::info!(change = %digest.short(), "is asked about {} by {}: {} modules, {} processes", proposal.revision, proposal.rollout, change_set.modules.len(), change_set.processes.len());
        let hearing = self.hearing(proposal, change_set, digest);
        let draft = self.verdict_on(proposal, Vec::new(), None);
        let (voters, handle) = (self.voters.clone(), self.handle.clone());
        let promise_seconds = proposal.promise_seconds;
        let task = tokio::spawn(async move {
            let records = hearing.hear(&voters).await;
            let verdict = Verdict {
                verdict: verdict_of(&records),
                records,
                ..draft
            };
            handle.send(Input::Asked(Box::new(dated(verdict, promise_seconds))));
        });
        self.asking.insert(digest, task.abort_handle());
    }

    /// What the change would do here, or why that cannot be said.
    pub(super) fn examined(&self, proposal: &Proposal) -> Result<ChangeSet, String> {
        examine(
            proposal,
            &self.settings.node,
            &self.machine.current().manifest,
            &self.voters.announced(),
        )
    }

    /// The processes to ask, each with the time that it may still need to register.
    pub(super) fn electorate(
        &self,
        change_set: &ChangeSet,
        proposal: &Proposal,
    ) -> Vec<(Voter, Duration)> {
        // A simple process that follows what changes, or ends with the node, is asked if it listens.
        let may_vote =
            |because: &Because| because.is_followed() || matches!(because, Because::NodeRestart(_));
        let is_asked = |process: &&ProcessChange| {
            process.action == ProcessAction::Ask || process.because.iter().any(may_vote)
        };
        let asked = change_set.processes.iter().filter(is_asked);
        let running: Vec<Running> = self.machine.running().collect();
        let voter = |process: &ProcessChange| {
            let pid = running
                .iter()
                .find(|running| running.process == process.name)?
                .pid;
            let (_, spec) = find(&self.machine.current().manifest, &process.name)?;
            let voter = Voter {
                process: process.name.clone(),
                pid,
                vote_seconds: spec.vote_seconds.min(proposal.vote_seconds),
                silence: spec.silence,
                modules: concerned(process),
            };
            let grace = match process.action {
                ProcessAction::Ask => self.grace(&process.name),
                _ => Duration::ZERO,
            };
            Some((voter, grace))
        };
        asked.filter_map(voter).collect()
    }

    /// The vote commands of the processes that a change touches.
    pub(super) fn deputies(&self, change_set: &ChangeSet, proposal: &Proposal) -> Vec<Deputy> {
        let processes = change_set.processes.iter();
        let deputies = processes.filter_map(|process| self.deputy(process, proposal));
        deputies.collect()
    }

    fn deputy(&self, process: &ProcessChange, proposal: &Proposal) -> Option<Deputy> {
        let name = &process.name;
        let mut running = self.machine.running();
        let pid = running.find(|running| running.process == *name)?.pid;
        let committed = self.machine.current();
        let (_, spec) = find(&committed.manifest, name)?;
        let vote = spec.vote_command.as_ref()?;
        let place = launch::Place::new(&self.store, committed, &self.settings.run);
        let start = launch::command(name, committed, &place, &vote.command);
        let command = start.map(|start| Spoken {
            call: start.into(),
            about: vec![
                ("PLACET_PROCESS", name.to_string()),
                ("PLACET_REVISION", proposal.revision.clone()),
                ("PLACET_ROLLOUT", proposal.rollout.clone()),
                ("PLACET_CHANGE", proposal.change_digest.to_string()),
                ("PLACET_DRY_RUN", u8::from(proposal.dry_run).to_string()),
                ("MAINPID", pid.to_string()),
            ],
            within: Duration::from_secs(vote.seconds.min(proposal.vote_seconds).into()),
        });
        Some(Deputy {
            process: name.clone(),
            pid,
            modules: concerned(process),
            command: command.map_err(|error| crate::Chain(&error).to_string()),
            silence: spec.silence,
        })
    }

    pub(super) fn verdict_on(
        &self,
        proposal: &Proposal,
        records: Vec<VoteRecord>,
        error: Option<String>,
    ) -> Verdict {
        let verdict = Verdict {
            node: self.settings.node.clone(),
            rollout: proposal.rollout.clone(),
            plan_digest: proposal.plan_digest,
            change_digest: proposal.change_digest,
            boot_id: self.boot_id.clone(),
            verdict: if error.is_some() {
                VerdictKind::Error
            } else {
                verdict_of(&records)
            },
            records,
            message: error.unwrap_or_default(),
            time: Timestamp::UNIX_EPOCH,
            expires: Timestamp::UNIX_EPOCH,
        };
        dated(verdict, proposal.promise_seconds)
    }

    /// Sends a verdict that is complete.
    pub(super) fn asked(&mut self, verdict: Box<Verdict>) {
        self.asking.remove(&verdict.change_digest);
        for objection in verdict.objections() {
            tracing::warn!(change = %verdict.change_digest.short(), rollout = %verdict.rollout, "{objection}");
        }
        tracing::info!(change = %verdict.change_digest.short(), "node {}: {} to {}", verdict.node, verdict.verdict, verdict.rollout);
        self.tell(&report::verdict(&verdict));
        self.verdict = Some(verdict);
    }

    /// Withdraws a proposal: the promise ends, the voters are told, what was staged may go.
    pub(super) fn release(&mut self, digest: Digest, reason: String) {
        tracing::info!(change = %digest.short(), "proposal is withdrawn: {}", placet_model::visible(&reason));
        if let Some(task) = self.asking.remove(&digest) {
            task.abort();
        }
        if let Some(task) = self.staging.remove(&digest) {
            task.abort();
            self.note_end_of_staging();
        }
        self.staged.remove(&digest);
        self.verdict
            .take_if(|verdict| verdict.change_digest == digest);
        let voters = self.voters.clone();
        tokio::spawn(async move { voters.release(&digest, &reason).await });
    }

    fn withdraw_open(&mut self, reason: &str) {
        for (digest, task) in std::mem::take(&mut self.asking) {
            task.abort();
            let (voters, reason) = (self.voters.clone(), reason.to_owned());
            tokio::spawn(async move { voters.release(&digest, &reason).await });
        }
    }

    /// Processes that are touched by the change and did not accept it.
    pub(super) fn objectors(&self, digest: Digest) -> impl Iterator<Item = &ProcessName> {
        let verdict = self
            .verdict
            .iter()
            .filter(move |verdict| verdict.change_digest == digest);
        let records = verdict.flat_map(|verdict| &verdict.records);
        records
            .filter(|record| record.answer != placet_model::Answer::Accept)
            .map(|record| &record.process)
    }
}

/// What the change would do here.
///
/// # Errors
///
/// The proposal is for another node, starts from another manifest, cannot be installed, or the
/// controller sees another change than this node does; the text says which.
fn examine(
    proposal: &Proposal,
    node: &NodeName,
    running: &NodeManifest,
    announced: &Announcements,
) -> Result<ChangeSet, String> {
    if proposal.node != *node {
        return Err(format!("the proposal is for node {}", proposal.node));
    }
    let runs = running.digest();
    if proposal.from != runs {
        return Err(format!(
            "the proposal starts from manifest {}, but this node runs {runs}: plan again",
            proposal.from
        ));
    }
    Store::check(&proposal.manifest).map_err(|error| crate::Chain(&error).to_string())?;
    let computed = change(running, &proposal.manifest).digest();
    if computed != proposal.change_digest {
        return Err(format!(
            "the controller computed change {}, this node computed {computed}: their versions do not fit together",
            proposal.change_digest
        ));
    }
    Ok(change_with(running, &proposal.manifest, announced).change_set)
}

/// The modules of the change that touch a process.
pub(super) fn concerned(process: &ProcessChange) -> Vec<ModulePath> {
    let mut modules: Vec<_> = process
        .because
        .iter()
        .map(|because| launch::module_of(because, &process.path).clone())
        .collect();
    modules.sort_unstable();
    modules.dedup();
    modules
}

/// The verdict as given now.
pub(super) fn dated(verdict: Verdict, promise_seconds: u32) -> Verdict {
    let time = Timestamp::now();
    let expires = time.saturating_add(SignedDuration::from_secs(promise_seconds.into()));
    Verdict {
        time,
        expires: expires.unwrap_or(Timestamp::MAX),
        ..verdict
    }
}
