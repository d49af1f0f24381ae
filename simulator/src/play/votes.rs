//! How nodes answer: their processes as the script says, rules and logic as they are.

use jiff::{SignedDuration, Timestamp};
use placet_logic::{Decider, Vote};
use placet_model::{
    Answer, Because, ChangeSet, NodeManifest, NodeName, ProcessAction, ProcessChange, ProcessSpec,
    Proposal, Silence, Verdict, VerdictKind, VoteRecord, Voter,
};
use placet_planner::{change, verdict_of};

use super::script::{Says, VoteEntry};
use super::world::World;

/// A record without its time, which is that of the whole verdict, and for a defer the seconds that
/// it asks for.
type Said = (VoteRecord, Option<u32>);

impl World<'_> {
    /// What a node answers to a proposal, and after how many seconds.
    pub(super) fn answer(&mut self, node: &NodeName, proposal: &Proposal) -> (Verdict, u32) {
        let running = self.node(node).running.clone();
        let nothing = NodeManifest::default();
        let manifest = running.as_ref().map_or(&nothing, |it| it.manifest());
        let computed = change(manifest, &proposal.manifest);
        let is_same = computed.digest() == proposal.change_digest;
        let mut seconds = self.a_while();
        let mut said = Vec::new();
        if is_same {
            for process in &computed.change_set.processes {
                let spec = spec(manifest, process);
                let found = self.heard(manifest, spec, process, &computed.change_set, proposal);
                said.extend(found);
                seconds = seconds.max(self.silence(node, spec, process, proposal));
            }
        }
        let time = self.now() + SignedDuration::from_secs(seconds.into());
        let mut records: Vec<_> = said.into_iter().map(|it| dated(it, time)).collect();
        records.extend(self.rules(node, proposal, time));
        let verdict = Verdict {
            node: node.clone(),
            rollout: proposal.rollout.clone(),
            plan_digest: proposal.plan_digest,
            change_digest: proposal.change_digest,
            boot_id: self.node(node).boot_id.clone(),
            verdict: if is_same {
                verdict_of(&records)
            } else {
                VerdictKind::Error
            },
            records,
            message: if is_same {
                String::new()
            } else {
                "the change is another one here".to_owned()
            },
            time,
            expires: time + SignedDuration::from_secs(proposal.promise_seconds.into()),
        };
        (verdict, seconds)
    }

    /// The record of a process that has a say, if it has.
    fn heard(
        &mut self,
        manifest: &NodeManifest,
        spec: Option<&ProcessSpec>,
        process: &ProcessChange,
        change: &ChangeSet,
        proposal: &Proposal,
    ) -> Option<Said> {
        let spec = spec?;
        let entry = self.vote_of(&proposal.node, process);
        if let Some(entry) = entry.filter(|it| it.answer != Says::Unregistered) {
            return may_vote(process).then(|| of_process(entry, spec, process, proposal));
        }
        let files = &mut self.files;
        let name = &process.name;
        let logic = Decider::of(manifest, name, &mut |path, module| {
            files(name, path, module)
        });
        let about = proposal.about.clone().unwrap_or_default();
        let vote = match logic {
            Ok(Some(logic)) => logic.vote(process, &about, change),
            Err(why) => Vote::error(why),
            // A process of which the script says nothing agrees.
            Ok(None) => return None,
        };
        let mut record = record(process, Voter::Logic, vote.answer, proposal);
        (record.code, record.message) = (vote.code, vote.message);
        Some((record, vote.again_after))
    }

    /// The seconds that pass until a silent process is given up.
    fn silence(
        &self,
        node: &NodeName,
        spec: Option<&ProcessSpec>,
        process: &ProcessChange,
        proposal: &Proposal,
    ) -> u32 {
        let entry = self.vote_of(node, process);
        let is_silent = entry.is_some_and(|it| it.answer == Says::Silent) && may_vote(process);
        match spec.filter(|_| is_silent) {
            Some(spec) => spec.vote_seconds.min(proposal.vote_seconds),
            None => 0,
        }
    }

    /// What the script has a process say.
    fn vote_of(&self, node: &NodeName, process: &ProcessChange) -> Option<&VoteEntry> {
        let mut entries = self.votes.iter().rev();
        entries.find(|entry| {
            entry.process == process.name && (entry.nodes.is_empty() || entry.nodes.contains(node))
        })
    }

    /// What rules say, as the controller has them say it.
    fn rules(&self, node: &NodeName, proposal: &Proposal, time: Timestamp) -> Vec<VoteRecord> {
        let change = self.changes.get(node);
        let change = change.filter(|it| it.change_digest == proposal.change_digest);
        let wanted = self.target.nodes.get(node);
        match (wanted, change) {
            (Some(wanted), Some(change)) => wanted.objections(node, change, time),
            _ => Vec::new(),
        }
    }
}

/// How the version that runs is declared.
fn spec<'a>(manifest: &'a NodeManifest, process: &ProcessChange) -> Option<&'a ProcessSpec> {
    let modules = manifest.modules.iter();
    let mut specs = modules.filter_map(|entry| entry.module.process.as_ref());
    specs.find(|spec| spec.name == process.name)
}

/// True if a process may be asked, as a node asks.
fn may_vote(process: &ProcessChange) -> bool {
    let is_told =
        |because: &Because| because.is_followed() || matches!(because, Because::NodeRestart(_));
    process.action == ProcessAction::Ask || process.because.iter().any(is_told)
}

fn of_process(
    entry: &VoteEntry,
    spec: &ProcessSpec,
    process: &ProcessChange,
    proposal: &Proposal,
) -> Said {
    let seconds = spec.vote_seconds.min(proposal.vote_seconds);
    let (answer, message) = match (entry.answer, spec.silence) {
        (Says::Accept | Says::Unregistered, _) => (Answer::Accept, entry.message.clone()),
        (Says::Veto, _) => (Answer::Veto, entry.message.clone()),
        (Says::Defer, _) => (Answer::Defer, entry.message.clone()),
        (Says::Silent, silence) => {
            let (answer, counts) = match silence {
                Silence::NoAnswer => (Answer::NoAnswer, ""),
                Silence::Accept => (Answer::Accept, ", which counts as accept"),
                Silence::Veto => (Answer::Veto, ", which counts as veto"),
            };
            (answer, format!("did not answer within {seconds} s{counts}"))
        }
    };
    let mut record = record(process, Voter::Process, answer, proposal);
    record.code.clone_from(&entry.code);
    record.message = message;
    (record, (answer == Answer::Defer).then_some(entry.seconds))
}

fn record(
    process: &ProcessChange,
    voter: Voter,
    answer: Answer,
    proposal: &Proposal,
) -> VoteRecord {
    VoteRecord {
        voter,
        process: process.name.clone(),
        pid: 1,
        modules: Vec::new(),
        answer,
        code: String::new(),
        message: String::new(),
        until: None,
        time: Timestamp::UNIX_EPOCH,
        change_digest: proposal.change_digest,
    }
}

fn dated((mut record, again_after): Said, time: Timestamp) -> VoteRecord {
    record.time = time;
    record.until = again_after.map(|seconds| time + SignedDuration::from_secs(seconds.into()));
    record
}
