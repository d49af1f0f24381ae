//! Two revisions of a fleet, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_model::{Desired, Digest, NodeManifest, NodeName, visible};
use placet_planner::{
    Catalog, ChangeView, NodeView, Problem, Rules, TargetNode, Unresolved, change,
};

use crate::effect::{
    Counts, Effect, GroupChange, Obstacle, Outcome, Processes, Travel, UnknownNode, Veto,
};
use crate::facts::{Known, known};
use crate::travel::travel;

/// One revision: what is declared, and the packages that it names.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// What people know it by.
    pub revision: String,
    /// The declarations.
    pub desired: Desired,
    /// The packages.
    pub catalog: Catalog,
}

/// Why nothing can be said: packages that could not be had. A manifest without them would look as
/// if their modules were to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknowable {
    /// Each of them with its revision, as sentences.
    pub reasons: Vec<String>,
}

/// What going from one revision to the other would do to each node.
///
/// # Errors
///
/// If a package of either revision could not be had.
pub fn compare(from: &Side, to: &Side) -> Result<Effect, Unknowable> {
    let (old, new) = (known(from), known(to));
    require_packages(&[(from, &old), (to, &new)])?;
    let unknown = unknown(from, to, &old, &new);
    let comparison = Comparison {
        old: &old,
        new: &new,
    };
    let changes = comparison.changes();
    let mut effect = Effect {
        from: from.revision.clone(),
        to: to.revision.clone(),
        outcome: Outcome::Clean,
        nodes: counts(&changes, to, &unknown),
        processes: Processes::default(),
        travel: Travel::default(),
        problems: obstacles(&old, &new),
        notes: notes(&new),
        left: left(&from.desired, &to.desired),
        unknown,
        changes,
    };
    for change in &effect.changes {
        effect.processes.add(&change.change_set, change.nodes.len());
        effect.travel.add(change.travel, change.nodes.len());
    }
    effect.outcome = outcome(&effect);
    Ok(effect)
}

fn require_packages(sides: &[(&Side, &Known)]) -> Result<(), Unknowable> {
    let mut reasons = Vec::new();
    for (side, known) in sides {
        let missing = known.target.problems.iter();
        let missing = missing.filter(|problem| matches!(problem, Problem::Package { .. }));
        reasons.extend(missing.map(|problem| format!("in {}: {problem}", side.revision)));
        // Of packages that could not be had no node can be told what it is.
        let lacking = side.catalog.entries.iter();
        let lacking = lacking.filter(|_| !known.unknown.is_empty());
        reasons.extend(lacking.filter_map(|(reference, entry)| {
            let (Unresolved::Missing(why) | Unresolved::Untrusted(why)) = entry.as_ref().err()?;
            let text = format!(
                "in {}: package {}: {why}",
                side.revision,
                visible(reference)
            );
            Some(text)
        }));
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(Unknowable { reasons })
    }
}

fn outcome(effect: &Effect) -> Outcome {
    if !effect.problems.is_empty() || effect.vetoes().next().is_some() {
        Outcome::Objection
    } else if effect.unknown.is_empty() {
        Outcome::Clean
    } else {
        Outcome::Unknown
    }
}

fn counts(changes: &[GroupChange], to: &Side, unknown: &[UnknownNode]) -> Counts {
    let count = |added: bool| {
        let of_kind = changes.iter().filter(|change| !added || change.added);
        of_kind.map(|change| change.nodes.len()).sum()
    };
    let total = to.desired.nodes.len();
    let differing = count(false);
    Counts {
        total,
        changed: differing,
        added: count(true),
        unchanged: total.saturating_sub(differing + unknown.len()),
    }
}

fn obstacles(old: &Known, new: &Known) -> Vec<Obstacle> {
    let before: BTreeSet<_> = old.target.problems.iter().collect();
    let obstacles = new.target.problems.iter().map(|problem| Obstacle {
        message: problem.to_string(),
        is_old: before.contains(problem),
    });
    obstacles.collect()
}

