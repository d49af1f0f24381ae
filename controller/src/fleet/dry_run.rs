//! Dry runs, as far as the loop has to do with them (M1): questions go out to the nodes, and what
//! they say goes back to whoever asked.
//!
//! What is asked was planned beside the loop ([`crate::dry_run`]), on a copy of the world; nothing
//! here touches the world, but for a note of what was tried out, by which the roll-out that follows
//! can say so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use placet_model::{
    Digest, DryRunAnswer, NodeDescription, NodeManifest, NodeName, Proposal, TraceParent, Verdict,
    VoteRecord,
};
use placet_planner::{Action, verdict_of};
use placet_protocol::wire::Release;
use placet_protocol::wire::to_node::Order as Wire;

use super::Fleet;
use super::news::Reply;
use super::orders::Content;
use super::trials::Trial;

/// Dry runs under way at once; as many as a node answers.
pub(crate) const RUNNING_MOST: usize = 16;

/// Orders that a node leaves untaken before it is not asked any more: it has real ones to take, and
/// there is room for twice as many.
const UNTAKEN_MOST: usize = RUNNING_MOST;

/// What tells the name of a dry run from that of a roll-out.
pub(crate) const PREFIX: &str = "dry-";

/// A change that is only modelled, and what to ask the nodes about it.
#[derive(Debug)]
pub(crate) struct Inquiry {
    /// Its name, which begins with [`PREFIX`].
    pub(crate) name: String,
    pub(crate) plan_digest: Digest,
    /// [`super::trials::manifests`] of the target.
    pub(crate) manifests: Digest,
    pub(crate) revision: String,
    pub(crate) questions: Vec<Question>,
    /// What has not been said by then is not waited for.
    pub(crate) until: Instant,
    /// The seconds that this leaves, for people.
    pub(crate) seconds: u32,
    pub(crate) trace: TraceParent,
    pub(crate) reply: Reply<Answers>,
}

/// What the nodes that were asked said.
pub(crate) type Answers = BTreeMap<NodeName, DryRunAnswer>;

/// What one node is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) node: NodeName,
    pub(crate) from: Digest,
    pub(crate) manifest: Arc<NodeManifest>,
    pub(crate) about: NodeDescription,
    pub(crate) change_digest: Digest,
    pub(crate) vote_seconds: u32,
    /// What the rules of its class say, whatever the node answers.
    pub(crate) objections: Vec<VoteRecord>,
}

/// The dry runs that are under way, by name.
#[derive(Default)]
pub(super) struct DryRuns(BTreeMap<String, DryRun>);

struct DryRun {
    plan_digest: Digest,
    manifests: Digest,
    waiting: BTreeMap<NodeName, Asked>,
    answers: Answers,
    until: Instant,
    seconds: u32,
    trace: TraceParent,
    reply: Reply<Answers>,
}

/// A node that has not answered yet.
struct Asked {
    change_digest: Digest,
    objections: Vec<VoteRecord>,
    session: u64,
    trace: TraceParent,
}

impl Fleet {
    /// Asks every node that a question is for.
    pub(super) fn inquire(&mut self, inquiry: Inquiry) {
        let mut run = DryRun {
            plan_digest: inquiry.plan_digest,
            manifests: inquiry.manifests,
            waiting: BTreeMap::new(),
            answers: Answers::new(),
            until: inquiry.until,
            seconds: inquiry.seconds,
            trace: inquiry.trace,
            reply: inquiry.reply,
        };
        for question in inquiry.questions {
            let node = question.node.clone();
            match self.put(
                question,
                (&inquiry.name, &inquiry.revision, run.plan_digest),
                run.trace,
            ) {
                Ok(asked) => drop(run.waiting.insert(node, asked)),
                Err(why) => {
                    let answer = DryRunAnswer::NotAsked(why.to_owned());
                    run.answers.insert(node, answer);
                }
            }
        }
        self.dry_runs.0.insert(inquiry.name, run);
    }

