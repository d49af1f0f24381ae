//! Conditions in the manner of kstatus: `Ready` always, `Reconciling` and `Stalled` only while
//! true; reasons from a closed set.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One aspect of a resource's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The aspect: `Ready` always stands in the list; `Reconciling` and `Stalled` only while they
    /// are true.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it is so.
    pub status: ConditionStatus,
    /// Why, as one word of a closed set.
    pub reason: Reason,
    /// Why, for people.
    #[serde(default)]
    #[schemars(length(max = 32_768))]
    pub message: String,
    /// When the status last changed.
    pub last_transition_time: Timestamp,
    /// The generation of the resource that this was found for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
}

/// The aspects of a resource's state.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ConditionType {
    /// What the resource asks for is in force.
    Ready,
    /// Work is under way.
    Reconciling,
    /// No progress without somebody's help.
    Stalled,
}

/// Whether a condition holds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ConditionStatus {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Not known yet.
    Unknown,
}

/// Why a condition is as it is. The set is closed: programs may match on it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Reason {
    /// What was asked for has been reached.
    Succeeded,
    /// Work is under way.
    Progressing,
    /// The resource says that nothing is to happen.
    Suspended,
    /// Something is asked for that this version does not carry out.
    NotCarriedOut,
    /// The repository could not be fetched.
    FetchFailed,
    /// The repository or the chosen folder holds nothing.
    Empty,
    /// The branch went back, and `allowRewind` does not name the commit.
    Rewound,
    /// The declarations of the revision do not hold; the last good ones stay in force.
    InvalidDeclarations,
    /// A resource that is named does not exist.
    ReferenceMissing,
    /// A package could not be had, or is not what the declaration says.
    PackageFailed,
    /// A signature, or a key, does not fit.
    VerificationFailed,
    /// Requirements do not hold.
    Blocked,
    /// Nodes are being asked.
    Proposing,
    /// Somebody objects; a person has to decide.
    Held,
    /// Somebody would object, as a dry run found out.
    Objected,
    /// Nodes fetch.
    Staging,
    /// Nodes change.
    Activating,
    /// A node failed to change; a person has to decide.
    Halted,
    /// Given up by decision.
    Aborted,
    /// A newer revision took its place.
    Superseded,
    /// The node never joined.
    NeverSeen,
    /// The node has no connection.
    Away,
    /// The node and the controller speak no protocol number that both know: one has to be updated.
    ProtocolMismatch,
    /// The node belongs to no class, or to several.
    ClassUnclear,
    /// What the node announces contradicts what is declared.
    FactsMismatch,
    /// The change failed on the node, which runs what it ran before.
    ChangeFailed,
    /// Processes that should run are not ready.
    ProcessesNotReady,
    /// A test failed of what the node runs in test mode.
    TestsFailed,
    /// What runs differs from what is declared.
    OutOfDate,
}

/// What [`conditions`] is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// All is as asked for.
    Ready(Reason, String),
    /// Under way; more will happen by itself.
    Reconciling(Reason, String),
    /// Waits for somebody.
    Stalled(Reason, String),
}

/// The conditions of a resource in `state`, from those it had before: the time of transition stays
/// while the status does.
pub fn conditions(
    old: &[Condition],
    state: &State,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let (ready, also, reason, message) = match state {
        State::Ready(reason, message) => (ConditionStatus::True, None, *reason, message),
        State::Reconciling(reason, message) => (
            ConditionStatus::False,
            Some(ConditionType::Reconciling),
            *reason,
            message,
        ),
        State::Stalled(reason, message) => (
            ConditionStatus::False,
            Some(ConditionType::Stalled),
            *reason,
            message,
        ),
    };
    let condition = |kind, status| Condition {
        kind,
        status,
        reason,
        message: message.clone(),
        last_transition_time: old
            .iter()
            .find(|before| before.kind == kind && before.status == status)
            .map_or(now, |before| before.last_transition_time),
        observed_generation: generation,
    };
    std::iter::once(condition(ConditionType::Ready, ready))
        .chain(also.map(|kind| condition(kind, ConditionStatus::True)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{ConditionStatus, ConditionType, Reason, State, conditions};

    #[test]
    fn the_time_of_transition_stays_while_the_status_does() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let working = State::Reconciling(Reason::Proposing, "asking".to_owned());
        let first = conditions(&[], &working, Some(1), at(1));
        let working = State::Reconciling(Reason::Staging, "fetching".to_owned());
        let second = conditions(&first, &working, Some(1), at(2));
        assert!(second.iter().all(|it| it.last_transition_time == at(1)));
        assert_eq!(second[1].kind, ConditionType::Reconciling);

        let done = State::Ready(Reason::Succeeded, String::new());
        let third = conditions(&second, &done, Some(1), at(3));
        assert_eq!(third.len(), 1);
        assert_eq!(third[0].status, ConditionStatus::True);
        assert_eq!(third[0].last_transition_time, at(3));
    }
}
