//! Telling git hosts what became of a commit: one status per fleet, `placet/<source>`.
//!
//! The loop says what is to be told by publishing it, and waits for nobody. One task for each source
//! tells the newest of it: what is overtaken before it could be told is never told, what is told
//! already is not told again, and a host that is away is tried again ever more seldom.

mod api;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use placet_crds::CommitStatus;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::secrets::Secrets;
use crate::shared::Wanted;
use api::{Failed, Host};

pub(crate) use report::{Report, State};

/// News within one state is told this often at most: hosts keep a limited number of statuses for a
/// commit.
const PACE: Duration = Duration::from_secs(15);

/// Between two attempts, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_mins(5);

/// What is to be told, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Telling {
    pub(crate) to: CommitStatus,
    /// The address of the repository.
    pub(crate) url: String,
    pub(crate) report: Report,
}

/// How long to wait between what.
#[derive(Debug, Clone, Copy)]
struct Pace {
    news: Duration,
    pause: Duration,
}

/// Tells hosts what `wanted` says, until nobody says anything any more.
pub(crate) async fn tell(wanted: watch::Receiver<Wanted>, secrets: Secrets) {
    let pace = Pace {
        news: PACE,
        pause: PAUSE,
    };
    tell_at(wanted, secrets, pace).await;
}

async fn tell_at(mut wanted: watch::Receiver<Wanted>, secrets: Secrets, pace: Pace) {
    let mut tasks = JoinSet::new();
    let mut told = BTreeMap::<String, watch::Sender<Telling>>::new();
    loop {
        let tellings = wanted.borrow_and_update().tellings.clone();
        told.retain(|name, _| tellings.contains_key(name));
        for (name, telling) in tellings {
            if let Some(known) = told.get(&name) {
                known.send_if_modified(|old| {
                    let is_news = *old != telling;
                    *old = telling;
                    is_news
                });
            } else {
                let (sender, receiver) = watch::channel(telling);
                let teller = Teller::new(name.clone(), secrets.clone(), pace);
                tasks.spawn(teller.run(receiver));
                told.insert(name, sender);
            }
        }
        while tasks.try_join_next().is_some() {}
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the host of one source.
struct Teller {
    source: String,
    secrets: Secrets,
    pace: Pace,
    /// What was told last, and when.
    last: Option<(Telling, Instant)>,
}

impl Teller {
    fn new(source: String, secrets: Secrets, pace: Pace) -> Self {
        Self {
            source,
            secrets,
            pace,
            last: None,
        }
    }

    async fn run(mut self, mut wanted: watch::Receiver<Telling>) {
        let mut failures = 0;
        loop {
            let telling = wanted.borrow_and_update().clone();
            let wait = match self.tell(&telling).await {
                Ok(()) => {
                    failures = 0;
                    None
                }
                Err(failed) => {
                    let pause = self.pause(failures, &failed);
                    if failures == 0 {
                        tracing::warn!(
                            "the status of commit `{}` of GitSource `{}` cannot be told: {failed}",
                            telling.report.commit,
                            self.source
                        );
                    }
                    failures += 1;
                    Some(pause)
                }
            };
            // Cancel safe: both only wait.
            tokio::select! {
                () = sleep(wait.unwrap_or(PAUSE_MOST)), if wait.is_some() => {}
                changed = wanted.changed() => if changed.is_err() { return },
            }
            if wait.is_none() {
                let now = wanted.borrow().clone();
                self.hold_back(&now).await;
            }
        }
    }

    /// Waits until news within one state may be told.
    async fn hold_back(&self, telling: &Telling) {
        if let Some((last, when)) = &self.last
            && last.report.commit == telling.report.commit
            && last.report.state == telling.report.state
        {
            sleep_until(*when + self.pace.news).await;
        }
    }

    fn pause(&self, failures: u32, failed: &Failed) -> Duration {
        let grown = self.pace.pause * 2_u32.saturating_pow(failures.min(16));
        let asked = failed.retry_after.unwrap_or_default();
        if failed.may_pass {
            grown.max(asked).min(PAUSE_MOST)
        } else {
            PAUSE_MOST
        }
    }

    async fn tell(&mut self, telling: &Telling) -> Result<(), Failed> {
        if self.last.as_ref().is_some_and(|(last, _)| last == telling) {
            return Ok(());
        }
        let host = Host::new(&self.source, telling, &self.secrets).await?;
        let overtaken = self.last.as_ref().map(|(last, _)| last.clone());
        if let Some(last) = overtaken
            && last.report.commit != telling.report.commit
            && last.report.state == State::Pending
            && last.to == telling.to
        {
            // Nothing more will become of it.
            let report = Report {
                state: State::Error,
                text: format!("superseded by commit {}", telling.report.commit),
                ..last.report
            };
            host.tell(&report).await?;
        }
        if !host.knows(&telling.report).await? {
            host.tell(&telling.report).await?;
        }
        self.last = Some((telling.clone(), Instant::now()));
        Ok(())
    }
}
