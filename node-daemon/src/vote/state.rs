//! What the vote service knows: who is registered, what is asked, who is waited for. Everything
//! here is synchronous and does no I/O, so that the lock is held for microseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placet_model::{Digest, Follow, ModulePath, ProcessName, VoteRecord};
use placet_planner::{Announcement, Announcements};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::ballot::{End, Key, Proposal, Tally};
use super::listener::Listener;
use super::message::{CallError, Event, Handling, Interest, Vote};
use super::wait::{Stage, StageName, Wait, WaitKey, Waiting};
use super::{Question, Who};

/// Events that a process may leave unread before it counts as one that does not read.
const QUEUE: usize = 64;

/// A process that has left so many dry runs unanswered, one after the other, is not asked in further
/// ones until it votes again: it may be busy, and what it has to read is kept for real proposals.
const MOST_UNANSWERED_TRIALS: u32 = 16;

/// Changes that stay known after their votes were counted, so that `GetChangeSet` works until the
/// change is over.
const MOST_KEPT: usize = 16;

/// Modules that a process may name as opened at run time.
const MOST_OPENED: usize = 1_000;

/// Interests that a process may name.
const MOST_FOLLOWED: usize = 64;

/// What the handles and the connections of a service share.
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) who: Who,
    pub(super) listeners: Mutex<BTreeMap<ProcessName, Listener>>,
    state: Mutex<State>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Processes that announced themselves and do not watch yet.
    announced: BTreeMap<Key, Announced>,
    /// Processes that are asked.
    registrations: BTreeMap<Key, Registration>,
    proposals: BTreeMap<Digest, Proposal>,
    /// Records of rounds that ended before their time, for whoever asked to collect.
    cut_short: BTreeMap<u64, Vec<VoteRecord>>,
    pub(super) waits: BTreeMap<WaitKey, Wait>,
    users: BTreeMap<ModulePath, BTreeSet<ProcessName>>,
    last_number: u64,
}

/// A process that announced itself and becomes registered when it watches. One that restarts
/// itself keeps its process id: then this stands beside the registration that it is to replace.
#[derive(Debug)]
struct Announced {
    connection: u64,
    wishes: Wishes,
}

/// What a process wants to be told of, beside what is known from its package.
#[derive(Debug, Clone, Default)]
struct Wishes {
    announcement: Announcement,
    /// True if it wants to know of every change of the node, and of its end.
    notices: bool,
}

/// A process that is asked.
#[derive(Debug)]
struct Registration {
    /// The connection that announced it.
    registrar: u64,
    /// The connection that watches; the registration lives as long as it does.
    watcher: u64,
    events: mpsc::Sender<Event>,
    wishes: Wishes,
    /// Dry runs that it was asked in since it voted last.
    unanswered_trials: u32,
}

/// A question under way; dropping it closes it.
pub(super) struct Round {
    shared: Arc<Shared>,
    change: Digest,
    number: u64,
    news: Arc<Notify>,
}

impl Shared {
    pub(super) fn new(dir: PathBuf, who: Who) -> Self {
        Self {
            dir,
            who,
            listeners: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// The state. A panic of another holder leaves it as it is: every change to it is complete in
    /// itself.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a round and asks everybody who is registered.
    pub(super) fn open(self: &Arc<Self>, question: Question) -> Round {
        let change = question.change_digest;
        let proposal = Proposal::new(0, question);
        let news = proposal.news.clone();
        let number = self.lock().open(change, proposal);
        Round {
            shared: self.clone(),
            change,
            number,
            news,
        }
    }

    /// Tells the registered processes of a service and begins to wait for them; `None` if there
    /// are none.
    pub(super) fn wait(
        self: &Arc<Self>,
        process: &ProcessName,
        change: &Digest,
        stage: Stage,
        within: Duration,
    ) -> Option<Waiting> {
        let (number, news) = self.lock().wait(process, change, stage, within)?;
        Some(Waiting {
            shared: self.clone(),
            key: (process.clone(), *change, stage.into()),
            number,
            news,
        })
    }
}

impl Round {
    /// Counts the votes.
    pub(super) fn tally(&self) -> Tally {
        let mut state = self.shared.lock();
        if let Some(records) = state.cut_short.remove(&self.number) {
            return Tally::Over(records);
        }
        match state.proposals.get_mut(&self.change) {
            Some(proposal) if proposal.round == self.number => proposal.tally(Instant::now()),
            _ => Tally::Over(Vec::new()),
        }
    }

    /// Returns when it is worth counting again.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.cut_short.remove(&self.number);
        if let Some(proposal) = state.proposals.get_mut(&self.change)
            && proposal.round == self.number
        {
            proposal.open = false;
        }
    }
}

// What the agent does.
impl State {
    /// A number that was not given before: of a round, a wait, or a connection.
    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn open(&mut self, change: Digest, mut proposal: Proposal) -> u64 {
        self.end_round(&change, "it was asked about the same change again");
        proposal.round = self.number();
        let number = proposal.round;
        let mut asked = Vec::new();
        for voter in proposal.voters() {
            let main = (voter.process.clone(), voter.pid);
            if self.is_watching(&main) {
                asked.push(main);
            } else {
                asked.extend(self.watching(&voter.process));
            }
        }
        for key in &asked {
            match proposal.ask(key) {
                Some(event) if !proposal.is_dry() || self.takes_trial(key) => {
                    self.deliver(key, event);
                }
                Some(_) => proposal.pass_over(key),
                None => {}
            }
        }
        self.proposals.insert(change, proposal);
        self.forget_old();
        number
    }

