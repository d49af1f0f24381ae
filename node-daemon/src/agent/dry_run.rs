//! Dry runs: a change that is only modelled (M1).
//!
//! Impact and votes are those of a real proposal; what comes of them goes to the controller, and
//! nothing of it stays: no promise, no staging, no verdict on record.
//!
//! **Invariant:** dry runs and proposals know nothing of each other, even where they are about the
//! same change. The question that processes hear has a digest of its own, so that a vote on the one
//! never counts for the other.

use placet_model::{Digest, Proposal, Verdict, VoteRecord, digest_of};
use placet_planner::verdict_of;

use super::asking::dated;
use super::core::{Core, Input};
use super::report;

/// Dry runs that are answered at once; each costs a question to the processes.
const TRIALS_MOST: usize = 16;

impl Core {
    /// Says what this node would answer to a proposal.
    pub(super) fn try_out(&mut self, proposal: &Proposal) {
        let name = &proposal.rollout;
        if self.trying.contains_key(name) {
            return;
        }
        let change_set = if self.trying.len() < TRIALS_MOST {
            self.examined(proposal)
        } else {
            Err(format!(
                "{TRIALS_MOST} dry runs are under way here: try again in a moment"
            ))
        };
        let change_set = match change_set {
            Ok(change_set) => change_set,
            Err(why) => {
                let verdict = self.verdict_on(proposal, Vec::new(), Some(why));
                return self.tried(&verdict);
            }
        };
        tracing::info!(
            "is asked, in a dry run, about {} by {}: {} modules, {} processes",
            proposal.revision,
            proposal.rollout,
            change_set.modules.len(),
            change_set.processes.len()
        );
        let hearing = self.hearing(proposal, change_set, question_digest(proposal));
        let draft = self.verdict_on(proposal, Vec::new(), None);
        let (voters, handle) = (self.voters.clone(), self.handle.clone());
        let task = tokio::spawn(async move {
            let records = hearing.hear(&voters).await;
            let records = about(records, draft.change_digest);
            let verdict = Verdict {
                verdict: verdict_of(&records),
                records,
                ..draft
            };
            handle.send(Input::Tried(Box::new(dated(verdict, 0))));
        });
        self.trying.insert(name.clone(), task.abort_handle());
    }

    /// Sends what a dry run found out.
    pub(super) fn tried(&mut self, verdict: &Verdict) {
        self.trying.remove(&verdict.rollout);
        tracing::info!(change = %verdict.change_digest.short(), "node {}: {} in {}", verdict.node, verdict.verdict, verdict.rollout);
        self.tell(&report::verdict(verdict));
    }

    /// Nobody waits for the answer any more; the processes are told.
    pub(super) fn give_up_trial(&mut self, name: &str) {
        if let Some(task) = self.trying.remove(name) {
            task.abort();
        }
    }
}

/// What processes bind their answers to.
fn question_digest(proposal: &Proposal) -> Digest {
    digest_of(&("dry run", &proposal.rollout, proposal.change_digest))
}

/// The records as they are told outside this node.
fn about(mut records: Vec<VoteRecord>, change_digest: Digest) -> Vec<VoteRecord> {
    for record in &mut records {
        record.change_digest = change_digest;
    }
    records
}
