//! Dry runs that are declared, carried out beside the fleet's loop: the commit is looked at, then the
//! nodes are asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use placet_crds::load_all;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Change, DryRuns};
use crate::fleet::news::{Commit, News, Tried};
use crate::git::Repositories;
use crate::observe::with_causes;
use crate::shared::{Begun, Wanted, WantedDryRun};

impl DryRuns {
    /// Carries out every dry run that is declared, until the loop is gone. One that is not wanted any
    /// more is given up, and the nodes that were asked are told.
    pub(crate) async fn follow(
        self,
        mut wanted: watch::Receiver<Wanted>,
        repositories: Arc<Repositories>,
    ) {
        let mut tasks = JoinSet::new();
        // What ends when its guard is dropped.
        let mut running = BTreeMap::<Begun, DropGuard>::new();
        loop {
            let dry_runs = wanted.borrow_and_update().dry_runs.clone();
            running.retain(|begun, _| dry_runs.contains_key(begun));
            for (begun, dry_run) in dry_runs {
                running.entry(begun).or_insert_with_key(|begun| {
                    let (this, begun, end) =
                        (self.clone(), begun.clone(), CancellationToken::new());
                    let repositories = Arc::clone(&repositories);
                    tasks.spawn(this.carry_out(begun, dry_run, repositories, end.clone()));
                    end.drop_guard()
                });
            }
            while tasks.try_join_next().is_some() {}
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    async fn carry_out(
        self,
        begun: Begun,
        dry_run: WantedDryRun,
        repositories: Arc<Repositories>,
        end: CancellationToken,
    ) {
        // Cancel safe: whoever waits for answers no more is noticed by the loop in its next turn,
        // which the news below brings about.
        let outcome = tokio::select! {
            outcome = self.outcome(dry_run, repositories) => outcome,
            () = end.cancelled() => Err("nobody wants to know any more".to_owned()),
        };
        let outcome = Box::new(outcome);
        // Where the loop is gone, the next controller begins anew.
        let _ = self.send(News::Tried { begun, outcome }).await;
    }

    async fn outcome(
        &self,
        dry_run: WantedDryRun,
        repositories: Arc<Repositories>,
    ) -> Result<Tried, String> {
        let until = Instant::now() + dry_run.limit;
        let limit = dry_run.limit.as_secs();
        let source = dry_run.source.metadata.name.clone().unwrap_or_default();
        let fetched = spawn_blocking(move || commit(&repositories, dry_run));
        let fetched = tokio::time::timeout_at(until.into(), fetched).await;
        let commit = fetched
            .map_err(|_| format!("the repository did not answer within {limit} s"))?
            .map_err(|_| "the controller is stopping".to_owned())??;
        let change = Change::Commit {
            source,
            commit: Box::new(commit),
        };
        let left = until.saturating_duration_since(Instant::now());
        let tried = self.try_out(change, left).await;
        tried.map_err(|why| why.to_string())
    }
}

/// The commit that is tried out. Blocks.
fn commit(repositories: &Repositories, dry_run: WantedDryRun) -> Result<Commit, String> {
    let fetched = repositories.fetch(&dry_run.source, None);
    let fetched = fetched.map_err(|error| with_causes(&error))?;
    Ok(Commit {
        loaded: load_all(&fetched.files),
        revision: dry_run.revision,
        subject: fetched.subject,
        author: fetched.author,
        signer: fetched.signer,
        may_be_empty: fetched.may_be_empty,
        files: fetched.files,
    })
}
