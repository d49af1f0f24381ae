//! Placet's node daemon, `placetd`: two processes of one binary.
//!
//! * The **keeper** is small, has one thread and no network. It starts processes and waits for
//!   them, keeps their log pipes and the notification socket, and starts the agent.
//! * The **agent** is everything else: the session with the controller, the store, the
//!   generations, the votes, and every decision about a process.
//!
//! The agent may die or be replaced at any time without touching a process: what runs is the
//! keeper's knowledge, what is wanted is on disk, and `agent::machine` brings the two together.
//!
//! **Invariant:** the `committed` link names a complete generation or does not exist. It is swapped
//! in one step, and everything before and after the swap can be repeated.
//!
//! **Invariant:** what runs was started from a generation whose tree stays as it is for as long as
//! the process lives.
//!
//! **Invariant:** nothing the controller does, or fails to do, ends a process: only an order of
//! this node's current or a later epoch changes what runs.

mod agent;
mod arguments;
mod elf;
mod family;
mod keeper;
mod link;
mod rest;
mod store;
#[cfg(test)]
mod testing;
pub mod vote;

use std::ffi::OsString;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

pub use arguments::{Arguments, StoreArguments};

/// Runs the node daemon until it is told to end: the keeper, or the agent where the arguments say
/// that a keeper started it.
///
/// `reexec` is what the own program needs in front of the arguments to arrive here again: nothing
/// for `placetd`, the subcommand's name where another program embeds the daemon. The process must
/// have one thread only.
pub fn main(arguments: Arguments, reexec: Vec<OsString>) -> ExitCode {
    init_log(&arguments.log);
    let outcome = match arguments.settings() {
        Ok(settings) if arguments.agent_fd.is_some() => agent::main(settings),
        Ok(_) if arguments.check_handover => keeper::check_handover(),
        Ok(settings) => match arguments.handover {
            Some(handover) => keeper::succeed(&settings, arguments.reexec(reexec), handover),
            None => keeper::main(&settings, arguments.reexec(reexec)),
        },
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| {
        tracing::error!("{}", Chain(&*error));
        ExitCode::from(2)
    })
}

/// Whatever ends the daemon; it is logged once, with its whole chain.
type Fatal = Box<dyn std::error::Error + Send + Sync>;

/// An error with all its causes, in one line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

fn init_log(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    // Another subscriber may be in place where the daemon is embedded; then that one is used.
    let _ = subscriber.try_init();
}
