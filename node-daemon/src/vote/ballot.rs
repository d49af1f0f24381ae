//! One proposal: who was asked, what they said, and when the counting is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use placet_model::{
    Answer, ChangeSet, Digest, ModulePath, ProcessName, Silence, VoteRecord, canonical_json,
    visible,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::message::{CallError, Event, Said, Vote};
use super::{Question, Voter};

/// The longest code of an answer, in characters.
const MOST_CODE: usize = 64;

/// The longest message of an answer, in characters.
const MOST_MESSAGE: usize = 1_000;

/// The longest that an answer may be put off.
const MOST_DEFER: SignedDuration = SignedDuration::from_hours(24);

/// Bytes of module paths in an event: far from what a message may hold, enough for people.
const MOST_MODULES: usize = 16_384;

/// A registered process: name and process id.
pub(super) type Key = (ProcessName, u32);

/// A question that is asked, or was and is not forgotten yet.
#[derive(Debug)]
pub(super) struct Proposal {
    /// Tells this asking from others about the same change; ascending.
    pub(super) round: u64,
    /// True while answers count.
    pub(super) open: bool,
    /// Rung when a ballot comes in or goes.
    pub(super) news: Arc<Notify>,
    /// The change set as JSON.
    pub(super) text: Arc<[u8]>,
    change: Digest,
    change_set: ChangeSet,
    rollout: String,
    revision: String,
    dry_run: bool,
    voters: BTreeMap<ProcessName, Voter>,
    ballots: BTreeMap<Key, Ballot>,
    /// The records of voters that are not asked.
    passed_over: Vec<VoteRecord>,
    asked: Instant,
    asked_at: Timestamp,
}

/// One voter's ballot; empty until it answers.
#[derive(Debug, Default)]
struct Ballot(Option<VoteRecord>);

/// How a registration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The process hung up or ended: it has no stake any more.
    Gone,
    /// It does not read: that is silence.
    Silent,
    /// It broke the rules of the protocol; the text says how.
    Broken(String),
}

/// Where the counting stands.
#[derive(Debug)]
pub(super) enum Tally {
    /// Every ballot is in, or its time is over.
    Over(Vec<VoteRecord>),
    /// Some are missing.
    Waits {
        /// When the next one's time is over.
        until: Instant,
    },
}

impl Proposal {
    pub(super) fn new(round: u64, question: Question) -> Self {
        Self {
            round,
            open: true,
            news: Arc::default(),
            text: canonical_json(&question.change_set).into(),
            change: question.change_digest,
            change_set: question.change_set,
            rollout: question.rollout,
            revision: question.revision,
            dry_run: question.dry_run,
            voters: question
                .voters
                .into_iter()
                .map(|voter| (voter.process.clone(), voter))
                .collect(),
            ballots: BTreeMap::new(),
            passed_over: Vec::new(),
            asked: Instant::now(),
            asked_at: Timestamp::now(),
        }
    }

    /// True if the change is only modelled.
    pub(super) fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// Takes a voter that is not asked for one that is silent.
    pub(super) fn pass_over(&mut self, key: &Key) {
        let why = "has left the last dry runs unanswered and is not asked".to_owned();
        let record = self.silence(key, why);
        self.ballots.remove(key);
        self.passed_over.push(record);
    }

    /// Those who are to be asked.
    pub(super) fn voters(&self) -> impl Iterator<Item = &Voter> {
        self.voters.values()
    }

