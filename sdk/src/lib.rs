//! Client for self-managing processes: hear of changes, vote on them, handle them.
//!
//! A process that Placet runs finds a socket in `PLACET_SOCKET`. [`Placet::from_env`] announces
//! the process there; from then on it is asked before a change that touches it is made. The crate
//! blocks, has no threads and no runtime, and fits into any loop that can wait for a file
//! descriptor.
//!
//! ```no_run
//! use placet_sdk::{Event, Handling, Placet, Vote};
//!
//! # fn sessions() -> usize { 0 }
//! # fn main() -> Result<(), placet_sdk::Error> {
//! let Some(mut placet) = Placet::from_env()? else {
//!     return Ok(()); // not run by Placet: nobody asks
//! };
//! placet_sdk::notify_ready()?;
//! loop {
//!     match placet.next_event(None)? {
//!         Some(Event::Proposed(proposal)) => match sessions() {
//!             0 => placet.vote(&proposal, Vote::accept())?,
//!             n => placet.vote(&proposal, Vote::veto("sessions-open", &format!("{n} open sessions")))?,
//!         },
//!         Some(Event::Prepare { change_digest, .. }) => placet.ready(&change_digest)?,
//!         Some(Event::Changed { change_digest, .. }) => placet.done(&change_digest, Handling::Default)?,
//!         _ => {} // a question that is off, or something of a later version
//!     }
//! }
//! # }
//! ```
//!
//! The protocol is varlink; `dev.placet.Vote.varlink` beside this crate describes it, and
//! `c/placet.h` is the same client for C.

use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

mod channel;
mod handover;
mod notify;
mod vote;
mod wire;

use channel::Channel;
use wire::Wire;

pub use handover::{Handed, forget, save_state, store};
pub use notify::{notify, notify_ready};
pub use vote::Vote;

/// How long the node daemon may take to answer a call.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A connection to the node daemon. While it lives, the process is asked.
#[derive(Debug)]
pub struct Placet {
    path: PathBuf,
    calls: Channel,
    events: Channel,
    process: String,
    opened: Vec<String>,
    follows: Vec<Interest>,
    notices: bool,
}

/// What the node daemon says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A change is proposed: answer with [`Placet::vote`].
    Proposed(Proposal),
    /// A proposal was withdrawn: no answer is wanted any more, and a promise is void.
    Released {
        /// Which.
        change_digest: String,
        /// Why.
        reason: String,
    },
    /// The change is about to be made: save what has to be saved, then call [`Placet::ready`].
    Prepare {
        /// Which.
        change_digest: String,
        /// How long this may take.
        within: Duration,
    },
    /// The change is over: handle it, then call [`Placet::done`].
    Changed {
        /// Which.
        change_digest: String,
        /// How it ended.
        outcome: Outcome,
        /// How long handling it may take.
        within: Duration,
    },
    /// A change of the node begins, whomever it touches: for those who asked for
    /// [`Placet::notices`]. No answer is wanted.
    Began {
        /// Which.
        change_digest: String,
        /// The roll-out's name.
        rollout: String,
    },
    /// A change of the node is over. No answer is wanted.
    Ended {
        /// Which.
        change_digest: String,
        /// How it ended.
        outcome: Outcome,
    },
}

/// Modules in which a process has an interest. Parts that are left out do not restrict, but one has
/// to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Interest {
    /// Paths; `*` stands for anything but `/`, `**` for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Types (`data`, `plugin`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Functions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
}

/// A change that the process is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The node change digest, which the vote binds to.
    pub change_digest: String,
    /// The roll-out's name.
    pub rollout: String,
    /// The revision that is to be reached.
    pub revision: String,
    /// True if the change is only modelled and will be withdrawn.
    pub dry_run: bool,
    /// When the answer has to be there, RFC 3339.
    pub deadline: String,
    /// How much time that leaves.
    #[serde(rename = "seconds", deserialize_with = "wire::seconds")]
    pub within: Duration,
    /// The modules of the change that touch this process, as many as fit a message.
    pub modules: Vec<String>,
    /// How many these are in all.
    pub module_count: usize,
    /// The same in words for people.
    pub summary: String,
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The new software is in place.
    Activated,
    /// It could not be put in place; the old software is.
    Failed,
    /// It was in place and was given back; the old software is in place again.
    Regressed,
}

