//! What looks at repositories bring, taken into the world.

use std::collections::BTreeSet;

use placet_crds::{
    Fault, GitSourceStatus, InventoryEntry, Object, Reason, locate, not_carried_out, validate,
};

use super::feed;
use super::news::{Commit, Failure, Looked};
use super::objects::{Entry, Objects};
use super::turn::Turn;
use super::world::World;
use crate::home::{Applied, Owner, Write};
use crate::shared::REQUESTED_AT;
use crate::status;

/// Why a commit is not taken.
struct Refused {
    reason: Reason,
    reasons: Vec<String>,
    revision: Option<String>,
}

/// A commit that holds together with everything else that is declared.
struct Accepted {
    objects: Objects,
    inventory: BTreeSet<InventoryEntry>,
    writes: Vec<Write>,
    /// What is declared but not carried out.
    left_out: Vec<String>,
}

impl World {
    /// A repository was looked at: its commit comes into force, or it is said why not and what was
    /// in force stays.
    pub(super) fn looked(&mut self, looked: Looked, turn: &mut Turn) {
        let Looked {
            source,
            generation,
            outcome,
            heard,
        } = looked;
        let Some(entry) = self.objects.get("GitSource", &source) else {
            return;
        };
        let Object::GitSource(object) = &entry.object else {
            return;
        };
        if entry.generation != generation {
            // It is looked at once more, as it is declared now.
            return;
        }
        let old: GitSourceStatus = entry.status();
        let prune = object.spec.prune;
        match outcome {
            Ok(commit)
                if old.revision.as_ref() == Some(&commit.revision)
                    && old.observed_generation == Some(generation) =>
            {
                let status = status::source::in_force(&old, turn.now);
                self.set_source(&source, status, turn);
            }
            Ok(commit) => match self.examine(&source, &commit, prune) {
                Ok(accepted) => {
                    self.accept(&source, &commit, accepted, turn);
                    self.redeclare(heard);
                }
                Err(refused) => self.refuse(&source, &old, &refused, turn),
            },
            Err(failure) => self.refuse(&source, &old, &failure.into(), turn),
        }
    }

    fn examine(&self, source: &str, commit: &Commit, prune: bool) -> Result<Accepted, Refused> {
        let refuse = |faults: Vec<Fault>| Refused {
            reason: Reason::InvalidDeclarations,
            reasons: locate(faults, &commit.files)
                .iter()
                .map(ToString::to_string)
                .collect(),
            revision: Some(commit.revision.clone()),
        };
        let declared = commit.objects.clone().map_err(refuse)?;
        let left_out = locate(not_carried_out(&declared), &commit.files);
        let mut accepted = Accepted {
            objects: self.objects.clone(),
            inventory: inventory(&declared),
            writes: Vec::new(),
            left_out: left_out.iter().map(ToString::to_string).collect(),
        };
        let faults: Vec<Fault> = declared
            .into_iter()
            .filter_map(|object| accepted.put(object, source).err())
            .collect();
        if !faults.is_empty() {
            return Err(refuse(faults));
        }
        if prune {
            accepted.prune(source);
        }
        match accepted.objects.desired() {
            Ok(_) => Ok(accepted),
            Err(faults) => Err(refuse(faults)),
        }
    }

    fn accept(&mut self, source: &str, commit: &Commit, accepted: Accepted, turn: &mut Turn) {
        self.objects = accepted.objects;
        turn.writes.extend(accepted.writes);
        let Some(entry) = self.objects.get("GitSource", source) else {
            return;
        };
        let old: GitSourceStatus = entry.status();
        if old.revision.as_ref() != Some(&commit.revision) {
            let told = feed::commit(&commit.revision, &commit.subject, source);
            turn.tell("commit", told);
        }
        let taken = status::source::Taken {
            commit,
            inventory: accepted.inventory.into_iter().collect(),
            left_out: accepted.left_out,
            generation: entry.generation,
        };
        let status = status::source::taken(&old, taken, turn.now);
        self.set_source(source, status, turn);
    }

