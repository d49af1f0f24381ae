//! What looks at repositories bring, taken into the world.

use std::collections::BTreeSet;
use std::time::Instant;

use jiff::Timestamp;
use placet_crds::{
    DriftPolicy, Fault, GitSourceStatus, InventoryEntry, Loaded, Object, Reason, RolloutDecision,
    full_name, locate, not_carried_out, validate,
};
use placet_model::visible;

use super::drift::drift;
use super::feed;
use super::news::{Commit, Failure, Looked, Ruling};
use super::objects::{Entry, Objects, word};
use super::turn::Turn;
use super::world::World;
use crate::home::{Applied, Owner, Write};
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
    /// True for a commit that declares what is declared already, and decides what nobody decided.
    decides_only: bool,
}

impl Refused {
    /// Nothing is declared, and nobody said that this is meant.
    fn empty(revision: &str) -> Self {
        let commit = revision.rsplit(':').next().unwrap_or_default();
        Self {
            reason: Reason::Empty,
            reasons: vec![format!(
                "{revision} declares nothing; nothing is pruned for it: if that is meant, set `spec.allowEmpty: {commit}`"
            )],
            revision: Some(revision.to_owned()),
        }
    }
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
                self.keep(&source, &commit, heard, turn);
            }
            Ok(commit) => match self.examine(&source, &commit, prune) {
                Ok(accepted) => {
                    let decides_only = accepted.decides_only;
                    self.accept(&source, &commit, accepted, turn);
                    if !decides_only {
                        self.redeclare(heard);
                    }
                }
                Err(refused) => self.refuse(&source, &old, &refused, turn),
            },
            Err(failure) => self.refuse(&source, &old, &failure.into(), turn),
        }
    }

    /// The revision in force was looked at once more: what others made of its declarations is put
    /// right or told, as the source says.
    fn keep(&mut self, source: &str, commit: &Commit, heard: Instant, turn: &mut Turn) {
        let Some((_, entry, object)) = self.objects.sources().find(|(name, ..)| *name == source)
        else {
            return;
        };
        let (old, policy): (GitSourceStatus, _) = (entry.status(), object.spec.drift);
        let declared = commit.loaded.as_ref().map(|it| it.objects.as_slice());
        let found = drift(declared.unwrap_or_default(), |object| {
            let entry = self.objects.get(object.kind(), object.name())?;
            Some(&entry.object)
        });
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        let status = |drifted: &[String]| status::source::in_force(&old, drifted, turn.now);
        if texts.is_empty() || policy == DriftPolicy::Report {
            let status = status(&texts);
            if status.drift != old.drift && !texts.is_empty() {
                turn.tell("drift", feed::drift(source, &texts));
            }
            self.set_source(source, status, turn);
            return;
        }
        // Nothing is pruned for it: the revision is the one that is in force.
        match self.examine(source, commit, false) {
            Ok(accepted) => {
                let status = status(&[]);
                self.objects = accepted.objects;
                turn.writes.extend(accepted.writes);
                turn.tell("driftCorrected", feed::drift(source, &texts));
                self.set_source(source, status, turn);
                self.redeclare(heard);
            }
            Err(refused) => self.refuse(source, &old, &refused, turn),
        }
    }

    /// Takes a commit into this copy of the world as its source would; says what it brings, or why
    /// it would be refused.
    pub(crate) fn try_commit(
        &mut self,
        source: &str,
        commit: &Commit,
    ) -> Result<Vec<String>, Vec<String>> {
        let declared = self.objects.sources().find(|(name, ..)| *name == source);
        let prune = declared.map(|(_, _, declared)| declared.spec.prune);
        let Some(prune) = prune else {
            return Err(vec![format!("there is no GitSource `{}`", visible(source))]);
        };
        let accepted = self.examine(source, commit, prune);
        let accepted = accepted.map_err(|refused| refused.reasons)?;
        let results = accepted.writes.iter().filter_map(|write| match write {
            Write::Put { object, .. } => {
                let is_new = self.objects.get(object.kind(), object.name()).is_none();
                let word = word(if is_new {
                    Applied::Created
                } else {
                    Applied::Configured
                });
                Some(format!(
                    "{} {word}",
                    full_name(object.kind(), object.name())
                ))
            }
            Write::Remove { kind, name } => Some(format!("{} pruned", full_name(kind, name))),
            _ => None,
        });
        let results: Vec<_> = results.collect();
        self.accept(source, commit, accepted, &mut Turn::new(Timestamp::now()));
        self.redeclare(Instant::now());
        Ok(results)
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
        let Loaded {
            objects: declared,
            decisions,
        } = commit.loaded.clone().map_err(refuse)?;
        if !decisions.is_empty() && commit.signer.is_none() {
            return Err(refuse(decisions.iter().map(without_author).collect()));
        }
        if declared.is_empty() && !commit.may_be_empty && self.would_empty(source, &decisions) {
            return Err(Refused::empty(&commit.revision));
        }
        let left_out = locate(not_carried_out(&declared), &commit.files);
        let mut accepted = Accepted {
            objects: self.objects.clone(),
            inventory: inventory(&declared),
            writes: Vec::new(),
            left_out: left_out.iter().map(ToString::to_string).collect(),
            decides_only: false,
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
        // What was decided before may stay in the repository.
        let decides = |it: &RolloutDecision| !self.is_decided(&it.rollout, it.decision.hold);
        accepted.decides_only = accepted.writes.is_empty() && decisions.iter().any(decides);
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
        let planned = old.planned_revision.as_ref().or(old.revision.as_ref());
        let generation = entry.generation;
        let planned = planned.filter(|_| accepted.decides_only).cloned();
        let mut left_out = accepted.left_out;
        left_out.extend(self.rule(commit, turn));
        let taken = status::source::Taken {
            commit,
            inventory: accepted.inventory.into_iter().collect(),
            left_out,
            generation,
            planned,
        };
        let status = status::source::taken(&old, taken, turn.now);
        self.set_source(source, status, turn);
    }

    /// True where taking nothing would mean that something is lost, or that nothing was meant.
    fn would_empty(&self, source: &str, decisions: &[RolloutDecision]) -> bool {
        let declares = !self.objects.pruned(source, &BTreeSet::new()).is_empty();
        declares || decisions.is_empty()
    }

    /// Carries out the decisions of a commit in the name of who signed it; says which of them are
    /// of no use any more. Those that were heard before stay in the repository and say nothing new.
    fn rule(&mut self, commit: &Commit, turn: &mut Turn) -> Vec<String> {
        let (Ok(loaded), Some(signer)) = (&commit.loaded, &commit.signer) else {
            return Vec::new();
        };
        let mut refusals = Vec::new();
        for RolloutDecision { rollout, decision } in &loaded.decisions {
            if self.is_decided(rollout, decision.hold) {
                continue;
            }
            let ruling = Ruling::of(rollout, decision, &signer.principal);
            if let Err(refusal) = self.decide(ruling, turn) {
                turn.tell("decisionRefused", feed::decision_refused(rollout, &refusal));
                refusals.push(without_use(rollout, format!("{refusal}; remove the file")));
            }
        }
        let refusals = locate(refusals, &commit.files);
        refusals.iter().map(ToString::to_string).collect()
    }

    /// Whether a hold, or a later one, has been decided.
    fn is_decided(&self, rollout: &str, hold: u32) -> bool {
        let newest = self.rollout.as_ref().filter(|it| it.name == rollout);
        let mut decisions = newest.iter().flat_map(|it| &it.decisions);
        let in_spec = self
            .objects
            .rollout(rollout)
            .and_then(|(_, it)| it.spec.decision.as_ref());
        decisions.any(|decision| decision.hold >= hold)
            || in_spec.is_some_and(|decision| decision.hold >= hold)
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
        let entry = self.objects.get("GitSource", source);
        let requested = entry.and_then(Entry::requested_at);
        status.last_handled_reconcile_at = requested.map(str::to_owned);
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

/// A decision whose author nobody vouches for.
fn without_author(decision: &RolloutDecision) -> Fault {
    without_use(
        &decision.rollout,
        "a decision in a repository is its signer's: set `spec.verify` of the GitSource, or use `placet rollout decide`".to_owned(),
    )
}

fn without_use(rollout: &str, message: String) -> Fault {
    Fault {
        file: format!("Rollout/{rollout}"),
        line: None,
        column: None,
        field: "spec.decision".to_owned(),
        message,
    }
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