    /// Asks one node, if that costs it nothing that a roll-out may need.
    fn put(
        &mut self,
        question: Question,
        (name, revision, plan_digest): (&str, &str, Digest),
        trace: TraceParent,
    ) -> Result<Asked, &'static str> {
        let Some(session) = self.sessions.get(&question.node) else {
            return Err("it has no connection");
        };
        let (id, orders) = (session.id, &session.orders);
        if orders.max_capacity() - orders.capacity() > UNTAKEN_MOST {
            return Err("it has not taken its last orders yet");
        }
        let Question {
            node,
            from,
            manifest,
            about,
            change_digest,
            vote_seconds,
            objections,
        } = question;
        let proposal = Proposal {
            rollout: name.to_owned(),
            plan_digest,
            revision: revision.to_owned(),
            node: node.clone(),
            from,
            manifest,
            change_digest,
            dry_run: true,
            about: Some(about),
            vote_seconds,
            promise_seconds: 0,
        };
        let question = Content::Planned {
            rollout: name.into(),
            action: Action::Propose(Box::new(proposal)),
        };
        self.send(&node, question, Some(trace));
        Ok(Asked {
            change_digest,
            objections,
            session: id,
            trace,
        })
    }

    /// Takes a node's answer, if somebody waits for it.
    pub(super) fn answered(&mut self, node: &NodeName, session: u64, mut verdict: Verdict) {
        let boot = self.world.nodes.get(node).map(|node| &node.seen.boot_id);
        let Some(run) = self.dry_runs.0.get_mut(&verdict.rollout) else {
            return;
        };
        let is_answer = run.waiting.get(node).is_some_and(|asked| {
            asked.session == session
                && asked.change_digest == verdict.change_digest
                && run.plan_digest == verdict.plan_digest
        });
        if !is_answer || boot != Some(&verdict.boot_id) {
            tracing::warn!(
                "node {node}: its answer in {} answers something else",
                verdict.rollout
            );
            return;
        }
        if let Some(asked) = run.waiting.remove(node) {
            verdict.records.extend(asked.objections);
        }
        // The node's own word may only be stricter than what its voters said.
        verdict.verdict = verdict.verdict.max(verdict_of(&verdict.records));
        let answer = DryRunAnswer::Verdict(Box::new(verdict));
        run.answers.insert(node.clone(), answer);
    }

    /// A node that is gone answers nothing.
    pub(super) fn lose_answers(&mut self, node: &NodeName, session: u64) {
        for run in self.dry_runs.0.values_mut() {
            if run
                .waiting
                .get(node)
                .is_some_and(|asked| asked.session == session)
            {
                run.waiting.remove(node);
                let why = "its connection broke before it answered".to_owned();
                run.answers
                    .insert(node.clone(), DryRunAnswer::NotAsked(why));
            }
        }
    }

    /// Ends the dry runs that are answered, whose time is over, or for which nobody waits any more.
    pub(super) fn settle_dry_runs(&mut self, now: Timestamp) {
        let is_over = |run: &DryRun| {
            run.waiting.is_empty() || run.until <= Instant::now() || run.reply.is_closed()
        };
        let over: Vec<_> = self
            .dry_runs
            .0
            .extract_if(.., |_, run| is_over(run))
            .collect();
        for (name, mut run) in over {
            for (node, asked) in std::mem::take(&mut run.waiting) {
                self.withdraw(&name, &node, &asked);
                run.answers.insert(node, DryRunAnswer::Silent(run.seconds));
            }
            let objecting = run
                .answers
                .values()
                .filter(|answer| answer.objects())
                .count();
            self.world.trials.note(Trial {
                manifests: run.manifests,
                name,
                time: now,
                asked: run.answers.len(),
                objecting,
            });
            // Whoever asked may have gone.
            let _ = run.reply.send(run.answers);
        }
    }

    /// Tells a node that nobody waits any more. One that has no room for it finds out by itself.
    fn withdraw(&mut self, name: &str, node: &NodeName, asked: &Asked) {
        let has_room = |session: &super::news::Session| {
            session.id == asked.session && session.orders.capacity() > UNTAKEN_MOST
        };
        if self.sessions.get(node).is_some_and(has_room) {
            let release = Wire::Release(Release {
                rollout: name.to_owned(),
                change_digest: asked.change_digest.to_string(),
                reason: "nobody waits for the answer any more".to_owned(),
                dry_run: true,
            });
            self.send(node, release, Some(asked.trace));
        }
    }
}

impl DryRuns {
    /// When the next one's time is over.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.0.values().map(|run| run.until).min()
    }
}

/// True for a verdict that belongs to no roll-out.
pub(super) fn is_trial(verdict: &Verdict) -> bool {
    verdict.rollout.starts_with(PREFIX)
}