    /// Those who were asked.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Key> {
        self.ballots.keys()
    }

    /// Gives a registered process a ballot, and says what to tell it; `None` if the change does
    /// not touch it, if it has answered, or if answers no longer count.
    pub(super) fn ask(&mut self, key: &Key) -> Option<Event> {
        let voter = self.voters.get(&key.0).filter(|_| self.open)?;
        let left = self
            .deadline(voter)
            .checked_duration_since(Instant::now())?;
        let ballot = self.ballots.entry(key.clone()).or_default();
        if ballot.0.is_some() {
            return None;
        }
        let seconds = SignedDuration::from_secs(i64::from(voter.vote_seconds));
        let deadline = self.asked_at + seconds;
        Some(Event::Proposed {
            change_digest: self.change,
            rollout: visible(&self.rollout).to_string(),
            revision: visible(&self.revision).to_string(),
            dry_run: self.dry_run,
            deadline: deadline.to_string(),
            seconds: left.as_secs().max(1),
            modules: as_many_as_fit(&voter.modules),
            module_count: voter.modules.len(),
            summary: self.summary(voter),
        })
    }

    /// Records an answer.
    pub(super) fn vote(&mut self, key: &Key, vote: Vote) -> Result<(), CallError> {
        let Some(voter) = self.voters.get(&key.0) else {
            return Err(CallError::about("NotAsked", &self.change));
        };
        let over = !self.open || self.deadline(voter) <= Instant::now();
        let Some(ballot) = self.ballots.get(key) else {
            let name = if over { "AlreadyClosed" } else { "NotAsked" };
            return Err(CallError::about(name, &self.change));
        };
        if over {
            return Err(CallError::about("AlreadyClosed", &self.change));
        }
        if ballot.0.is_some() {
            return Err(CallError::about("AlreadyVoted", &self.change));
        }
        let record = self.record(voter, key.1, vote)?;
        self.ballots.insert(key.clone(), Ballot(Some(record)));
        self.news.notify_one();
        Ok(())
    }

    /// Takes note that a registration ended. An answer that was given stays.
    pub(super) fn lost(&mut self, key: &Key, end: &End) {
        let pending = self
            .ballots
            .get(key)
            .is_some_and(|ballot| ballot.0.is_none());
        if !pending || !self.open {
            return;
        }
        match end {
            End::Gone => {
                self.ballots.remove(key);
            }
            End::Silent => {}
            End::Broken(why) => {
                let record = self.failure(key, Answer::Error, why.clone());
                self.ballots.insert(key.clone(), Ballot(Some(record)));
            }
        }
        self.news.notify_one();
    }

    /// Counts. A tally that is over closes the proposal.
    pub(super) fn tally(&mut self, now: Instant) -> Tally {
        let pending = self.ballots.iter().filter(|(_, ballot)| ballot.0.is_none());
        let next = pending
            .map(|(key, _)| self.deadline(&self.voters[&key.0]))
            .filter(|deadline| *deadline > now)
            .min();
        match next {
            Some(until) => Tally::Waits { until },
            None => Tally::Over(self.close(Self::time_is_over)),
        }
    }

    /// Ends the question before its time.
    pub(super) fn cut_short(&mut self, why: &str) -> Vec<VoteRecord> {
        self.close(|proposal, key| proposal.failure(key, Answer::Error, why.to_owned()))
    }

    /// Refuses further answers and fills in what is missing.
    fn close(&mut self, missing: impl Fn(&Self, &Key) -> VoteRecord) -> Vec<VoteRecord> {
        self.open = false;
        self.news.notify_one();
        let ballots = self.ballots.iter();
        ballots
            .map(|(key, ballot)| ballot.0.clone().unwrap_or_else(|| missing(self, key)))
            .chain(self.passed_over.iter().cloned())
            .collect()
    }

    fn deadline(&self, voter: &Voter) -> Instant {
        self.asked + Duration::from_secs(voter.vote_seconds.into())
    }

    fn record(&self, voter: &Voter, pid: u32, vote: Vote) -> Result<VoteRecord, CallError> {
        let now = Timestamp::now();
        Ok(VoteRecord {
            voter: placet_model::Voter::Process,
            process: voter.process.clone(),
            pid,
            modules: voter.modules.clone(),
            answer: match vote.answer {
                Said::Accept => Answer::Accept,
                Said::Veto => Answer::Veto,
                Said::Defer => Answer::Defer,
            },
            code: checked_code(vote.code)?,
            message: checked_message(vote.message)?,
            until: checked_until(vote.answer, vote.until, now)?,
            time: now,
            change_digest: self.change,
        })
    }

    fn failure(&self, key: &Key, answer: Answer, message: String) -> VoteRecord {
        VoteRecord {
            voter: placet_model::Voter::Process,
            process: key.0.clone(),
            pid: key.1,
            modules: self.voters[&key.0].modules.clone(),
            answer,
            code: String::new(),
            message,
            until: None,
            time: Timestamp::now(),
            change_digest: self.change,
        }
    }

    /// The record of a voter whose time is over.
    fn time_is_over(&self, key: &Key) -> VoteRecord {
        let seconds = self.voters[&key.0].vote_seconds;
        self.silence(key, format!("did not answer within {seconds} s"))
    }

    /// The record of a voter that says nothing, by its own policy.
    fn silence(&self, key: &Key, message: String) -> VoteRecord {
        match self.voters[&key.0].silence {
            Silence::NoAnswer => self.failure(key, Answer::NoAnswer, message),
            Silence::Accept => {
                let message = format!("{message}, which counts as accept");
                self.failure(key, Answer::Accept, message)
            }
            Silence::Veto => {
                let message = format!("{message}, which counts as veto");
                self.failure(key, Answer::Veto, message)
            }
        }
    }

    /// What the change is to a voter, in words.
    fn summary(&self, voter: &Voter) -> String {
        let mut concerned = voter.modules.iter();
        let Some(first) = concerned.next() else {
            return "the way it is run changes".to_owned();
        };
        let changes = &self.change_set.modules;
        let change = changes.iter().find(|change| change.path == *first);
        let what = change.map_or_else(|| "changed".to_owned(), |change| change.change.to_string());
        match concerned.len() {
            0 => format!("{first} is {what}"),
            1 => format!("{first} is {what}, and 1 more module"),
            more => format!("{first} is {what}, and {more} more modules"),
        }
    }
}

