//! From what is known to what is done: plan, note, order, tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use placet_crds::{Object, Rollout, RolloutSpec, RolloutStatus};
use placet_model::{NodeName, RolloutPhase};
use placet_planner::{Action, Observed, Plan, Presence, RolloutState, Step, Target, noted, tally};

use super::feed;
use super::recover::number;
use super::turn::{Order, Turn};
use super::world::{Ordered, Told, World};
use crate::home::{Owner, Write};
use crate::status;
use crate::telemetry::{self, Happened, TRACEPARENT};

/// The first plan may open a roll-out, the second is made for that one.
const PLANS_MOST: usize = 3;

/// Roll-outs that are removed at once.
const FORGOTTEN_MOST: usize = 10;

impl World {
    /// Plans on what is known, notes what the plan does, and gives the orders that it asks for.
    pub(super) fn advance(&mut self, turn: &mut Turn) {
        self.hear_facts();
        let Some(target) = self.target.clone() else {
            return;
        };
        self.hear_decision(turn);
        for _ in 0..PLANS_MOST {
            let observed = self.observed(turn.now);
            let plan = placet_planner::plan(&target, &observed);
            if plan.opens || self.changes_nothing(&plan, &target) {
                self.open(&plan, turn);
                continue;
            }
            self.carry_out(plan, &target, &observed, turn);
            return;
        }
        tracing::error!("the planner opens one roll-out after the other; waiting for news");
    }

    /// True for a new revision that every node which ever joined runs already: it gets a roll-out
    /// that is done from the start, so that people see that it was looked at.
    fn changes_nothing(&self, plan: &Plan, target: &Target) -> bool {
        let is_new = self
            .rollout
            .as_ref()
            .is_none_or(|rollout| rollout.revision != target.revision && rollout.phase.is_over());
        let has_joined = |name: &NodeName| {
            self.nodes
                .get(name)
                .is_some_and(|node| node.seen.presence != Presence::NeverSeen)
        };
        is_new && plan.phase == RolloutPhase::Done && target.nodes.keys().any(has_joined)
    }

    /// Opens a roll-out for a plan, in place of the one before.
    fn open(&mut self, plan: &Plan, turn: &mut Turn) {
        let from = self.rollout.take().map(|older| {
            let revision = older.revision.clone();
            if !older.phase.is_over() {
                self.supersede(older, plan, turn);
            }
            revision
        });
        self.rollouts += 1;
        let name = format!("ro-{}", self.rollouts);
        let spec = RolloutSpec {
            plan_digest: Some(plan.digest),
            from,
            to: plan.revision.clone(),
            dry_run: false,
            source: None,
            within_seconds: None,
            paused: false,
            decision: None,
        };
        let mut object = Rollout::new(&name, spec);
        let trace = BTreeMap::from([(TRACEPARENT.to_owned(), telemetry::begin().to_string())]);
        object.metadata.annotations = Some(trace);
        self.put(Object::Rollout(object), Owner::Controller, turn);
        if let Some(dry_run) = self.end_dry_runs(&name, turn) {
            let status = RolloutStatus {
                dry_run: Some(dry_run),
                ..RolloutStatus::default()
            };
            self.set_status("Rollout", &name, &status, turn);
        }
        self.forget_oldest(turn);
        self.beginnings.opened = Some((name.clone(), Timestamp::now()));
        self.told = Told::default();
        self.rollout = Some(RolloutState::of_plan(name, plan));
    }

    /// Removes the oldest roll-outs beyond those that are kept; none but the newest is under way.
    fn forget_oldest(&mut self, turn: &mut Turn) {
        let Some(kept) = self.rollouts_kept else {
            return;
        };
        let last = self.rollouts.saturating_sub(kept.get());
        let oldest: Vec<String> = self
            .objects
            .of("Rollout")
            .filter(|(name, _)| number(name).is_some_and(|number| number <= last))
            .map(|(name, _)| name.to_owned())
            .collect();
        // A backlog goes bit by bit.
        for name in oldest.into_iter().take(FORGOTTEN_MOST) {
            self.objects.remove("Rollout", &name);
            let kind = "Rollout";
            turn.writes.push(Write::Remove { kind, name });
        }
    }

