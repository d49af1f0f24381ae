//! Is a plan one that may be carried out? Written without a look at how plans are made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use placet_model::{
    Activation, DecisionKind, Digest, NodeName, NodeState, RolloutPhase, VerdictKind,
};

mod turns;

use crate::plan::{Action, Plan, Target};
use crate::{Observed, ObservedNode, Presence, RolloutState};

/// A rule that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The node that it is about; none for the plan as a whole.
    pub node: Option<NodeName>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "node {node}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Every rule that `plan`, made for `target` and `observed`, breaks. Empty for every plan that
/// [`crate::plan`] makes; tests hold it to that.
pub fn audit(target: &Target, plan: &Plan, observed: &Observed) -> Vec<Violation> {
    let mut audit = Audit {
        target,
        plan,
        observed,
        violations: Vec::new(),
    };
    audit.nobody_is_forgotten();
    audit.steps_fit_what_is_observed();
    audit.nobody_changes_without_consent();
    audit.only_what_is_watched_is_given_back();
    audit.staged_everywhere_first();
    audit.one_veto_holds_all();
    audit.not_too_many_at_once();
    audit.holds_are_explained();
    audit.nobody_begins_out_of_turn();
    audit.requirements_hold_halfway();
    audit.violations
}

struct Audit<'a> {
    target: &'a Target,
    plan: &'a Plan,
    observed: &'a Observed,
    violations: Vec<Violation>,
}

impl<'a> Audit<'a> {
    fn report(&mut self, node: Option<&NodeName>, what: impl Into<String>) {
        self.violations.push(Violation {
            node: node.cloned(),
            what: what.into(),
        });
    }