    pub(super) fn release(&mut self, change: &Digest, reason: &str) {
        self.end_round(change, "the proposal was withdrawn before it answered");
        let Some(proposal) = self.proposals.remove(change) else {
            return;
        };
        for key in proposal.asked() {
            let event = Event::Released {
                change_digest: *change,
                reason: placet_model::visible(reason).to_string(),
            };
            self.deliver(key, event);
        }
    }

    fn wait(
        &mut self,
        process: &ProcessName,
        change: &Digest,
        stage: Stage,
        within: Duration,
    ) -> Option<(u64, Arc<Notify>)> {
        let keys = self.watching(process);
        if keys.is_empty() {
            return None;
        }
        let seconds = within.as_secs().max(1);
        for key in &keys {
            let change_digest = *change;
            let event = match stage {
                Stage::Prepare => Event::Prepare {
                    change_digest,
                    seconds,
                },
                Stage::Changed(outcome) => Event::Changed {
                    change_digest,
                    outcome,
                    seconds,
                },
            };
            self.deliver(key, event);
        }
        let wait = Wait {
            number: self.number(),
            pending: keys.into_iter().map(|(_, pid)| pid).collect(),
            asks_default: false,
            news: Arc::default(),
        };
        let handle = (wait.number, wait.news.clone());
        let key = (process.clone(), *change, stage.into());
        if let Some(former) = self.waits.insert(key, wait) {
            former.news.notify_one();
        }
        Some(handle)
    }

    pub(super) fn announced(&self) -> Announcements {
        let mut announced = Announcements::new();
        for ((process, _), registration) in &self.registrations {
            let Announcement { opened, follows } = &registration.wishes.announcement;
            if !opened.is_empty() || !follows.is_empty() {
                let all = announced.entry(process.clone()).or_default();
                all.opened.extend(opened.iter().cloned());
                all.follows.extend(follows.iter().cloned());
            }
        }
        announced
    }

    /// Tells those who want to know of every change.
    pub(super) fn give_notice(&mut self, event: &Event) {
        let keys: Vec<_> = self
            .registrations
            .iter()
            .filter(|(_, registration)| registration.wishes.notices)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &keys {
            self.deliver(key, event.clone());
        }
    }

    pub(super) fn is_registered(&self, process: &ProcessName) -> bool {
        !self.watching(process).is_empty()
    }

    pub(super) fn set_users(&mut self, users: BTreeMap<ModulePath, BTreeSet<ProcessName>>) {
        self.users = users;
    }
}

// What processes do.
impl State {
    pub(super) fn register(&mut self, key: &Key, connection: u64) {
        let registration = self.registrations.get(key);
        if registration.is_some_and(|registration| registration.registrar == connection) {
            return;
        }
        let announced = Announced {
            connection,
            wishes: Wishes::default(),
        };
        match self.announced.get(key) {
            Some(known) if known.connection == connection => {}
            _ => drop(self.announced.insert(key.clone(), announced)),
        }
    }

