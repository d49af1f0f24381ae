//! The declared objects, as the home keeps them: the fleet's own copy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_crds::{
    Fault, FleetNode, FleetNodeSpec, GitSource, InventoryEntry, Object, PackageSetStatus, Rollout,
};
use placet_model::{Desired, NodeName, digest_of};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::catalog::WantedPackage;
use crate::home::kubernetes::ORDER;
use crate::home::{Applied, Owner, Stored};
use crate::shared::REQUESTED_AT;

/// Kind and name.
pub(crate) type Key = (&'static str, String);

/// Every object that the home holds. Clones share what neither of them changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects(BTreeMap<Key, Arc<Entry>>);

/// One object, who declares it, and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) object: Object,
    pub(crate) owner: Owner,
    /// Raised when the spec changes.
    pub(crate) generation: i64,
    pub(crate) status: Value,
    /// What others wrote up to this version has been seen, where others write to it too.
    pub(crate) version: u64,
    /// The version at which this controller last wrote the status.
    pub(crate) status_version: u64,
}

/// The word that commands print for it.
pub(crate) fn word(applied: Applied) -> &'static str {
    match applied {
        Applied::Created => "created",
        Applied::Configured => "configured",
        Applied::Unchanged => "unchanged",
    }
}

/// True for objects that decide what nodes run.
fn is_planned(kind: &str) -> bool {
    matches!(kind, "NodeClass" | "PackageSet" | "FleetNode")
}

impl Objects {
    pub(crate) fn get(&self, kind: &'static str, name: &str) -> Option<&Entry> {
        self.0.get(&(kind, name.to_owned())).map(|entry| &**entry)
    }

    pub(crate) fn get_mut(&mut self, kind: &'static str, name: &str) -> Option<&mut Entry> {
        self.0.get_mut(&(kind, name.to_owned())).map(Arc::make_mut)
    }

