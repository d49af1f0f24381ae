//! The vote service: asks the processes of this node, tells them of changes, and hears them out
//! (V3), over varlink on one `AF_UNIX` socket for each service.
//!
//! [`Voters`] is what the agent uses. Behind it, `state` is one value that every call and every
//! event goes through, synchronous and without I/O; `ballot` counts; `connection` is one task
//! per connection; `frame` and `message` are the wire.
//!
//! **Invariant:** nothing that one process does, or leaves undone, delays another's question:
//! events go into a bounded queue per process, and nobody waits for room in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{collections::BTreeMap, collections::BTreeSet, fmt, io};

use placet_model::{ChangeSet, Digest, ModulePath, ProcessName, Silence, VoteRecord};
use placet_planner::Announcements;
use serde::Serialize;
use tokio::time::Instant;

mod ballot;
mod connection;
mod frame;
mod listener;
mod look;
mod message;
mod state;
mod wait;

use ballot::Tally;
use message::Event;
use state::Shared;
use wait::Stage;

/// Says to which process of this node a process id belongs, children included; `None` for a
/// stranger.
pub type Who = Arc<dyn Fn(i32) -> Option<ProcessName> + Send + Sync>;

/// The vote service of a node. Clones are handles of the same service.
///
/// Its methods have to be called within a tokio runtime.
#[derive(Clone)]
pub struct Voters {
    shared: Arc<Shared>,
}

/// A question to the processes that a change touches.
#[derive(Debug, Clone)]
pub struct Question {
    /// The roll-out's name.
    pub rollout: String,
    /// The revision that is to be reached.
    pub revision: String,
    /// The node change digest, which the answers bind to.
    pub change_digest: Digest,
    /// What differs, and whom it touches.
    pub change_set: ChangeSet,
    /// True if the change is only modelled; see [`Voters::ask_dry`].
    pub dry_run: bool,
    /// Who is asked, if registered.
    pub voters: Vec<Voter>,
}

/// A process that a change touches.
#[derive(Debug, Clone)]
pub struct Voter {
    /// Its name.
    pub process: ProcessName,
    /// Its main process. Where this one is registered it speaks for the service; otherwise every
    /// process of the service that is registered does.
    pub pid: u32,
    /// Seconds it may take to answer.
    pub vote_seconds: u32,
    /// What its silence counts as.
    pub silence: Silence,
    /// The modules of the change that touch it.
    pub modules: Vec<ModulePath>,
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The new software is in place.
    Activated,
    /// It could not be put in place; the old software is.
    Failed,
    /// It was in place and was given back.
    Regressed,
}

/// Whether a process is prepared for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// It said so, or is gone.
    Ready,
    /// It did not say so in time.
    TimedOut,
    /// It is not registered, so it was not told.
    NotRegistered,
}

/// What a process did about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It handled the change itself: leave it alone.
    Done,
    /// It asks to be restarted.
    AsksDefault,
    /// It did not say in time: restart it.
    TimedOut,
    /// It is not registered, so it was not told: restart it.
    NotRegistered,
}

/// A service's socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to make the vote socket `{path}` of `{process}`")]
pub struct ServeError {
    /// Where.
    path: PathBuf,
    /// Whose.
    process: ProcessName,
    /// Why.
    source: io::Error,
}

impl Voters {
    /// The service, with its sockets in `vote/` below `run_dir`, which exists.
    pub fn new(run_dir: &Path, who: Who) -> Self {
        Self {
            shared: Arc::new(Shared::new(run_dir.join("vote"), who)),
        }
    }

    /// Listens for processes of `process` and says where (`PLACET_SOCKET`). The path depends on
    /// the name alone, so processes find the service again after the agent was restarted. Again
    /// for a process that is served already: the same path, and nothing changes.
    ///
    /// # Errors
    ///
    /// If the socket cannot be made.
    pub fn serve(&self, process: &ProcessName) -> Result<PathBuf, ServeError> {
        listener::serve(&self.shared, process).map_err(|(path, source)| ServeError {
            path,
            process: process.clone(),
            source,
        })
    }

    /// Ends what [`Self::serve`] began: closes the connections and removes the socket.
    pub fn withdraw(&self, process: &ProcessName) {
        listener::withdraw(&self.shared, process);
    }

