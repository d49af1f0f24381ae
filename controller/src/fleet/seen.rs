//! What others write to the home, taken into the world.

use std::time::Instant;

use placet_crds::{DriftPolicy, Object, find_kind};

use super::drift::drift;
use super::feed;
use super::news::Ruling;
use super::objects::Entry;
use super::recover::number;
use super::turn::Turn;
use super::world::{Told, World};
use crate::home::{Committed, Owner, Refused, Seen, Stored, Write};

impl World {
    /// Others wrote to the home.
    pub(super) fn seen(&mut self, seen: Vec<Seen>, turn: &mut Turn) {
        let mut declares = false;
        for one in seen {
            declares |= match one {
                Seen::Is(stored) => self.seen_one(&stored, turn),
                Seen::Gone { kind, name } => self.seen_gone(kind, &name, turn),
            };
        }
        if declares {
            self.redeclare(Instant::now());
            self.pokes += 1;
        }
    }

    /// An object as it is now; true if that changes what is declared.
    ///
    /// What is known of it is this controller's to say: a status that others wrote is put right,
    /// and so is what they made of a repository's declaration.
    fn seen_one(&mut self, stored: &Stored, turn: &mut Turn) -> bool {
        let Some(kind) = find_kind(&stored.kind).map(|info| info.kind.as_str()) else {
            return false;
        };
        let before = self.objects.get(kind, &stored.name).cloned();
        if before
            .as_ref()
            .is_some_and(|known| known.version >= stored.resource_version)
        {
            return false;
        }
        if let Err(error) = self.objects.restore(stored) {
            tracing::error!(kind, name = stored.name, %error, "a resource cannot be read and is left out");
            return false;
        }
        if let (Some(before), Some(now)) = (&before, self.objects.get_mut(kind, &stored.name)) {
            now.status_version = before.status_version;
            // What is older than the status that was written last says nothing about it.
            let is_foreign = stored.resource_version > before.status_version;
            let status = std::mem::replace(&mut now.status, before.status.clone());
            if is_foreign && status != before.status {
                turn.writes.push(Write::Status {
                    kind,
                    name: stored.name.clone(),
                    status: before.status.clone(),
                });
            }
        }
        match kind {
            "Rollout" => {
                if number(&stored.name).is_some() {
                    self.unheard = Some(stored.name.clone());
                }
                false
            }
            // What is looked at follows from it by itself.
            "GitSource" => false,
            _ => self.is_declared_anew(kind, &stored.name, before.as_ref(), turn),
        }
    }

    fn is_declared_anew(
        &mut self,
        kind: &'static str,
        name: &str,
        before: Option<&Entry>,
        turn: &mut Turn,
    ) -> bool {
        let Some(now) = self.objects.get(kind, name) else {
            return false;
        };
        let Some(before) = before else {
            return true;
        };
        let is_requested = now.requested_at() != before.requested_at();
        let tags = |entry: &Entry| entry.object.metadata().labels.clone();
        let is_same = now.object.spec() == before.object.spec()
            && tags(now) == tags(before)
            && now.owner == before.owner;
        if !is_same && self.is_put_right(before) {
            let found = now.object.clone();
            self.put_right(before, Some(&found), turn);
            return false;
        }
        let is_ordered = now.ordered() != before.ordered();
        if let (true, "FleetNode", Ok(node)) = (is_requested || is_ordered, kind, name.parse()) {
            self.touched.insert(node);
        }
        // Packages are looked up anew on request.
        !is_same || (is_requested && kind == "PackageSet")
    }

    /// True for what a repository declares whose source puts drift right.
    pub(super) fn is_put_right(&self, entry: &Entry) -> bool {
        let Owner::Git { source } = &entry.owner else {
            return false;
        };
        let declaring = self.objects.sources().find(|(name, ..)| name == source);
        declaring.is_some_and(|(_, _, source)| source.spec.drift == DriftPolicy::Correct)
    }

    /// Declares an object as its repository does, whatever others made of it.
    fn put_right(&mut self, declared: &Entry, found: Option<&Object>, turn: &mut Turn) {
        let (object, owner) = (declared.object.clone(), declared.owner.clone());
        if let Owner::Git { source } = &owner {
            let drifted = drift(std::slice::from_ref(&object), |_| found);
            let texts: Vec<String> = drifted.iter().map(ToString::to_string).collect();
            if !texts.is_empty() {
                turn.tell("driftCorrected", feed::drift(source, &texts));
            }
        }
        self.put(object, owner, turn);
    }

    /// An object is gone; true if that changes what is declared.
    fn seen_gone(&mut self, kind: &'static str, name: &str, turn: &mut Turn) -> bool {
        let Some(removed) = self.objects.remove(kind, name) else {
            return false;
        };
        if self.is_put_right(&removed) {
            self.put_right(&removed, None, turn);
            return false;
        }
        if kind == "Rollout" && self.rollout.as_ref().is_some_and(|it| it.name == name) {
            // What it asked for is asked for again, under another name.
            tracing::warn!("roll-out {name} was deleted; another one takes its place");
            self.rollout = None;
            self.plan = None;
            self.told = Told::default();
        }
        !matches!(kind, "Rollout" | "GitSource")
    }

    /// The decision that somebody wrote into the roll-out, if it was not heard yet: while there was
    /// a controller, or while there was none.
    pub(super) fn hear_decision(&mut self, turn: &mut Turn) {
        let newest = self.rollout.as_ref();
        let Some(newest) = newest.filter(|it| self.unheard.as_ref() == Some(&it.name)) else {
            return;
        };
        let name = newest.name.clone();
        self.unheard = None;
        let object = self.objects.rollout(&name);
        let Some(request) = object.and_then(|(_, object)| object.spec.decision.clone()) else {
            return;
        };
        let mut heard = newest.decisions.iter();
        if heard.any(|decision| decision.hold >= request.hold) {
            return;
        }
        let author = request.author.clone().unwrap_or_else(unknown);
        let ruling = Ruling::of(&name, &request, &author);
        if let Err(refusal) = self.decide(ruling, turn) {
            turn.tell("decisionRefused", feed::decision_refused(&name, &refusal));
        }
    }

    /// What the home made of what was written.
    pub(super) fn written(&mut self, committed: Committed) {
        for written in committed.written {
            if let Some(entry) = self.objects.get_mut(written.kind, &written.name) {
                entry.written(written.version, written.over);
            }
        }
        for refused in committed.refused {
            let Refused {
                kind, name, why, ..
            } = &refused;
            tracing::error!("{kind} `{name}` is refused: {why}");
            self.refused.push(refused);
        }
    }

    /// Declarations that the home refused are not in force: their source says so, and is applied
    /// anew when something changes.
    pub(super) fn report_refused(&mut self, turn: &mut Turn) {
        for refused in std::mem::take(&mut self.refused) {
            let Some(Owner::Git { source }) = &refused.owner else {
                continue;
            };
            let reason = format!("{}/{}: {}", refused.kind, refused.name, refused.why);
            self.refuse_applied(source, reason, turn);
            self.objects.remove(refused.kind, &refused.name);
        }
    }
}

/// Where admission was not asked, nobody vouches for whoever decided.
fn unknown() -> String {
    "somebody whom admission did not name".to_owned()
}