    /// Every object of a kind, by name.
    pub(crate) fn of<'a>(
        &'a self,
        kind: &'static str,
    ) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let all = self.0.range((kind, String::new())..);
        all.take_while(move |((of, _), _)| *of == kind)
            .map(|((_, name), entry)| (name.as_str(), &**entry))
    }

    /// Takes in an object as the home has it.
    pub(crate) fn restore(&mut self, stored: &Stored) -> Result<(), serde_json::Error> {
        let object = stored.object()?;
        let key = (object.kind(), object.name().to_owned());
        let entry = Entry {
            object,
            owner: stored.owner.clone(),
            generation: i64::try_from(stored.generation).unwrap_or(i64::MAX),
            status: stored.status.clone(),
            version: stored.resource_version,
            status_version: 0,
        };
        self.0.insert(key, Arc::new(entry));
        Ok(())
    }

    /// Applies an object as the home does: spec, labels and annotations are replaced, the status
    /// stays, and what a repository declares stays the repository's.
    ///
    /// # Errors
    ///
    /// The source that declares it already.
    pub(crate) fn put(&mut self, object: Object, owner: Owner) -> Result<Applied, String> {
        let key = (object.kind(), object.name().to_owned());
        let Some(entry) = self.0.get_mut(&key) else {
            let entry = Entry {
                object,
                owner,
                generation: 1,
                status: Value::Null,
                version: 0,
                status_version: 0,
            };
            self.0.insert(key, Arc::new(entry));
            return Ok(Applied::Created);
        };
        let owner = match (&entry.owner, owner) {
            (Owner::Git { source }, Owner::Git { source: other }) if *source != other => {
                return Err(source.clone());
            }
            (Owner::Git { .. }, _) => entry.owner.clone(),
            (_, owner) => owner,
        };
        let is_same_spec = entry.object.spec() == object.spec();
        let tags = |object: &Object| {
            let metadata = object.metadata();
            let labels = metadata.labels.clone().unwrap_or_default();
            (labels, metadata.annotations.clone().unwrap_or_default())
        };
        if is_same_spec && tags(&entry.object) == tags(&object) && entry.owner == owner {
            return Ok(Applied::Unchanged);
        }
        let entry = Arc::make_mut(entry);
        entry.generation += i64::from(!is_same_spec);
        entry.object = object;
        entry.owner = owner;
        Ok(Applied::Configured)
    }

    /// Removes an object; what a removed source declared is nobody's from then on.
    pub(crate) fn remove(&mut self, kind: &'static str, name: &str) -> Option<Entry> {
        let removed = self.0.remove(&(kind, name.to_owned()))?;
        if kind == "GitSource" {
            let of_source = Owner::Git {
                source: name.to_owned(),
            };
            for entry in self.0.values_mut().filter(|entry| entry.owner == of_source) {
                Arc::make_mut(entry).owner = Owner::Controller;
            }
        }
        Some(Arc::unwrap_or_clone(removed))
    }

    /// As [`Self::remove`], for a kind that comes as text.
    pub(crate) fn remove_named(&mut self, kind: &str, name: &str) -> Option<(&'static str, Entry)> {
        let mut keys = self.0.keys();
        let kind = keys.find(|(of, named)| *of == kind && named == name)?.0;
        self.remove(kind, name).map(|entry| (kind, entry))
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &Entry, &GitSource)> {
        self.of("GitSource")
            .filter_map(|(name, entry)| match &entry.object {
                Object::GitSource(source) => Some((name, entry, source)),
                _ => None,
            })
    }

    pub(crate) fn node(&self, name: &NodeName) -> Option<(&Entry, &FleetNode)> {
        let entry = self.get("FleetNode", name.as_str())?;
        match &entry.object {
            Object::FleetNode(node) => Some((entry, node)),
            _ => None,
        }
    }

    /// A repository that declares something though nobody knows at which revision, as after a
    /// restored backup: nodes may have been told of a later one.
    pub(crate) fn source_of_unknown_revision(&self) -> Option<&str> {
        let declares = |source: &str| {
            let mut owners = self.0.values().map(|entry| &entry.owner);
            owners.any(|owner| matches!(owner, Owner::Git { source: of } if of == source))
        };
        let mut sources = self.sources();
        let unknown = sources.find(|(name, entry, object)| {
            !object.spec.suspend && entry.status["revision"].is_null() && declares(name)
        });
        unknown.map(|(name, ..)| name)
    }

    pub(crate) fn rollout(&self, name: &str) -> Option<(&Entry, &Rollout)> {
        let entry = self.get("Rollout", name)?;
        match &entry.object {
            Object::Rollout(rollout) => Some((entry, rollout)),
            _ => None,
        }
    }

    /// The names of all nodes.
    pub(crate) fn node_names(&self) -> impl Iterator<Item = NodeName> {
        self.of("FleetNode")
            .filter_map(|(name, _)| name.parse().ok())
    }

    /// The objects that a source declares and that are not among `kept`.
    pub(crate) fn pruned(&self, source: &str, kept: &BTreeSet<InventoryEntry>) -> Vec<Key> {
        let of_source = Owner::Git {
            source: source.to_owned(),
        };
        let is_gone = |((kind, name), entry): &(&Key, &Arc<Entry>)| {
            let entry_of = InventoryEntry {
                kind: (*kind).to_owned(),
                name: name.clone(),
            };
            let is_own = *kind == "GitSource" && name == source;
            entry.owner == of_source && !is_own && !kept.contains(&entry_of)
        };
        let gone = self.0.iter().filter(is_gone);
        gone.map(|(key, _)| key.clone()).collect()
    }

    /// The objects that decide what nodes run, with or without the nodes themselves.
    pub(crate) fn clone_declared(&self, without_nodes: bool) -> Self {
        let is_wanted = |kind: &str| is_planned(kind) && !(without_nodes && kind == "FleetNode");
        let wanted = self.0.iter().filter(|((kind, _), _)| is_wanted(kind));
        Self(
            wanted
                .map(|(key, entry)| (key.clone(), Arc::clone(entry)))
                .collect(),
        )
    }

    /// What is declared, for the planner.
    pub(crate) fn desired(&self) -> Result<Desired, Vec<Fault>> {
        let planned: Vec<Object> = self
            .0
            .iter()
            .filter(|((kind, _), _)| is_planned(kind))
            .map(|(_, entry)| entry.object.clone())
            .collect();
        placet_crds::desired(&self.revision(), &planned)
    }

    /// The revision in force: that of the repositories (`main@sha1:…`), and a digest of what people
    /// applied beside them (`apply@sha256:…`), joined by `+`.
    pub(crate) fn revision(&self) -> String {
        let applied: Vec<Value> = self
            .0
            .iter()
            .filter(|((kind, _), entry)| {
                is_planned(kind)
                    && !matches!(entry.owner, Owner::Git { .. })
                    && !entry.is_blank_node()
            })
            .map(|((kind, name), entry)| {
                json!([
                    kind,
                    name,
                    entry.object.metadata().labels,
                    entry.object.spec()
                ])
            })
            .collect();
        let fetched: Vec<String> = self
            .sources()
            .filter_map(|(_, entry, _)| {
                let planned = entry.status["plannedRevision"].as_str();
                let planned = planned.or(entry.status["revision"].as_str());
                planned.map(str::to_owned)
            })
            .collect();
        let mut parts = Vec::new();
        if !applied.is_empty() || fetched.is_empty() {
            parts.push(format!("apply@{}", digest_of(&applied)));
        }
        parts.extend(fetched);
        let revision = parts.join("+");
        if revision.len() <= REVISION_MOST {
            revision
        } else {
            format!("apply@{}", digest_of(&parts))
        }
    }

    /// Every package that is named, each once.
    pub(crate) fn references(&self) -> Vec<WantedPackage> {
        let mut wanted = Vec::new();
        let named = ["PackageSet", "NodeClass"].map(|kind| self.of(kind));
        for (_, entry) in named.into_iter().flatten() {
            let status: PackageSetStatus = entry.status();
            let packages = WantedPackage::named_by(&entry.object, |it| status.pinned(it));
            for package in packages {
                if !wanted.contains(&package) {
                    wanted.push(package);
                }
            }
        }
        wanted
    }
}