fn as_many_as_fit(modules: &[ModulePath]) -> Vec<ModulePath> {
    let mut room = MOST_MODULES;
    let fits = |module: &&ModulePath| {
        let left = room.checked_sub(module.as_str().len() + 3);
        room = left.unwrap_or(0);
        left.is_some()
    };
    modules.iter().take_while(fits).cloned().collect()
}

fn checked_code(code: Option<String>) -> Result<String, CallError> {
    let code = code.unwrap_or_default();
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if code.len() > MOST_CODE || !code.bytes().all(is_allowed) {
        let message = format!("expected at most {MOST_CODE} letters, digits and -_./");
        return Err(CallError::refused("code", message));
    }
    Ok(code)
}

/// Control characters are kept in escaped form, so that no reader of the record has to think of
/// them.
fn checked_message(message: Option<String>) -> Result<String, CallError> {
    let message = message.unwrap_or_default();
    if message.chars().count() > MOST_MESSAGE {
        let message = format!("expected at most {MOST_MESSAGE} characters");
        return Err(CallError::refused("message", message));
    }
    Ok(visible(&message).to_string())
}

fn checked_until(
    answer: Said,
    until: Option<String>,
    now: Timestamp,
) -> Result<Option<Timestamp>, CallError> {
    let refused = |message: &str| Err(CallError::refused("until", message));
    match (answer, until) {
        (Said::Defer, None) => refused("a defer says when to ask again"),
        (Said::Defer, Some(until)) => match until.parse::<Timestamp>() {
            Ok(until) if until <= now => refused("expected a time in the future"),
            Ok(until) if until.duration_since(now) > MOST_DEFER => {
                refused("expected a time within the next 24 hours")
            }
            Ok(until) => Ok(Some(until)),
            Err(_) => refused("expected a time such as 2026-01-31T12:00:00Z"),
        },
        (_, Some(_)) => refused("only a defer has it"),
        (_, None) => Ok(None),
    }
}
