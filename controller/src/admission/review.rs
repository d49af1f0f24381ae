//! An admission review, read and answered.

use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use kube::core::response::{StatusCause, StatusDetails};
use placet_crds::{Fault, GROUP, KindInfo, VERSION, kinds};
use placet_model::visible;
use serde_json::{Map, Value, json};

/// What is asked to be allowed.
pub(super) type Request = AdmissionRequest<DynamicObject>;

/// The answer.
pub(super) type Response = AdmissionResponse;

/// A request about a resource of ours.
pub(super) struct Subject<'a> {
    pub(super) request: &'a Request,
    pub(super) kind: &'static KindInfo,
    pub(super) object: Option<Value>,
    pub(super) old: Option<Value>,
}

/// What kind of resource a request is about.
pub(super) enum About<'a> {
    /// One of ours.
    Ours(Subject<'a>),
    /// One of ours in a version that this controller does not know.
    OtherVersion,
    /// Something that the webhook has nothing to say to.
    Foreign,
    /// Nothing that people declare: a status, say.
    Nothing,
}

impl<'a> About<'a> {
    pub(super) fn of(request: &'a Request) -> Self {
        let asked = &request.kind;
        let kind = kinds().iter().find(|info| info.kind == asked.kind);
        let Some(kind) = kind.filter(|_| asked.group == GROUP) else {
            return Self::Foreign;
        };
        if request
            .sub_resource
            .as_ref()
            .is_some_and(|name| !name.is_empty())
        {
            return Self::Nothing;
        }
        if asked.version != VERSION {
            return Self::OtherVersion;
        }
        Self::Ours(Subject {
            request,
            kind,
            object: request.object.as_ref().map(declared),
            old: request.old_object.as_ref().map(declared),
        })
    }
}

impl Subject<'_> {
    /// The resource's name.
    pub(super) fn name(&self) -> &str {
        let named = self.object.as_ref().or(self.old.as_ref());
        let named = named.and_then(|value| value["metadata"]["name"].as_str());
        named.unwrap_or(&self.request.name)
    }

    /// Kind and name, as faults have them.
    pub(super) fn id(&self) -> String {
        format!("{}/{}", self.kind.kind, visible(self.name()))
    }

    pub(super) fn is(&self, operation: &Operation) -> bool {
        self.request.operation == *operation
    }
}

/// What of an object a person declares: without the API server's own notes and without the status.
fn declared(object: &DynamicObject) -> Value {
    let metadata = &object.metadata;
    let mut kept = Map::new();
    if let Some(name) = &metadata.name {
        kept.insert("name".to_owned(), json!(name));
    }
    if let Some(labels) = &metadata.labels {
        kept.insert("labels".to_owned(), json!(labels));
    }
    if let Some(annotations) = &metadata.annotations {
        kept.insert("annotations".to_owned(), json!(annotations));
    }
    let types = object.types.clone().unwrap_or_default();
    let mut value = json!({
        "apiVersion": types.api_version,
        "kind": types.kind,
        "metadata": kept,
    });
    if let Some(spec) = object.data.get("spec") {
        value["spec"] = spec.clone();
    }
    value
}

/// The status that an object had.
pub(super) fn status_of(object: Option<&DynamicObject>) -> Value {
    let status = object.and_then(|object| object.data.get("status"));
    status.cloned().unwrap_or(Value::Null)
}

/// Yes.
pub(super) fn allowed(request: &Request) -> Response {
    Response::from(request)
}

/// No, with what is wrong: `kubectl` prints the message, programs read the causes.
pub(super) fn invalid(request: &Request, faults: &[Fault]) -> Response {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let causes = faults.iter().map(|fault| StatusCause {
        reason: "FieldValueInvalid".to_owned(),
        message: fault.message.clone(),
        field: fault.field.clone(),
    });
    let mut response = refused(request, 422, "Invalid", &lines.join("\n"));
    response.result.details = Some(StatusDetails {
        name: request.name.clone(),
        group: request.kind.group.clone(),
        kind: request.kind.kind.clone(),
        uid: String::new(),
        causes: causes.collect(),
        retry_after_seconds: 0,
    });
    response
}

/// No, as the request stands.
pub(super) fn refused(request: &Request, code: u16, reason: &str, message: &str) -> Response {
    let mut response = Response::from(request).deny(bounded(message));
    response.result.code = code;
    reason.clone_into(&mut response.result.reason);
    response
}

/// A message longer than this is no help any more.
const MESSAGE_MOST: usize = 16 << 10;

fn bounded(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_MOST)]
}