/// As long as the status field allows.
const REVISION_MOST: usize = 512;

impl Entry {
    /// Notes a version that this controller wrote: a status over the version `over`, or the
    /// declaration. A status hides nothing that others wrote before it and that is still to be
    /// seen. A declaration takes the place of all that; what became of it is to be seen.
    pub(crate) fn written(&mut self, version: u64, over: Option<u64>) {
        if over.is_some() {
            self.status_version = self.status_version.max(version);
        }
        let seen = match over {
            Some(over) if over <= self.version => version,
            Some(_) => return,
            None => version.saturating_sub(1),
        };
        self.version = self.version.max(seen);
    }

    /// What the annotation holds by which people ask for a look now.
    pub(crate) fn requested_at(&self) -> Option<&str> {
        let annotations = self.object.metadata().annotations.as_ref()?;
        annotations.get(REQUESTED_AT).map(String::as_str)
    }

    /// What the annotation holds by which people order something for a node.
    pub(crate) fn ordered(&self) -> Option<&str> {
        let annotations = self.object.metadata().annotations.as_ref()?;
        annotations.get(ORDER).map(String::as_str)
    }

    /// True for a node that joined and that nobody declares.
    fn is_blank_node(&self) -> bool {
        let is_blank = |node: &FleetNode| node.spec == FleetNodeSpec::default();
        self.owner == Owner::Controller
            && matches!(&self.object, Object::FleetNode(node) if is_blank(node))
    }

    /// The status as its type; the default where there is none yet.
    pub(crate) fn status<T: DeserializeOwned + Default>(&self) -> T {
        T::deserialize(&self.status).unwrap_or_default()
    }
}
