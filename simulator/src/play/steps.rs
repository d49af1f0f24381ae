//! The steps of a script, carried out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use placet_model::{Decision, DecisionKind, NodeName, ProcessName};
use placet_planner::{Problem, check_decision};
use serde_yaml::Location;

use super::script::{Decides, DecisionEntry, Script, ScriptError, StepEntry, duration, time};
use super::transcript::Transcript;
use super::world::World;
use crate::compare::Side;
use crate::counsel::Files;
use crate::facts::known;

/// Plays a script on revisions by name; `files` gives what the logic of processes needs.
///
/// # Errors
///
/// A revision has packages that could not be had, or a step names a node or process that no revision
/// has; each with its line.
pub fn play<'a>(
    script: &Script,
    sides: &BTreeMap<String, Side>,
    files: &'a mut Files<'a>,
) -> Result<Transcript, ScriptError> {
    let mut player = Player {
        script,
        sides,
        world: World::new(script.begins(), script.seed, files),
    };
    player.check_names()?;
    if let Some(running) = &script.running {
        player.aim(&running.value, running.referenced)?;
        player.world.settle();
        let text = format!("all nodes run {}", running.value);
        player.world.say(text);
        player.world.turn();
    }
    for step in &script.steps {
        player.step(&step.value, step.referenced)?;
    }
    player.end();
    Ok(player.world.transcript)
}

struct Player<'s, 'w> {
    script: &'s Script,
    sides: &'s BTreeMap<String, Side>,
    world: World<'w>,
}

impl Player<'_, '_> {
    /// Nodes and processes that no revision has are mistakes.
    fn check_names(&self) -> Result<(), ScriptError> {
        let sides = || self.sides.values();
        let nodes: BTreeSet<&NodeName> = sides().flat_map(|it| it.desired.nodes.keys()).collect();
        let packages = sides().flat_map(|it| it.catalog.entries.values());
        let modules = packages.flatten().flat_map(|it| &it.config.modules);
        let processes: BTreeSet<&ProcessName> = modules
            .filter_map(|it| Some(&it.process.as_ref()?.name))
            .collect();
        for step in &self.script.steps {
            let fail = |why: String| Err(self.script.error(step.referenced, why));
            let mut named = step.value.nodes();
            if let Some(node) = named.find(|it| !nodes.contains(it)) {
                return fail(format!("no revision declares a node `{node}`"));
            }
            let process = step.value.vote.as_ref().map(|it| &it.process);
            if let Some(process) = process.filter(|it| !processes.contains(it)) {
                return fail(format!("no package has a process `{process}`"));
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &StepEntry, place: Location) -> Result<(), ScriptError> {
        let refused = |why| self.script.error(place, why);
        if let Some(at) = &step.at {
            let at = time(at).map_err(refused)?;
            self.world.pass(at);
        }
        if let Some(wait) = &step.wait {
            let until = self.world.now() + duration(wait).map_err(refused)?;
            self.world.pass(until);
        }
        if let Some(revision) = &step.commit {
            self.world.say(format!("commit {revision}"));
            self.aim(revision, place)?;
            self.world.turn();
        }
        self.happen(step);
        if let Some(decision) = &step.decide {
            self.decide(decision);
        }
        Ok(())
    }

    /// What happens to nodes and processes.
    fn happen(&mut self, step: &StepEntry) {
        let world = &mut self.world;
        for node in step.lose.iter().flatten() {
            world.lose(node);
        }
        for node in step.back.iter().flatten() {
            world.back(node, false);
        }
        for node in step.reboot.iter().flatten() {
            world.back(node, true);
        }
        if let Some(mended) = &step.mend {
            let failures = world.failures.iter_mut();
            failures.for_each(|it| it.nodes.retain(|node| !mended.contains(node)));
        }
        world.failures.extend(step.fail.clone());
        world.votes.extend(step.vote.clone());
        if step.lose.is_some() || step.back.is_some() || step.reboot.is_some() {
            world.turn();
        }
    }

    /// The fleet is to run this revision.
    fn aim(&mut self, revision: &str, place: Location) -> Result<(), ScriptError> {
        let known = known(&self.sides[revision]);
        let missing = known.target.problems.iter();
        let mut missing = missing.filter(|it| matches!(it, Problem::Package { .. }));
        if let Some(problem) = missing.next() {
            return Err(self
                .script
                .error(place, format!("in {revision}: {problem}")));
        }
        for unknown in &known.unknown {
            let text = format!("node {} takes no part: {}", unknown.node, unknown.why);
            self.world.say(text);
        }
        self.world.aim(known.target);
        Ok(())
    }

    fn decide(&mut self, entry: &DecisionEntry) {
        let kind = match entry.action {
            Decides::Skip => DecisionKind::Skip,
            Decides::Abort => DecisionKind::Abort,
            Decides::Force => DecisionKind::Force {
                nodes: entry.nodes.iter().cloned().collect(),
            },
        };
        let world = &mut self.world;
        let hold = world
            .observed
            .rollout
            .as_ref()
            .and_then(|it| it.hold.clone());
        // What a decision answers was said before it.
        let until = world.now() + SignedDuration::from_secs(1);
        world.pass(until);
        let decision = Decision {
            hold: hold.as_ref().map_or(0, |it| it.number),
            author: "script".to_owned(),
            reason: match entry.reason.as_str() {
                "" => "as the script says".to_owned(),
                reason => reason.to_owned(),
            },
            time: world.now(),
            overrides: hold.map(|it| it.objections).unwrap_or_default(),
            kind,
        };
        let refused = check_decision(&world.target, &world.observed, &decision).err();
        match (refused, &mut world.observed.rollout) {
            (Some(why), _) => world.say(format!("decision {}: refused: {why}", decision.kind)),
            (None, None) => {}
            (None, Some(rollout)) => {
                let mut text = format!("{}: decided: {}", rollout.name, decision.kind);
                if !entry.reason.is_empty() {
                    text = format!("{text}: {}", entry.reason);
                }
                rollout.decisions.push(decision);
                world.say(text);
                world.turn();
            }
        }
    }

    /// Where everything has come to.
    fn end(&mut self) {
        let world = &mut self.world;
        let phase = world.observed.rollout.as_ref();
        let phase = phase.map(|it| format!("the end: {} is {}", it.name, it.phase));
        let mut arrived = BTreeSet::new();
        for (name, node) in &world.target.nodes {
            let seen = world.observed.nodes.get(name);
            let running = seen.and_then(|it| it.running.as_ref());
            if running.is_some_and(|it| it.digest() == node.manifest_digest) {
                arrived.insert(name.clone());
            }
        }
        let total = world.target.nodes.len();
        let revision = world.target.revision.clone();
        world.say(phase.unwrap_or_else(|| "the end: nothing was rolled out".to_owned()));
        world.say(format!("{} of {total} nodes run {revision}", arrived.len()));
    }
}
