//! What would a change do, and what do the live nodes say to it (M1, V6)?
//!
//! A change is applied to a copy of the world, packages are looked up, and the whole is planned,
//! all beside the fleet's loop; only the questions that come of it go through the loop. Nothing is
//! fetched, stored or changed on any node, and nothing at home.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use placet_crds::{Object, SourceFile, full_name};
use placet_model::{Digest, DryRunAnswer, DryRunNode, DryRunReport, NodeName, TraceParent};
use placet_planner::{Catalog, NodePlan, Observed, Plan, Presence, Target, TargetNode};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::catalog::{Packages, WantedPackage};
use crate::fleet::dry_run::{Answers, Inquiry, PREFIX, Question, RUNNING_MOST};
use crate::fleet::news::{Commit, News, Tried};
use crate::fleet::objects::{Objects, word};
use crate::fleet::trials::manifests;
use crate::fleet::turn::Turn;
use crate::fleet::world::World;
use crate::home::Owner;
use crate::telemetry;

mod declared;

/// Asks what a change would do. Clones ask the same controller.
#[derive(Debug, Clone)]
pub(crate) struct DryRuns {
    news: mpsc::Sender<News>,
    packages: Packages,
    base: PathBuf,
    /// Each dry run under way holds one.
    turns: Arc<Semaphore>,
    trace: Option<TraceParent>,
}