    /// Adds what a process says to have opened, and what it has an interest in.
    pub(super) fn add(
        &mut self,
        key: &Key,
        connection: u64,
        paths: &[String],
        follows: Vec<Interest>,
    ) -> Result<(), CallError> {
        let announcement = &mut self.wishes(key, connection)?.announcement;
        let mut all = announcement.clone();
        for path in paths {
            let path = path
                .parse()
                .map_err(|error| CallError::refused("opened", format!("{error}")))?;
            all.opened.insert(path);
        }
        if all.opened.len() > MOST_OPENED {
            let message = format!("expected at most {MOST_OPENED} modules");
            return Err(CallError::refused("opened", message));
        }
        for follow in follows.into_iter().map(Follow::from) {
            follow
                .check()
                .map_err(|why| CallError::refused("follows", why))?;
            if !all.follows.contains(&follow) {
                all.follows.push(follow);
            }
        }
        if all.follows.len() > MOST_FOLLOWED {
            let message = format!("expected at most {MOST_FOLLOWED} interests");
            return Err(CallError::refused("follows", message));
        }
        *announcement = all;
        Ok(())
    }

    /// Whether a process wants to know of every change of the node.
    pub(super) fn set_notices(
        &mut self,
        key: &Key,
        connection: u64,
        notices: bool,
    ) -> Result<(), CallError> {
        self.wishes(key, connection)?.notices = notices;
        Ok(())
    }

    fn wishes(&mut self, key: &Key, connection: u64) -> Result<&mut Wishes, CallError> {
        let announced = self.announced.get_mut(key);
        if let Some(announced) = announced.filter(|known| known.connection == connection) {
            return Ok(&mut announced.wishes);
        }
        let registration = self.registrations.get_mut(key);
        Ok(&mut registration.ok_or_else(not_registered)?.wishes)
    }

    /// Completes a registration: from now on the process is asked, first about what is open.
    pub(super) fn watch(
        &mut self,
        key: &Key,
        watcher: u64,
    ) -> Result<mpsc::Receiver<Event>, CallError> {
        let Some(announced) = self.announced.remove(key) else {
            return Err(if self.is_watching(key) {
                CallError::of("AlreadyWatching", serde_json::json!({}))
            } else {
                not_registered()
            });
        };
        let (events, receiver) = mpsc::channel(QUEUE);
        let registration = Registration {
            registrar: announced.connection,
            watcher,
            events,
            wishes: announced.wishes,
            unanswered_trials: 0,
        };
        self.registrations.insert(key.clone(), registration);
        self.deliver(key, Event::Watching);
        let open = self.proposals.values_mut();
        let late: Vec<_> = open.filter_map(|proposal| proposal.ask(key)).collect();
        for event in late {
            self.deliver(key, event);
        }
        Ok(receiver)
    }

    pub(super) fn vote(&mut self, key: &Key, vote: Vote) -> Result<(), CallError> {
        let change = parse_change(&vote.change_digest)?;
        self.check_watching(key)?;
        if let Some(registration) = self.registrations.get_mut(key) {
            registration.unanswered_trials = 0;
        }
        match self.proposals.get_mut(&change) {
            Some(proposal) => proposal.vote(key, vote),
            None => Err(CallError::about("UnknownProposal", &change)),
        }
    }

    pub(super) fn ready(&mut self, key: &Key, change: &str) -> Result<(), CallError> {
        self.say(key, change, StageName::Prepare, false)
    }

    pub(super) fn done(
        &mut self,
        key: &Key,
        change: &str,
        handling: Handling,
    ) -> Result<(), CallError> {
        let asks_default = handling == Handling::Default;
        self.say(key, change, StageName::Changed, asks_default)
    }

    /// The text of a change set.
    pub(super) fn change_set(&self, change: &str) -> Result<Arc<[u8]>, CallError> {
        let change = parse_change(change)?;
        match self.proposals.get(&change) {
            Some(proposal) => Ok(proposal.text.clone()),
            None => Err(CallError::about("UnknownProposal", &change)),
        }
    }

    /// The processes that use a module.
    pub(super) fn users(&self, module: &ModulePath) -> BTreeSet<ProcessName> {
        let mut users = self.users.get(module).cloned().unwrap_or_default();
        let openers = self.registrations.iter();
        users.extend(
            openers
                .filter(|(_, registration)| {
                    registration.wishes.announcement.opened.contains(module)
                })
                .map(|((process, _), _)| process.clone()),
        );
        users
    }

