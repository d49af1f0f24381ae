//! What there is to tell of a source's commit.

use placet_crds::{GitSourceStatus, Reason, RolloutStatus};
use placet_model::RolloutPhase;

use super::Telling;
use crate::fleet::world::World;

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Its full id.
    pub(crate) commit: String,
    pub(crate) state: State,
    pub(crate) text: String,
}

/// The states that all hosts know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is on its way.
    Pending,
    /// Every node that takes part runs it.
    Success,
    /// It is refused, or somebody objects: a person has to act.
    Failure,
    /// Nothing will become of it.
    Error,
}

impl Telling {
    /// What is to be told of the source `name`, if anything is.
    pub(crate) fn of(world: &World, name: &str) -> Option<Self> {
        let (_, entry, source) = world.objects.sources().find(|(of, ..)| *of == name)?;
        let to = source.spec.commit_status.clone()?;
        let status: GitSourceStatus = entry.status();
        Some(Self {
            to,
            url: source.spec.url.clone(),
            report: refused(&status).or_else(|| in_force(world, &status))?,
        })
    }
}

/// The commit of a revision's text.
fn commit(revision: &str) -> Option<String> {
    let (_, commit) = revision.rsplit_once("@sha1:")?;
    Some(commit.to_owned())
}

/// The report on a commit that was looked at and not taken.
fn refused(status: &GitSourceStatus) -> Option<Report> {
    let attempted = status.last_attempted_revision.as_ref()?;
    let ready = status.conditions.first()?;
    let is_refused =
        status.last_attempted_revision != status.revision && ready.reason != Reason::FetchFailed;
    is_refused.then_some(())?;
    Some(Report {
        commit: commit(attempted)?,
        state: State::Failure,
        text: status.faults.first().unwrap_or(&ready.message).clone(),
    })
}

/// The report on the commit in force.
fn in_force(world: &World, status: &GitSourceStatus) -> Option<Report> {
    let revision = status.revision.as_ref()?;
    let planned = status.planned_revision.as_ref().unwrap_or(revision);
    let rollout = world.rollout.as_ref();
    let rollout = rollout.filter(|it| it.revision.split('+').any(|part| part == planned));
    let (state, text) = match rollout {
        None => (
            State::Pending,
            "what it changes is being worked out".to_owned(),
        ),
        Some(rollout) => {
            let (entry, _) = world.objects.rollout(&rollout.name)?;
            let status: RolloutStatus = entry.status();
            (state(rollout.phase), text(&rollout.name, &status))
        }
    };
    Some(Report {
        commit: commit(revision)?,
        state,
        text,
    })
}

fn state(phase: RolloutPhase) -> State {
    match phase {
        RolloutPhase::Done => State::Success,
        RolloutPhase::Held | RolloutPhase::Halted | RolloutPhase::Blocked => State::Failure,
        RolloutPhase::Aborted | RolloutPhase::Superseded => State::Error,
        _ => State::Pending,
    }
}