    /// Ends a roll-out whose place another takes: its votes are released.
    fn supersede(&mut self, mut older: RolloutState, plan: &Plan, turn: &mut Turn) {
        let name: Arc<str> = older.name.as_str().into();
        for step in &plan.steps {
            let is_of_older =
                matches!(&step.action, Action::Release { rollout, .. } if *rollout == older.name);
            if is_of_older {
                if let Some(state) = older.nodes.get_mut(&step.node) {
                    state.released = Some(turn.now);
                }
                if let Some(node) = self.nodes.get_mut(&step.node) {
                    node.forget_staged(&step.action);
                }
                turn.orders.push(Order {
                    rollout: Arc::clone(&name),
                    step: step.clone(),
                });
            }
        }
        older.phase = RolloutPhase::Superseded;
        older.hold = None;
        turn.tell("superseded", feed::superseded(&older, &plan.revision));
        turn.count(Happened::Ended {
            phase: older.phase,
            heard: None,
        });
        self.rollout = Some(older);
        self.write_rollout(turn);
        self.spread_states();
        self.rollout = None;
    }

    /// Notes what a plan does before it is done, and gives its orders.
    fn carry_out(&mut self, plan: Plan, target: &Target, observed: &Observed, turn: &mut Turn) {
        let before = self.rollout.take();
        self.rollout = noted(&plan, observed);
        for step in &plan.steps {
            self.order(step, target, &plan.rollout, turn);
        }
        if let Some(after) = self
            .rollout
            .clone()
            .filter(|after| after.name == plan.rollout)
        {
            self.tell_plan(&after, &plan, turn);
            self.tell_tally(target, observed, turn);
            let before = before.filter(|before| before.name == after.name);
            self.tell_progress(before.as_ref(), &after, turn);
            tell_orders(&after, &plan.steps, turn);
        }
        let standing = if plan.steps.is_empty() {
            plan
        } else {
            // What everybody waits for, and until when, follows from the orders.
            placet_planner::plan(target, &self.observed(turn.now))
        };
        self.touch_replanned(&standing, target);
        self.plan = Some(Arc::new(standing));
    }

    /// Nodes for which this plan has something else in store than the one before.
    fn touch_replanned(&mut self, plan: &Plan, target: &Target) {
        let Some(before) = self.plan.clone() else {
            self.all_touched = true;
            return;
        };
        let is_other = |name: &&NodeName| {
            before.held.get(*name) != plan.held.get(*name)
                || before.nodes.contains_key(*name) != plan.nodes.contains_key(*name)
        };
        let names = target.nodes.keys().chain(&target.awaited);
        self.touched.extend(names.filter(is_other).cloned());
    }

    fn order(&mut self, step: &Step, target: &Target, rollout: &str, turn: &mut Turn) {
        let change = match &step.action {
            Action::Stage { change_digest, .. } | Action::Activate { change_digest, .. } => {
                Some(*change_digest)
            }
            Action::Propose(_) | Action::Release { .. } | Action::GiveBack { .. } => None,
        };
        if let (Some(change_digest), Some(wanted), Some(node)) = (
            change,
            target.nodes.get(&step.node),
            self.nodes.get_mut(&step.node),
        ) {
            node.ordered = Some(Ordered {
                change_digest,
                manifest: wanted.running(),
            });
        }
        if let Some(node) = self.nodes.get_mut(&step.node) {
            node.forget_staged(&step.action);
        }
        turn.orders.push(Order {
            rollout: rollout.into(),
            step: step.clone(),
        });
    }

    /// Tells what the roll-out does to nodes, and again when there is more than was told.
    fn tell_plan(&mut self, rollout: &RolloutState, plan: &Plan, turn: &mut Turn) {
        let known = &self.told.changes;
        let has_more = plan
            .nodes
            .iter()
            .any(|(name, of)| known.get(name) != Some(&of.change_digest));
        let is_open = matches!(
            rollout.phase,
            RolloutPhase::Blocked | RolloutPhase::Proposing | RolloutPhase::Held
        );
        if !self.told.planned || (is_open && has_more) || self.told.problems != plan.problems {
            turn.tell("plan", feed::plan(plan, self.milliseconds()));
            self.told.planned = true;
            self.told.problems.clone_from(&plan.problems);
            let changes = plan.nodes.iter();
            self.told
                .changes
                .extend(changes.map(|(name, of)| (name.clone(), of.change_digest)));
        }
    }

