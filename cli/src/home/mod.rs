//! Where the fleet is kept: with a controller on this machine, or in an API server.
//!
//! Which one is meant is found out in this order: a socket that was named, a kubeconfig or context
//! that was named, a controller on this machine that answers at its usual place, and at last the
//! kubeconfig that kubectl would use.

mod follow;
mod kubernetes;
mod said;
mod socket;

use std::path::Path;

use anyhow::anyhow;
use placet_crds::KindInfo;
use placet_model::{Decision, DryRunReport};
use placet_protocol::wire::File;
use serde_json::Value;

pub(crate) use self::follow::Follow;
use self::kubernetes::Kubernetes;
use self::socket::Socket;
use crate::arguments::{Common, Decide, Token};
use crate::client;
use crate::events::Event;

/// A home of either kind.
pub(crate) enum Home {
    /// The controller of `placet up`, by its socket.
    Socket(Socket),
    /// The custom resources of an API server.
    Kubernetes(Box<Kubernetes>),
}

/// What came of applying.
#[derive(Default)]
pub(crate) struct Applied {
    pub(crate) results: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) problems: Vec<String>,
}

/// What came of a dry run.
pub(crate) enum Tried {
    /// The declarations are wrong.
    Refused(Vec<String>),
    /// A controller's full report.
    Report(Box<DryRunReport>),
    /// What an API server passed on.
    Answered(Applied),
}

/// What came of a decision.
pub(crate) enum Decided {
    /// It was taken.
    Taken(Decision),
    /// It stands in the roll-out, and no controller has acted on it yet.
    Written(String),
    /// It was not, and why.
    Refused(String),
}

/// What came of an order for one node.
pub(crate) enum Ordered {
    /// It is done, or under way.
    Done(String),
    /// It is not done, and why.
    Refused(String),
}

/// A join token, and where it can be used.
pub(crate) struct JoinToken {
    pub(crate) token: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) expires: String,
}

/// The news of a fleet or of one roll-out.
pub(crate) enum Feed {
    Socket(Box<tonic::Streaming<placet_protocol::wire::Event>>),
    Kubernetes(Box<Follow>),
}

/// Something that happened, for `describe`.
pub(crate) struct Happened {
    pub(crate) time: String,
    pub(crate) lines: Vec<String>,
}

impl Home {
    /// The home that is meant.
    ///
    /// # Errors
    ///
    /// There is none: the error says where it was looked for.
    pub(crate) async fn open(common: &Common) -> anyhow::Result<Self> {
        let is_named = common.kubeconfig.is_some() || common.context.is_some();
        if common.socket.is_some() && !(is_named && client::is_from_environment(common)) {
            return Ok(Self::Socket(Socket::open(common).await?));
        }
        if is_named {
            return Ok(Self::Kubernetes(Box::new(Kubernetes::open(common).await?)));
        }
        let usual = client::default_state().join("admin.sock");
        if let Ok(socket) = Socket::open(common).await {
            return Ok(Self::Socket(socket));
        }
        match Kubernetes::open(common).await {
            Ok(home) => Ok(Self::Kubernetes(Box::new(home))),
            Err(error) => Err(nowhere(&usual, &error)),
        }
    }

    /// Resources of a kind (all kinds if none), all or by name.
    pub(crate) async fn get(
        &self,
        kind: Option<&KindInfo>,
        name: &str,
    ) -> anyhow::Result<Vec<Value>> {
        match self {
            Self::Socket(home) => home.get(kind, name).await,
            Self::Kubernetes(home) => home.get(kind, name).await,
        }
    }

    /// One resource; an error where there is none.
    pub(crate) async fn get_one(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        let found = self.get(placet_crds::find_kind(kind), name).await?;
        found
            .into_iter()
            .next()
            .ok_or_else(|| anyhow!("there is no {kind} `{name}`"))
    }

    /// Applies declarations.
    pub(crate) async fn apply(&self, files: Vec<File>, force: bool) -> anyhow::Result<Applied> {
        match self {
            Self::Socket(home) => home.apply(files).await,
            Self::Kubernetes(home) => home.apply(files, force).await,
        }
    }

    /// Asks the live nodes what they would say, and changes nothing.
    pub(crate) async fn dry_run(&self, files: Vec<File>, seconds: u32) -> anyhow::Result<Tried> {
        match self {
            Self::Socket(home) => home.dry_run(files, seconds).await,
            Self::Kubernetes(home) => home.dry_run(files).await,
        }
    }

    /// Deletes a resource, and says so.
    pub(crate) async fn delete(&self, kind: &KindInfo, name: &str) -> anyhow::Result<String> {
        match self {
            Self::Socket(home) => home.delete(kind, name).await,
            Self::Kubernetes(home) => home.delete(kind, name).await,
        }
    }

    /// Answers a hold.
    pub(crate) async fn decide(&self, decide: &Decide) -> anyhow::Result<Decided> {
        match self {
            Self::Socket(home) => home.decide(decide).await,
            Self::Kubernetes(home) => home.decide(decide).await,
        }
    }

    /// Pauses or resumes a roll-out.
    pub(crate) async fn pause(&self, rollout: &Value, paused: bool) -> anyhow::Result<Applied> {
        match self {
            Self::Socket(home) => home.pause(rollout, paused).await,
            Self::Kubernetes(home) => home.pause(rollout, paused).await,
        }
    }

    /// Orders something for one node.
    pub(crate) async fn order(
        &self,
        node: &str,
        action: &str,
        reason: &str,
    ) -> anyhow::Result<Ordered> {
        match self {
            Self::Socket(home) => home.order(node, action, reason).await,
            Self::Kubernetes(home) => home.order(node, action, reason).await,
        }
    }

    /// Makes a join token.
    pub(crate) async fn token(&self, token: &Token) -> anyhow::Result<JoinToken> {
        match self {
            Self::Socket(home) => home.token(token).await,
            Self::Kubernetes(home) => home.token(token).await,
        }
    }

    /// What happened lately to a resource, oldest first.
    pub(crate) async fn happened(
        &self,
        kind: &KindInfo,
        name: &str,
    ) -> anyhow::Result<Vec<Happened>> {
        match self {
            Self::Socket(home) => home.happened(kind, name).await,
            Self::Kubernetes(home) => home.happened(kind, name).await,
        }
    }

    /// Everything that happens to a roll-out, from its beginning; without a name, what happens
    /// from now on.
    pub(crate) async fn watch(&self, rollout: Option<&str>) -> anyhow::Result<Feed> {
        match self {
            Self::Socket(home) => Ok(Feed::Socket(Box::new(home.watch(rollout).await?))),
            Self::Kubernetes(home) => Ok(Feed::Kubernetes(Box::new(home.watch(rollout)?))),
        }
    }
}

impl Feed {
    /// The next event; none at the end.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        match self {
            Self::Socket(stream) => {
                let next = stream.message().await;
                let next = next.map_err(|status| client::refusal(&status))?;
                Ok(next.map(Event::from))
            }
            Self::Kubernetes(follow) => follow.next().await.map(Some),
        }
    }
}

fn nowhere(socket: &Path, kubeconfig: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "no fleet was found; looked at\n  {}: no controller answers there; start one with `placet up`, or name its socket with --socket\n  kubeconfig: {kubeconfig:#}; name one with --kubeconfig or --context",
        socket.display()
    )
}
