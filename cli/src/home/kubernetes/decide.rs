//! Answering a hold: `spec.decision` of the roll-out, written for exactly the version that was read.

use std::time::Duration;

use anyhow::bail;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Error};
use placet_controller::home::kubernetes::PERSON;
use placet_crds::{DecisionAction, DecisionRequest};
use placet_model::{Decision, visible};
use serde_json::{Value, json};

use super::Kubernetes;
use crate::arguments::Decide;
use crate::home::{Applied, Decided};
use crate::output::plain;

/// A roll-out that changes each time between reading and writing is left alone.
const ATTEMPTS: usize = 20;

/// How long a controller may take to act on a decision before the person is told that it stands.
const PATIENCE: Duration = Duration::from_secs(15);

impl Kubernetes {
    pub(in crate::home) async fn decide(&self, decide: &Decide) -> anyhow::Result<Decided> {
        let hold = (decide.hold != 0).then_some(decide.hold);
        self.answer(&decide.name, hold, request(decide)?).await
    }

    /// Answers the hold of this number, or the one that is open.
    pub(super) async fn answer(
        &self,
        name: &str,
        hold: Option<u32>,
        mut request: DecisionRequest,
    ) -> anyhow::Result<Decided> {
        let api = self.api("Rollout")?;
        for _ in 0..ATTEMPTS {
            let found = api.get_opt(name).await;
            let Some(rollout) = found.map_err(|error| self.failed(error))? else {
                bail!("there is no Rollout `{name}`");
            };
            request.hold = match open_hold(name, &rollout, hold) {
                Ok(hold) => hold,
                Err(why) => return Ok(Decided::Refused(why)),
            };
            let patch = Patch::Merge(patch(&rollout, &request));
            match api.patch(name, &by_person(), &patch).await {
                Ok(_) => return Ok(heard(api, name, request.hold).await),
                // It has changed since it was read; perhaps somebody else decided.
                Err(Error::Api(status)) if status.code == 409 => {}
                Err(Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                    return Ok(Decided::Refused(status.message.clone()));
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        bail!("Rollout `{name}` changes all the time; try again")
    }
}

impl Kubernetes {
    /// Pauses or resumes a roll-out, whatever else has changed in it since it was read.
    pub(in crate::home) async fn pause(
        &self,
        rollout: &Value,
        paused: bool,
    ) -> anyhow::Result<Applied> {
        let name = plain(&rollout["metadata"]["name"]);
        let patch = Patch::Merge(json!({ "spec": { "paused": paused } }));
        let patched = self
            .api("Rollout")?
            .patch(&name, &by_person(), &patch)
            .await;
        let mut applied = Applied::default();
        match patched {
            Ok(_) => {}
            Err(Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                applied.problems.push(status.message.clone());
            }
            Err(error) => return Err(self.failed(error)),
        }
        Ok(applied)
    }
}

pub(super) fn by_person() -> PatchParams {
    PatchParams {
        field_manager: Some(PERSON.to_owned()),
        ..PatchParams::default()
    }
}

fn request(decide: &Decide) -> anyhow::Result<DecisionRequest> {
    let action = if decide.skip {
        DecisionAction::Skip
    } else if decide.force {
        DecisionAction::Force
    } else {
        DecisionAction::Abort
    };
    let nodes: Result<_, _> = decide.node.iter().map(|node| node.parse()).collect();
    Ok(DecisionRequest {
        hold: decide.hold,
        action,
        nodes: nodes?,
        overrides: Vec::new(),
        reason: decide.reason.clone(),
        author: None,
    })
}

/// The hold to answer: the one of this number, or the one that is open; or why there is none.
fn open_hold(name: &str, rollout: &DynamicObject, wanted: Option<u32>) -> Result<u32, String> {
    let (spec, status) = (&rollout.data["spec"], &rollout.data["status"]);
    let open = status["hold"]["number"].as_u64();
    let open = open.and_then(|open| u32::try_from(open).ok());
    let decided = spec["decision"]["hold"].as_u64();
    let latest = wanted.or(open);
    if let Some(hold) = latest
        && decided.is_some_and(|decided| decided >= hold.into())
    {
        return Err(decided_by(name, hold, spec, status));
    }
    let Some(open) = open else {
        let phase = plain(&status["phase"]);
        return Err(format!("{name} has no open hold; its phase is {phase}"));
    };
    match wanted {
        Some(hold) if hold != open => Err(format!(
            "hold {hold} of {name} is not open; the open one is hold {open}"
        )),
        _ => Ok(open),
    }
}

/// Who decided a hold, and how.
fn decided_by(name: &str, hold: u32, spec: &Value, status: &Value) -> String {
    let taken = decision(status, hold);
    let text = |key: &str| plain(&spec["decision"][key]);
    let (action, author, reason) = taken.map_or_else(
        || (text("action"), text("author"), text("reason")),
        |taken| (taken.kind.to_string(), taken.author, taken.reason),
    );
    let by = match &*author {
        "" => String::new(),
        author => format!(" by {}", visible(author)),
    };
    format!(
        "somebody else decided hold {hold} of {name}: {action}{by}: {}; a decision is taken once",
        visible(&reason)
    )
}

/// The decision on a hold that a controller has taken note of.
fn decision(status: &Value, hold: u32) -> Option<Decision> {
    let all = status["decisions"].as_array()?;
    let one = all.iter().find(|decision| decision["hold"] == hold)?;
    serde_json::from_value(one.clone()).ok()
}

/// The whole decision: what an earlier one had beside it does not stay.
fn patch(rollout: &DynamicObject, request: &DecisionRequest) -> Value {
    let mut decision = json!({ "nodes": null, "overrides": null, "author": null });
    if let (Value::Object(all), Ok(Value::Object(given))) =
        (&mut decision, serde_json::to_value(request))
    {
        all.extend(given);
    }
    json!({
        "metadata": { "resourceVersion": rollout.metadata.resource_version },
        "spec": { "decision": decision },
    })
}

/// Waits until a controller has acted on the decision.
async fn heard(api: Api<DynamicObject>, name: &str, hold: u32) -> Decided {
    let is_taken = |rollout: Option<&DynamicObject>| {
        rollout.is_some_and(|rollout| decision(&rollout.data["status"], hold).is_some())
    };
    let taken = await_condition(api, name, is_taken);
    let taken = tokio::time::timeout(PATIENCE, taken).await;
    let rollout = taken.ok().and_then(Result::ok).flatten();
    let taken = rollout.and_then(|rollout| decision(&rollout.data["status"], hold));
    taken.map_or_else(
        || {
            Decided::Written(format!(
                "the decision on hold {hold} of {name} is written; no controller has acted on it yet"
            ))
        },
        Decided::Taken,
    )
}