    fn seen(&self, node: &NodeName) -> Option<&'a ObservedNode> {
        self.observed.nodes.get(node)
    }

    /// The roll-out that the plan goes on with.
    fn rollout(&self) -> Option<&'a RolloutState> {
        self.observed
            .rollout
            .as_ref()
            .filter(|rollout| rollout.revision == self.target.revision)
    }

    fn state(&self, node: &NodeName) -> Option<&'a NodeState> {
        self.rollout().and_then(|rollout| rollout.nodes.get(node))
    }

    fn runs(&self, node: &NodeName) -> Option<Digest> {
        self.seen(node)
            .and_then(|seen| seen.running.as_ref())
            .map(super::Running::digest)
    }

    fn activated_now(&self) -> BTreeSet<&'a NodeName> {
        let steps = self.plan.steps.iter();
        steps
            .filter(|step| matches!(step.action, Action::Activate { .. }))
            .map(|step| &step.node)
            .collect()
    }

    fn nobody_is_forgotten(&mut self) {
        for (name, node) in &self.target.nodes {
            let joined = self
                .seen(name)
                .is_some_and(|seen| seen.presence != Presence::NeverSeen);
            let differs = self
                .runs(name)
                .is_some_and(|digest| digest != node.manifest_digest);
            let has_step =
                self.plan.steps.iter().any(|step| {
                    step.node == *name && !matches!(step.action, Action::Release { .. })
                });
            let is_held = self.plan.held.contains_key(name);
            if (differs || !joined) && !has_step && !is_held {
                self.report(
                    Some(name),
                    "differs, but has neither a step nor a reason to wait",
                );
            }
            if has_step && is_held {
                self.report(Some(name), "has a step and a reason to wait");
            }
        }
    }

    fn steps_fit_what_is_observed(&mut self) {
        let mut orders = BTreeMap::<_, usize>::new();
        for step in &self.plan.steps {
            let name = &step.node;
            if self
                .seen(name)
                .is_none_or(|seen| seen.presence != Presence::Connected)
            {
                self.report(Some(name), "has a step but no connection");
            }
            let to = self.target.nodes.get(name).map(|node| node.manifest_digest);
            let (from, aim) = match &step.action {
                Action::Release { .. } | Action::GiveBack { .. } => continue,
                Action::Propose(proposal) => (Some(proposal.from), proposal.manifest.digest()),
                Action::Stage { manifest, .. } => (None, manifest.digest()),
                Action::Activate { from, to, .. } => (Some(*from), *to),
            };
            *orders.entry(name).or_default() += 1;
            if Some(aim) != to {
                self.report(Some(name), "is led to a manifest that is not its target");
            }
            if from.is_some() && from != self.runs(name) {
                self.report(
                    Some(name),
                    "has a step planned against what it does not run",
                );
            }
            if self
                .target
                .nodes
                .get(name)
                .is_some_and(|node| node.suspended)
            {
                let told = self
                    .state(name)
                    .is_some_and(|state| state.activating.is_some());
                if !told {
                    self.report(Some(name), "is suspended, but has a step");
                }
            }
            if !self.target.problems.is_empty() {
                self.report(Some(name), "has a step in spite of problems");
            }
        }
        for (name, _) in orders.into_iter().filter(|(_, count)| *count > 1) {
            self.report(Some(name), "has more than one step");
        }
    }

    fn nobody_changes_without_consent(&mut self) {
        for step in &self.plan.steps {
            let name = &step.node;
            let (digest, forced) = match &step.action {
                Action::Activate {
                    change_digest,
                    forced,
                    ..
                } => (*change_digest, *forced),
                Action::Stage { change_digest, .. } => (*change_digest, self.is_forced(name)),
                Action::Propose(_) | Action::Release { .. } | Action::GiveBack { .. } => continue,
            };
            if forced && !self.is_forced(name) {
                self.report(Some(name), "is forced without a decision");
            }
            if !forced && !self.accepts(name, digest) {
                self.report(Some(name), "goes on without its consent");
            }
        }
    }

    fn only_what_is_watched_is_given_back(&mut self) {
        for step in &self.plan.steps {
            let Action::GiveBack { change_digest, .. } = &step.action else {
                continue;
            };
            let name = &step.node;
            let is_its = self.state(name).is_some_and(|state| {
                state.change_digest == *change_digest && state.activation.is_none()
            });
            let target = self.target.nodes.get(name).map(|it| it.manifest_digest);
            let is_watched = self.seen(name).is_some_and(|seen| seen.changing);
            if !(is_its && is_watched && self.runs(name) == target) {
                self.report(Some(name), "is to give back what it does not watch");
            }
        }
    }

    fn is_forced(&self, name: &NodeName) -> bool {
        let decisions = self
            .rollout()
            .into_iter()
            .flat_map(|rollout| &rollout.decisions);
        let prefix = format!("node {name}: ");
        decisions.into_iter().any(|decision| {
            let is_about = decision
                .overrides
                .iter()
                .any(|line| line.starts_with(&prefix));
            let is_named = matches!(
                &decision.kind,
                DecisionKind::Force { nodes } if nodes.is_empty() || nodes.contains(name)
            );
            is_about && is_named
        })
    }

    fn accepts(&self, name: &NodeName, digest: Digest) -> bool {
        let verdict = self.state(name).and_then(|state| state.verdict.as_ref());
        let boot = self.seen(name).map_or("", |seen| seen.boot_id.as_str());
        verdict.is_some_and(|verdict| {
            verdict.verdict == VerdictKind::Accept
                && verdict.change_digest == digest
                && verdict.expires > self.observed.now
                && (boot.is_empty() || verdict.boot_id == boot)
        })
    }

    fn staged_everywhere_first(&mut self) {
        let activated = self.activated_now();
        if activated.is_empty() {
            return;
        }
        for name in &activated {
            let to = self
                .target
                .nodes
                .get(*name)
                .map(|node| node.manifest_digest);
            let is_staged = to.is_some_and(|to| {
                self.seen(name)
                    .is_some_and(|seen| seen.staged.contains(&to))
            });
            let was_told = self
                .state(name)
                .is_some_and(|state| state.activating.is_some());
            if !is_staged && !was_told {
                self.report(Some(name), "is activated before it is staged");
            }
        }
        let steps = self.plan.steps.iter();
        let others: Vec<_> = steps
            .filter(|step| matches!(step.action, Action::Stage { .. }))
            .collect();
        for step in others {
            self.report(
                Some(&step.node),
                "is still to be staged while others are activated",
            );
        }
    }

    /// V5: with an objection that no decision names, nobody is told to go on.
    fn one_veto_holds_all(&mut self) {
        let overridden: BTreeSet<String> = self
            .rollout()
            .into_iter()
            .flat_map(|rollout| &rollout.decisions)
            .flat_map(|decision| decision.overrides.clone())
            .collect();
        let Some(rollout) = self.rollout() else {
            return;
        };
        let goes_on = self
            .plan
            .steps
            .iter()
            .any(|step| matches!(step.action, Action::Stage { .. } | Action::Activate { .. }));
        for (name, state) in &rollout.nodes {
            let differs = self.target.nodes.get(name).is_some_and(|node| {
                !node.suspended
                    && self
                        .runs(name)
                        .is_none_or(|runs| runs != node.manifest_digest)
            });
            let is_asked_anew = self
                .plan
                .steps
                .iter()
                .any(|step| step.node == *name && matches!(step.action, Action::Propose(_)));
            let has_failed = matches!(state.activation, Some(Activation::Failed(_)));
            let in_maintenance = (self.target.nodes.get(name)).is_some_and(|it| it.maintenance);
            if self.is_spared(name) || (has_failed && in_maintenance) {
                continue;
            }
            let lines: Vec<String> = match (&state.verdict, &state.activation) {
                (_, Some(Activation::Failed(why))) => {
                    vec![format!(
                        "node {name}: activation failed: {}",
                        placet_model::visible(why)
                    )]
                }
                (Some(verdict), None) if verdict.verdict == VerdictKind::Veto => {
                    verdict.objections().collect()
                }
                _ => continue,
            };
            let is_answered = lines.iter().all(|line| overridden.contains(line));
            if goes_on && differs && !is_asked_anew && !is_answered {
                self.report(Some(name), "objects, but others go on");
            }
        }
    }

    fn not_too_many_at_once(&mut self) {
        let activated = self.activated_now();
        let mut classes = BTreeMap::<&str, (u32, Option<u32>)>::new();
        for (name, node) in &self.target.nodes {
            let in_the_midst = self.state(name).is_some_and(|state| {
                let digest = self.plan.nodes.get(name).map(|node| node.change_digest);
                digest == Some(state.change_digest)
                    && state.activating.is_some()
                    && state.activation.is_none()
                    && self
                        .seen(name)
                        .is_some_and(|seen| seen.presence == Presence::Connected)
            });
            let class = classes.entry(&node.class).or_insert((0, self.limit(name)));
            class.0 += u32::from(in_the_midst || activated.contains(name));
        }
        for (class, (count, most)) in classes {
            let is_starting = activated.iter().any(|name| {
                self.target
                    .nodes
                    .get(*name)
                    .is_some_and(|node| node.class == class)
            });
            if is_starting && most.is_some_and(|most| count > most.max(1)) {
                self.report(None, format!("class {class}: {count} nodes change at once"));
            }
        }
    }

    fn holds_are_explained(&mut self) {
        let is_held = matches!(self.plan.phase, RolloutPhase::Held | RolloutPhase::Halted);
        let goes_on_alone = self.plan.rollout
            == self
                .observed
                .rollout
                .as_ref()
                .map_or("", |rollout| rollout.name.as_str());
        match &self.plan.hold {
            None if is_held && !goes_on_alone => self.report(None, "is held, but has no hold"),
            Some(hold)
                if hold.objections.is_empty()
                    || (hold.nodes.is_empty() && !hold.objections[0].starts_with("class ")) =>
            {
                self.report(None, "has a hold without an objection");
            }
            Some(_) if !is_held => self.report(None, "has a hold, but goes on"),
            _ => {}
        }
    }
}
