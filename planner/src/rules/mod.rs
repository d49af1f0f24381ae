//! Rules that vote for software that cannot (V3): expressions over a node and its change.

use std::collections::BTreeMap;

use jiff::Timestamp;
use placet_model::{
    Answer, ChangeSet, NodeDescription, NodeFacts, NodeName, ProcessName, VetoRule, VoteRecord,
    Voter,
};
use placet_rules::{Rule, RuleError, Variable};
use serde::Serialize;

use crate::plan::{NodePlan, TargetNode};

/// Rules of a class or of processes, ready to be evaluated.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Ready>);

/// Rules are the same if they were declared the same.
impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        fn declared(rules: &Rules) -> impl Iterator<Item = (&Option<ProcessName>, &VetoRule)> {
            rules.0.iter().map(|it| (&it.process, &it.declared))
        }
        declared(self).eq(declared(other))
    }
}

impl Eq for Rules {}

#[derive(Debug, Clone)]
struct Ready {
    /// Whose it is; none for one of a class.
    process: Option<ProcessName>,
    declared: VetoRule,
    rule: Result<Rule, RuleError>,
}

/// A rule that does not agree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Objection {
    /// The process on whose behalf it objects; none for a rule of a class.
    pub process: Option<ProcessName>,
    /// The rule.
    pub rule: ProcessName,
    /// What it tells people.
    pub message: String,
}

/// A node as rules see it: `node`. What is not known of it is empty, so that a rule need not ask
/// first whether it is there.
#[derive(Debug, Clone)]
pub struct NodeView(Variable);

/// A change as rules see it: `change`, with `modules` and `processes` as in a proposal.
#[derive(Debug, Clone)]
pub struct ChangeView(Variable);

impl NodeView {
    /// The node with its facts as they count: those declared, then those announced.
    pub fn new(
        name: &NodeName,
        class: &str,
        facts: &NodeFacts,
        labels: &BTreeMap<String, String>,
    ) -> Self {
        Self(Variable::new(
            "node",
            &NodeDescription::new(name, class, facts, labels),
        ))
    }
}

impl ChangeView {
    /// The change set as it stands in a proposal.
    pub fn new(change: &ChangeSet) -> Self {
        Self(Variable::new("change", change))
    }
}

impl TargetNode {
    /// The node as rules and decision logic see it.
    pub fn described(&self, name: &NodeName) -> NodeDescription {
        NodeDescription::new(name, &self.class, &self.facts, &self.labels)
    }

    /// What the rules of its class, and those of the processes that the change touches, say of a
    /// change of the node `name`, as they stand in a verdict: a record, given at `time`, for each
    /// that does not agree.
    pub fn objections(
        &self,
        name: &NodeName,
        change: &NodePlan,
        time: Timestamp,
    ) -> Vec<VoteRecord> {
        if self.rules.is_empty() && change.rules.is_empty() {
            return Vec::new();
        }
        let node = NodeView::new(name, &self.class, &self.facts, &self.labels);
        let view = ChangeView::new(&change.change_set);
        let of_class = self.rules.objections(&node, &view).into_iter();
        let objections = of_class.chain(change.rules.objections(&node, &view));
        let record = |objection: Objection| VoteRecord {
            voter: Voter::Rule,
            code: (objection.process.as_ref())
                .map_or_else(String::new, |_| objection.rule.to_string()),
            process: objection.process.unwrap_or(objection.rule),
            pid: 0,
            modules: Vec::new(),
            answer: Answer::Veto,
            message: objection.message,
            until: None,
            time,
            change_digest: change.change_digest,
        };
        objections.map(record).collect()
    }
}

impl Rules {
    /// Makes declared rules ready. What was declared keeps the limits, which is checked where it is
    /// loaded; a rule that does not, all the same, objects to every change and says why.
    pub fn new(declared: &[VetoRule]) -> Self {
        Self(declared.iter().map(|it| Ready::new(it, None)).collect())
    }

    /// Makes the rules ready that the processes of a change declare for themselves.
    pub fn of_processes(change: &ChangeSet) -> Self {
        let rules = change.processes.iter().flat_map(|process| {
            let rules = process.rules.iter();
            rules.map(|rule| Ready::new(rule, Some(&process.name)))
        });
        Self(rules.collect())
    }

    /// True if nobody declared any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules that do not agree to what happens to a node, in the order of declaration. One that
    /// cannot be evaluated is among them: what it was to protect may be at stake.
    pub fn objections(&self, node: &NodeView, change: &ChangeView) -> Vec<Objection> {
        let objection = |ready: &Ready| {
            let objects = ready.rule.as_ref().map_err(Clone::clone);
            let objects = objects.and_then(|rule| rule.holds(&[&node.0, &change.0]));
            let message = match objects {
                Ok(false) => return None,
                Ok(true) => ready.declared.message.clone(),
                Err(error) => format!("{error}; it objects until that is put right"),
            };
            Some(Objection {
                process: ready.process.clone(),
                rule: ready.declared.name.clone(),
                message,
            })
        };
        self.0.iter().filter_map(objection).collect()
    }
}

impl Ready {
    fn new(declared: &VetoRule, process: Option<&ProcessName>) -> Self {
        Self {
            process: process.cloned(),
            declared: declared.clone(),
            rule: Rule::new(&declared.rule),
        }
    }
}

#[cfg(test)]
mod tests;
