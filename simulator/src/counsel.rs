//! The logic of processes, asked as a node would ask it (M3).

use std::collections::BTreeSet;

use placet_logic::{Decider, Vote};
use placet_model::{
    Answer, ChangeSet, Module, ModulePath, NodeManifest, NodeName, ProcessName, Voter,
};
use placet_planner::TargetNode;

use crate::effect::Veto;

/// Gives the content of a path that the logic of a process needs, which the node has as that module,
/// if it has it; none where there is no such file.
pub type Files<'a> =
    dyn FnMut(&ProcessName, &ModulePath, Option<&Module>) -> Result<Option<Vec<u8>>, String> + 'a;

/// For those who have no packages at hand, only what is said of them.
///
/// # Errors
///
/// Always.
pub fn no_files(
    _: &ProcessName,
    path: &ModulePath,
    _: Option<&Module>,
) -> Result<Option<Vec<u8>>, String> {
    Err(format!("`{path}` is not at hand"))
}

/// The logic of all processes that a change touches, of the version that the node runs before it.
#[derive(Debug, Default)]
pub(crate) struct Counsels(Vec<Counsel>);

#[derive(Debug)]
struct Counsel {
    /// The place of its process in the change set.
    place: usize,
    logic: Result<Decider, String>,
}

impl Counsels {
    pub(crate) fn of(from: &NodeManifest, change: &ChangeSet, files: &mut Files<'_>) -> Self {
        let mut counsels = Vec::new();
        for (place, process) in change.processes.iter().enumerate() {
            let name = &process.name;
            let logic = Decider::of(from, name, &mut |path, module| files(name, path, module));
            if let Some(logic) = logic.transpose() {
                counsels.push(Counsel { place, logic });
            }
        }
        Self(counsels)
    }

    /// What each says that does not agree.
    pub(crate) fn votes(
        &self,
        change: &ChangeSet,
        name: &NodeName,
        node: &TargetNode,
    ) -> Vec<Veto> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let about = node.described(name);
        let votes = self.0.iter().map(|counsel| {
            let process = &change.processes[counsel.place];
            let vote = match &counsel.logic {
                Ok(logic) => logic.vote(process, &about, change),
                Err(why) => Vote::error(why.clone()),
            };
            (process, vote)
        });
        let disagreeing = votes.filter(|(_, vote)| vote.answer != Answer::Accept);
        let veto = |(process, vote): (&placet_model::ProcessChange, Vote)| Veto {
            class: node.class.clone(),
            rule: process.name.to_string(),
            by: Voter::Logic,
            answer: vote.answer,
            message: words(&vote),
            nodes: BTreeSet::from([name.clone()]),
            // It is declared in a package, of which no file of the repository has a line.
            places: Vec::new(),
        };
        disagreeing.map(veto).collect()
    }
}

/// As in the record of a vote: `2 peers are up [peers]`.
fn words(vote: &Vote) -> String {
    let code = match vote.code.as_str() {
        "" => String::new(),
        code => format!(" [{code}]"),
    };
    let again = vote.again_after.map_or_else(String::new, |seconds| {
        format!(" (asks again in {seconds} s)")
    });
    format!("{}{code}{again}", vote.message)
}

#[cfg(test)]
mod tests;
