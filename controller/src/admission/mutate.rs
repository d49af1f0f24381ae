//! Who decided: written by admission, from what the API server knows of whoever asks.

use kube::core::admission::Operation;
use placet_crds::DecisionRequest;
use serde_json::{Value, json};

use super::review::{Response, Subject, allowed};
use super::validate::same;

/// The answer with the author of a decision put right.
///
/// A decision that is new gets the name of the user who brings it, whatever it says itself; one
/// that was there before keeps the author that it had.
pub(super) fn stamped(subject: &Subject) -> Response {
    let response = allowed(subject.request);
    let Some(patch) = patch(subject) else {
        return response;
    };
    let patch = serde_json::from_value(patch).expect("it is a list of operations");
    let patched = response.with_patch(patch);
    patched.expect("operations serialise to JSON")
}

fn patch(subject: &Subject) -> Option<Value> {
    if subject.kind.kind != "Rollout" || subject.is(&Operation::Delete) {
        return None;
    }
    let decision = |value: &Option<Value>| -> Option<Value> {
        let decision = &value.as_ref()?["spec"]["decision"];
        decision.is_object().then(|| decision.clone())
    };
    let (new, old) = (decision(&subject.object)?, decision(&subject.old));
    let author = if is_same(&new, old.as_ref()) {
        old.and_then(|old| old["author"].as_str().map(str::to_owned))
    } else {
        Some(name_of(subject.request.user_info.username.as_deref()))
    };
    let path = "/spec/decision/author";
    match (author, new.get("author")) {
        (Some(author), Some(found)) if *found == author => None,
        (Some(author), _) => Some(json!([{"op": "add", "path": path, "value": author}])),
        (None, Some(_)) => Some(json!([{"op": "remove", "path": path}])),
        (None, None) => None,
    }
}

/// True for the same decision. What cannot be read as one is refused later, and is not the same.
fn is_same(new: &Value, old: Option<&Value>) -> bool {
    let read = |value: &Value| serde_json::from_value::<DecisionRequest>(value.clone()).ok();
    match (read(new), old.and_then(read)) {
        (Some(new), Some(old)) => same(Some(&new), Some(&old)),
        _ => false,
    }
}

/// As long as the field allows.
const AUTHOR_MOST: usize = 1_024;

/// The user's name on one line.
fn name_of(user: Option<&str>) -> String {
    let user = user.unwrap_or_default();
    let shown = placet_model::visible(user).to_string();
    if shown.is_empty() {
        return "somebody whom the API server does not name".to_owned();
    }
    shown.chars().take(AUTHOR_MOST).collect()
}