    /// Puts a question to all its voters at once, and returns when each has answered or its time
    /// is over. Voters that are not registered leave no record. A voter that ends before it has
    /// answered leaves none either: it has no stake any more. One that breaks the rules of the
    /// protocol on its `Watch` connection could not be asked (`Error`).
    ///
    /// The change stays known ([`Self::release`], `GetChangeSet`) after this returns, but votes
    /// are refused. Asked again about the same change, the old question ends with what it has.
    /// Dropping the future ends the question.
    pub async fn ask(&self, question: Question) -> Vec<VoteRecord> {
        let round = self.shared.open(question);
        loop {
            match round.tally() {
                Tally::Over(records) => return records,
                Tally::Waits { until } => {
                    // Both arms are cancel safe: a notification that comes in between is kept.
                    tokio::select! {
                        () = round.news() => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
            }
        }
    }

    /// Puts the question of a dry run. As [`Self::ask`]; but however it ends, its voters are told
    /// that it is withdrawn, and nothing is kept. A voter that has left many dry runs unanswered is
    /// taken for silent without being asked, so that dry runs cost nobody a place in a real vote.
    ///
    /// The question's digest has to be one that no real proposal has.
    pub async fn ask_dry(&self, question: Question) -> Vec<VoteRecord> {
        let _withdrawn = Withdrawn {
            shared: self.shared.clone(),
            change: question.change_digest,
        };
        self.ask(question).await
    }

    /// Withdraws a proposal: voters are told, an open question ends, and the change is forgotten.
    #[expect(
        clippy::unused_async,
        reason = "callers await every order; delivery may need to wait one day"
    )]
    pub async fn release(&self, change_digest: &Digest, reason: &str) {
        self.shared.lock().release(change_digest, reason);
    }

    /// Tells a process that a change is about to be made and waits until it is ready for it.
    pub async fn prepare(
        &self,
        process: &ProcessName,
        change_digest: &Digest,
        within: Duration,
    ) -> Prepared {
        match self
            .wait(process, change_digest, Stage::Prepare, within)
            .await
        {
            wait::Ended::Said { .. } => Prepared::Ready,
            wait::Ended::TimedOut => Prepared::TimedOut,
            wait::Ended::NotRegistered => Prepared::NotRegistered,
        }
    }

    /// Tells a process how a change ended and waits until it has handled that. The wait outlasts
    /// the registration, since a process may restart itself.
    pub async fn changed(
        &self,
        process: &ProcessName,
        change_digest: &Digest,
        outcome: Outcome,
        within: Duration,
    ) -> Handled {
        let stage = Stage::Changed(outcome);
        match self.wait(process, change_digest, stage, within).await {
            wait::Ended::Said {
                asks_default: false,
            } => Handled::Done,
            wait::Ended::Said { asks_default: true } => Handled::AsksDefault,
            wait::Ended::TimedOut => Handled::TimedOut,
            wait::Ended::NotRegistered => Handled::NotRegistered,
        }
    }

    /// What registered processes say of what they opened at run time, and of what they follow.
    pub fn announced(&self) -> Announcements {
        self.shared.lock().announced()
    }

    /// Tells the processes that want to know of every change that one begins (`None`), or how it
    /// ended. Nobody waits for them.
    pub fn give_notice(&self, change_digest: Digest, rollout: &str, outcome: Option<Outcome>) {
        let event = match outcome {
            None => Event::Began {
                change_digest,
                rollout: rollout.to_owned(),
            },
            Some(outcome) => Event::Ended {
                change_digest,
                outcome,
            },
        };
        self.shared.lock().give_notice(&event);
    }

    /// True if a process of this name is registered, and would be asked.
    pub fn is_registered(&self, process: &ProcessName) -> bool {
        self.shared.lock().is_registered(process)
    }

    /// Tells the service who uses which module, directly or not, for `GetUsers`. To be called
    /// when another manifest is in force.
    pub fn set_users(&self, users: BTreeMap<ModulePath, BTreeSet<ProcessName>>) {
        self.shared.lock().set_users(users);
    }

    async fn wait(
        &self,
        process: &ProcessName,
        change_digest: &Digest,
        stage: Stage,
        within: Duration,
    ) -> wait::Ended {
        let Some(wait) = self.shared.wait(process, change_digest, stage, within) else {
            return wait::Ended::NotRegistered;
        };
        let deadline = Instant::now() + within;
        loop {
            if let Some(ended) = wait.ended() {
                return ended;
            }
            // Both arms are cancel safe: a notification that comes in between is kept.
            tokio::select! {
                () = wait.news() => {}
                () = tokio::time::sleep_until(deadline) => return wait::Ended::TimedOut,
            }
        }
    }
}

/// Withdraws the question of a dry run when it is over.
struct Withdrawn {
    shared: Arc<Shared>,
    change: Digest,
}

impl Drop for Withdrawn {
    fn drop(&mut self) {
        self.shared
            .lock()
            .release(&self.change, "it was a dry run, and is over");
    }
}

impl fmt::Debug for Voters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voters").finish_non_exhaustive()
    }
}