fn notes(new: &Known) -> Vec<String> {
    let assumed = new.assumed.iter().map(|architecture| {
        format!(
            "nodes that declare no architecture are taken to be {}, as all packages are for it",
            architecture.0
        )
    });
    let notes = new.target.notes.iter().map(ToString::to_string);
    assumed.chain(notes).collect()
}

/// Nodes that cannot be judged on either side; the new revision's reason goes first.
fn unknown(from: &Side, to: &Side, old: &Known, new: &Known) -> Vec<UnknownNode> {
    let told: BTreeSet<_> = new.unknown.iter().map(|it| &it.node).collect();
    let stays = |it: &&UnknownNode| to.desired.nodes.contains_key(&it.node);
    let before = old.unknown.iter().filter(stays);
    let before = before
        .filter(|it| !told.contains(&it.node))
        .map(|it| UnknownNode {
            node: it.node.clone(),
            why: format!("in {}: {}", from.revision, it.why),
        });
    let mut unknown: Vec<_> = new.unknown.iter().cloned().chain(before).collect();
    unknown.sort_by(|one, other| one.node.cmp(&other.node));
    unknown
}

fn left(from: &Desired, to: &Desired) -> BTreeSet<NodeName> {
    let names = from.nodes.keys();
    names
        .filter(|name| !to.nodes.contains_key(*name))
        .cloned()
        .collect()
}

struct Comparison<'a> {
    old: &'a Known,
    new: &'a Known,
}

/// A change that was worked out, for all nodes that go the same way.
struct Way {
    group: GroupChange,
    view: ChangeView,
    /// The rules of the processes that it touches.
    rules: Rules,
}

impl Comparison<'_> {
    /// Every change, with the nodes that share it. The cost grows with distinct changes; a node adds
    /// its rules alone.
    fn changes(&self) -> Vec<GroupChange> {
        let empty = Arc::new(NodeManifest::default());
        let nothing = (&empty, empty.digest());
        let unknown: BTreeSet<_> = self.old.unknown.iter().map(|it| &it.node).collect();
        let mut ways: BTreeMap<(Digest, Digest, bool), Way> = BTreeMap::new();
        for (name, node) in &self.new.target.nodes {
            let before = self.old.target.nodes.get(name);
            let (manifest, digest) =
                before.map_or(nothing, |it| (&it.manifest, it.manifest_digest));
            if digest == node.manifest_digest || unknown.contains(name) {
                continue;
            }
            let way = ways
                .entry((digest, node.manifest_digest, before.is_none()))
                .or_insert_with(|| Way::new(manifest, node, before.is_none()));
            way.join(name, node);
            way.hear(name, node);
        }
        let mut changes: Vec<_> = ways.into_values().map(|way| way.group).collect();
        changes.sort_by(|one, other| one.nodes.cmp(&other.nodes));
        changes
    }
}

impl Way {
    fn new(from: &NodeManifest, to: &TargetNode, added: bool) -> Self {
        let change = change(from, &to.manifest);
        Self {
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

    /// Adds what the rules of a node's class say, and those of the processes.
    fn hear(&mut self, name: &NodeName, node: &TargetNode) {
        if node.rules.is_empty() && self.rules.is_empty() {
            return;
        }
        let view = NodeView::new(name, &node.class, &node.facts, &node.labels);
        let of_class = node.rules.objections(&view, &self.view).into_iter();
        for objection in of_class.chain(self.rules.objections(&view, &self.view)) {
            let rule = match &objection.process {
                Some(process) => format!("{process}/{}", objection.rule),
                None => objection.rule.to_string(),
            };
            let mut known = self.group.vetoes.iter_mut();
            let same = known.find(|veto| {
                (veto.class.as_str(), veto.rule.as_str(), &veto.message)
                    == (node.class.as_str(), rule.as_str(), &objection.message)
            });
            match same {
                Some(veto) => {
                    veto.nodes.insert(name.clone());
                }
                None => self.group.vetoes.push(Veto {
                    class: node.class.clone(),
                    rule,
                    message: objection.message,
                    nodes: BTreeSet::from([name.clone()]),
                }),
            }
        }
    }
}
