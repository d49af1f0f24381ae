//! What people apply and delete.

use std::time::Instant;

use placet_crds::{
    Fault, KindInfo, Loaded, Object, SourceFile, full_name, load_all, locate, not_carried_out,
    validate,
};

use super::declared_dry_runs::refused_name;
use super::news::Ruling;
use super::objects::word;
use super::refusal::Refusal;
use super::turn::Turn;
use super::world::World;
use crate::home::{Applied, Owner, Write};

impl World {
    /// Applies declarations, all or nothing; says what became of each, or what is wrong.
    pub(crate) fn apply(
        &mut self,
        files: &[SourceFile],
        author: &str,
        turn: &mut Turn,
    ) -> Result<Vec<String>, Vec<String>> {
        let texts = |faults: Vec<Fault>| -> Vec<String> {
            let faults = locate(faults, files);
            faults.iter().map(ToString::to_string).collect()
        };
        let Loaded { objects, decisions } = load_all(files).map_err(texts)?;
        let mut warnings = texts(not_carried_out(&objects));
        warnings.extend(objects.iter().filter_map(|object| self.fleeting(object)));
        let mut rulings: Vec<Ruling> = decisions
            .into_iter()
            .map(|file| Ruling::of(&file.rollout, &file.decision, author))
            .collect();
        let mut trial = self.clone();
        let mut trial_turn = Turn::new(turn.now);
        let mut results = Vec::new();
        let mut faults = Vec::new();
        for object in objects {
            match trial.apply_one(object, author, &mut trial_turn) {
                Ok(Done::Put(result)) => results.push(result),
                Ok(Done::Ruled(ruling)) => rulings.push(ruling),
                Err(mut wrong) => faults.append(&mut wrong),
            }
        }
        if faults.is_empty() {
            faults = trial.objects.desired().err().unwrap_or_default();
        }
        if !faults.is_empty() {
            return Err(texts(faults));
        }
        for ruling in rulings {
            let rollout = ruling.rollout.clone();
            let decision = trial
                .decide(ruling, &mut trial_turn)
                .map_err(|refusal| vec![format!("Rollout/{rollout}: spec.decision: {refusal}")])?;
            results.push(format!(
                "{} decided: {}",
                full_name("Rollout", &rollout),
                decision.kind
            ));
        }
        results.extend(warnings.into_iter().map(|text| format!("warning: {text}")));
        *self = trial;
        if !trial_turn.writes.is_empty() {
            self.touch_sources();
        }
        turn.writes.append(&mut trial_turn.writes);
        Ok(results)
    }

    fn apply_one(
        &mut self,
        mut object: Object,
        author: &str,
        turn: &mut Turn,
    ) -> Result<Done, Vec<Fault>> {
        // Checked before, where it was given.
        object.metadata_mut().resource_version = None;
        let (kind, name) = (object.kind(), object.name().to_owned());
        let old = self.objects.get(kind, &name);
        if let Some(old) = old {
            validate(kind, &object.to_json(), Some(&old.object.to_json()))?;
        }
        if let Object::Rollout(rollout) = &object
            && !rollout.spec.dry_run
        {
            let decided = self.objects.rollout(&name);
            let decided = decided.and_then(|(_, old)| old.spec.decision.as_ref());
            let decision = rollout.spec.decision.as_ref();
            return match (decision.filter(|it| Some(*it) != decided), old) {
                (Some(request), Some(_)) => Ok(Done::Ruled(Ruling::of(&name, request, author))),
                (None, Some(old)) => {
                    let applied = self.pause(&name, rollout.spec.paused, old.owner.clone(), turn);
                    Ok(Done::Put(result(kind, &name, applied)))
                }
                (_, None) => Err(vec![fault(
                    &object,
                    "there is no such roll-out; roll-outs are opened by the controller, unless they are dry runs (`spec.dryRun: true`)",
                )]),
            };
        }
        if let (Object::Rollout(_), Some(why)) = (&object, refused_name(&name)) {
            return Err(vec![fault(&object, &why)]);
        }
        let owner = Owner::Person {
            user: author.to_owned(),
        };
        let applied = match self.objects.put(object.clone(), owner.clone()) {
            Ok(applied) => applied,
            Err(source) => {
                let message = format!("it belongs to GitSource `{source}`");
                return Err(vec![fault(&object, &message)]);
            }
        };
        if applied != Applied::Unchanged {
            let object = Box::new(object);
            turn.writes.push(Write::Put { object, owner });
            if kind != "Rollout" {
                self.redeclare(Instant::now());
            }
        }
        Ok(Done::Put(result(kind, &name, applied)))
    }

