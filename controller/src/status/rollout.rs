//! Where a roll-out stands, for people and programs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use placet_crds::{
    PhaseChange, Reason, RolloutNodes, RolloutStatus, State, VerdictCounts, WaveStatus, conditions,
};
use placet_model::{Activation, NodeName, RolloutPhase, VerdictKind};
use placet_planner::{Plan, RolloutState, WaitingOn};

use super::{count, counted};

/// As many as the status fields hold.
pub(super) const VETOES_MOST: usize = 20;
pub(super) const TEXTS_MOST: usize = 100;
const HISTORY_MOST: usize = 50;
const WAVES_MOST: usize = 1_000;

/// What the status is taken from.
pub(crate) struct View<'a> {
    pub(crate) state: &'a RolloutState,
    /// The latest plan, if it is one of this roll-out.
    pub(crate) plan: Option<&'a Plan>,
    pub(crate) is_staged: &'a dyn Fn(&NodeName) -> bool,
    /// Why a node could not fetch what it was told to, the last time that it tried.
    pub(crate) stage_error: &'a dyn Fn(&NodeName) -> Option<&'a str>,
}

/// The status of a roll-out; that of before goes on where it has a history.
pub(crate) fn status(
    old: &RolloutStatus,
    view: &View<'_>,
    generation: i64,
    now: Timestamp,
) -> RolloutStatus {
    let RolloutState {
        phase,
        holds,
        hold,
        decisions,
        ..
    } = view.state;
    let nodes = view.nodes();
    let verdicts = view.verdicts();
    let state = view.condition(nodes);
    let (State::Ready(_, message) | State::Reconciling(_, message) | State::Stalled(_, message)) =
        &state;
    let mut history = old.history.clone();
    if history.last().map(|last| last.phase) != Some(*phase) {
        history.push(PhaseChange {
            phase: *phase,
            time: now,
            message: message.clone(),
        });
        let surplus = history.len().saturating_sub(HISTORY_MOST);
        history.drain(..surplus);
    }
    RolloutStatus {
        observed_generation: Some(generation),
        phase: Some(*phase),
        holds: *holds,
        hold: hold.clone(),
        decisions: decisions.clone(),
        nodes,
        verdicts,
        vetoes: view.vetoes(),
        problems: view.texts(old, |plan| texts(&plan.problems), |old| &old.problems),
        notes: view.texts(old, |plan| texts(&plan.notes), |old| &old.notes),
        waves: view.waves(),
        history,
        started: old.started.or(Some(now)),
        ended: phase.is_over().then(|| old.ended.unwrap_or(now)),
        dry_run: old.dry_run.clone(),
        followed_by: None,
        manifests_digest: None,
        last_handled_reconcile_at: old.last_handled_reconcile_at.clone(),
        conditions: conditions(&old.conditions, &state, Some(generation), now),
    }
}

/// Where verdicts of a kind are counted.
pub(super) fn counter(counts: &mut VerdictCounts, verdict: VerdictKind) -> &mut u32 {
    match verdict {
        VerdictKind::Accept => &mut counts.accept,
        VerdictKind::Defer => &mut counts.defer,
        VerdictKind::NoAnswer => &mut counts.no_answer,
        VerdictKind::Error => &mut counts.error,
        VerdictKind::Veto => &mut counts.veto,
    }
}

fn texts<T: ToString>(lines: &[T]) -> Vec<String> {
    lines
        .iter()
        .take(TEXTS_MOST)
        .map(ToString::to_string)
        .collect()
}

