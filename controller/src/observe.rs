//! Looking at repositories and packages, beside the fleet's loop: neither a slow server nor a large
//! package holds the loop up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use placet_crds::{GitSourceSpec, Reason, load_all};
use placet_planner::Catalog;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};

use crate::catalog::{LookedUp, Packages, WantedPackage};
use crate::fleet::news::{Commit, Failure, Looked, News};
use crate::git::{FetchError, Repositories};
use crate::shared::{Wanted, WantedSource};
use crate::telemetry::{Fetch, Telemetry};

/// A repository is looked at this often where its source says nothing else.
const INTERVAL: Duration = Duration::from_mins(1);

/// As [`INTERVAL`], for a repository on this machine: a look costs reading one file.
const LOCAL_INTERVAL: Duration = Duration::from_secs(1);
/// A registry that was away is asked again after this, then after twice as long each time …
const AGAIN_FIRST: Duration = Duration::from_secs(1);
/// … up to this.
const AGAIN_LAST: Duration = Duration::from_secs(30);

/// Makes repositories looked at now. A poke during a look leads to another one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pokes(Arc<Mutex<BTreeMap<String, Arc<Notify>>>>);

impl Pokes {
    /// Has the repository of this name looked at; false if none of this name is followed.
    pub(crate) fn poke(&self, source: &str) -> bool {
        let known = self.known();
        let followed = known.get(source);
        followed.inspect(|followed| followed.notify_one()).is_some()
    }

    /// What whoever follows this repository waits for.
    pub(crate) fn of(&self, source: &str) -> Arc<Notify> {
        Arc::clone(self.known().entry(source.to_owned()).or_default())
    }

