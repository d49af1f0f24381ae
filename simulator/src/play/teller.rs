//! What is new in a plan, in words.

use std::collections::{BTreeMap, BTreeSet};

use placet_model::{NodeName, RolloutPhase};
use placet_planner::{Action, Plan, WaitingOn};

use super::world::World;
use crate::report::names;

/// What was told of the roll-out that there is, and of its target.
#[derive(Debug, Default)]
pub(super) struct Told {
    phase: Option<RolloutPhase>,
    hold: u32,
    problems: Vec<String>,
    notes: Vec<String>,
    held: BTreeMap<NodeName, String>,
}

impl Told {
    /// What is still told when another roll-out begins: what is true of the target rather than of it.
    pub(super) fn of_target(self) -> Self {
        Self {
            problems: self.problems,
            notes: self.notes,
            ..Self::default()
        }
    }
}

impl World<'_> {
    /// Tells what a plan has that the one before had not.
    pub(super) fn tell(&mut self, plan: &Plan) {
        let problems: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
        let notes: Vec<_> = plan.notes.iter().map(ToString::to_string).collect();
        for line in news(&problems, &self.told.problems) {
            self.say(format!("in the way: {line}"));
        }
        for line in news(&notes, &self.told.notes) {
            self.say(line);
        }
        (self.told.problems, self.told.notes) = (problems, notes);
        self.tell_phase(plan);
        self.tell_hold(plan);
        for (words, nodes) in orders(plan) {
            self.say(format!("{}: {words}", names(&nodes)));
        }
        self.tell_waiting(plan);
    }

    fn tell_phase(&mut self, plan: &Plan) {
        let is_there = self.observed.rollout.is_some();
        if is_there && self.told.phase.replace(plan.phase) != Some(plan.phase) {
            self.say(format!("{}: {}", plan.rollout, plan.phase));
        }
    }

    fn tell_hold(&mut self, plan: &Plan) {
        let Some(hold) = plan.hold.as_ref().filter(|it| it.number > self.told.hold) else {
            return;
        };
        self.told.hold = hold.number;
        self.say(format!("{}: hold {} is open:", plan.rollout, hold.number));
        for line in &hold.objections {
            self.say(format!("  {line}"));
        }
    }

    fn tell_waiting(&mut self, plan: &Plan) {
        let worth_saying = plan.held.iter().filter(|(_, why)| is_news(why));
        let held: BTreeMap<NodeName, String> = worth_saying
            .map(|(node, why)| (node.clone(), why.to_string()))
            .collect();
        // Told of each node as of one alone; nodes of which the same is true are told of together.
        let mut groups: BTreeMap<&String, BTreeSet<NodeName>> = BTreeMap::new();
        for (node, why) in &held {
            if self.told.held.get(node) != Some(why) {
                groups.entry(why).or_default().insert(node.clone());
            }
        }
        let lines: Vec<_> = groups
            .into_values()
            .filter_map(|nodes| {
                let why = plan.held.get(nodes.first()?)?;
                Some(format!("{}: {}", names(&nodes), why.said_of(nodes.len())))
            })
            .collect();
        for line in lines {
            self.say(line);
        }
        self.told.held = held;
    }
}

fn news(lines: &[String], before: &[String]) -> Vec<String> {
    let new = lines.iter().filter(|line| !before.contains(line));
    new.cloned().collect()
}

/// The orders of a plan, with the nodes that have the same.
fn orders(plan: &Plan) -> BTreeMap<String, BTreeSet<NodeName>> {
    let mut orders: BTreeMap<String, BTreeSet<NodeName>> = BTreeMap::new();
    for step in &plan.steps {
        let words = match &step.action {
            Action::Propose(_) => "asked".to_owned(),
            Action::Release { reason, .. } => format!("released: {reason}"),
            Action::Stage { .. } => "told to fetch".to_owned(),
            Action::Activate { forced: true, .. } => "told to change, forced".to_owned(),
            Action::Activate { .. } => "told to change".to_owned(),
            Action::GiveBack { reason, .. } => format!("told to give back: {reason}"),
        };
        orders.entry(words).or_default().insert(step.node.clone());
    }
    orders
}

/// False for what the lines before say already, or what is over in a moment.
fn is_news(why: &WaitingOn) -> bool {
    !matches!(
        why,
        WaitingOn::Problems
            | WaitingOn::Answer
            | WaitingOn::OtherAnswers(_)
            | WaitingOn::Decision(_)
            | WaitingOn::Staging
            | WaitingOn::OthersStaging(_)
            | WaitingOn::Activating
            | WaitingOn::Budget { .. }
            | WaitingOn::Aborted
    )
}