/// What the process did about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Handling {
    /// It restarted itself or reopened its libraries: leave it alone.
    Handled,
    /// It asks the node daemon to restart it.
    Default,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node daemon cannot be reached.
    #[error("failed to connect to the node daemon at `{path}`")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The node daemon is gone, perhaps to be replaced; see [`Placet::reconnect`].
    #[error(
        "the node daemon closed the connection; reconnect, or look into its log for the reason"
    )]
    Disconnected,
    /// The node daemon did not answer a call in time.
    #[error("the node daemon did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Unanswered,
    /// The socket failed.
    #[error("failed to talk to the node daemon")]
    Socket(#[source] io::Error),
    /// The node daemon refused a call.
    #[error("the node daemon refused the call: {name} {parameters}")]
    Refused {
        /// The varlink error's name (`dev.placet.Vote.UnknownProposal`).
        name: String,
        /// Its parameters.
        parameters: Value,
    },
    /// What arrived is not what the interface promises.
    #[error("the node daemon sent something unexpected")]
    Unexpected(#[source] serde_json::Error),
    /// A message is longer than 65,536 bytes.
    #[error("a message is longer than 65536 bytes")]
    TooLong,
    /// The name of a stored descriptor, or of a state format, cannot be used.
    #[error("`{0}` cannot be a name here: 1 to 255 printable ASCII characters but `:`")]
    Name(String),
    /// State could not be saved or restored.
    #[error("failed to save or restore state")]
    State(#[source] io::Error),
    /// Something could not be told.
    #[error("failed to send to the notification socket `{socket}`")]
    Notify {
        /// `NOTIFY_SOCKET`.
        socket: String,
        /// Why.
        source: io::Error,
    },
}

impl Placet {
    /// Announces this process at the socket in `PLACET_SOCKET`; `None` where the variable is not
    /// set, since then nobody asks.
    ///
    /// # Errors
    ///
    /// If the socket cannot be reached, or the node daemon does not take this process for one of
    /// the service that the socket belongs to.
    pub fn from_env() -> Result<Option<Self>, Error> {
        match env::var_os("PLACET_SOCKET") {
            Some(path) if !path.is_empty() => Self::connect(Path::new(&path)).map(Some),
            _ => Ok(None),
        }
    }

    /// Announces this process at the socket `path`.
    ///
    /// # Errors
    ///
    /// See [`Self::from_env`].
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let mut placet = Self {
            path: path.to_owned(),
            calls: Channel::connect(path)?,
            events: Channel::connect(path)?,
            process: String::new(),
            opened: Vec::new(),
            follows: Vec::new(),
            notices: false,
        };
        placet.announce()?;
        Ok(placet)
    }

    /// Connects anew after [`Error::Disconnected`], and names again what was opened and what is
    /// followed. What was proposed and is still open is proposed again. [`Self::fd`] changes.
    ///
    /// # Errors
    ///
    /// See [`Self::from_env`]. The node daemon may be away for a moment: try again after a while.
    pub fn reconnect(&mut self) -> Result<(), Error> {
        let fresh = Self::connect(&self.path)?;
        self.calls = fresh.calls;
        self.events = fresh.events;
        self.process = fresh.process;
        let (opened, follows) = (&self.opened, &self.follows);
        let known = json!({"opened": opened, "follows": follows, "notices": self.notices});
        self.call("Register", &known).map(drop)
    }

    /// Names modules in whose addition, change and removal the process has an interest: it is asked
    /// before, and told after.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it names nothing, or if there are more than 64 interests.
    pub fn follow(&mut self, interest: &Interest) -> Result<(), Error> {
        self.call("Follow", &json!({"modules": [interest]}))?;
        self.follows.push(interest.clone());
        Ok(())
    }

    /// Whether the process is told of every change of its node: [`Event::Began`] and
    /// [`Event::Ended`].
    ///
    /// # Errors
    ///
    /// As other calls.
    pub fn notices(&mut self, wanted: bool) -> Result<(), Error> {
        self.call("Register", &json!({"notices": wanted}))?;
        self.notices = wanted;
        Ok(())
    }

    /// The name by which the node knows this process.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// The descriptor to wait on: when it is readable, call [`Self::next_event`] with a timeout of
    /// zero until that returns `None`.
    pub fn fd(&self) -> RawFd {
        self.events.socket().as_raw_fd()
    }

    /// The next event; `None` if none comes within `timeout`. Without a timeout it waits.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`] if the node daemon is gone.
    pub fn next_event(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        match self.events.receive(timeout)? {
            Some(message) => Ok(decode::<Wire>(&message.text)?.event()),
            None => Ok(None),
        }
    }

    /// Answers a proposal. The first answer counts.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the proposal is unknown by now, closed, or was answered already, or
    /// if the vote's texts are too long.
    pub fn vote(&mut self, proposal: &Proposal, vote: Vote) -> Result<(), Error> {
        self.call("Vote", &vote.into_parameters(&proposal.change_digest))
            .map(drop)
    }

    /// Says that the process is prepared for the change.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if nobody waits for that any more.
    pub fn ready(&mut self, change_digest: &str) -> Result<(), Error> {
        self.call("Ready", &json!({"changeDigest": change_digest}))
            .map(drop)
    }

    /// Says that the process has handled the change. A process that restarts itself connects
    /// again and calls this from its new program.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if nobody waits for that any more.
    pub fn done(&mut self, change_digest: &str, handling: Handling) -> Result<(), Error> {
        let parameters = json!({"changeDigest": change_digest, "outcome": handling});
        self.call("Done", &parameters).map(drop)
    }

    /// Names modules that the process opened at run time, by their paths relative to the root of
    /// the generation: from now on their change touches this process.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if one is not such a path, or if there are more than 1,000.
    pub fn opened(&mut self, libraries: &[&str]) -> Result<(), Error> {
        self.call("Opened", &json!({"libraries": libraries}))?;
        let libraries = libraries.iter().map(|library| (*library).to_owned());
        self.opened.extend(libraries);
        Ok(())
    }

    /// The processes of this node that use a module.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if `module` is not the path of a module.
    pub fn users(&mut self, module: &str) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Users {
            processes: Vec<String>,
        }
        let reply = self.call("GetUsers", &json!({"module": module}))?;
        let users: Users = reply.parameters()?;
        Ok(users.processes)
    }

    /// The full change set of a proposal: modules added, changed, removed, processes affected and
    /// why.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the proposal is unknown by now.
    pub fn change_set(&mut self, change_digest: &str) -> Result<Value, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ChangeSet {
            change_set: Option<Value>,
            #[serde(default)]
            size: u64,
        }
        let mut reply = self.call("GetChangeSet", &json!({"changeDigest": change_digest}))?;
        let ChangeSet { change_set, size } = reply.parameters()?;
        match (change_set, reply.file.take()) {
            (Some(change_set), _) => Ok(change_set),
            (None, Some(file)) => {
                let text = channel::read_exactly(file, size).map_err(Error::Socket)?;
                serde_json::from_slice(&text).map_err(Error::Unexpected)
            }
            (None, None) => Err(Error::Unexpected(serde::de::Error::missing_field(
                "changeSet",
            ))),
        }
    }

    fn announce(&mut self) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Registered {
            process: String,
        }
        let client = concat!("placet-sdk ", env!("CARGO_PKG_VERSION"));
        let reply = self.call("Register", &json!({"client": client}))?;
        self.process = reply.parameters::<Registered>()?.process;
        let watch = json!({"method": "dev.placet.Vote.Watch", "more": true});
        self.events.send(&watch)?;
        let message = self
            .events
            .receive(Some(ANSWER_WITHIN))?
            .ok_or(Error::Unanswered)?;
        decode::<Wire>(&message.text).map(drop)
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Result<Reply, Error> {
        let method = format!("dev.placet.Vote.{method}");
        self.calls
            .send(&json!({"method": method, "parameters": parameters}))?;
        let message = self
            .calls
            .receive(Some(ANSWER_WITHIN))?
            .ok_or(Error::Unanswered)?;
        Ok(Reply {
            parameters: decode(&message.text)?,
            file: message.file,
        })
    }
}

impl AsFd for Placet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.socket().as_fd()
    }
}

impl AsRawFd for Placet {
    fn as_raw_fd(&self) -> RawFd {
        self.fd()
    }
}

/// The good answer to a call.
struct Reply {
    parameters: Value,
    file: Option<std::fs::File>,
}

impl Reply {
    fn parameters<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(&self.parameters).map_err(Error::Unexpected)
    }
}

/// Tells an error from a good answer.
fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Answer {
        error: Option<String>,
        #[serde(default)]
        parameters: Value,
    }
    let answer: Answer = serde_json::from_slice(text).map_err(Error::Unexpected)?;
    match answer.error {
        Some(name) => Err(Error::Refused {
            name,
            parameters: answer.parameters,
        }),
        None => serde_json::from_value(answer.parameters).map_err(Error::Unexpected),
    }
}