    fn keep(&self, is_kept: impl Fn(&String) -> bool) {
        self.known().retain(|name, _| is_kept(name));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the observers share.
#[derive(Debug, Clone)]
pub(crate) struct Observers {
    pub(crate) wanted: watch::Receiver<Wanted>,
    pub(crate) news: mpsc::Sender<News>,
    pub(crate) repositories: Arc<Repositories>,
    pub(crate) packages: Packages,
    pub(crate) pokes: Pokes,
    pub(crate) telemetry: Telemetry,
    /// What relative package references start from.
    pub(crate) base: PathBuf,
}

impl Observers {
    /// Follows every repository that is declared, until the loop is gone.
    pub(crate) async fn follow_sources(mut self) {
        let mut tasks = JoinSet::new();
        let mut followed = BTreeMap::<String, watch::Sender<WantedSource>>::new();
        loop {
            let sources = self.wanted.borrow_and_update().sources.clone();
            followed.retain(|name, _| sources.contains_key(name));
            self.pokes.keep(|name| sources.contains_key(name));
            self.telemetry
                .keep_sources(|name| sources.contains_key(name));
            for (name, source) in sources {
                if let Some(known) = followed.get(&name) {
                    known.send_if_modified(|old| {
                        let is_news = *old != source;
                        *old = source;
                        is_news
                    });
                } else {
                    let (sender, receiver) = watch::channel(source);
                    tasks.spawn(self.clone().follow(name.clone(), receiver));
                    followed.insert(name, sender);
                }
            }
            while tasks.try_join_next().is_some() {}
            if self.wanted.changed().await.is_err() {
                return;
            }
        }
    }

    /// Looks at one repository again and again, until it is not declared any more.
    async fn follow(self, name: String, mut wanted: watch::Receiver<WantedSource>) {
        let mut last = Last::default();
        let poked = self.pokes.of(&name);
        loop {
            let now = wanted.borrow_and_update().clone();
            last.forget_if_other(&now);
            let pause = interval(&now);
            let repositories = Arc::clone(&self.repositories);
            let (telemetry, source) = (self.telemetry.clone(), name.clone());
            let looked = spawn_blocking(move || {
                let began = Instant::now();
                let found = last.look(&repositories, &now);
                telemetry.fetched(&source, last.result(found.is_some()), began.elapsed());
                (last, now.generation, found)
            });
            let Ok((after, generation, found)) = looked.await else {
                return;
            };
            last = after;
            if let Some((outcome, heard)) = found {
                let looked = Looked {
                    source: name.clone(),
                    generation,
                    outcome,
                    heard,
                };
                if self
                    .news
                    .send(News::Looked(Box::new(looked)))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            // Cancel safe: all only wait, and a poke that nobody waited for is kept.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = poked.notified() => {}
                changed = wanted.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Looks packages up whenever what is declared has changed, and again while a registry is away.
    pub(crate) async fn resolve(mut self) {
        let mut told: Option<(u64, Catalog)> = None;
        let mut missing: Vec<WantedPackage> = Vec::new();
        let mut pause = AGAIN_FIRST;
        loop {
            let (declared, references) = {
                let wanted = self.wanted.borrow_and_update();
                (wanted.declared, wanted.references.clone())
            };
            let references = match &told {
                // Once packages are known, nobody asks for them any more; another look is for what
                // was missing.
                Some((of, _)) if *of == declared => std::mem::take(&mut missing),
                _ => references,
            };
            let (packages, base) = (self.packages.clone(), self.base.clone());
            let looked = spawn_blocking(move || {
                let found = packages.look_up(&references, &base);
                (found, references)
            });
            let Ok((LookedUp { catalog, is_open }, references)) = looked.await else {
                return;
            };
            let is_news = told.as_ref() != Some(&(declared, catalog.clone()));
            if is_news {
                told = Some((declared, catalog.clone()));
                pause = AGAIN_FIRST;
                let catalog = Arc::new(catalog);
                let news = News::Resolved { declared, catalog };
                if self.news.send(news).await.is_err() {
                    return;
                }
            }
            missing = references;
            let wait = if is_open { pause } else { Duration::MAX };
            pause = (pause * 2).min(AGAIN_LAST);
            let is_other = |wanted: &Wanted| wanted.declared != declared;
            // Cancel safe: both only wait.
            tokio::select! {
                () = sleep_at_most(wait) => {}
                changed = self.wanted.wait_for(is_other) => if changed.is_err() { return },
            }
        }
    }
}

/// As long as `wait`; for ever where that is the longest there is.
async fn sleep_at_most(wait: Duration) {
    if wait == Duration::MAX {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(wait).await;
}

fn interval(wanted: &WantedSource) -> Duration {
    match wanted.source.spec.interval_seconds {
        Some(seconds) => Duration::from_secs(seconds.into()),
        None if Repositories::local_folder(&wanted.source).is_some() => LOCAL_INTERVAL,
        None => INTERVAL,
    }
}

/// What was found last, so that only news is told.
#[derive(Debug, Default)]
struct Last {
    /// What it was found for.
    of: Option<(GitSourceSpec, (u64, Option<String>))>,
    /// The revision that was told, good or not.
    revision: Option<String>,
    failure: Option<Failure>,
}

impl Last {
    fn forget_if_other(&mut self, wanted: &WantedSource) {
        let of = Some((wanted.source.spec.clone(), wanted.poke.clone()));
        if self.of != of {
            *self = Self {
                of,
                ..Self::default()
            };
        }
    }

    /// What the look that was just made came to.
    fn result(&self, is_news: bool) -> Fetch {
        match &self.failure {
            Some(failure) if failure.reason == Reason::FetchFailed => Fetch::Failed,
            Some(_) => Fetch::Refused,
            None if is_news => Fetch::Changed,
            None => Fetch::Unchanged,
        }
    }

    /// What a look gives, if that is news; and when it was heard of.
    fn look(
        &mut self,
        repositories: &Repositories,
        wanted: &WantedSource,
    ) -> Option<(Result<Commit, Failure>, Instant)> {
        let changed = repositories.changed_since(&wanted.source, self.revision.as_deref());
        let heard = Instant::now();
        let outcome = match changed {
            Ok(false) if self.failure.is_none() => return None,
            // It works again, or a refused revision is still the one that is there.
            Ok(_) => repositories.fetch(&wanted.source, wanted.revision.as_deref()),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(fetched) => {
                self.revision = Some(fetched.revision.clone());
                self.failure = None;
                let commit = Commit {
                    loaded: load_all(&fetched.files),
                    signer: fetched.signer,
                    may_be_empty: fetched.may_be_empty,
                    revision: fetched.revision,
                    subject: fetched.subject,
                    author: fetched.author,
                    files: fetched.files,
                };
                Some((Ok(commit), heard))
            }
            Err(error) => {
                let failure = failure(&error);
                if self.failure.as_ref() == Some(&failure) {
                    return None;
                }
                self.failure = Some(failure.clone());
                Some((Err(failure), heard))
            }
        }
    }
}

fn failure(error: &FetchError) -> Failure {
    Failure {
        reason: error.reason(),
        revision: error.revision().map(str::to_owned),
        message: with_causes(error),
    }
}

/// An error with all that caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}
