//! The agent: everything but holding on to processes.
//!
//! [`core`] is one task that owns all state and takes one input after another: orders of the
//! controller ([`session`]), events of the keeper, answers of processes. Decisions about processes
//! are [`machine`]'s; what takes time runs in tasks of its own ([`asking`], [`staging`]) that end
//! with an input to the core.

mod asking;
mod boot;
mod command;
mod core;
mod cure;
mod deputy;
mod drift;
mod dry_run;
mod effects;
mod fetching;
mod groups;
mod health;
mod hearing;
mod keeper;
mod launch;
mod logic;
mod machine;
mod mapped;
mod orders;
mod report;
mod session;
mod skew;
mod staging;
mod stale;
mod test_mode;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use crate::Fatal;
use crate::arguments::{ArgumentError, Settings};
use crate::store::{Disk, Store};
use keeper::KeeperLink;

/// The agent cannot work.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("failed to start the runtime")]
    Runtime(#[source] io::Error),
    #[error("failed to lock `{path}`")]
    Lock { path: PathBuf, source: io::Error },
    #[error("the keeper's connection cannot be used; the agent is started by placetd itself")]
    Keeper(#[source] io::Error),
    #[error(transparent)]
    Argument(#[from] ArgumentError),
    #[error("failed to read the id of this boot from `{path}`")]
    BootId {
        path: &'static str,
        source: io::Error,
    },
    #[error(
        "this node has no identity yet and no join token was given: make one where the controller runs with `placet node token {node}`, and pass it with --token or --token-file"
    )]
    NoToken { node: placet_model::NodeName },
    #[error("the join token cannot be used")]
    Token(#[source] placet_protocol::TokenError),
    #[error(
        "the file that `--authority` names holds no certificate; mount `ca.crt` of the ConfigMap `placet-authority`"
    )]
    Authority,
    #[error("node `{node}` cannot join")]
    Join {
        node: placet_model::NodeName,
        source: Box<placet_protocol::Error>,
    },
    #[error("the identity in `{path}` cannot be used; remove it and join again with a new token")]
    Identity {
        path: PathBuf,
        source: Box<placet_protocol::IdentityError>,
    },
    #[error(
        "`{path}` holds the identity of node `{found}`, not `{wanted}`; give each node a state folder of its own"
    )]
    OtherNode {
        path: PathBuf,
        found: placet_model::NodeName,
        wanted: placet_model::NodeName,
    },
}

/// Runs until the keeper hangs up, or until it is clear that starting again is of no use.
pub(crate) fn main(settings: Settings) -> Result<ExitCode, Fatal> {
    let _lock = lock(&settings.state)?;
    let store = Store::open(&settings.state, Disk::default())?.within(settings.allowance);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The core has the main thread; sessions, votes and fetches share this one.
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(AgentError::Runtime)?;
    let outcome = runtime.block_on(run(settings, store));
    // A thread that waits for the disk does not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn run(settings: Settings, store: Store) -> Result<ExitCode, Fatal> {
    let keeper = KeeperLink::from_stdin().map_err(AgentError::Keeper)?;
    let (core, handle) = core::Core::start(settings.clone(), store, keeper).await?;
    // Neither arm is polled again after the other has ended.
    tokio::select! {
        outcome = core.run() => outcome.map(|()| ExitCode::SUCCESS),
        error = session::run(&settings, handle) => Err(error.into()),
    }
}

/// Waits for an earlier agent to end: two must not write to one store.
fn lock(state: &Path) -> Result<File, AgentError> {
    let path = state.join("agent.lock");
    let open = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        // A disk that can only be read holds what was committed all the same.
        .or_else(|error| File::open(&path).map_err(|_| error));
    let locked = open.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|source| AgentError::Lock { path, source })
}

/// Changes when the processes of this node were all started anew: with the kernel's boot and with
/// the keeper's life.
fn boot_id(life: &str) -> Result<String, AgentError> {
    let path = "/proc/sys/kernel/random/boot_id";
    let kernel = fs::read_to_string(path).map_err(|source| AgentError::BootId { path, source })?;
    Ok(format!("{}/{life}", kernel.trim()))
}
