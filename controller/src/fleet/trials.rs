//! What was tried out, so that the roll-out that follows can say so (M1).

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use jiff::Timestamp;
use placet_model::{Digest, digest_of};
use placet_planner::Target;

/// The latest dry runs, oldest first, so that a roll-out can say that it was tried out. They are not
/// kept over a restart: what people do about a dry run, they do soon.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trials(VecDeque<Trial>);

/// A dry run that is over.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    /// What nodes would have run, see [`manifests`].
    pub(crate) manifests: Digest,
    pub(crate) name: String,
    pub(crate) time: Timestamp,
    /// Nodes that would change.
    pub(crate) asked: usize,
    pub(crate) objecting: usize,
}

/// Dry runs that are remembered.
const TRIALS_MOST: usize = 256;

impl Trials {
    pub(super) fn note(&mut self, trial: Trial) {
        self.0.push_back(trial);
        if self.0.len() > TRIALS_MOST {
            self.0.pop_front();
        }
    }

    /// A dry run that people know by another name.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        for trial in self.0.iter_mut().filter(|trial| trial.name == from) {
            to.clone_into(&mut trial.name);
        }
    }

    /// The latest dry run of a target. It is told of once: in the roll-out that follows it.
    pub(super) fn take(&mut self, target: &Target) -> Option<Trial> {
        if self.0.is_empty() {
            return None;
        }
        let wanted = manifests(target);
        let latest = self.0.iter().rfind(|trial| trial.manifests == wanted);
        let latest = latest.cloned();
        self.0.retain(|trial| trial.manifests != wanted);
        latest
    }
}

/// What a target comes to, whatever the revision: a change that was tried out from files on disk is
/// the same change when it comes as a commit.
pub(crate) fn manifests(target: &Target) -> Digest {
    let distinct: BTreeSet<_> = target
        .nodes
        .values()
        .map(|node| node.manifest_digest)
        .collect();
    digest_of(&distinct)
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            manifests: _,
            name,
            time,
            asked,
            objecting,
        } = self;
        write!(
            f,
            "tried out before in {name} at {time:.0}, where {objecting} of {asked} nodes objected"
        )
    }
}
