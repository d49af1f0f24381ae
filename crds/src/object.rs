//! A resource of any kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;

use crate::{FleetNode, GitSource, NodeClass, PackageSet, Rollout};

/// A resource of any of the five kinds.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the kinds document themselves")]
#[expect(
    clippy::large_enum_variant,
    reason = "resources are moved seldom and never kept in great numbers"
)]
pub enum Object {
    GitSource(GitSource),
    NodeClass(NodeClass),
    PackageSet(PackageSet),
    FleetNode(FleetNode),
    Rollout(Rollout),
}

/// Does the same with whatever resource `$object` holds.
macro_rules! each {
    ($object:expr, $resource:ident => $result:expr) => {
        match $object {
            Object::GitSource($resource) => $result,
            Object::NodeClass($resource) => $result,
            Object::PackageSet($resource) => $result,
            Object::FleetNode($resource) => $result,
            Object::Rollout($resource) => $result,
        }
    };
}

impl Object {
    /// The kind, as in `NodeClass`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::GitSource(_) => "GitSource",
            Self::NodeClass(_) => "NodeClass",
            Self::PackageSet(_) => "PackageSet",
            Self::FleetNode(_) => "FleetNode",
            Self::Rollout(_) => "Rollout",
        }
    }

    /// The name; never empty for an object that was validated.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// The metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        each!(self, resource => &resource.metadata)
    }

    /// The metadata, to be changed.
    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        each!(self, resource => &mut resource.metadata)
    }

    /// The whole resource as JSON.
    pub fn to_json(&self) -> Value {
        each!(self, resource => json(resource))
    }

    /// The spec as JSON.
    pub fn spec(&self) -> Value {
        each!(self, resource => json(&resource.spec))
    }

    /// Kind and name, as in `NodeClass/core`.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.kind(), self.name())
    }

    /// The object of `kind` in `value`, which has passed the schema.
    pub(crate) fn from_json(kind: &str, value: Value) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            "GitSource" => Self::GitSource(serde_json::from_value(value)?),
            "NodeClass" => Self::NodeClass(serde_json::from_value(value)?),
            "PackageSet" => Self::PackageSet(serde_json::from_value(value)?),
            "FleetNode" => Self::FleetNode(serde_json::from_value(value)?),
            _ => Self::Rollout(serde_json::from_value(value)?),
        })
    }
}

fn json<T: Serialize>(resource: &T) -> Value {
    serde_json::to_value(resource).expect("resources have string keys and serialise to JSON")
}
