//! All who have a say in a change: processes, and what votes for those that cannot (V3).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use placet_model::{ChangeSet, Digest, Proposal, VoteRecord};

use super::core::Core;
use super::deputy::Deputy;
use super::effects::registered;
use super::logic::Case;
use crate::vote::{Question, Voter, Voters};

/// Whom a change touches, each ready to be heard.
pub(super) struct Hearing {
    /// Processes, and the time that each may still need to register.
    electorate: Vec<(Voter, Duration)>,
    deputies: Vec<Deputy>,
    cases: Vec<Case>,
    question: Question,
    /// The change set as JSON.
    text: Arc<[u8]>,
}

impl Core {
    /// Those who are to be heard about a change. Answers bind to `digest`.
    pub(super) fn hearing(
        &self,
        proposal: &Proposal,
        change_set: ChangeSet,
        digest: Digest,
    ) -> Hearing {
        let electorate = self.electorate(&change_set, proposal);
        Hearing {
            deputies: self.deputies(&change_set, proposal),
            cases: self.cases(&change_set, proposal),
            text: placet_model::canonical_json(&change_set).into(),
            question: Question {
                rollout: proposal.rollout.clone(),
                revision: proposal.revision.clone(),
                change_digest: digest,
                change_set,
                dry_run: proposal.dry_run,
                voters: electorate.iter().map(|(voter, _)| voter.clone()).collect(),
            },
            electorate,
        }
    }
}

impl Hearing {
    /// Hears everybody. All of it ends by itself: each voter's time is bounded by that of the
    /// proposal.
    pub(super) async fn hear(self, voters: &Voters) -> Vec<VoteRecord> {
        let digest = self.question.change_digest;
        let graces = self.electorate.iter();
        let graces = graces.map(|(voter, grace)| registered(voters, &voter.process, *grace));
        join_all(graces).await;
        let deputies = self.deputies.into_iter();
        let deputies = deputies.map(|deputy| deputy.vote(digest, Arc::clone(&self.text)));
        let change_set = Arc::new(self.question.change_set.clone());
        let cases = self.cases.into_iter();
        let cases = cases.map(|case| case.decide(Arc::clone(&change_set), digest));
        let ask = async {
            if self.question.dry_run {
                voters.ask_dry(self.question).await
            } else {
                voters.ask(self.question).await
            }
        };
        let (mut records, deputies, decided) =
            tokio::join!(ask, join_all(deputies), join_all(cases));
        // A process that speaks for itself needs no logic.
        let spoken: Vec<_> = records.iter().map(|it| it.process.clone()).collect();
        records.extend(deputies);
        records.extend(
            decided
                .into_iter()
                .filter(|it| !spoken.contains(&it.process)),
        );
        records
    }
}