/// A change that nobody has made.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Files, as a person would apply them.
    Files {
        files: Vec<SourceFile>,
        author: String,
    },
    /// A commit of a repository, as its source would take it.
    Commit { source: String, commit: Box<Commit> },
    /// Objects, as an API server would store them or remove them.
    Objects {
        put: Vec<(Object, Owner)>,
        removed: Vec<(&'static str, String)>,
    },
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoReport {
    /// The declarations are wrong; each text says where.
    #[error("the declarations are not valid: {}", .0.join("; "))]
    Declarations(Vec<String>),
    /// Too many others ask.
    #[error("{RUNNING_MOST} dry runs are under way: try again in a moment, or give it more time")]
    Busy,
    /// Packages could not be looked up in time.
    #[error("the change could not be planned within {0} s; give it more time")]
    Late(u64),
    /// There is no loop any more.
    #[error("the controller is stopping")]
    Stopping,
}

/// Time that is left for the answer to come back, so that a voter's silence is told by its node.
const MARGIN: Duration = Duration::from_millis(500);

impl DryRuns {
    /// Dry runs of the loop that hears `news`; relative package references start from `base`.
    pub(crate) fn new(news: mpsc::Sender<News>, packages: Packages, base: PathBuf) -> Self {
        Self {
            news,
            packages,
            base,
            turns: Arc::new(Semaphore::new(RUNNING_MOST)),
            trace: None,
        }
    }

    /// The same, as part of a trace.
    pub(crate) fn traced(&self, trace: TraceParent) -> Self {
        Self {
            trace: Some(trace),
            ..self.clone()
        }
    }

    /// What the change would do, and what every node says that it touches and that can be reached;
    /// within `limit`, whoever has not answered by then.
    pub(crate) async fn report(
        &self,
        change: Change,
        limit: Duration,
    ) -> Result<DryRunReport, NoReport> {
        let tried = Box::pin(self.try_out(change, limit)).await?;
        Ok(tried.report)
    }

    /// As [`Self::report`], with what the nodes would have run.
    pub(crate) async fn try_out(&self, change: Change, limit: Duration) -> Result<Tried, NoReport> {
        let until = Instant::now() + limit;
        let turn = tokio::time::timeout(limit, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| NoReport::Busy)?;
        let (sender, world) = oneshot::channel();
        self.send(News::Look(sender)).await?;
        let world = world.await.map_err(|_| NoReport::Stopping)?;
        let this = self.clone();
        let modelled = spawn_blocking(move || this.model(*world, change, until));
        let left = until.saturating_duration_since(Instant::now());
        let modelled = tokio::time::timeout(left, modelled).await;
        let modelled = modelled.map_err(|_| NoReport::Late(limit.as_secs()))?;
        let Modelled {
            mut report,
            manifests,
            questions,
        } = modelled.map_err(|_| NoReport::Stopping)??;
        if report.nodes.is_empty() || !report.problems.is_empty() {
            return Ok(Tried { report, manifests });
        }
        let mut answers = self.ask(&report, manifests, questions, until).await?;
        for node in &mut report.nodes {
            if let Some(answer) = answers.remove(&node.node) {
                node.answer = answer;
            }
        }
        Ok(Tried { report, manifests })
    }

    async fn ask(
        &self,
        report: &DryRunReport,
        manifests: Digest,
        questions: Vec<Question>,
        until: Instant,
    ) -> Result<Answers, NoReport> {
        let (reply, answers) = oneshot::channel();
        let left = until.saturating_duration_since(Instant::now());
        let inquiry = Inquiry {
            name: report.name.clone(),
            plan_digest: report.plan_digest,
            manifests,
            revision: report.revision.clone(),
            questions,
            until,
            seconds: u32::try_from(left.as_secs()).unwrap_or(u32::MAX),
            trace: self.trace.unwrap_or_else(telemetry::begin),
            reply,
        };
        self.send(News::DryRun(Box::new(inquiry))).await?;
        answers.await.map_err(|_| NoReport::Stopping)
    }

    async fn send(&self, news: News) -> Result<(), NoReport> {
        let sent = self.news.send(news).await;
        sent.map_err(|_| NoReport::Stopping)
    }

    /// Plans the change on a copy of the world. Blocks.
    fn model(
        &self,
        mut world: World,
        change: Change,
        until: Instant,
    ) -> Result<Modelled, NoReport> {
        let before = world.target.take();
        let results = world.try_change(change)?;
        if let Err(faults) = world.objects.desired() {
            let problems = faults.iter().map(ToString::to_string).collect();
            return Ok(Modelled::blocked(&world, results, problems));
        }
        let catalog = catalog(&world, &self.packages, &self.base);
        world.catalog = Some(Arc::new(catalog));
        world.retarget();
        let Some(target) = world.target.clone() else {
            return Ok(Modelled::blocked(&world, results, Vec::new()));
        };
        // As if nothing were under way: a new revision asks everybody anew.
        let observed = Observed {
            rollout: None,
            ..world.observed(Timestamp::now())
        };
        let plan = placet_planner::plan(&target, &observed);
        let left = until.saturating_duration_since(Instant::now() + MARGIN);
        Ok(Modelled::of(
            &Model {
                before: before.as_deref(),
                target: &target,
                observed: &observed,
                plan: &plan,
                seconds: u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1),
            },
            results,
        ))
    }
}

/// The packages of the world as it would be; those that are known already are not looked up again.
fn catalog(world: &World, packages: &Packages, base: &Path) -> Catalog {
    let mut catalog = world.catalog.as_deref().cloned().unwrap_or_default();
    let references = world.objects.references();
    let is_known = |wanted: &&WantedPackage| {
        // Other keys may be listed now.
        if wanted.keys.is_some() {
            return false;
        }
        let reference = &wanted.reference;
        let known = catalog.get(reference).and_then(|entry| entry.as_ref().ok());
        known.is_some_and(|entry| {
            let config = &entry.config;
            config.name == reference.name && config.version == reference.version
        })
    };
    let (known, unknown): (Vec<_>, Vec<_>) = references.iter().partition(is_known);
    let known: BTreeSet<_> = known
        .iter()
        .map(|wanted| &wanted.reference.reference)
        .collect();
    catalog.entries.retain(|text, _| known.contains(text));
    let found = packages.resolve_all(unknown, base);
    catalog.entries.extend(found.entries);
    catalog
}

