//! Resources as the home holds them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use placet_crds::{API_VERSION, Object};
use serde_json::{Value, json};

/// A resource with everything that the home knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its kind, as in `NodeClass`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Tells it apart from one of the same name that was deleted.
    pub uid: String,
    /// Raised by every change of the spec.
    pub generation: u64,
    /// Raised by every change; higher than that of everything written before.
    pub resource_version: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What people declared.
    pub spec: Value,
    /// What Placet knows; `null` where nothing was written yet.
    pub status: Value,
    /// Who declares it.
    pub owner: Owner,
}

/// Who declares a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A repository: what leaves it is pruned.
    Git {
        /// The name of the `GitSource`.
        source: String,
    },
    /// A person.
    Person {
        /// The user's name.
        user: String,
    },
    /// The controller itself.
    Controller,
}

/// What became of a resource that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is new.
    Created,
    /// It was there and has changed.
    Configured,
    /// It was there as it is; nothing was written.
    Unchanged,
}

/// A resource was made, changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The version that it has now, or had when it was deleted.
    pub resource_version: u64,
    /// Whether it is gone.
    pub deleted: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Its number; higher than that of everything before, also across restarts.
    pub sequence: u64,
    /// When it was written.
    pub time: Timestamp,
    /// What happened, in one word (`verdict`).
    pub event: String,
    /// The roll-out that it belongs to; empty for none.
    pub rollout: String,
    /// The details.
    pub data: Value,
}

impl Stored {
    /// The whole resource, as the API server of Kubernetes would show it.
    pub fn to_json(&self) -> Value {
        let mut metadata = json!({
            "name": self.name,
            "uid": self.uid,
            "generation": self.generation,
            "resourceVersion": self.resource_version.to_string(),
            "creationTimestamp": self.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        if !self.labels.is_empty() {
            metadata["labels"] = json!(self.labels);
        }
        if !self.annotations.is_empty() {
            metadata["annotations"] = json!(self.annotations);
        }
        let mut resource = json!({
            "apiVersion": API_VERSION,
            "kind": self.kind,
            "metadata": metadata,
            "spec": self.spec,
        });
        if !self.status.is_null() {
            resource["status"] = self.status.clone();
        }
        resource
    }

    /// The resource as its type. No rules are checked: what is stored passed them.
    ///
    /// # Errors
    ///
    /// It was written by another version, or by hand, and does not fit the type.
    pub fn object(&self) -> Result<Object, serde_json::Error> {
        let value = self.to_json();
        Ok(match self.kind.as_str() {
            "GitSource" => Object::GitSource(serde_json::from_value(value)?),
            "NodeClass" => Object::NodeClass(serde_json::from_value(value)?),
            "PackageSet" => Object::PackageSet(serde_json::from_value(value)?),
            "FleetNode" => Object::FleetNode(serde_json::from_value(value)?),
            _ => Object::Rollout(serde_json::from_value(value)?),
        })
    }
}

impl Owner {
    /// The two columns that hold it.
    pub(in crate::home) fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::Git { source } => ("git", source),
            Self::Person { user } => ("person", user),
            Self::Controller => ("controller", ""),
        }
    }

    pub(in crate::home) fn from_columns(owner: &str, name: String) -> Self {
        match owner {
            "git" => Self::Git { source: name },
            "person" => Self::Person { user: name },
            _ => Self::Controller,
        }
    }
}
