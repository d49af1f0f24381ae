//! What can be said of a request by whoever leads: does it fit with everything else, may the
//! decision be taken as things stand, and what do the live nodes say?

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::core::admission::Operation;
use placet_crds::{Fault, Object};
use placet_model::DryRunReport;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::Call;
use super::review::{Response, Subject, allowed, invalid};
use super::validate::{ASK, Checked};
use super::warnings::bounded;
use crate::dry_run::{Change, DryRuns};
use crate::fleet::news::{News, Ruling};
use crate::fleet::turn::Turn;
use crate::fleet::world::World;

/// References are checked against a world that is at most this old: many objects come at once, and
/// what is said of them is a warning.
const FRESH: Duration = Duration::from_secs(1);

/// Asks the fleet's loop of the leading controller. Clones share what they know.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    news: mpsc::Sender<News>,
    dry_runs: DryRuns,
    seen: Arc<Mutex<Option<Seen>>>,
}

/// The world at some moment.
#[derive(Debug)]
struct Seen {
    at: Instant,
    world: Arc<World>,
}

/// The loop is gone: this controller does not lead any more.
#[derive(Debug, thiserror::Error)]
#[error("this controller does not lead any more")]
pub(super) struct Deposed;

impl Asker {
    pub(crate) fn new(news: mpsc::Sender<News>, dry_runs: DryRuns) -> Self {
        Self {
            news,
            dry_runs,
            seen: Arc::default(),
        }
    }

    /// The answer to a request that is right in itself.
    pub(super) async fn answer(
        &self,
        subject: &Subject<'_>,
        checked: Checked,
        call: &Call,
    ) -> Result<Response, Deposed> {
        let request = subject.request;
        let mut warnings = checked.warnings.clone();
        if let Some(refusal) = self.check_decision(subject, &checked).await? {
            return Ok(invalid(request, &[refusal]));
        }
        let mut summary = None;
        if let Some(change) = change(subject, &checked) {
            if is_asked(subject, &checked) {
                let (lines, last) = self.ask(change, call).await;
                warnings.extend(lines);
                summary = last;
            } else {
                warnings.extend(self.misfits(change).await?);
            }
        }
        let mut response = allowed(request);
        let told = bounded(&warnings, summary.as_deref());
        response.warnings = (!told.is_empty()).then_some(told);
        Ok(response)
    }

    /// Why a decision cannot be taken as things stand, if so.
    async fn check_decision(
        &self,
        subject: &Subject<'_>,
        checked: &Checked,
    ) -> Result<Option<Fault>, Deposed> {
        let Some(decision) = &checked.decision else {
            return Ok(None);
        };
        let user = subject.request.user_info.username.clone();
        let ruling = Ruling::of(subject.name(), decision, &user.unwrap_or_default());
        let mut world = self.look().await?;
        let tried = spawn_blocking(move || {
            let mut turn = Turn::new(Timestamp::now());
            world.decide(ruling, &mut turn).err()
        });
        let refusal = tried.await.map_err(|_| Deposed)?;
        Ok(refusal.map(|refusal| Fault {
            file: subject.id(),
            line: None,
            column: None,
            field: "spec.decision".to_owned(),
            message: refusal.to_string(),
        }))
    }

    async fn look(&self) -> Result<Box<World>, Deposed> {
        let (reply, world) = oneshot::channel();
        let sent = self.news.send(News::Look(reply)).await;
        sent.map_err(|_| Deposed)?;
        world.await.map_err(|_| Deposed)
    }

    /// What the live nodes say to a change.
    async fn ask(&self, change: Change, call: &Call) -> (Vec<String>, Option<String>) {
        let dry_runs = self.dry_runs.traced(call.trace.own);
        match dry_runs.report(change, call.limit()).await {
            Ok(report) => {
                let lines = lines(&report);
                // An API server passes on so much and no more.
                for line in &lines {
                    tracing::info!("{}: {line}", report.name);
                }
                (lines, Some(report.summary()))
            }
            Err(error) => (Vec::new(), Some(format!("nobody was asked: {error}"))),
        }
    }

    /// What would not fit together that does now.
    async fn misfits(&self, change: Change) -> Result<Vec<String>, Deposed> {
        let world = self.recent().await?;
        let found = spawn_blocking(move || world.misfits(change));
        found.await.map_err(|_| Deposed)
    }

    /// The world as it was a moment ago.
    async fn recent(&self) -> Result<Arc<World>, Deposed> {
        let mut seen = self.seen.lock().await;
        if let Some(seen) = &*seen
            && seen.at.elapsed() < FRESH
        {
            return Ok(Arc::clone(&seen.world));
        }
        let world = Arc::<World>::from(self.look().await?);
        *seen = Some(Seen {
            at: Instant::now(),
            world: Arc::clone(&world),
        });
        Ok(world)
    }
}

/// What a request would change of what nodes run.
fn change(subject: &Subject, checked: &Checked) -> Option<Change> {
    if matches!(&*subject.kind.kind, "Rollout" | "GitSource") {
        return None;
    }
    let name = || (subject.kind.kind.as_str(), subject.name().to_owned());
    Some(Change::Objects {
        put: checked.object.iter().cloned().collect(),
        removed: subject
            .is(&Operation::Delete)
            .then(name)
            .into_iter()
            .collect(),
    })
}

/// True where a person wants to know what the nodes say.
fn is_asked(subject: &Subject, checked: &Checked) -> bool {
    let annotated = |object: &Object| {
        let annotations = object.metadata().annotations.as_ref();
        annotations.is_some_and(|all| all.get(ASK).is_some_and(|value| value == "true"))
    };
    subject.request.dry_run || checked.object.iter().any(|(object, _)| annotated(object))
}

fn lines(report: &DryRunReport) -> Vec<String> {
    let problems = report.problems.iter();
    let problems = problems.map(|problem| format!("problem: {problem}"));
    problems.chain(report.lines()).collect()
}
