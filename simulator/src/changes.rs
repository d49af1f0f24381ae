//! Every change, with the nodes that share it and the rules that object to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_model::{Answer, Digest, NodeManifest, NodeName, Voter};
use placet_planner::{ChangeView, NodeView, Rules, TargetNode, change};

use crate::counsel::{Counsels, Files};
use crate::effect::{GroupChange, Veto};
use crate::facts::Known;
use crate::place::Places;
use crate::report::names;
use crate::travel::travel;

/// What changes are worked out from.
pub(crate) struct Comparison<'a> {
    pub(crate) running: &'a BTreeMap<NodeName, Option<Digest>>,
    pub(crate) old: &'a Known,
    pub(crate) new: &'a Known,
    pub(crate) places: &'a Places<'a>,
}

/// A change that was worked out, for all nodes that go the same way.
struct Way {
    group: GroupChange,
    view: ChangeView,
    /// The rules of the processes that it touches.
    rules: Rules,
    /// Their logic.
    logic: Counsels,
}

impl Comparison<'_> {
    /// Every change, with the nodes that share it. The cost grows with distinct changes; a node adds
    /// its rules alone.
    pub(crate) fn changes(&self, files: &mut Files<'_>) -> Vec<GroupChange> {
        let empty = Arc::new(NodeManifest::default());
        let nothing = (&empty, empty.digest());
        let unknown: BTreeSet<_> = self.old.unknown.iter().map(|it| &it.node).collect();
        let mut ways: BTreeMap<(Digest, Digest, bool), Way> = BTreeMap::new();
        for (name, node) in &self.new.target.nodes {
            let before = self.old.target.nodes.get(name);
            let is_new = before.is_none();
            // A node that is known to run nothing has to fetch all.
            let before = before.filter(|_| self.running.get(name) != Some(&None));
            let (manifest, digest) =
                before.map_or(nothing, |it| (&it.manifest, it.manifest_digest));
            let runs = self.running.get(name).copied().flatten();
            let has_it = [digest, runs.unwrap_or(digest)].contains(&node.manifest_digest);
            if has_it || unknown.contains(name) {
                continue;
            }
            let way = ways
                .entry((digest, node.manifest_digest, is_new))
                .or_insert_with(|| Way::new(manifest, node, is_new, files));
            way.join(name, node);
            way.hear(name, node, self.places);
        }
        let mut changes: Vec<_> = ways.into_values().map(|way| way.group).collect();
        changes.sort_by(|one, other| one.nodes.cmp(&other.nodes));
        changes
    }

    /// Where what nodes run is not what the older revision declares.
    pub(crate) fn running_notes(&self, from: &str) -> Vec<String> {
        let (mut nothing, mut already, mut other) =
            <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
        for (name, node) in &self.new.target.nodes {
            let before = self.old.target.nodes.get(name).map(|it| it.manifest_digest);
            let set = match self.running.get(name) {
                Some(None) => &mut nothing,
                Some(Some(runs)) if Some(*runs) == before => continue,
                Some(Some(runs)) if *runs == node.manifest_digest => &mut already,
                Some(Some(_)) => &mut other,
                None => continue,
            };
            set.insert(name.clone());
        }
        let sentences = [
            (nothing, "nothing runs there yet".to_owned()),
            (
                already,
                "what the newer revision declares runs there already".to_owned(),
            ),
            (
                other,
                format!(
                    "something else runs there than {from} declares; compared with what it declares"
                ),
            ),
        ];
        let told = sentences.into_iter().filter(|(nodes, _)| !nodes.is_empty());
        told.map(|(nodes, what)| format!("{}: {what}", names(&nodes)))
            .collect()
    }
}

impl Way {
    fn new(from: &NodeManifest, to: &TargetNode, added: bool, files: &mut Files<'_>) -> Self {
        let change = change(from, &to.manifest);
        Self {
            logic: Counsels::of(from, &change.change_set, files),
            view: ChangeView::new(&change.change_set),
            rules: Rules::of_processes(&change.change_set),
            group: GroupChange {
                nodes: BTreeSet::new(),
                classes: BTreeSet::new(),
                change_digest: change.digest(),
                added,
                travel: travel(from, &to.manifest),
                change_set: change.change_set,
                vetoes: Vec::new(),
                suspended: BTreeSet::new(),
            },
        }
    }

    fn join(&mut self, name: &NodeName, node: &TargetNode) {
        self.group.nodes.insert(name.clone());
        self.group.classes.insert(node.class.clone());
        if node.suspended {
            self.group.suspended.insert(name.clone());
        }
    }

    /// Adds what the rules of a node's class say, and rules and logic of the processes.
    fn hear(&mut self, name: &NodeName, node: &TargetNode, places: &Places<'_>) {
        let logic = self.logic.votes(&self.group.change_set, name, node);
        if !(node.rules.is_empty() && self.rules.is_empty()) {
            self.hear_rules(name, node, places);
        }
        for veto in logic {
            self.add(veto);
        }
    }

    fn hear_rules(&mut self, name: &NodeName, node: &TargetNode, places: &Places<'_>) {
        let view = NodeView::new(name, &node.class, &node.facts, &node.labels);
        let of_class = node.rules.objections(&view, &self.view).into_iter();
        for objection in of_class.chain(self.rules.objections(&view, &self.view)) {
            let rule = match &objection.process {
                Some(process) => format!("{process}/{}", objection.rule),
                None => objection.rule.to_string(),
            };
            self.add(Veto {
                places: places.of_rule(&node.class, &rule, name),
                class: node.class.clone(),
                rule,
                by: Voter::Rule,
                answer: Answer::Veto,
                message: objection.message,
                nodes: BTreeSet::from([name.clone()]),
            });
        }
    }

    /// What several nodes of a class hear in the same words is said once.
    fn add(&mut self, veto: Veto) {
        let mut known = self.group.vetoes.iter_mut();
        match known.find(|it| it.is_same(&veto)) {
            Some(known) => known.nodes.extend(veto.nodes),
            None => self.group.vetoes.push(veto),
        }
    }
}
