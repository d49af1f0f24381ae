//! What should every node run? (D2 to D8)
//!
//! Nodes of equal class, package lists, type, architecture and wants share one computed
//! configuration, so that the cost grows with distinct configurations, not with nodes.

mod boot;
mod list;
mod order;
mod place;
mod remote;
mod require;
mod select;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use placet_model::{
    Architecture, ChosenPackage, Desired, Digest, ModuleType, NodeFacts, NodeManifest, NodeName,
    Purpose, digest_of,
};
use serde::Serialize;

use self::list::List;
use self::place::Placed;
use self::shelf::Shelf;
use crate::plan::{Target, TargetNode};
use crate::{Catalog, CatalogEntry, Note, Problem, Rules};

/// What every node should run.
///
/// # Guarantees
///
/// The same input gives the same manifests, byte for byte (D8). Whatever keeps a declaration from
/// being carried out is in [`Target::problems`], sorted.
///
/// # Assumptions
///
/// `announced` holds what nodes said of themselves; a node that is not in it never joined.
///
/// **Base software.** A soname that no package of the catalog provides is taken to be part of the
/// node's base software, and said in a note; so are the C library and its companions unless the
/// manifest brings the interpreter itself. Every other soname must be in the manifest.
pub fn target(
    desired: &Desired,
    catalog: &Catalog,
    announced: &BTreeMap<NodeName, NodeFacts>,
) -> Target {
    let mut findings = Findings::default();
    let shelf = Shelf::new(catalog);
    let placement = place::place(desired, announced, &mut findings);
    let mut members = BTreeMap::<Configuration, BTreeSet<NodeName>>::new();
    for (name, placed) in &placement.nodes {
        members
            .entry(placed.configuration.clone())
            .or_default()
            .insert(name.clone());
    }
    let computed: BTreeMap<_, _> = members
        .iter()
        .map(|(configuration, nodes)| {
            let scope = Scope {
                desired,
                catalog,
                shelf: &shelf,
                configuration,
                nodes,
            };
            (configuration, scope.compute(&mut findings))
        })
        .collect();
    remote::check(&placement.nodes, &computed, &shelf, &mut findings);
    Target {
        revision: desired.revision.clone(),
        nodes: target_nodes(desired, &placement.nodes, &computed),
        awaited: placement.awaited,
        misfits: placement.misfits,
        problems: findings.problems.into_iter().collect(),
        notes: findings.notes.into_iter().collect(),
        digest: Some(digest(&desired.revision, &computed)),
    }
}

/// Problems and notes, in order and each once.
#[derive(Default)]
struct Findings {
    problems: BTreeSet<Problem>,
    notes: BTreeSet<Note>,
}

/// All that decides a manifest, beside the packages themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    class: String,
    /// Set where a node's own package sets take the place of the class's.
    overridden: bool,
    package_sets: Vec<String>,
    node_type: Option<String>,
    architecture: Architecture,
    types: BTreeSet<ModuleType>,
    functions: BTreeSet<String>,
    features: BTreeSet<String>,
    characteristics: BTreeMap<String, String>,
    /// Which of the class's boot images it starts from.
    boot: Option<usize>,
}

/// What a configuration comes to.
struct Computed<'c> {
    packages: Vec<&'c CatalogEntry>,
    manifest: Arc<NodeManifest>,
    digest: Digest,
}

/// One configuration and everything that its computation looks at.
struct Scope<'a, 'c> {
    desired: &'a Desired,
    catalog: &'c Catalog,
    shelf: &'a Shelf<'c>,
    configuration: &'a Configuration,
    nodes: &'a BTreeSet<NodeName>,
}

impl<'c> Scope<'_, 'c> {
    fn compute(&self, findings: &mut Findings) -> Computed<'c> {
        let mut list = List::of(self, findings);
        let image = boot::find(self, &mut list, findings);
        let mut wanted = select::wanted(&list.packages, self.configuration);
        let boot = image.and_then(|image| boot::take(self, &image, &mut wanted, findings));
        let modules = select::compose(self, &wanted, findings);
        let inactive = select::wanted(&list.inactive, self.configuration);
        let manifest = NodeManifest {
            packages: list
                .packages
                .iter()
                .map(|entry| self.chosen(entry, &list.packages))
                .collect(),
            modules,
            boot,
            inactive: inactive.into_iter().map(select::Wanted::stored).collect(),
        };
        // A list with holes would only repeat what is missing from it.
        if list.complete {
            order::check(self, &wanted, findings);
            require::check(self, &list.packages, &manifest, findings);
        }
        Computed {
            digest: manifest.digest(),
            packages: list.packages.into_iter().chain(list.inactive).collect(),
            manifest: Arc::new(manifest),
        }
    }

    fn chosen(&self, entry: &CatalogEntry, all: &[&CatalogEntry]) -> ChosenPackage {
        let requires = entry.config.requires.iter();
        ChosenPackage {
            name: entry.config.name.clone(),
            version: entry.config.version.clone(),
            digest: entry.digest,
            test: is_suite(entry, all),
            requires: requires
                .filter(|requirement| self.configuration.is_of(&requirement.node_types))
                .cloned()
                .collect(),
            requires_remote: entry.config.requires_remote.clone(),
        }
    }

    /// Who declares the package list, for people.
    fn declared_by(&self) -> String {
        match self.nodes.first() {
            Some(node) if self.configuration.overridden => format!("FleetNode {node}"),
            _ => format!("NodeClass {}", self.configuration.class),
        }
    }
}

