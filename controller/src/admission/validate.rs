//! What can be said of a request without knowing anything but the request.

use std::collections::BTreeMap;

use kube::core::admission::Operation;
use placet_crds::{DecisionRequest, Fault, Object, validate};
use placet_model::visible;
use serde_json::Value;

use super::review::{Request, Response, Subject, invalid, refused, status_of};
use crate::fleet::decide;
use crate::fleet::declared_dry_runs::refused_name;
use crate::home::Owner;
use crate::home::kubernetes::{MANAGED_LABEL, SOURCE_LABEL};

/// A declaration with this annotation (`"true"`) is asked about whenever it is applied for real.
pub(super) const ASK: &str = "placet.dev/ask";

/// Annotations that say nothing about the fleet.
const TOOLS: &str = "kubectl.kubernetes.io/";

/// A request that is right in itself.
pub(super) struct Checked {
    /// The object as it would be, and who declares it; none where it is deleted.
    pub(super) object: Option<(Object, Owner)>,
    /// A decision that was not there before.
    pub(super) decision: Option<DecisionRequest>,
    /// What the person should know.
    pub(super) warnings: Vec<String>,
}

/// Checks a request by itself.
///
/// # Errors
///
/// The answer, where it is no.
pub(super) fn check(subject: &Subject) -> Result<Checked, Box<Response>> {
    let request = subject.request;
    if subject.is(&Operation::Delete) {
        return check_deletion(subject);
    }
    let Some(value) = &subject.object else {
        let message = "the request brings no object";
        return Err(Box::new(refused(request, 400, "BadRequest", message)));
    };
    let object = validate(&subject.kind.kind, value, subject.old.as_ref())
        .map_err(|faults| Box::new(invalid(request, &faults)))?;
    let mut warnings = Vec::new();
    let user = request.user_info.username.as_deref().unwrap_or_default();
    let owner = owner(value, user);
    if let Owner::Git { source } = &owner {
        warnings.push(format!(
            "{} is declared by GitSource {}, which puts right what others change: change it in the repository",
            subject.id(),
            visible(source)
        ));
    }
    let decision = match &object {
        Object::Rollout(rollout) if rollout.spec.dry_run => check_dry_run(subject)?,
        Object::Rollout(rollout) => check_rollout(subject, rollout.spec.decision.as_ref())?,
        _ => None,
    };
    Ok(Checked {
        object: Some((stripped(object), owner)),
        decision,
        warnings,
    })
}

/// Who declares an object, as the home on Kubernetes sees it.
fn owner(value: &Value, user: &str) -> Owner {
    let label = |name: &str| value["metadata"]["labels"][name].as_str();
    match (label(SOURCE_LABEL), label(MANAGED_LABEL)) {
        (Some(source), _) => Owner::Git {
            source: source.to_owned(),
        },
        (None, Some(_)) => Owner::Controller,
        (None, None) => Owner::Person {
            user: user.to_owned(),
        },
    }
}

/// The object as the home keeps it: without the marks of whoever declares it, and of tools.
fn stripped(mut object: Object) -> Object {
    let metadata = object.metadata_mut();
    if let Some(labels) = &mut metadata.labels {
        labels.retain(|key, _| key != SOURCE_LABEL && key != MANAGED_LABEL);
    }
    let keep = |map: &mut BTreeMap<String, String>| {
        map.retain(|key, _| !key.starts_with(TOOLS));
    };
    metadata.annotations.iter_mut().for_each(keep);
    object
}

/// People may have anything tried out, under a name that no roll-out gets.
fn check_dry_run(subject: &Subject) -> Result<Option<DecisionRequest>, Box<Response>> {
    let request = subject.request;
    match refused_name(subject.name()) {
        Some(why) => Err(Box::new(refused(request, 403, "Forbidden", &why))),
        None => Ok(None),
    }
}

/// People do not open roll-outs, and decide those that are held.
fn check_rollout(
    subject: &Subject,
    decision: Option<&DecisionRequest>,
) -> Result<Option<DecisionRequest>, Box<Response>> {
    let request = subject.request;
    if subject.is(&Operation::Create) {
        let message = format!(
            "{}: there is no such roll-out; roll-outs are opened by the controller, unless they are dry runs (`spec.dryRun: true`)",
            subject.id()
        );
        return Err(Box::new(refused(request, 403, "Forbidden", &message)));
    }
    let old = subject.old.as_ref().map(|old| &old["spec"]["decision"]);
    let before: Option<DecisionRequest> =
        old.and_then(|old| serde_json::from_value(old.clone()).ok());
    let Some(decision) = decision.filter(|new| !same(Some(new), before.as_ref())) else {
        return Ok(None);
    };
    check_decision(request, decision).map_err(|message| {
        let faults = [Fault {
            file: subject.id(),
            line: None,
            column: None,
            field: "spec.decision".to_owned(),
            message,
        }];
        Box::new(invalid(request, &faults))
    })?;
    Ok(Some(decision.clone()))
}

/// True for the same decision, whoever is said to have taken it.
pub(super) fn same(one: Option<&DecisionRequest>, other: Option<&DecisionRequest>) -> bool {
    let anonymous = |decision: Option<&DecisionRequest>| {
        decision.map(|decision| DecisionRequest {
            author: None,
            ..decision.clone()
        })
    };
    anonymous(one) == anonymous(other)
}

/// Checks a decision by the status that the roll-out has: what is not held is not decided.
fn check_decision(request: &Request, decision: &DecisionRequest) -> Result<(), String> {
    let status = status_of(request.old_object.as_ref());
    let status = serde_json::from_value(status).unwrap_or_default();
    decide::check_status(&request.name, &status, decision)
}

/// A roll-out that is under way says where the fleet stands, and keeps the votes.
fn check_deletion(subject: &Subject) -> Result<Checked, Box<Response>> {
    let request = subject.request;
    let phase = &status_of(request.old_object.as_ref())["phase"];
    let phase: Option<placet_model::RolloutPhase> = serde_json::from_value(phase.clone()).ok();
    let is_dry_run = |old: &Value| old["spec"]["dryRun"] == true;
    if subject.kind.kind == "Rollout"
        && !subject.old.as_ref().is_some_and(is_dry_run)
        && let Some(phase) = phase.filter(|phase| !phase.is_over())
    {
        let message = format!(
            "{}: the roll-out is under way (its phase is {phase}); abort it, or wait until it is over",
            subject.id()
        );
        return Err(Box::new(refused(request, 409, "Conflict", &message)));
    }
    Ok(Checked {
        object: None,
        decision: None,
        warnings: Vec::new(),
    })
}
