//! The target, kept up to date: what is declared and announced goes in piece by piece, and no more
//! is worked out anew than a piece can have changed.

use std::cell::{LazyCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use placet_model::{ClassDeclaration, Desired, NodeFacts, NodeName, Strategy};

use super::place::{self, Place, Placed};
use super::remote::Fleet;
use super::shelf::Shelf;
use super::symbols::Memo;
use super::{Computed, Configuration, Findings, Scope, digest, memory};
use crate::beside::Beside;
use crate::plan::{Target, TargetNode};
use crate::{Catalog, Problem, Rules};

/// What every node should run, again and again.
///
/// It owns what it works from, so nothing that it keeps can be out of date.
///
/// # Guarantees
///
/// [`Planner::target`] equals what [`crate::target`] makes of the same declarations, catalog and
/// announcements, whatever came before. A node's news costs that node; a package costs the
/// configurations that have it.
#[derive(Debug, Clone, Default)]
pub struct Planner {
    desired: Desired,
    strangers: BTreeSet<NodeName>,
    catalog: Arc<Catalog>,
    announced: BTreeMap<NodeName, NodeFacts>,
    places: BTreeMap<NodeName, Place>,
    /// Nodes whose place the declarations do not say.
    unclear: BTreeMap<NodeName, Problem>,
    /// The nodes of each configuration.
    members: BTreeMap<Arc<Configuration>, BTreeSet<NodeName>>,
    computed: BTreeMap<Arc<Configuration>, Computed>,
    shared: BTreeMap<String, Shared>,
    target: Arc<Target>,
    news: News,
    memo: Memo,
}

/// What came in since the target was worked out last.
#[derive(Debug, Clone, Default)]
struct News {
    /// Another revision.
    is_revised: bool,
    /// Classes, package sets or packages differ.
    is_declared_anew: bool,
    /// Nodes of which something differs.
    nodes: BTreeSet<NodeName>,
    /// Configurations that nodes came to or left.
    moved: BTreeSet<Arc<Configuration>>,
    /// Configurations that came to another manifest.
    renewed: Vec<Arc<Configuration>>,
}

/// What the nodes of a class share.
#[derive(Debug, Clone)]
struct Shared {
    strategy: Arc<Strategy>,
    rules: Arc<Rules>,
}

impl Planner {
    /// Takes in what is declared, and the packages that it names.
    pub fn declare(&mut self, desired: Desired, catalog: Arc<Catalog>) {
        let has_same_classes = desired.classes == self.desired.classes;
        let is_same = has_same_classes
            && desired.package_sets == self.desired.package_sets
            && (Arc::ptr_eq(&catalog, &self.catalog) || catalog == self.catalog);
        let mut before = Beside::of(&self.desired.nodes);
        let mut stayed = 0;
        for (name, node) in &desired.nodes {
            let before = before.at(name);
            stayed += usize::from(before.is_some());
            if !has_same_classes || before != Some(node) {
                self.news.nodes.insert(name.clone());
            }
        }
        if stayed < self.desired.nodes.len() {
            let gone = self.desired.nodes.keys();
            let gone = gone.filter(|name| !desired.nodes.contains_key(*name));
            self.news.nodes.extend(gone.cloned());
        }
        self.news.is_declared_anew |= !is_same;
        self.news.is_revised |= desired.revision != self.desired.revision;
        if !has_same_classes {
            self.shared = shared(&desired.classes);
        }
        self.desired = desired;
        self.catalog = catalog;
    }

    /// Takes in which of the declared nodes are there though nobody declared them. Where no class
    /// claims such a node, it is left out, and that is no problem.
    pub fn tolerate(&mut self, strangers: BTreeSet<NodeName>) {
        self.news.nodes.extend(&strangers ^ &self.strangers);
        self.strangers = strangers;
    }

    /// Takes in what a node says of itself.
    pub fn announce(&mut self, node: &NodeName, facts: &NodeFacts) {
        if self.announced.get(node) != Some(facts) {
            self.announced.insert(node.clone(), facts.clone());
            self.news.nodes.insert(node.clone());
        }
    }

    /// Forgets what nodes said that are not among `known`.
    pub fn retain(&mut self, known: impl Fn(&NodeName) -> bool) {
        let forgotten = self.announced.extract_if(.., |name, _| !known(name));
        self.news.nodes.extend(forgotten.map(|(name, _)| name));
    }

    /// What every node should run.
    pub fn target(&mut self) -> Arc<Target> {
        self.settle();
        Arc::clone(&self.target)
    }

    /// As [`Self::target`], of a planner that is not needed any more.
    pub(super) fn into_target(mut self) -> Target {
        self.settle();
        Arc::unwrap_or_clone(mem::take(&mut self.target))
    }

    fn settle(&mut self) {
        let mut news = mem::take(&mut self.news);
        if !news.is_revised && !news.is_declared_anew && news.nodes.is_empty() {
            return;
        }
        for name in &news.nodes {
            self.move_node(name, &mut news.moved);
        }
        let findings = self.compute(&mut news);
        let mut target = mem::take(&mut self.target);
        self.update(Arc::make_mut(&mut target), &news, findings);
        self.target = target;
    }

    /// Finds the place of a node anew.
    fn move_node(&mut self, name: &NodeName, moved: &mut BTreeSet<Arc<Configuration>>) {
        let declared = self.desired.nodes.get(name);
        let announced = self.announced.get(name);
        let mut place = declared.map(|node| place::place(&self.desired, name, node, announced));
        if self.strangers.contains(name) {
            place = place.filter(|it| !matches!(it, Place::Unclear(Problem::Class { .. })));
        }
        if let Some(Place::In(placed)) = &mut place {
            // One configuration for all that have it.
            if let Some((known, _)) = self.members.get_key_value(&placed.configuration) {
                placed.configuration = Arc::clone(known);
            }
        }
        if let Some(Place::Unclear(problem)) = &place {
            self.unclear.insert(name.clone(), problem.clone());
        } else {
            self.unclear.remove(name);
        }
        let configuration_of = |place: &Option<Place>| match place {
            Some(Place::In(placed)) => Some(Arc::clone(&placed.configuration)),
            _ => None,
        };
        let to = configuration_of(&place);
        let from = configuration_of(&match place {
            Some(place) => self.places.insert(name.clone(), place),
            None => self.places.remove(name),
        });
        if from == to {
            return;
        }
        if let Some(from) = from {
            if let Some(members) = self.members.get_mut(&from) {
                members.remove(name);
            }
            moved.insert(from);
        }
        if let Some(to) = to {
            let members = self.members.entry(Arc::clone(&to)).or_default();
            members.insert(name.clone());
            moved.insert(to);
        }
    }

    /// Works out the configurations that news can have changed, and what there is to say of all.
    fn compute(&mut self, news: &mut News) -> Findings {
        self.members.retain(|_, members| !members.is_empty());
        let memo = RefCell::new(mem::take(&mut self.memo));
        let members = &self.members;
        self.computed
            .retain(|configuration, _| members.contains_key(configuration));
        let catalog = LazyCell::new(|| Shelf::new(&self.catalog));
        for (configuration, nodes) in members {
            let former = self.computed.get(configuration);
            let is_current = !news.is_declared_anew
                && former.is_some_and(|former| {
                    !news.moved.contains(configuration)
                        || !(configuration.overridden || former.names_nodes())
                });
            if is_current {
                continue;
            }
            let scope = Scope {
                desired: &self.desired,
                catalog: &self.catalog,
                shelf: &catalog,
                configuration,
                nodes,
                memo: &memo,
            };
            let computed = scope.compute(former);
            if former.is_none_or(|it| it.composed.digest != computed.composed.digest) {
                news.renewed.push(Arc::clone(configuration));
            }
            self.computed.insert(Arc::clone(configuration), computed);
        }
        self.memo = memo.into_inner();
        let mut findings = Findings::default();
        for computed in self.computed.values() {
            for more in computed.findings() {
                findings.add(more);
            }
        }
        let fleet = Fleet {
            members,
            computed: &self.computed,
            placed: &|name| placed(&self.places, name),
        };
        fleet.check(|| &catalog, &mut findings);
        findings
    }

    fn update(&self, target: &mut Target, news: &News, mut findings: Findings) {
        let renewed = news.renewed.iter().flat_map(|it| &self.members[it]);
        for name in news.nodes.iter().chain(renewed) {
            self.update_node(target, name);
        }
        findings.problems.extend(self.unclear.values().cloned());
        target.problems = findings.problems.into_iter().collect();
        target.notes = findings.notes.into_iter().collect();
        target.revision.clone_from(&self.desired.revision);
        target.digest = Some(digest(&target.revision, self.computed.values()));
    }

    fn update_node(&self, target: &mut Target, name: &NodeName) {
        let place = self.places.get(name);
        if matches!(place, Some(Place::Awaited)) {
            target.awaited.insert(name.clone());
        } else {
            target.awaited.remove(name);
        }
        if let Some(Place::Misfit(why)) = place {
            target.misfits.insert(name.clone(), why.clone());
        } else {
            target.misfits.remove(name);
        }
        if let Some(Place::In(placed)) = place {
            let node = Arc::new(self.node(name, placed));
            target.nodes.insert(name.clone(), node);
        } else {
            target.nodes.remove(name);
        }
    }

    fn node(&self, name: &NodeName, placed: &Placed) -> TargetNode {
        let class = &placed.configuration.class;
        let declared = self.desired.nodes.get(name);
        let of_class = self.desired.classes.get(class);
        let composed = &self.computed[&placed.configuration].composed;
        let shared = self.shared.get(class);
        let strategy = shared.map_or_else(Arc::default, |it| Arc::clone(&it.strategy));
        TargetNode {
            class: class.clone(),
            manifest: Arc::clone(&composed.manifest),
            manifest_digest: composed.digest,
            node_type: placed.configuration.node_type.clone(),
            labels: Arc::clone(&placed.labels),
            facts: Arc::clone(&placed.facts),
            rules: shared.map_or_else(Arc::default, |it| Arc::clone(&it.rules)),
            waves: place::waves(&strategy, placed),
            strategy,
            suspended: declared.is_some_and(|node| node.suspended),
            maintenance: declared.is_some_and(|node| node.maintenance),
            memory: memory(declared, of_class),
            drift: of_class.map_or_else(Default::default, |class| class.drift),
        }
    }
}

fn placed<'a>(places: &'a BTreeMap<NodeName, Place>, name: &NodeName) -> Option<&'a Placed> {
    match places.get(name)? {
        Place::In(found) => Some(found),
        _ => None,
    }
}

fn shared(classes: &BTreeMap<String, ClassDeclaration>) -> BTreeMap<String, Shared> {
    let shared = classes.iter().map(|(name, class)| {
        let shared = Shared {
            strategy: Arc::new(class.strategy.clone()),
            rules: Arc::new(Rules::new(&class.veto_rules)),
        };
        (name.clone(), shared)
    });
    shared.collect()
}
