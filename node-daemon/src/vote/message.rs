//! What is said on the wire: calls, replies, events and errors of `dev.placet.Vote`, and the
//! interface that every varlink service has.

use std::collections::BTreeSet;

use placet_model::{Digest, Follow, FollowAction, ModulePath, ModuleType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Outcome;

/// The definition of the interface, as it is handed out to whoever asks for it.
const DESCRIPTION: &str = include_str!("../../../sdk/dev.placet.Vote.varlink");

/// The definition of the interface that every varlink service has.
const SERVICE_DESCRIPTION: &str = include_str!("org.varlink.service.varlink");

/// A varlink call.
#[derive(Debug, Deserialize)]
pub(super) struct Call {
    /// Interface and method.
    pub(super) method: String,
    /// The method's parameters.
    #[serde(default)]
    pub(super) parameters: Option<Value>,
    /// True if the caller takes more than one reply.
    #[serde(default)]
    pub(super) more: bool,
    /// True if the caller wants no reply.
    #[serde(default)]
    pub(super) oneway: bool,
}

impl Call {
    /// The parameters as the method's type.
    pub(super) fn parameters<T: DeserializeOwned>(self) -> Result<T, CallError> {
        let parameters = self.parameters.unwrap_or_else(|| json!({}));
        serde_json::from_value(parameters)
            .map_err(|error| CallError::refused("parameters", error.to_string()))
    }
}

/// Parameters of `Register`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    #[serde(default)]
    pub(super) client: Option<String>,
    #[serde(default)]
    pub(super) opened: Option<Vec<String>>,
    #[serde(default)]
    pub(super) follows: Option<Vec<Interest>>,
    #[serde(default)]
    pub(super) notices: Option<bool>,
}

/// Modules in which a process has an interest.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Interest {
    paths: Option<BTreeSet<String>>,
    types: Option<BTreeSet<ModuleType>>,
    functions: Option<BTreeSet<String>>,
}

impl From<Interest> for Follow {
    fn from(interest: Interest) -> Self {
        Self {
            paths: interest.paths.unwrap_or_default(),
            types: interest.types.unwrap_or_default(),
            functions: interest.functions.unwrap_or_default(),
            // A process that registered acts by itself.
            action: FollowAction::Nothing,
        }
    }
}

/// Parameters of `Follow`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowCall {
    pub(super) modules: Vec<Interest>,
}

/// Parameters of `Vote`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Vote {
    pub(super) change_digest: String,
    pub(super) answer: Said,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) until: Option<String>,
}

/// What a process can say of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Said {
    Accept,
    Veto,
    Defer,
}

/// Parameters of `Ready` and `GetChangeSet`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct About {
    pub(super) change_digest: String,
}

/// Parameters of `Done`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Done {
    pub(super) change_digest: String,
    pub(super) outcome: Handling,
}

/// What a process did about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Handling {
    Handled,
    Default,
}

/// Parameters of `GetUsers`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GetUsers {
    pub(super) module: String,
}

/// Parameters of `Opened`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Opened {
    pub(super) libraries: Vec<String>,
}

/// One reply to `Watch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(
    tag = "event",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(super) enum Event {
    /// The registration is complete.
    Watching,
    /// A change is proposed.
    Proposed {
        change_digest: Digest,
        rollout: String,
        revision: String,
        dry_run: bool,
        deadline: String,
        seconds: u64,
        modules: Vec<ModulePath>,
        module_count: usize,
        summary: String,
    },
    /// A proposal was withdrawn.
    Released {
        change_digest: Digest,
        reason: String,
    },
    /// The change is about to be made.
    Prepare { change_digest: Digest, seconds: u64 },
    /// The change is over.
    Changed {
        change_digest: Digest,
        outcome: Outcome,
        seconds: u64,
    },
    /// A change of the node begins, whomever it touches.
    Began {
        change_digest: Digest,
        rollout: String,
    },
    /// It is over.
    Ended {
        change_digest: Digest,
        outcome: Outcome,
    },
}

impl Event {
    /// The event as a reply that others follow.
    pub(super) fn to_message(&self) -> Vec<u8> {
        encode(&json!({"parameters": self, "continues": true}))
    }
}

/// An error as varlink has it: a name and parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallError {
    name: String,
    parameters: Value,
}

impl CallError {
    /// An error of `dev.placet.Vote`.
    pub(super) fn of(name: &str, parameters: Value) -> Self {
        Self {
            name: format!("dev.placet.Vote.{name}"),
            parameters,
        }
    }

    /// An error about a change.
    pub(super) fn about(name: &str, change: &Digest) -> Self {
        Self::of(name, json!({"changeDigest": change}))
    }

    /// A parameter is not as it should be.
    pub(super) fn refused(parameter: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let message = placet_model::visible(&message).to_string();
        Self::of(
            "Refused",
            json!({"parameter": parameter, "message": message}),
        )
    }

    fn service(name: &str, parameters: Value) -> Self {
        Self {
            name: format!("org.varlink.service.{name}"),
            parameters,
        }
    }

    /// The method is not one of ours.
    pub(super) fn unknown_method(method: &str) -> Self {
        let method = placet_model::visible(method).to_string();
        match method.rsplit_once('.') {
            Some(("dev.placet.Vote" | "org.varlink.service", _)) => {
                Self::service("MethodNotFound", json!({"method": method}))
            }
            Some((interface, _)) => {
                Self::service("InterfaceNotFound", json!({"interface": interface}))
            }
            None => Self::service("InterfaceNotFound", json!({"interface": method})),
        }
    }

    /// `Watch` without `more`.
    pub(super) fn expected_more() -> Self {
        Self::service("ExpectedMore", json!({}))
    }

    /// The error's full name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The error as a reply.
    pub(super) fn to_message(&self) -> Vec<u8> {
        encode(&json!({"error": self.name, "parameters": self.parameters}))
    }
}

/// A reply that nothing follows.
pub(super) fn reply(parameters: &Value) -> Vec<u8> {
    encode(&json!({"parameters": parameters}))
}

/// Answers `org.varlink.service.GetInfo`.
pub(super) fn get_info() -> Value {
    json!({
        "vendor": "Placet",
        "product": "placetd",
        "version": env!("CARGO_PKG_VERSION"),
        "url": "",
        "interfaces": ["org.varlink.service", "dev.placet.Vote"],
    })
}

/// Answers `org.varlink.service.GetInterfaceDescription`.
pub(super) fn get_description(call: Call) -> Result<Value, CallError> {
    #[derive(Deserialize)]
    struct Parameters {
        interface: String,
    }
    let Parameters { interface } = call.parameters()?;
    match interface.as_str() {
        "dev.placet.Vote" => Ok(json!({"description": DESCRIPTION})),
        "org.varlink.service" => Ok(json!({"description": SERVICE_DESCRIPTION})),
        other => Err(CallError::service(
            "InterfaceNotFound",
            json!({"interface": placet_model::visible(other).to_string()}),
        )),
    }
}

fn encode(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value serialises")
}