/// Counts first, since hosts cut what is long; then the objections in their own words.
fn text(name: &str, status: &RolloutStatus) -> String {
    let message = status.conditions.first().map_or("", |ready| &ready.message);
    let (verdicts, total) = (status.verdicts, status.nodes.total);
    if verdicts.veto + verdicts.error + verdicts.no_answer == 0 {
        return format!("{name}: {message}");
    }
    let objections = verdicts.veto + verdicts.error + verdicts.no_answer;
    let words = match status.vetoes.as_slice() {
        [] => message.to_owned(),
        vetoes => vetoes.join("; "),
    };
    format!(
        "{name}: {} of {total} nodes agree, {objections} do not: {words}",
        verdicts.accept
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use placet_crds::{GitSource, Object, Rollout};
    use placet_model::{Digest, RolloutPhase};
    use placet_planner::RolloutState;
    use serde_json::{Value, json};

    use super::State;
    use crate::fleet::world::World;
    use crate::home::Owner;
    use crate::host::Telling;

    const GOOD: &str = "main@sha1:0123456789012345678901234567890123456789";
    const BAD: &str = "main@sha1:abababababababababababababababababababab";

    /// A fleet whose source and newest roll-out have these statuses.
    fn world(source: &Value, phase: RolloutPhase, rollout: &Value) -> World {
        let mut world = World::default();
        let spec = json!({
            "url": "https://git.example/team/fleet.git",
            "commitStatus": {"host": "github", "secretRef": {"name": "host"}},
        });
        let declared = GitSource::new("fleet", serde_json::from_value(spec).unwrap());
        let spec = json!({"planDigest": Digest::of(b"x"), "to": GOOD});
        let opened = Rollout::new("ro-7", serde_json::from_value(spec).unwrap());
        for (object, status) in [
            (Object::GitSource(declared), source),
            (Object::Rollout(opened), rollout),
        ] {
            let (kind, name) = (object.kind(), object.name().to_owned());
            world.objects.put(object, Owner::Controller).unwrap();
            world.objects.get_mut(kind, &name).unwrap().status = status.clone();
        }
        world.rollout = Some(RolloutState {
            name: "ro-7".to_owned(),
            revision: format!("apply@sha256:00+{GOOD}"),
            plan_digest: Digest::of(b"x"),
            phase,
            holds: 0,
            hold: None,
            decisions: Vec::new(),
            paused: false,
            nodes: BTreeMap::new(),
        });
        world
    }

    fn ready(reason: &str, message: &str) -> Value {
        json!([{
            "type": "Ready", "status": "False", "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-31T12:00:00Z",
        }])
    }

    #[track_caller]
    fn check(world: &World, commit: &str, state: State, text: &str) {
        let report = Telling::of(world, "fleet").unwrap().report;
        assert_eq!((report.state, report.text.as_str()), (state, text));
        assert!(commit.ends_with(&report.commit), "{}", report.commit);
    }

    #[test]
    fn a_commit_on_its_way_has_the_state_of_its_roll_out() {
        let source = json!({"revision": GOOD, "lastAttemptedRevision": GOOD, "conditions": []});
        let going = json!({"conditions": ready("Proposing", "3 nodes are being asked")});
        let text = "ro-7: 3 nodes are being asked";
        let proposing = world(&source, RolloutPhase::Proposing, &going);
        check(&proposing, GOOD, State::Pending, text);
        check(
            &world(&source, RolloutPhase::Done, &going),
            GOOD,
            State::Success,
            text,
        );
        let held = json!({
            "nodes": {"total": 3},
            "verdicts": {"accept": 2, "veto": 1},
            "vetoes": ["node core-1: chatd (412) non placet: 3 open sessions"],
        });
        check(
            &world(&source, RolloutPhase::Held, &held),
            GOOD,
            State::Failure,
            "ro-7: 2 of 3 nodes agree, 1 do not: node core-1: chatd (412) non placet: 3 open sessions",
        );
        let mut other = proposing;
        other.rollout.as_mut().unwrap().revision = BAD.to_owned();
        check(
            &other,
            GOOD,
            State::Pending,
            "what it changes is being worked out",
        );
    }

    #[test]
    fn a_commit_that_is_refused_has_its_first_fault() {
        let mut source = json!({
            "revision": GOOD,
            "lastAttemptedRevision": BAD,
            "faults": ["a.yaml:1:1: wrong", "more"],
            "conditions": ready("InvalidDeclarations", "wrong (and 1 more)"),
        });
        let done = json!({});
        let refused = world(&source, RolloutPhase::Done, &done);
        check(&refused, BAD, State::Failure, "a.yaml:1:1: wrong");
        source["conditions"] = ready("FetchFailed", "gone");
        let report = Telling::of(&world(&source, RolloutPhase::Done, &done), "fleet");
        assert_eq!(
            report.unwrap().report.state,
            State::Success,
            "of the one in force"
        );
    }
}