impl World {
    /// Makes the change here; says what became of each object.
    fn try_change(&mut self, change: Change) -> Result<Vec<String>, NoReport> {
        // A change makes the world forget its packages; those that it knows stay as good as they are.
        let catalog = self.catalog.clone();
        let results = match change {
            Change::Files { files, author } => {
                let mut turn = Turn::new(Timestamp::now());
                let applied = self.apply(&files, &author, &mut turn);
                applied.map_err(NoReport::Declarations)?
            }
            Change::Commit { source, commit } => self
                .try_commit(&source, &commit)
                .map_err(NoReport::Declarations)?,
            Change::Objects { put, removed } => try_objects(&mut self.objects, put, removed)
                .map_err(|why| NoReport::Declarations(vec![why]))?,
        };
        self.catalog = catalog;
        Ok(results)
    }

    /// What would not fit together after the change that does now, each text with its object.
    pub(crate) fn misfits(&self, change: Change) -> Vec<String> {
        let Change::Objects { put, removed } = change else {
            return Vec::new();
        };
        // Of nodes only what is put can lead nowhere; removing something can concern any of them.
        let mut objects = self.objects.clone_declared(removed.is_empty());
        for (object, _) in &put {
            if let Some(old) = self.objects.get(object.kind(), object.name()) {
                // Who is said to own it does not matter here.
                let _ = objects.put(old.object.clone(), old.owner.clone());
            }
        }
        let mut after = objects.clone();
        if let Err(why) = try_objects(&mut after, put, removed) {
            return vec![why];
        }
        let faults = |objects: &Objects| -> BTreeSet<String> {
            let faults = objects.desired().err().unwrap_or_default();
            faults.iter().map(ToString::to_string).collect()
        };
        let before = faults(&objects);
        faults(&after).difference(&before).cloned().collect()
    }
}

/// Puts and removes objects as a home would; says what became of each, or why that cannot be.
fn try_objects(
    objects: &mut Objects,
    put: Vec<(Object, Owner)>,
    removed: Vec<(&'static str, String)>,
) -> Result<Vec<String>, String> {
    let mut results = Vec::new();
    for (object, owner) in put {
        let name = full_name(object.kind(), object.name());
        let applied = objects.put(object, owner);
        let applied =
            applied.map_err(|source| format!("{name}: it belongs to GitSource `{source}`"))?;
        results.push(format!("{name} {}", word(applied)));
    }
    for (kind, name) in removed {
        if objects.remove(kind, &name).is_some() {
            results.push(format!("{} deleted", full_name(kind, &name)));
        }
    }
    Ok(results)
}

/// What was planned, and what follows for the report.
struct Model<'a> {
    /// What nodes should run without the change.
    before: Option<&'a Target>,
    target: &'a Target,
    observed: &'a Observed,
    plan: &'a Plan,
    /// Seconds that a voter may take.
    seconds: u32,
}

/// The report as far as it can be written without the nodes, and what to ask them.
struct Modelled {
    report: DryRunReport,
    manifests: Digest,
    questions: Vec<Question>,
}

impl Modelled {
    /// The declarations do not fit together: there is nothing to plan.
    fn blocked(world: &World, results: Vec<String>, problems: Vec<String>) -> Self {
        let revision = world.objects.revision();
        Self {
            report: DryRunReport {
                name: name(),
                plan_digest: placet_model::digest_of(&revision),
                revision,
                results,
                problems,
                notes: Vec::new(),
                changes: Vec::new(),
                nodes: Vec::new(),
            },
            manifests: Digest::of(b""),
            questions: Vec::new(),
        }
    }