    /// Tells how the votes stand once everybody has answered.
    fn tell_tally(&mut self, target: &Target, observed: &Observed, turn: &mut Turn) {
        let Some(rollout) = &self.rollout else { return };
        let is_due = !self.told.tallied && self.heard.is_some() && !rollout.nodes.is_empty();
        if !is_due || rollout.phase == RolloutPhase::Proposing {
            return;
        }
        let tally = tally(target, observed);
        if tally.waiting.is_empty() {
            let (accepts, objections) = (tally.agreed.len(), tally.objecting.len());
            let milliseconds = self.milliseconds();
            turn.tell(
                "tally",
                feed::tally(&rollout.name, accepts, objections, milliseconds),
            );
            let asked = rollout.nodes.values().map(|state| state.asked).min();
            turn.count(Happened::Tallied {
                asked: asked.and_then(|asked| turn.now.duration_since(asked).try_into().ok()),
                heard: self.heard.map(|heard| heard.elapsed()),
            });
            self.told.tallied = true;
        }
    }

    /// Tells what became of the roll-out as a whole.
    fn tell_progress(&self, before: Option<&RolloutState>, after: &RolloutState, turn: &mut Turn) {
        let old_hold = before.and_then(|before| before.hold.as_ref());
        if let Some(hold) = &after.hold
            && old_hold.map(|old| (old.number, &old.objections))
                != Some((hold.number, &hold.objections))
        {
            turn.tell("held", feed::held(&after.name, hold, self.milliseconds()));
            if old_hold.map(|old| old.number) != Some(hold.number) {
                turn.count(Happened::Held);
            }
        }
        if before.map(|before| before.phase) == Some(after.phase) {
            return;
        }
        if after.phase.is_over() {
            turn.count(Happened::Ended {
                phase: after.phase,
                heard: self.heard.map(|heard| heard.elapsed()),
            });
        }
        let ended = || feed::ended(&after.name, &after.revision);
        match after.phase {
            RolloutPhase::Done => turn.tell("verified", ended()),
            RolloutPhase::Aborted => turn.tell("aborted", ended()),
            _ => {}
        }
    }

    /// Writes the status of the newest roll-out, if there is news in it.
    pub(super) fn write_rollout(&mut self, turn: &mut Turn) {
        let Some(state) = &self.rollout else { return };
        let Some(entry) = self.objects.get("Rollout", &state.name) else {
            return;
        };
        let old: RolloutStatus = entry.status();
        let view = status::rollout::View {
            state,
            plan: self
                .plan
                .as_deref()
                .filter(|plan| plan.rollout == state.name),
            is_staged: &|name| self.has_staged(name),
            stage_error: &|name| self.nodes.get(name)?.stage_error.as_deref(),
        };
        let mut status = status::rollout::status(&old, &view, entry.generation, turn.now);
        let name = state.name.clone();
        if let (true, Some(first), Some(target)) = (
            old.history.is_empty(),
            status.history.first_mut(),
            &self.target,
        ) && let Some(trial) = self.trials.take(target)
        {
            first.message = format!("{}; {trial}", first.message);
        }
        self.set_status("Rollout", &name, &status, turn);
    }

    fn has_staged(&self, name: &NodeName) -> bool {
        self.nodes.get(name).is_some_and(|node| {
            let ordered = node.ordered.as_ref();
            ordered.is_some_and(|ordered| node.seen.staged.contains(&ordered.manifest.digest()))
        })
    }
}

/// Tells who fetches and who changes now.
fn tell_orders(rollout: &RolloutState, steps: &[Step], turn: &mut Turn) {
    let told_to = |test: fn(&Action) -> bool| -> BTreeSet<&NodeName> {
        let steps = steps.iter().filter(|step| test(&step.action));
        steps.map(|step| &step.node).collect()
    };
    for (name, nodes) in [
        (
            "staging",
            told_to(|action| matches!(action, Action::Stage { .. })),
        ),
        (
            "activating",
            told_to(|action| matches!(action, Action::Activate { .. })),
        ),
    ] {
        if !nodes.is_empty() {
            turn.tell(name, feed::told(&rollout.name, &nodes));
        }
    }
}
