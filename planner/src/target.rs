//! What should every node run? (D2 to D8)
//!
//! Nodes of equal class, package lists, type, architecture and wants share one computed
//! configuration, so that the cost grows with distinct configurations, not with nodes.

mod boot;
mod circle;
mod list;
mod order;
mod place;
mod planner;
mod remote;
mod require;
mod select;
mod shelf;
mod symbols;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use placet_model::{
    Architecture, ChosenPackage, ClassDeclaration, Desired, Digest, ModuleType, NodeDeclaration,
    NodeFacts, NodeManifest, NodeName, Purpose, digest_of,
};
use serde::Serialize;

pub use self::planner::Planner;

use self::list::List;
use self::select::Wanted;
use self::shelf::Shelf;
use crate::plan::Target;
use crate::{Catalog, CatalogEntry, Note, Problem};

/// What every node should run.
///
/// # Guarantees
///
/// The same input gives the same manifests, byte for byte (D8). Whatever keeps a declaration from
/// being carried out is in [`Target::problems`], sorted. [`Planner`] gives the same, and does no more
/// for a change than the change makes necessary.
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
    target_with(desired, catalog, announced, &BTreeSet::new())
}

/// [`target`] of a fleet with nodes that nobody declared; see [`Planner::tolerate`].
pub fn target_with(
    desired: &Desired,
    catalog: &Catalog,
    announced: &BTreeMap<NodeName, NodeFacts>,
    strangers: &BTreeSet<NodeName>,
) -> Target {
    let mut planner = Planner::default();
    for (node, facts) in announced {
        planner.announce(node, facts);
    }
    planner.tolerate(strangers.clone());
    planner.declare(desired.clone(), Arc::new(catalog.clone()));
    planner.into_target()
}

/// Problems and notes, in order and each once.
#[derive(Debug, Clone, Default)]
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
#[derive(Debug, Clone)]
struct Computed {
    composed: Composed,
    checked: Checked,
    /// What there is to say of the list alone.
    listed: Findings,
}

/// A manifest, and what there is to say of how it is put together.
#[derive(Debug, Clone)]
struct Composed {
    recipe: Recipe,
    manifest: Arc<NodeManifest>,
    digest: Digest,
    findings: Findings,
}

/// Whether all is there that a manifest needs.
#[derive(Debug, Clone, Default)]
struct Checked {
    /// What it needs and no package of the catalog provides.
    base: BTreeSet<String>,
    /// The lists of symbols that there were to look at, package by package.
    symbols: Vec<Digest>,
    findings: Findings,
}

/// What a manifest is made of. Equal recipes of one configuration give equal manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recipe {
    packages: Vec<Digest>,
    inactive: Vec<Digest>,
    boot: Option<boot::Image>,
    before: Vec<list::Before>,
    /// False if a package or a set of it could not be had.
    complete: bool,
    /// Findings name who declares the list.
    declared_by: String,
}

/// One configuration and everything that its computation looks at.
struct Scope<'a, 'c> {
    desired: &'a Desired,
    catalog: &'c Catalog,
    shelf: &'a Shelf<'c>,
    configuration: &'a Configuration,
    nodes: &'a BTreeSet<NodeName>,
    /// What was found of symbols before.
    memo: &'a RefCell<symbols::Memo>,
}