impl View<'_> {
    fn nodes(&self) -> RolloutNodes {
        let states = &self.state.nodes;
        let mut names: BTreeSet<&NodeName> = states.keys().collect();
        names.extend(self.plan.into_iter().flat_map(|plan| plan.nodes.keys()));
        let with = |test: &dyn Fn(&NodeName, &placet_model::NodeState) -> bool| {
            count(
                states
                    .iter()
                    .filter(|(name, state)| test(name, state))
                    .count(),
            )
        };
        let waiting = self.plan.into_iter().flat_map(|plan| plan.held.values());
        let skipped = waiting.filter(|why| matches!(why, WaitingOn::Skipped));
        RolloutNodes {
            total: count(names.len()),
            asked: count(states.len()),
            staged: with(&|name, state| {
                state.staging.is_some() && (state.activating.is_some() || (self.is_staged)(name))
            }),
            activating: with(&|_, state| state.activating.is_some() && state.activation.is_none()),
            done: with(&|_, state| matches!(state.activation, Some(Activation::Done(_)))),
            failed: with(&|_, state| matches!(state.activation, Some(Activation::Failed(_)))),
            skipped: count(skipped.count()),
        }
    }

    fn verdicts(&self) -> VerdictCounts {
        let mut counts = VerdictCounts::default();
        let states = self.state.nodes.values();
        for verdict in states.filter_map(|state| state.verdict.as_ref()) {
            *counter(&mut counts, verdict.verdict) += 1;
        }
        counts
    }

    fn vetoes(&self) -> Vec<String> {
        let states = self.state.nodes.values();
        let verdicts = states.filter_map(|state| state.verdict.as_ref());
        verdicts
            .flat_map(placet_model::Verdict::objections)
            .take(VETOES_MOST)
            .collect()
    }

    /// Lines of the plan; those of before where this turn's plan is about something else.
    fn texts(
        &self,
        old: &RolloutStatus,
        of_plan: impl Fn(&Plan) -> Vec<String>,
        of_old: impl Fn(&RolloutStatus) -> &Vec<String>,
    ) -> Vec<String> {
        let of_old = || of_old(old).clone();
        self.plan
            .filter(|plan| plan.revision == self.state.revision)
            .map_or_else(of_old, of_plan)
    }

    /// Nodes that were told to change at the same time are one wave.
    fn waves(&self) -> Vec<WaveStatus> {
        let mut waves = BTreeMap::<Timestamp, WaveStatus>::new();
        for state in self.state.nodes.values() {
            let Some(started) = state.activating else {
                continue;
            };
            let wave = waves.entry(started).or_insert(WaveStatus {
                started,
                nodes: 0,
                done: 0,
                failed: 0,
            });
            wave.nodes += 1;
            match &state.activation {
                Some(Activation::Done(_)) => wave.done += 1,
                Some(Activation::Failed(_)) => wave.failed += 1,
                None => {}
            }
        }
        waves.into_values().take(WAVES_MOST).collect()
    }

    fn condition(&self, nodes: RolloutNodes) -> State {
        let RolloutState {
            phase,
            hold,
            decisions,
            ..
        } = self.state;
        let objection = || {
            let hold = hold.as_ref();
            let text = hold
                .and_then(|hold| hold.objections.first().cloned())
                .unwrap_or_default();
            let number = hold.map_or(0, |hold| hold.number);
            match hold.map_or(0, |hold| hold.objections.len()) {
                0 | 1 => format!("hold {number} waits for a decision: {text}"),
                more => format!(
                    "hold {number} waits for a decision: {text} (and {} more)",
                    more - 1
                ),
            }
        };
        let total = counted(nodes.total, "node");
        match phase {
            RolloutPhase::Blocked => State::Stalled(Reason::Blocked, self.first_problem()),
            RolloutPhase::Proposing => State::Reconciling(
                Reason::Proposing,
                self.with_obstacle(format!("{total} are being asked")),
            ),
            RolloutPhase::Held => State::Stalled(Reason::Held, objection()),
            RolloutPhase::Staging => State::Reconciling(
                Reason::Staging,
                self.with_obstacle(format!("{} of {total} have fetched", nodes.staged)),
            ),
            RolloutPhase::Activating => State::Reconciling(
                Reason::Activating,
                self.with_obstacle(format!("{} of {total} have changed", nodes.done)),
            ),
            RolloutPhase::Halted => State::Stalled(Reason::Halted, objection()),
            RolloutPhase::Done => State::Ready(Reason::Succeeded, self.done(nodes)),
            RolloutPhase::Aborted => {
                let last = decisions.last();
                let who = last.map_or("", |decision| decision.author.as_str());
                let why = last.map_or("", |decision| decision.reason.as_str());
                State::Stalled(Reason::Aborted, format!("given up by {who}: {why}"))
            }
            RolloutPhase::Superseded => State::Stalled(
                Reason::Superseded,
                "a newer revision took its place".to_owned(),
            ),
        }
    }

    /// How far it is, and what it waits for.
    fn with_obstacle(&self, so_far: String) -> String {
        let obstacle = || self.plan.and_then(Plan::waits_for);
        match self.trouble().or_else(obstacle) {
            Some(obstacle) => format!("{so_far}; {obstacle}"),
            None => so_far,
        }
    }

    /// What keeps nodes from fetching.
    fn trouble(&self) -> Option<String> {
        let told = self.state.nodes.iter().filter(|(name, state)| {
            state.staging.is_some() && state.activating.is_none() && !(self.is_staged)(name)
        });
        let errors: Vec<_> = told
            .filter_map(|(name, state)| {
                let known = (self.stage_error)(name);
                Some((name, known.or(state.stage_error.as_deref())?))
            })
            .collect();
        match errors.as_slice() {
            [] => None,
            [(name, why)] => Some(format!("node {name} tries again: {why}")),
            [(name, why), more @ ..] => Some(format!(
                "node {name} tries again (and {} more): {why}",
                more.len()
            )),
        }
    }

    fn first_problem(&self) -> String {
        let problems = self
            .plan
            .map(|plan| plan.problems.as_slice())
            .unwrap_or_default();
        let first = problems
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        match problems.len() {
            0 | 1 => first,
            more => format!("{first} (and {} more)", more - 1),
        }
    }

    fn done(&self, nodes: RolloutNodes) -> String {
        let waiting = self.plan.map_or(0, |plan| plan.held.len());
        let changed = match nodes.done {
            0 => "nothing had to change".to_owned(),
            done => format!("{} changed", counted(done, "node")),
        };
        match waiting {
            0 => changed,
            more => format!(
                "{changed}; {} left as they are",
                counted(count(more), "node")
            ),
        }
    }
}