    /// Takes note that a connection ended. A registration ends with the connection that watches.
    pub(super) fn disconnected(&mut self, key: &Key, connection: u64, end: &End) {
        let announced = self.announced.get(key);
        if announced.is_some_and(|announced| announced.connection == connection) {
            self.announced.remove(key);
        }
        let registration = self.registrations.get(key);
        if registration.is_none_or(|registration| registration.watcher != connection) {
            return;
        }
        self.registrations.remove(key);
        for proposal in self.proposals.values_mut() {
            proposal.lost(key, end);
        }
        // A process that is gone need not get ready. It may be waited for after a change all the
        // same: it may be restarting itself.
        for ((process, _, stage), wait) in &mut self.waits {
            if *process == key.0 && *stage == StageName::Prepare && *end == End::Gone {
                wait.pending.remove(&key.1);
                wait.news.notify_one();
            }
        }
    }

    /// A process says that it is ready or done. Whoever says it speaks also for processes of its
    /// service that are gone, since it may be the successor of one.
    fn say(
        &mut self,
        key: &Key,
        change: &str,
        stage: StageName,
        asks_default: bool,
    ) -> Result<(), CallError> {
        let change = parse_change(change)?;
        self.check_watching(key)?;
        let watching = self.watching(&key.0);
        let Some(wait) = self.waits.get_mut(&(key.0.clone(), change, stage)) else {
            return Err(CallError::about("NotExpected", &change));
        };
        let pending = wait.pending.len();
        let others = |pid: &u32| *pid != key.1 && watching.contains(&(key.0.clone(), *pid));
        wait.pending.retain(others);
        if wait.pending.len() == pending {
            return Err(CallError::about("NotExpected", &change));
        }
        wait.asks_default |= asks_default;
        wait.news.notify_one();
        Ok(())
    }
}

impl State {
    /// Puts an event into a process's queue. One whose queue is full does not read: it is no longer
    /// registered, and its connection closes itself.
    fn deliver(&mut self, key: &Key, event: Event) {
        let registration = self.registrations.get(key);
        if registration.is_some_and(|registration| registration.events.try_send(event).is_err()) {
            self.registrations.remove(key);
        }
    }

    /// Counts a dry run that a process is asked in; false if it has left too many unanswered.
    fn takes_trial(&mut self, key: &Key) -> bool {
        let Some(registration) = self.registrations.get_mut(key) else {
            return false;
        };
        let takes = registration.unanswered_trials < MOST_UNANSWERED_TRIALS;
        registration.unanswered_trials += u32::from(takes);
        takes
    }

    fn end_round(&mut self, change: &Digest, why: &str) {
        if let Some(proposal) = self.proposals.get_mut(change)
            && proposal.open
        {
            let records = proposal.cut_short(why);
            self.cut_short.insert(proposal.round, records);
        }
    }

    fn forget_old(&mut self) {
        let mut closed: Vec<_> = self
            .proposals
            .iter()
            // Dry runs are withdrawn by whoever asked.
            .filter(|(_, proposal)| !proposal.open && !proposal.is_dry())
            .map(|(change, proposal)| (proposal.round, *change))
            .collect();
        closed.sort_unstable();
        let excess = closed.len().saturating_sub(MOST_KEPT);
        for (_, change) in &closed[..excess] {
            self.proposals.remove(change);
        }
    }

    fn watching(&self, process: &ProcessName) -> Vec<Key> {
        let first = (process.clone(), 0);
        let last = (process.clone(), u32::MAX);
        let registrations = self.registrations.range(first..=last);
        registrations.map(|(key, _)| key.clone()).collect()
    }

    fn is_watching(&self, key: &Key) -> bool {
        self.registrations.contains_key(key)
    }

    fn check_watching(&self, key: &Key) -> Result<(), CallError> {
        if self.is_watching(key) {
            Ok(())
        } else {
            Err(not_registered())
        }
    }
}

fn parse_change(text: &str) -> Result<Digest, CallError> {
    text.parse()
        .map_err(|error| CallError::refused("changeDigest", format!("{error}")))
}

fn not_registered() -> CallError {
    CallError::of("NotRegistered", serde_json::json!({}))
}