impl<'c> Scope<'_, 'c> {
    /// `former` is what the configuration came to before; what would be the same of it is taken over.
    fn compute(&self, former: Option<&Computed>) -> Computed {
        let mut listed = Findings::default();
        let mut list = List::of(self, &mut listed);
        let image = boot::find(self, &mut list, &mut listed);
        let recipe = Recipe {
            packages: list.packages.iter().map(|entry| entry.digest).collect(),
            inactive: list.inactive.iter().map(|entry| entry.digest).collect(),
            boot: image,
            before: mem::take(&mut list.before),
            complete: list.complete,
            declared_by: self.declared_by(),
        };
        let former = former.filter(|former| former.composed.recipe == recipe);
        let composed = match former {
            Some(former) => former.composed.clone(),
            None => self.compose(recipe, &list),
        };
        let still = former.filter(|former| former.checked.holds_with(self.shelf, &list.packages));
        let checked = match still {
            Some(former) => former.checked.clone(),
            // A list with holes would only repeat what is missing from it.
            None if !list.complete => Checked::default(),
            None => require::check(self, &list.packages, &composed.manifest),
        };
        Computed {
            composed,
            checked,
            listed,
        }
    }

    fn compose(&self, recipe: Recipe, list: &List<'c>) -> Composed {
        let mut findings = Findings::default();
        let mut wanted = select::wanted(&list.packages, self.configuration);
        let image = recipe.boot.as_ref();
        let boot = image.and_then(|image| boot::take(self, image, &mut wanted, &mut findings));
        let modules = select::compose(self, &wanted, &mut findings);
        if list.complete {
            order::check(self, &wanted, &recipe.before, &mut findings);
        }
        let chosen = list.packages.iter();
        let inactive = select::wanted(&list.inactive, self.configuration);
        let manifest = NodeManifest {
            packages: chosen
                .map(|entry| self.chosen(entry, &list.packages))
                .collect(),
            modules,
            boot,
            inactive: inactive.into_iter().map(Wanted::stored).collect(),
        };
        Composed {
            recipe,
            digest: manifest.digest(),
            manifest: Arc::new(manifest),
            findings,
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

impl Findings {
    fn add(&mut self, more: &Self) {
        self.problems.extend(more.problems.iter().cloned());
        self.notes.extend(more.notes.iter().cloned());
    }
}

impl Computed {
    fn findings(&self) -> [&Findings; 3] {
        [
            &self.listed,
            &self.composed.findings,
            &self.checked.findings,
        ]
    }

    /// True if what was found names nodes, so that it changes with them.
    fn names_nodes(&self) -> bool {
        let mut findings = self.findings().into_iter();
        findings.any(|findings| !findings.problems.is_empty())
    }
}

impl Checked {
    /// True if it comes out the same of the same packages, with these to choose from: nothing was
    /// missing, what was left to the node's base software is still in none of them, and no more or
    /// less is known of the symbols.
    fn holds_with(&self, catalog: &Shelf, packages: &[&CatalogEntry]) -> bool {
        self.findings.problems.is_empty()
            && self.base.iter().all(|name| !catalog.has_file(name))
            && symbols::lists(packages).eq(&self.symbols)
    }
}

impl Configuration {
    /// True if nothing wanted is contradicted; what is not spoken of agrees.
    fn agrees(&self, characteristics: &BTreeMap<String, String>) -> bool {
        let mut wanted = self.characteristics.iter();
        wanted.all(|(key, value)| characteristics.get(key).is_none_or(|own| own == value))
    }

    /// True if something for these node types, or for all if there is none, is for this one.
    fn is_of(&self, node_types: &BTreeSet<String>) -> bool {
        let is_named = |own: &String| node_types.contains(own);
        node_types.is_empty() || self.node_type.as_ref().is_some_and(is_named)
    }
}

/// For how long what a node is given runs from memory only, if it does.
fn memory(node: Option<&NodeDeclaration>, class: Option<&ClassDeclaration>) -> Option<u32> {
    let stores = class.is_none_or(|class| !class.memory_only);
    node?.test_seconds.or_else(|| (!stores).then_some(0))
}

/// Covers what is rolled out, and never to whom: a node that joins voids nobody's vote.
fn digest<'a>(revision: &str, computed: impl Iterator<Item = &'a Computed>) -> Digest {
    #[derive(Serialize)]
    struct Covered<'a> {
        revision: &'a str,
        packages: BTreeSet<Digest>,
        manifests: BTreeSet<Digest>,
    }
    let mut covered = Covered {
        revision,
        packages: BTreeSet::new(),
        manifests: BTreeSet::new(),
    };
    for Computed { composed, .. } in computed {
        let recipe = &composed.recipe;
        let packages = recipe.packages.iter().chain(&recipe.inactive);
        covered.packages.extend(packages);
        covered.manifests.insert(composed.digest);
    }
    digest_of(&covered)
}
