//! What is known of a repository.

use jiff::{SignedDuration, Timestamp};
use placet_crds::{GitSourceStatus, InventoryEntry, Reason, State, conditions};
use placet_model::visible;

use crate::fleet::news::Commit;

/// As many as the status field holds.
const FAULTS_MOST: usize = 20;

/// How old `lastFetched` gets while nothing changes: writing it at every look would wear out disks.
const FETCHED_AGE: SignedDuration = SignedDuration::from_mins(10);

/// A commit that came into force.
pub(crate) struct Taken<'a> {
    pub(crate) commit: &'a Commit,
    pub(crate) inventory: Vec<InventoryEntry>,
    pub(crate) left_out: Vec<String>,
    pub(crate) generation: i64,
    /// The revision that the fleet is planned for, where it is an older one.
    pub(crate) planned: Option<String>,
}

/// The status after a commit came into force.
pub(crate) fn taken(old: &GitSourceStatus, taken: Taken<'_>, now: Timestamp) -> GitSourceStatus {
    let Taken {
        commit,
        inventory,
        left_out,
        generation,
        planned,
    } = taken;
    let revision = Some(commit.revision.clone());
    in_force(
        &GitSourceStatus {
            observed_generation: Some(generation),
            revision: revision.clone(),
            last_attempted_revision: revision,
            subject: Some(line(&commit.subject)),
            author: Some(line(&commit.author)),
            signer: commit
                .signer
                .as_ref()
                .map(|signer| line(&signer.to_string())),
            planned_revision: planned,
            last_fetched: Some(now),
            faults: shortened(&left_out),
            inventory,
            ..old.clone()
        },
        &[],
        now,
    )
}

/// The status after a look that found the revision in force, and of its resources those that
/// `drifted`.
pub(crate) fn in_force(
    old: &GitSourceStatus,
    drifted: &[String],
    now: Timestamp,
) -> GitSourceStatus {
    let mut status = old.clone();
    let revision = status.revision.clone().unwrap_or_default();
    let was_refused = status.last_attempted_revision != status.revision;
    status.last_attempted_revision.clone_from(&status.revision);
    if was_refused {
        status.faults.clear();
    }
    let is_old = |last: Timestamp| now.duration_since(last) > FETCHED_AGE;
    if status.last_fetched.is_none_or(is_old) {
        status.last_fetched = Some(now);
    }
    status.drift = shortened(drifted);
    let mut text = format!("{revision} is in force");
    if !status.faults.is_empty() {
        let count = status.faults.len();
        text = format!("{text}; {count} of its fields or decisions are not carried out");
    }
    if let Some(first) = drifted.first() {
        let count = drifted.len();
        text = format!("{text}; {count} of its resources differ: {first}");
    }
    let state = State::Ready(Reason::Succeeded, text);
    status.conditions = conditions(&old.conditions, &state, status.observed_generation, now);
    status
}

/// The status after a look that gave nothing to use: what is in force stays.
pub(crate) fn refused(
    old: &GitSourceStatus,
    (reason, reasons, revision): (Reason, &[String], Option<&str>),
    generation: i64,
    now: Timestamp,
) -> GitSourceStatus {
    let mut text = reasons.first().cloned().unwrap_or_default();
    if reasons.len() > 1 {
        text = format!("{text} (and {} more)", reasons.len() - 1);
    }
    if let Some(revision) = &old.revision {
        text = format!("{text}; {revision} stays in force");
    }
    let state = match reason {
        Reason::FetchFailed => State::Reconciling(reason, text),
        _ => State::Stalled(reason, text),
    };
    GitSourceStatus {
        observed_generation: Some(generation),
        last_attempted_revision: revision
            .map(str::to_owned)
            .or_else(|| old.last_attempted_revision.clone()),
        faults: shortened(reasons),
        conditions: conditions(&old.conditions, &state, Some(generation), now),
        ..old.clone()
    }
}

/// The status of a repository that is left alone, or that was not looked at yet.
pub(crate) fn idle(
    old: &GitSourceStatus,
    is_suspended: bool,
    generation: i64,
    now: Timestamp,
) -> GitSourceStatus {
    let state = match (&old.revision, is_suspended) {
        (Some(revision), true) => State::Ready(
            Reason::Suspended,
            format!("{revision} is in force, and newer commits are not looked at"),
        ),
        (None, true) => State::Stalled(
            Reason::Suspended,
            "the repository is not looked at while it is suspended".to_owned(),
        ),
        (_, false) => State::Reconciling(
            Reason::Progressing,
            "the repository is being looked at".to_owned(),
        ),
    };
    GitSourceStatus {
        observed_generation: Some(generation),
        conditions: conditions(&old.conditions, &state, Some(generation), now),
        ..old.clone()
    }
}

fn shortened(reasons: &[String]) -> Vec<String> {
    reasons.iter().take(FAULTS_MOST).cloned().collect()
}

/// One line of at most 1,000 characters.
fn line(text: &str) -> String {
    visible(text).to_string()
}
