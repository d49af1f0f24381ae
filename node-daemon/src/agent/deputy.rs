//! Vote commands: programs that vote for processes that know nothing of Placet (V3).
//!
//! The command is that of the generation which runs now, never of the proposed one. It reads the
//! change set from standard input, and says what it thinks by its exit code: 0 accepts, 1 vetoes
//! with the message on standard error, 75 defers.

use std::process::ExitStatus;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use placet_model::{Answer, Digest, ModulePath, ProcessName, Silence, VoteRecord, Voter};

use super::command::{Ended, Spoken, ended_with};

/// Exit codes, the last one as `EX_TEMPFAIL` of sysexits.h.
const ACCEPTS: i32 = 0;
const VETOES: i32 = 1;
const DEFERS: i32 = 75;

/// When to ask again what was put off.
const ASK_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// A command that is to vote for a process.
#[derive(Debug, Clone)]
pub(super) struct Deputy {
    pub(super) process: ProcessName,
    /// Its main process.
    pub(super) pid: u32,
    /// The modules of the change that touch it.
    pub(super) modules: Vec<ModulePath>,
    /// The command, or why it cannot be run.
    pub(super) command: Result<Spoken, String>,
    /// What its silence counts as.
    pub(super) silence: Silence,
}

/// What a command said, and its words for people.
type Said = (Answer, String);

impl Deputy {
    /// Runs the command, with the change set as JSON; says what it voted.
    pub(super) async fn vote(self, change_digest: Digest, text: Arc<[u8]>) -> VoteRecord {
        let (answer, message) = match &self.command {
            Ok(command) => self.hear(command, &text).await,
            Err(why) => (Answer::Error, why.clone()),
        };
        let until = (answer == Answer::Defer)
            .then(|| Timestamp::now().saturating_add(ASK_AGAIN).ok())
            .flatten();
        VoteRecord {
            voter: Voter::Command,
            process: self.process,
            pid: self.pid,
            modules: self.modules,
            answer,
            code: String::new(),
            message,
            until,
            time: Timestamp::now(),
            change_digest,
        }
    }

    /// Tells the command of the change and waits for what it says.
    async fn hear(&self, command: &Spoken, text: &[u8]) -> Said {
        match command.run(text).await {
            Ok(Ended::Exited(status, words)) => self.meaning(status, words),
            Ok(Ended::Late) => {
                let seconds = command.within.as_secs();
                self.silent(format!("its vote command said nothing within {seconds} s"))
            }
            Err(error) => {
                let program = command.call.program.display();
                let why = format!("its vote command `{program}` cannot be run: {error}");
                (Answer::Error, why)
            }
        }
    }

    fn meaning(&self, status: ExitStatus, words: String) -> Said {
        match status.code() {
            Some(ACCEPTS) => (Answer::Accept, String::new()),
            Some(VETOES) => (Answer::Veto, words),
            Some(DEFERS) => (Answer::Defer, words),
            _ => self.silent(format!("its vote command {}", ended_with(status, &words))),
        }
    }

    /// What no answer counts as, by the process's policy.
    fn silent(&self, why: String) -> Said {
        let answer = match self.silence {
            Silence::NoAnswer => Answer::NoAnswer,
            Silence::Accept => Answer::Accept,
            Silence::Veto => Answer::Veto,
        };
        (answer, why)
    }
}