    fn of(model: &Model, results: Vec<String>) -> Self {
        let Model { target, plan, .. } = model;
        let mut nodes = BTreeMap::new();
        let mut questions = Vec::new();
        for (name, wanted) in &target.nodes {
            let Some(change) = plan.nodes.get(name) else {
                if let Some(why) = model.unseen(name, wanted) {
                    nodes.insert(name, unseen(name, wanted, why));
                }
                continue;
            };
            let obstacle = model.obstacle(name, wanted);
            if obstacle.is_none() {
                questions.push(model.question(name, wanted, change));
            }
            // Stays so where problems keep everybody from being asked.
            let why = obstacle.unwrap_or("there are problems");
            let answer = DryRunAnswer::NotAsked(why.to_owned());
            nodes.insert(name, row(name, change, answer));
        }
        Self {
            report: DryRunReport {
                name: self::name(),
                plan_digest: plan.digest,
                revision: plan.revision.clone(),
                results,
                problems: plan.problems.iter().map(ToString::to_string).collect(),
                notes: plan.notes.iter().map(ToString::to_string).collect(),
                changes: changes(plan),
                nodes: nodes.into_values().collect(),
            },
            manifests: manifests(target),
            questions,
        }
    }
}

impl Model<'_> {
    fn presence(&self, name: &NodeName) -> Presence {
        let seen = self.observed.nodes.get(name);
        seen.map(|seen| seen.presence).unwrap_or_default()
    }

    /// Why a node of which it is not known what it runs is not asked, if the change concerns it.
    fn unseen(&self, name: &NodeName, wanted: &TargetNode) -> Option<&'static str> {
        let seen = self.observed.nodes.get(name);
        if seen.is_some_and(|seen| seen.running.is_some()) {
            return None;
        }
        let before = self.before.and_then(|before| before.nodes.get(name));
        if before.is_some_and(|before| before.manifest_digest == wanted.manifest_digest) {
            return None;
        }
        Some(match self.presence(name) {
            Presence::NeverSeen => "it has never joined",
            Presence::Away => "it has no connection",
            Presence::Connected => "it has not yet said what it runs",
        })
    }

    fn obstacle(&self, name: &NodeName, wanted: &TargetNode) -> Option<&'static str> {
        if wanted.suspended {
            return Some("it is suspended");
        }
        (self.presence(name) != Presence::Connected).then_some("it has no connection")
    }

    fn question(&self, name: &NodeName, wanted: &TargetNode, change: &NodePlan) -> Question {
        Question {
            node: name.clone(),
            from: change.from,
            manifest: Arc::clone(&wanted.manifest),
            about: wanted.described(name),
            change_digest: change.change_digest,
            vote_seconds: wanted.strategy.vote_seconds.min(self.seconds),
            objections: wanted.objections(name, change, self.observed.now),
        }
    }
}

fn row(name: &NodeName, change: &NodePlan, answer: DryRunAnswer) -> DryRunNode {
    let processes = change.change_set.processes.iter();
    DryRunNode {
        node: name.clone(),
        change_digest: Some(change.change_digest),
        modules: change.change_set.modules.len(),
        processes: processes
            .map(|process| format!("{}: {}", process.name, process.action))
            .collect(),
        answer,
    }
}

fn unseen(name: &NodeName, wanted: &TargetNode, why: &str) -> DryRunNode {
    DryRunNode {
        node: name.clone(),
        change_digest: None,
        modules: wanted.manifest.modules.len(),
        processes: Vec::new(),
        answer: DryRunAnswer::NotAsked(why.to_owned()),
    }
}

/// What would change where, in the planner's words.
fn changes(plan: &Plan) -> Vec<String> {
    let only_changes = Plan {
        problems: Vec::new(),
        notes: Vec::new(),
        hold: None,
        steps: Vec::new(),
        held: BTreeMap::new(),
        supersedes: None,
        ..plan.clone()
    };
    let text = only_changes.to_string();
    // The first line says where a roll-out stands; there is none.
    text.lines().skip(1).map(str::to_owned).collect()
}

/// A name of its own, in place of a roll-out's.
fn name() -> String {
    format!("{PREFIX}{:08x}", rand::random::<u32>())
}
