//! What the fleet hears.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use placet_crds::{Fault, Loaded, NodeAction, NodeProcess, NodeSuite, Reason, SourceFile};
use placet_model::{
    Decision, DecisionKind, Digest, DryRunReport, NodeFacts, NodeManifest, NodeName, Verdict,
};
use placet_planner::{Catalog, Running};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::dry_run::Inquiry;
use super::orders::Outgoing;
use super::refusal::Refusal;
use super::world::Snapshot;
use crate::git::Signer;
use crate::home::Seen;
use crate::shared::Begun;

/// One thing that happened outside the fleet's own loop.
#[derive(Debug)]
pub(crate) enum News {
    /// A node bought a certificate.
    Joined { node: NodeName, reply: Reply<()> },
    /// A node got a new certificate.
    Renewed(NodeName),
    /// A node opened a session.
    Hello {
        node: NodeName,
        session: Session,
        announcement: Box<Announcement>,
    },
    /// A node was refused, since it and this controller do not speak the same.
    Apart { node: NodeName, why: String },
    /// A node said something in its session.
    Said {
        node: NodeName,
        session: u64,
        what: Box<Said>,
        /// Given back when the news was worked off, so that no node fills the queue by itself.
        permit: OwnedSemaphorePermit,
    },
    /// A session ended.
    Gone { node: NodeName, session: u64 },
    /// Others wrote to the home.
    Seen(Vec<Seen>),
    /// A repository was looked at.
    Looked(Box<Looked>),
    /// The packages that are declared were looked up.
    Resolved {
        declared: u64,
        catalog: Arc<Catalog>,
    },
    /// A person applies declarations.
    Apply {
        files: Vec<SourceFile>,
        author: String,
        reply: Reply<Result<Vec<String>, Vec<String>>>,
    },
    /// A person deletes a resource.
    Delete {
        kind: &'static str,
        name: String,
        reply: Reply<Result<String, Refusal>>,
    },
    /// A person decides.
    Decide {
        ruling: Ruling,
        reply: Reply<Result<Decision, Refusal>>,
    },
    /// A person orders something for one node.
    OrderNode {
        node: NodeName,
        instruction: Instruction,
        reply: Reply<Result<String, Refusal>>,
    },
    /// Somebody wants to know what nodes would say.
    DryRun(Box<Inquiry>),
    /// A dry run that is declared came to its end.
    Tried {
        begun: Begun,
        outcome: Box<Result<Tried, String>>,
    },
    /// Somebody wants to know how things stand.
    Look(oneshot::Sender<Snapshot>),
}

/// What a dry run found out.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    pub(crate) report: DryRunReport,
    /// [`super::trials::manifests`] of the target.
    pub(crate) manifests: Digest,
}

/// What a person orders for one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) action: NodeAction,
    pub(crate) author: String,
    pub(crate) reason: String,
}

/// Whom to answer, once what was asked for is durable.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// The fleet's end of a session. Dropping it ends the session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Later sessions have greater numbers.
    pub(crate) id: u64,
    pub(crate) orders: mpsc::Sender<Result<Outgoing, Status>>,
    pub(crate) end: CancellationToken,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// What a node has, as it says when its session begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) boot_id: String,
    pub(crate) facts: NodeFacts,
    pub(crate) report: Reported,
    /// The manifest that it runs.
    pub(crate) manifest: Running,
    pub(crate) staged: BTreeSet<Digest>,
    /// Manifests that failed on it, and why.
    pub(crate) failed: BTreeMap<Digest, String>,
    /// True if changes can run there from memory only.
    pub(crate) memory: bool,
}

/// What runs on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reported {
    pub(crate) generation: u64,
    pub(crate) manifest_digest: Digest,
    pub(crate) processes: Vec<NodeProcess>,
    /// What has drifted, a line each.
    pub(crate) drifts: Vec<String>,
    /// True while it is about a change.
    pub(crate) changing: bool,
    /// Set while what it runs is in memory only.
    pub(crate) in_memory: Option<InMemory>,
    /// Manifests that failed on it, and why; none where it does not say.
    pub(crate) failed: Option<BTreeMap<Digest, String>>,
    /// The test suites of what it runs in test mode.
    pub(crate) suites: Vec<NodeSuite>,
}

/// What is stored on a node that runs something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InMemory {
    pub(crate) generation: u64,
    pub(crate) manifest_digest: Digest,
    /// Seconds until it goes back to that by itself.
    pub(crate) seconds_left: Option<u64>,
}

impl Default for Reported {
    fn default() -> Self {
        Self {
            generation: 0,
            manifest_digest: NodeManifest::default().digest(),
            processes: Vec::new(),
            drifts: Vec::new(),
            changing: false,
            in_memory: None,
            failed: None,
            suites: Vec::new(),
        }
    }
}

/// What a node says in the course of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Verdict(Verdict),
    Staged {
        rollout: String,
        change_digest: Digest,
        modules: u64,
        bytes: u64,
        /// Why it failed, if it did.
        error: Option<String>,
    },
    Activated {
        rollout: String,
        change_digest: Digest,
        /// The generation, or why it was given back.
        outcome: Result<u64, String>,
    },
    Report(Reported),
}

/// What a look at a repository came to.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) source: String,
    /// The generation of the `GitSource` that it was done for.
    pub(crate) generation: i64,
    pub(crate) outcome: Result<Commit, Failure>,
    /// When the look brought news.
    pub(crate) heard: Instant,
}

/// A commit that was fetched.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    /// `main@sha1:…`.
    pub(crate) revision: String,
    pub(crate) subject: String,
    pub(crate) author: String,
    /// Who signed it, where that is asked for.
    pub(crate) signer: Option<Signer>,
    /// Whether a person said that it may declare nothing at all.
    pub(crate) may_be_empty: bool,
    pub(crate) files: Vec<SourceFile>,
    /// What the files declare and decide, or what is wrong with them.
    pub(crate) loaded: Result<Loaded, Vec<Fault>>,
}

/// Why a repository gave nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// The revision that was refused, if it came to one.
    pub(crate) revision: Option<String>,
}

/// What a person says of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) rollout: String,
    /// The hold's number; none for the one that is open.
    pub(crate) hold: Option<u32>,
    pub(crate) kind: DecisionKind,
    pub(crate) author: String,
    pub(crate) reason: String,
    /// Where given: the only objections that it is meant to override.
    pub(crate) overrides: Vec<String>,
}
