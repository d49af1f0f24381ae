//! An object of the API server as the controller keeps it.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::Value;

use super::{MANAGED_LABEL, SOURCE_LABEL};
use crate::home::{Owner, Stored};

/// Annotations that say nothing about the fleet.
const TOOLS: &str = "kubectl.kubernetes.io/";

/// An object as the controller keeps it; none if it is no object that an API server would give.
pub(super) fn stored(kind: &str, object: &DynamicObject) -> Option<Stored> {
    let metadata = &object.metadata;
    let mut labels = metadata.labels.clone().unwrap_or_default();
    let source = labels.remove(SOURCE_LABEL);
    let is_own = labels.remove(MANAGED_LABEL).is_some();
    let owner = match source {
        Some(source) => Owner::Git { source },
        None if is_own => Owner::Controller,
        None => Owner::Person {
            user: manager(object),
        },
    };
    let annotations: BTreeMap<_, _> = metadata.annotations.clone().unwrap_or_default();
    Some(Stored {
        kind: kind.to_owned(),
        name: object.name_any(),
        uid: metadata.uid.clone()?,
        generation: metadata.generation?.try_into().ok()?,
        resource_version: version(object),
        created: metadata.creation_timestamp.as_ref()?.0,
        labels,
        annotations: annotations
            .into_iter()
            .filter(|(key, _)| !key.starts_with(TOOLS))
            .collect(),
        spec: object.data.get("spec").cloned().unwrap_or(Value::Null),
        status: object.data.get("status").cloned().unwrap_or(Value::Null),
        owner,
    })
}

/// The version of an object; versions of one resource can be compared since Kubernetes 1.35, and
/// could in practice ever since.
pub(super) fn version(object: &DynamicObject) -> u64 {
    let version = object.metadata.resource_version.as_deref();
    version
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// Who wrote the spec last, as far as the API server tells.
fn manager(object: &DynamicObject) -> String {
    let managers = object.metadata.managed_fields.iter().flatten();
    let of_spec = managers.filter(|entry| entry.subresource.is_none());
    of_spec
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
        .and_then(|entry| entry.manager.clone())
        .unwrap_or_default()
}