/// True for a test suite, and for what replaces part of one.
fn is_suite(entry: &CatalogEntry, all: &[&CatalogEntry]) -> bool {
    let is_test = |entry: &CatalogEntry| entry.config.purpose == Purpose::Test;
    let replaced = entry.config.upgrades.iter().map(|it| &it.package);
    let suites = || all.iter().filter(|it| is_test(it));
    let mut replaced = replaced.filter(|name| suites().any(|suite| suite.config.name == **name));
    is_test(entry) || replaced.next().is_some()
}

impl Configuration {
    /// True if something for these node types, or for all if there is none, is for this one.
    /// True if nothing wanted is contradicted; what is not spoken of agrees.
    fn agrees(&self, characteristics: &BTreeMap<String, String>) -> bool {
        let mut wanted = self.characteristics.iter();
        wanted.all(|(key, value)| characteristics.get(key).is_none_or(|own| own == value))
    }

    fn is_of(&self, node_types: &BTreeSet<String>) -> bool {
        let is_named = |own: &String| node_types.contains(own);
        node_types.is_empty() || self.node_type.as_ref().is_some_and(is_named)
    }
}

fn target_nodes(
    desired: &Desired,
    placed: &BTreeMap<NodeName, Placed>,
    computed: &BTreeMap<&Configuration, Computed>,
) -> BTreeMap<NodeName, TargetNode> {
    let strategies: BTreeMap<_, _> = desired
        .classes
        .iter()
        .map(|(name, class)| (name.as_str(), Arc::new(class.strategy.clone())))
        .collect();
    let rules: BTreeMap<_, _> = desired
        .classes
        .iter()
        .map(|(name, class)| (name.as_str(), Arc::new(Rules::new(&class.veto_rules))))
        .collect();
    let nodes = placed.iter().map(|(name, placed)| {
        let class = &placed.configuration.class;
        let result = &computed[&placed.configuration];
        let strategy = strategies.get(class.as_str()).cloned().unwrap_or_default();
        let node = TargetNode {
            class: class.clone(),
            manifest: Arc::clone(&result.manifest),
            manifest_digest: result.digest,
            node_type: placed.configuration.node_type.clone(),
            labels: Arc::clone(&placed.labels),
            facts: Arc::clone(&placed.facts),
            rules: rules.get(class.as_str()).cloned().unwrap_or_default(),
            waves: place::waves(&strategy, placed),
            strategy,
            suspended: desired.nodes.get(name).is_some_and(|node| node.suspended),
            maintenance: desired.nodes.get(name).is_some_and(|node| node.maintenance),
            memory: memory(desired, name, class),
            drift: (desired.classes.get(class)).map_or_else(Default::default, |class| class.drift),
        };
        (name.clone(), node)
    });
    nodes.collect()
}

/// For how long what a node is given runs from memory only, if it does.
fn memory(desired: &Desired, name: &NodeName, class: &str) -> Option<u32> {
    let node = desired.nodes.get(name)?;
    let stores = (desired.classes.get(class)).is_none_or(|class| !class.memory_only);
    node.test_seconds.or_else(|| (!stores).then_some(0))
}

/// Covers what is rolled out, and never to whom: a node that joins voids nobody's vote.
fn digest(revision: &str, computed: &BTreeMap<&Configuration, Computed>) -> Digest {
    #[derive(Serialize)]
    struct Covered<'a> {
        revision: &'a str,
        packages: BTreeSet<Digest>,
        manifests: BTreeSet<Digest>,
    }
    let packages = computed.values().flat_map(|result| &result.packages);
    digest_of(&Covered {
        revision,
        packages: packages.map(|entry| entry.digest).collect(),
        manifests: computed.values().map(|result| result.digest).collect(),
    })
}
