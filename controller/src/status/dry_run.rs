//! The status of a dry run that is declared.

use jiff::Timestamp;
use placet_crds::{
    PhaseChange, Reason, RolloutNodes, RolloutStatus, State, VerdictCounts, conditions,
};
use placet_model::{DryRunAnswer, DryRunReport, RolloutPhase, VerdictKind};

use super::rollout::{TEXTS_MOST, VETOES_MOST};
use super::{count, counted};
use crate::fleet::news::Tried;

/// It has begun.
pub(crate) fn asked(generation: i64, now: Timestamp) -> RolloutStatus {
    let asking = "the revision is looked at, and nodes are asked".to_owned();
    let status = RolloutStatus {
        observed_generation: Some(generation),
        started: Some(now),
        ..RolloutStatus::default()
    };
    let state = State::Reconciling(Reason::Proposing, asking);
    status.entering(RolloutPhase::Proposing, &state, now)
}

/// Nobody could be asked.
pub(crate) fn failed(old: &RolloutStatus, why: String, now: Timestamp) -> RolloutStatus {
    let status = RolloutStatus {
        problems: vec![why.clone()],
        ended: Some(now),
        ..old.clone()
    };
    let state = State::Stalled(Reason::Blocked, why);
    status.entering(RolloutPhase::Blocked, &state, now)
}

/// A roll-out changes what it was about.
pub(crate) fn superseded(old: &RolloutStatus, rollout: &str, now: Timestamp) -> RolloutStatus {
    let status = RolloutStatus {
        ended: Some(now),
        ..old.clone()
    };
    let why = format!("roll-out {rollout} began before everybody had answered");
    let state = State::Stalled(Reason::Superseded, why);
    status.entering(RolloutPhase::Superseded, &state, now)
}

/// The nodes have answered, or have not in time.
pub(crate) fn answered(old: &RolloutStatus, tried: &Tried, now: Timestamp) -> RolloutStatus {
    let Tried { report, manifests } = tried;
    let mut notes = report.notes.clone();
    notes.extend(report.changes.iter().cloned());
    notes.truncate(TEXTS_MOST);
    let most = |lines: &[String], most| lines.iter().take(most).cloned().collect();
    let status = RolloutStatus {
        nodes: nodes(report),
        verdicts: verdicts(report),
        vetoes: most(&report.lines(), VETOES_MOST),
        problems: most(&report.problems, TEXTS_MOST),
        notes,
        manifests_digest: report.problems.is_empty().then_some(*manifests),
        ended: Some(now),
        ..old.clone()
    };
    let summary = report.summary();
    let (phase, state) = if let Some(problem) = report.problems.first() {
        let others = count(report.problems.len() - 1);
        let more = match others {
            0 => String::new(),
            more => format!(" (and {} more)", counted(more, "problem")),
        };
        let why = format!("{problem}{more}; nobody was asked");
        (RolloutPhase::Blocked, State::Stalled(Reason::Blocked, why))
    } else if report.is_clean() {
        (RolloutPhase::Done, State::Ready(Reason::Succeeded, summary))
    } else {
        (
            RolloutPhase::Done,
            State::Stalled(Reason::Objected, summary),
        )
    };
    status.entering(phase, &state, now)
}

fn nodes(report: &DryRunReport) -> RolloutNodes {
    let is_asked = |answer: &DryRunAnswer| !matches!(answer, DryRunAnswer::NotAsked(_));
    let asked = report.nodes.iter().filter(|node| is_asked(&node.answer));
    RolloutNodes {
        total: count(report.nodes.len()),
        asked: count(asked.count()),
        ..RolloutNodes::default()
    }
}

fn verdicts(report: &DryRunReport) -> VerdictCounts {
    let mut counts = VerdictCounts::default();
    for node in &report.nodes {
        let verdict = match &node.answer {
            DryRunAnswer::Verdict(verdict) => verdict.verdict,
            DryRunAnswer::Silent(_) => VerdictKind::NoAnswer,
            DryRunAnswer::NotAsked(_) => continue,
        };
        *super::rollout::counter(&mut counts, verdict) += 1;
    }
    counts
}

/// A status that enters a phase.
trait Entering {
    fn entering(self, phase: RolloutPhase, state: &State, now: Timestamp) -> Self;
}

impl Entering for RolloutStatus {
    fn entering(mut self, phase: RolloutPhase, state: &State, now: Timestamp) -> Self {
        let (State::Ready(_, message)
        | State::Reconciling(_, message)
        | State::Stalled(_, message)) = state;
        self.phase = Some(phase);
        self.history.push(PhaseChange {
            phase,
            time: now,
            message: message.clone(),
        });
        let generation = self.observed_generation;
        self.conditions = conditions(&self.conditions, state, generation, now);
        self
    }
}