    fn refuse(&mut self, source: &str, old: &GitSourceStatus, refused: &Refused, turn: &mut Turn) {
        let Some(entry) = self.objects.get("GitSource", source) else {
            return;
        };
        let status = status::source::refused(
            old,
            (
                refused.reason,
                &refused.reasons,
                refused.revision.as_deref(),
            ),
            entry.generation,
            turn.now,
        );
        if status == *old {
            return;
        }
        let told = feed::refused(source, refused.revision.as_deref(), &refused.reasons);
        self.set_source(source, status, turn);
        turn.tell("refused", told);
    }

    /// The home refused what a source declares.
    pub(super) fn refuse_applied(&mut self, source: &str, reason: String, turn: &mut Turn) {
        let Some(entry) = self.objects.get("GitSource", source) else {
            return;
        };
        let old: GitSourceStatus = entry.status();
        let refused = Refused {
            reason: Reason::InvalidDeclarations,
            reasons: vec![reason],
            revision: old.revision.clone(),
        };
        self.refuse(source, &old, &refused, turn);
    }

    fn set_source(&mut self, source: &str, mut status: GitSourceStatus, turn: &mut Turn) {
        let requested = self.objects.get("GitSource", source).and_then(requested_at);
        status.last_handled_reconcile_at = requested;
        self.set_status("GitSource", source, &status, turn);
    }

    /// What is known of repositories that are not looked at, or not yet.
    pub(super) fn write_sources(&mut self, turn: &mut Turn) {
        let idle: Vec<_> = self
            .objects
            .sources()
            .filter(|(_, entry, source)| source.spec.suspend || entry.status.is_null())
            .map(|(name, entry, source)| {
                let is_suspended = source.spec.suspend;
                let old: GitSourceStatus = entry.status();
                let status = status::source::idle(&old, is_suspended, entry.generation, turn.now);
                (name.to_owned(), status)
            })
            .collect();
        for (name, status) in idle {
            self.set_status("GitSource", &name, &status, turn);
        }
    }
}

impl Accepted {
    fn put(&mut self, object: Object, source: &str) -> Result<(), Fault> {
        let fault = |field: &str, message: String| Fault {
            file: format!("{}/{}", object.kind(), object.name()),
            line: None,
            column: None,
            field: field.to_owned(),
            message,
        };
        if matches!(object, Object::Rollout(_)) {
            let message = "roll-outs are opened by the controller; remove it from the repository";
            return Err(fault("kind", message.to_owned()));
        }
        if let Some(old) = self.objects.get(object.kind(), object.name()) {
            let old = old.object.to_json();
            let broken = validate(object.kind(), &object.to_json(), Some(&old)).err();
            if let Some(fault) = broken.and_then(|faults| faults.into_iter().next()) {
                return Err(fault);
            }
        }
        let owner = Owner::Git {
            source: source.to_owned(),
        };
        match self.objects.put(object.clone(), owner.clone()) {
            Ok(Applied::Unchanged) => Ok(()),
            Ok(_) => {
                let object = Box::new(object);
                self.writes.push(Write::Put { object, owner });
                Ok(())
            }
            Err(other) => Err(fault(
                "metadata.name",
                format!(
                    "GitSource `{other}` declares it already; declare it in one repository only"
                ),
            )),
        }
    }

    fn prune(&mut self, source: &str) {
        for (kind, name) in self.objects.pruned(source, &self.inventory) {
            self.objects.remove(kind, &name);
            self.writes.push(Write::Remove { kind, name });
        }
    }
}

/// What the annotation by which people ask for a look holds.
fn requested_at(entry: &Entry) -> Option<String> {
    let annotations = entry.object.metadata().annotations.as_ref()?;
    annotations.get(REQUESTED_AT).cloned()
}

fn inventory(objects: &[Object]) -> BTreeSet<InventoryEntry> {
    let entry = |object: &Object| InventoryEntry {
        kind: object.kind().to_owned(),
        name: object.name().to_owned(),
    };
    objects.iter().map(entry).collect()
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self {
            reason: failure.reason,
            reasons: vec![failure.message],
            revision: failure.revision,
        }
    }
}
