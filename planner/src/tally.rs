//! Answers, counted (V3 to V5).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use placet_model::{NodeName, VerdictKind, VoteRecord};

/// What the answers of a node's voters come to: veto over error over no answer over defer over
/// accept; without voters, an accept.
pub fn verdict_of(records: &[VoteRecord]) -> VerdictKind {
    let answers = records
        .iter()
        .map(|record| VerdictKind::from(record.answer));
    answers.max().unwrap_or(VerdictKind::Accept)
}

/// Where the nodes of a roll-out stand with their votes. A node is in one of the parts at most;
/// those that have arrived, are changing or are left out are in none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Their accept holds, or a decision stands in for it.
    pub agreed: BTreeSet<NodeName>,
    /// They have been or are to be asked, or have to be seen first.
    pub waiting: BTreeSet<NodeName>,
    /// They want to be asked later.
    pub deferred: BTreeMap<NodeName, Timestamp>,
    /// They object, in these words, and no decision has answered it yet.
    pub objecting: BTreeMap<NodeName, Vec<String>>,
}