    /// Pauses or resumes a roll-out; there is nothing else in it that people may change.
    fn pause(&mut self, name: &str, paused: bool, owner: Owner, turn: &mut Turn) -> Applied {
        let Some((_, rollout)) = self.objects.rollout(name) else {
            return Applied::Unchanged;
        };
        if rollout.spec.paused == paused {
            return Applied::Unchanged;
        }
        let mut rollout = rollout.clone();
        rollout.spec.paused = paused;
        rollout.metadata.resource_version = None;
        self.put(Object::Rollout(rollout), owner, turn);
        Applied::Configured
    }

    /// What will be put right is not worth applying: whoever does so is told.
    fn fleeting(&self, object: &Object) -> Option<String> {
        let entry = self.objects.get(object.kind(), object.name())?;
        let Owner::Git { source } = &entry.owner else {
            return None;
        };
        let is_fleeting = self.is_put_right(entry) && entry.object.spec() != object.spec();
        is_fleeting.then(|| {
            format!(
                "{}/{}: GitSource `{source}` declares it, and puts it right; commit the change there, or set `spec.drift: report` of the GitSource",
                object.kind(),
                object.name()
            )
        })
    }

    /// Deletes a resource, unless others need it.
    pub(super) fn delete(
        &mut self,
        info: &KindInfo,
        name: &str,
        turn: &mut Turn,
    ) -> Result<String, Refusal> {
        let kind = info.kind.as_str();
        let mut objects = self.objects.clone();
        let Some((kind, _)) = objects.remove_named(kind, name) else {
            return Err(Refusal::absent(format!(
                "there is no {} `{}`",
                info.kind,
                placet_model::visible(name)
            )));
        };
        let newest = self.rollout.as_ref().map(|rollout| rollout.name.as_str());
        if kind == "Rollout" && newest == Some(name) {
            return Err(Refusal::untimely(format!(
                "roll-out {name} is the newest, and says where the fleet stands; abort it, or wait for the next"
            )));
        }
        if let Err(faults) = objects.desired() {
            let first = faults.first().map(ToString::to_string).unwrap_or_default();
            return Err(Refusal::untimely(format!(
                "{kind} `{name}` is still needed: {first}"
            )));
        }
        self.objects = objects;
        let name = name.to_owned();
        let result = format!("{} deleted", full_name(kind, &name));
        turn.writes.push(Write::Remove { kind, name });
        if kind != "Rollout" {
            self.redeclare(Instant::now());
            self.touch_sources();
        }
        Ok(result)
    }

    /// What was declared has changed: sources that were refused may hold now.
    fn touch_sources(&mut self) {
        self.pokes += 1;
    }
}

enum Done {
    Put(String),
    Ruled(Ruling),
}

fn result(kind: &str, name: &str, applied: Applied) -> String {
    format!("{} {}", full_name(kind, name), word(applied))
}

fn fault(object: &Object, message: &str) -> Fault {
    Fault {
        file: format!("{}/{}", object.kind(), object.name()),
        line: None,
        column: None,
        field: String::new(),
        message: message.to_owned(),
    }
}

impl Ruling {
    pub(crate) fn of(rollout: &str, request: &placet_crds::DecisionRequest, author: &str) -> Self {
        Self {
            rollout: rollout.to_owned(),
            hold: Some(request.hold),
            kind: request.kind(),
            author: author.to_owned(),
            reason: request.reason.clone(),
            overrides: request.overrides.clone(),
        }
    }
}
