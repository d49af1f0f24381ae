//! Decision logic of packages, on the node (M3).
//!
//! It decides for processes that are not registered, by the generation that runs now, on a thread of
//! its own. How long that takes is bounded by its fuel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use placet_logic::{Decider, Vote};
use placet_model::{
    ChangeSet, Digest, ModulePath, NodeDescription, ProcessChange, Proposal, VoteRecord, Voter,
};

use super::asking::concerned;
use super::core::Core;
use super::machine::find;
use crate::store::Generation;

/// A process whose logic is to decide.
pub(super) struct Case {
    process: ProcessChange,
    /// Its main process; 0 where it does not run.
    pid: u32,
    /// The modules of the change that touch it.
    modules: Vec<ModulePath>,
    about: NodeDescription,
    generation: Arc<Generation>,
    tree: PathBuf,
}

impl Core {
    /// The processes that a change touches and that carry logic.
    pub(super) fn cases(&self, change_set: &ChangeSet, proposal: &Proposal) -> Vec<Case> {
        let generation = self.machine.current();
        let carries_logic = |process: &&ProcessChange| {
            let found = find(&generation.manifest, &process.name);
            found.is_some_and(|(_, spec)| spec.vote_logic.is_some())
        };
        let processes = change_set.processes.iter().filter(carries_logic);
        let case = |process: &ProcessChange| {
            let mut running = self.machine.running();
            let running = running.find(|it| it.process == process.name);
            Case {
                pid: running.map_or(0, |it| it.pid),
                modules: concerned(process),
                process: process.clone(),
                about: self.about(proposal),
                generation: Arc::clone(generation),
                tree: self.store.tree(generation.number),
            }
        };
        processes.map(case).collect()
    }

    /// What is known of this node: as the controller says, or else what it announces.
    fn about(&self, proposal: &Proposal) -> NodeDescription {
        let (node, facts) = (&self.settings.node, &self.settings.facts);
        let own = || NodeDescription::new(node, "", facts, &BTreeMap::new());
        proposal.about.clone().unwrap_or_else(own)
    }
}

impl Case {
    /// Has the logic decide; says what it voted.
    pub(super) async fn decide(self, change: Arc<ChangeSet>, change_digest: Digest) -> VoteRecord {
        let (process, pid) = (self.process.name.clone(), self.pid);
        let modules = self.modules.clone();
        let vote = tokio::task::spawn_blocking(move || self.vote(&change)).await;
        let vote = vote.unwrap_or_else(|error| Vote::error(error.to_string()));
        let time = Timestamp::now();
        let until = vote.again_after.and_then(|seconds| {
            let seconds = SignedDuration::from_secs(seconds.into());
            time.saturating_add(seconds).ok()
        });
        VoteRecord {
            voter: Voter::Logic,
            process,
            pid,
            modules,
            answer: vote.answer,
            code: vote.code,
            message: vote.message,
            until,
            time,
            change_digest,
        }
    }

    fn vote(&self, change: &ChangeSet) -> Vote {
        let manifest = &self.generation.manifest;
        let lookup = &mut |path: &ModulePath, module: Option<&placet_model::Module>| {
            module.map(|_| read(&self.tree, path)).transpose()
        };
        match Decider::of(manifest, &self.process.name, lookup) {
            Ok(Some(decider)) => decider.vote(&self.process, &self.about, change),
            Ok(None) => Vote::error("its logic is not there any more".to_owned()),
            Err(why) => Vote::error(why),
        }
    }
}

fn read(tree: &Path, path: &ModulePath) -> Result<Vec<u8>, String> {
    std::fs::read(tree.join(path.as_str()))
        .map_err(|error| format!("failed to read `{path}` of the generation: {error}"))
}
